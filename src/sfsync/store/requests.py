"""Ask the daemon for something through the store, and wait for the answers.

Why: whoever may write to the store can ask, on any machine, and what was asked survives a daemon that is down. The
command line and the HTTP API ask alike. Answers are looked for again and again, quickly at first: a connection that
listened would have to be held by each who waits.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .database import Database
from .leadership import lock_key

_LOOK_S, _LOOK_S_MAX = 0.02, 0.2


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request."""

    request: int
    outcome: str
    detail: dict[str, Any]
    argument: str | None = None

    @property
    def error(self) -> str:
        """Why it was refused; empty when it was not."""
        return str(self.detail.get("error", ""))


async def put_requests(
    database: Database,
    org: str,
    kind: str,
    arguments: Sequence[str | None],
    *,
    expires_s: float | None = None,
) -> list[int]:
    """Put a request for each of *arguments* and return their ids; after *expires_s* nobody waits for the answer."""
    rows = await database.fetch("insert_requests", org, kind, list(arguments), expires_s)
    return [row["id"] for row in rows]


async def answers(database: Database, requests: Sequence[int], *, timeout_s: float) -> list[Answered | None]:
    """Wait until all are answered or *timeout_s* is over; None for each that is not. In the order of *requests*."""
    deadline, wait_s = time.monotonic() + timeout_s, _LOOK_S
    found: dict[int, Answered] = {}
    while True:
        missing = [request for request in requests if request not in found]
        for row in await database.fetch("load_answers", missing):
            detail = json.loads(row["detail"] or "{}")
            found[row["id"]] = Answered(row["id"], row["outcome"], detail, row["argument"])
        left_s = deadline - time.monotonic()
        if len(found) == len(set(requests)) or left_s <= 0:
            return [found.get(request) for request in requests]
        await asyncio.sleep(min(wait_s, left_s))
        wait_s = min(wait_s * 1.3, _LOOK_S_MAX)


async def describe_leader(database: Database, org: str) -> str:
    """Say in words who should serve the requests of *org*: for whoever waited in vain."""
    [leader] = await database.fetch("probe_leader", org, lock_key(org))
    if leader["is_led"]:
        return f"the daemon at {leader['holder']} has not served it"
    return f"no daemon leads org {org}"

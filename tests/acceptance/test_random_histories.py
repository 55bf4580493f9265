"""Histories that nobody thought of: an org's life, decisions, faults and kills drawn from a seed, then a judgement.

Why: each mode hides what another shows, so there are three: the stream alone with nothing lost, sweeps with events
lost, and both. In all of them an application writes letters to everybody it sees, and declines some. CI plays a seed of each; `SFSYNC_HISTORIES=100:200` plays that range of seeds instead.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.stage import PATIENCE_S, STREAM_ONLY, SimOrg, Stage, open_stage
from tests.application import Application
from tests.oracle import Given
from tests.simorg.site import eventually

MODES = ("stream", "sweep", "both")
MIX = {"create": 15, "update": 20, "reparent": 12, "convert": 12, "merge": 15, "delete": 14, "undelete": 12}
SOME_RECORDS = ("[05AKUe].{3}$", "^Lead", "^Contact", "^Account")
SPOILT = ("no_header", "null_payload", "no_record_ids", "bad_record_id", "unknown_change_type", "wrong_type")


def seeds() -> range:
    first, _, end = os.environ.get("SFSYNC_HISTORIES", "12:15").partition(":")
    return range(int(first), int(end))


class Office:
    """The application: it writes letters, and decides whom it wants to follow; `given` is how declined rows were."""

    def __init__(self, connection: asyncpg.Connection, draw: random.Random) -> None:
        self._connection = connection
        self._draw = draw
        self._frozen: dict[int, Mapping[str, Any]] = {}
        self.letters = Application(connection)

    @property
    def given(self) -> Given:
        return Given(frozen=self._frozen)

    async def decline(self, count: int) -> None:
        """Write to everybody, and decline some; each decision is taken together with a copy of the row."""
        await self.letters.write_letters()
        people = await self._connection.fetch("SELECT id FROM crm.active_person ORDER BY id")
        for person in self._draw.sample(people, min(count, len(people))):
            async with self._connection.transaction():
                await self._connection.execute("SELECT crm.decide($1, 'decline')", person["id"])
                rows = await self._connection.fetch(_DECLINED, person["id"])
            for row in rows:
                self._frozen.setdefault(row["id"], json.loads(row["row"]))

    async def want(self, share: float) -> None:
        """Decide anew, at rest: some of those who are declined or pending shall follow after all."""
        waiting = await self._connection.fetch(
            "SELECT id FROM crm.person WHERE sync <> 'synced' AND crm.resolve_person(id) = id ORDER BY id"
        )
        for person in waiting:
            if self._draw.random() >= share:
                continue
            rows = await self._connection.fetch(_ROWS_OF, person["id"])
            request = await self._connection.fetchval("SELECT crm.decide($1, 'sync')", person["id"])
            await eventually(partial(self._is_done, request), PATIENCE_S)
            for row in rows:
                self._frozen.pop(row["id"], None)

    async def _is_done(self, request: int) -> bool:
        done: bool = await self._connection.fetchval(
            "SELECT done_at IS NOT NULL FROM sfsync.request WHERE id = $1", request
        )
        return done


_ROWS_OF = "SELECT id FROM crm.person WHERE crm.resolve_person(id) = $1"
_DECLINED = """
SELECT p.id, to_jsonb(p)::text AS row FROM crm.person AS p
WHERE p.sync = 'declined' AND p.merged_into IS NULL AND crm.resolve_person(p.id) = crm.resolve_person($1)
"""


@dataclass(frozen=True)
class History:
    """One history: everything in it is drawn from its seed."""

    seed: int

    @property
    def mode(self) -> str:
        return MODES[self.seed % 3]

    def settings(self, draw: random.Random, *, lag_s: int) -> dict[str, str]:
        """How the daemon is set up."""
        chosen = {
            "SFSYNC_SYNC__SETTLE_S": str(3 if lag_s else draw.choice([0.5, 1, 2])),
            "SFSYNC_SYNC__HOLD_MS": draw.choice(["0", "20"]),
            "SFSYNC_SYNC__SWEEP_PAGE": draw.choice(["7", "50", "2000"]),
            "SFSYNC_SYNC__REFETCH_BATCH": draw.choice(["3", "400"]),
        }
        if self.mode == "stream":
            return {**STREAM_ONLY, **chosen}
        return {**chosen, "SFSYNC_SYNC__SWEEP_INTERVAL_S": draw.choice(["0.7", "2", "3"])}

    def plant(self, org: SimOrg, draw: random.Random) -> None:
        """Plant faults; in stream mode none that loses an event for good."""
        if self.mode != "stream":
            org.plant("lose_event", match="[0-9a-e].{3}$", times=draw.choice([5, 30]))
            org.plant("malformed_event", match="[0-9A-G].{3}$", times=2, form=draw.choice(SPOILT))
        for kind in ("gap", "duplicate_event"):
            org.plant(kind, match=draw.choice(SOME_RECORDS), times=draw.choice([2, 10]))
        if draw.random() < 0.3:
            org.plant(draw.choice(["overflow", "wildcard"]))
        if draw.random() < 0.5:
            org.plant(draw.choice(["cometd_cut", "cometd_cut_mid_body"]), match="events=[1-9]", times=3)

    async def play(self, stage: Stage, draw: random.Random) -> None:
        """Live, fail and die for some episodes; end at rest with the store equal to the org."""
        lag_s = draw.choice([0, 0, 2])
        settings = self.settings(draw, lag_s=lag_s)
        stage.org.set(
            read_lag_s=lag_s,
            batch_max=draw.choice([1, 3, 500]),
            skew_share=draw.choice([0, 0.1, 0.5]),
            merge_share=draw.choice([0, 0.5, 1]),
            cleared_compound=draw.choice(["bare", "dotted"]),
        )
        daemon = stage.daemon(settings).wait_ready()
        async with connected(stage.dsn) as connection:
            office = Office(connection, draw)
            await office.letters.install()
            for episode in range(draw.choice([1, 2])):
                self.plant(stage.org, draw)
                for half in range(2):
                    seed = self.seed * 20 + episode * 2 + half
                    stage.org.live(draw.choice([20, 45]), rate=30, seed=seed, **MIX)
                    await office.decline(draw.choice([0, 2, 6]))
                if draw.random() < 0.7:
                    daemon.kill()
                    if draw.random() < 0.3:
                        stage.org.plant("expire_replay")
                    daemon = stage.daemon(settings)
            stage.org.heal()
            daemon.wait_for("stream.subscription.opened")
            report = await stage.must_be_equal(given=office.given)
            assert report.people > 0
            await office.want(draw.choice([0.5, 1]))
            await stage.must_be_equal(given=office.given)
            assert await office.letters.lost_letters() == []


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect as an application does."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("seed", seeds())
async def test_random_history_ends_equal(seed: int, empty_dsn: str, tmp_path: Path) -> None:
    """Every fault that was found by thinking was found late; this one finds those that were not."""
    draw = random.Random(seed)
    with open_stage(empty_dsn, tmp_path, population=40, seed=seed + 1) as stage:
        await History(seed).play(stage, draw)

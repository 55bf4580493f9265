"""What acts work on: the org and its users, the machines, the links, the store, and what the history must remember."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sfsync.simorg.life import Life
from sfsync.simorg.org import Org

from .host import Host
from .judge import Judge
from .met import Met
from .network import Network
from .postgres_wire import PostgresServer, Session

Act = Callable[["Stage"], Awaitable[None]]
ENTITIES = ("Lead", "Contact", "Account")
LOSSY = frozenset({"overflow", "wildcard", "malformed but marked", "gap", "expired", "days pass"})
"""Acts after which a deletion may stay unheard though the stream loses nothing."""


@dataclass(slots=True)
class Stage:
    """All that acts work on.

    `frozen` holds how declined people were, `adopted` the records that somebody asked for (None: all are wanted).
    """

    mode: str
    rng: random.Random
    org: Org
    life: Life
    host: Host
    standby: Host
    network: Network
    postgres: PostgresServer
    judge: Judge
    met: Met
    note: Callable[[str], None]
    mappings: Mapping[str, str]
    adopted: set[str] | None = None
    frozen: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    hidden: set[tuple[str, str]] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    acts: dict[str, Act] = field(default_factory=dict)

    @property
    def loses_events(self) -> bool:
        """Whether a deletion may stay unheard."""
        return self.mode != "stream" or not LOSSY.isdisjoint(self.acts)

    def live(self, entity: str, count: int) -> list[str]:
        """Draw records that live and are not locked by an open transaction."""
        world = self.org.world
        found = [
            record_id
            for record_id, fields in world.snapshot().by_id(entity)
            if not fields["IsDeleted"] and not fields.get("IsConverted") and record_id not in world.locks
        ]
        return self.rng.sample(found, min(count, len(found)))

    def later(self, after_s: float, what: Callable[..., object], *arguments: object) -> None:
        """Let something happen after a while, unless the history ends before."""
        asyncio.get_running_loop().call_later(after_s, what, *arguments)

    def begin(self, work: Awaitable[None]) -> None:
        """Let *work* go on beside the history; its end is waited for before the trouble ends."""
        task = asyncio.ensure_future(work)
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    def wants(self, record_ids: set[str]) -> None:
        """Remember that somebody asked for these records."""
        if self.adopted is not None:
            self.adopted |= record_ids


def arrives(_session: Session) -> str:
    """Let a statement through: the fate of every one in good times."""
    return "arrive"

"""A store with one org in it, and short words to say what happens to its records.

Why: a test of the store should read like the history it tells. Instants are given in seconds after an epoch
that no test cares about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from sfsync.core.commands import Absence, Cause, Command, Image, Patch, Refetch, Snapshot, Tombstone
from sfsync.core.ids import Entity, RecordId, entity_of, record_id
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import default_mapping
from sfsync.core.order import Clocks
from sfsync.core.standard_fields import standard_describe
from sfsync.store.adoption import Adoption
from sfsync.store.apply import Applier
from sfsync.store.batch import Batch, Outcome, Rules
from sfsync.store.binding import bind_org
from sfsync.store.columns import ensure_columns
from sfsync.store.database import Database, StoreOptions, open_database
from sfsync.store.leadership import lead

ORG = "00D5i000000DemoEAC"
T0_MS = 1_795_489_445_000
LEAD, LEAD2, LEAD3 = (record_id(f"00Q5i00000Lea0{n}") for n in (1, 2, 3))
CONTACT, CONTACT2, CONTACT3 = (record_id(f"0035i00000Con0{n}") for n in (1, 2, 3))
ACCOUNT, ACCOUNT2 = record_id("0015i00000Acc01"), record_id("0015i00000Acc02")


def at(seconds: float) -> int:
    """Return an instant of Salesforce's, in ms."""
    return T0_MS + round(seconds * 1000)


def standard_mapping() -> BoundMapping:
    """The shipped mapping, bound to what every org describes."""
    return bind(default_mapping(), {entity: standard_describe(entity) for entity in Entity})


MAPPING = standard_mapping()


def entity(of: RecordId) -> Entity:
    found = entity_of(of)
    assert found is not None
    return found


def whole(of: RecordId, **fields: Any) -> dict[str, Any]:
    """All announced fields of a record, null unless given."""
    return {**dict.fromkeys(MAPPING.plans[entity(of)].fields), **fields}


def image(of: RecordId, seconds: float, **fields: Any) -> Image:
    return Image(entity(of), of, at(seconds), whole(of, **fields))


def patch(of: RecordId, seconds: float, **fields: Any) -> Patch:
    return Patch(entity(of), of, at(seconds), fields)


def tombstone(of: RecordId, seconds: float) -> Tombstone:
    return Tombstone(entity(of), of, at(seconds))


def gap(of: RecordId, seconds: float, cause: Cause = Cause.GAP) -> Refetch:
    return Refetch(entity(of), of, at(seconds), cause)


def read(
    of: RecordId,
    stamp: float,
    *,
    begun: float,
    ended: float | None = None,
    deleted: bool = False,
    master: RecordId | None = None,
    **fields: Any,
) -> Snapshot:
    """A read begun and ended at these seconds, of a record stamped at *stamp*."""
    ended = begun if ended is None else ended
    return Snapshot(entity(of), of, whole(of, **fields), deleted, master, at(stamp), at(begun), at(ended))


def absent(of: RecordId, *, begun: float) -> Absence:
    return Absence(entity(of), of, at(begun), at(begun))


@dataclass(slots=True)
class Term:
    """One leadership after the other, each with an applier of its own."""

    database: Database
    mapping: BoundMapping
    other_half_wait_s: float
    adoption: Adoption = field(default_factory=Adoption)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def begin(self) -> Applier:
        """End the leadership there is, if any, and take it anew."""
        await self.end()
        leadership = await self._held.enter_async_context(lead(self.database, ORG))
        return Applier(
            self.database,
            leadership,
            self.mapping,
            Rules(Clocks(fuzz_ms=1_000, settle_ms=60_000), self.other_half_wait_s, self.adoption),
        )

    async def end(self) -> None:
        """Give the leadership up."""
        await self._held.aclose()


@dataclass(slots=True)
class Store:
    """An applier on a fresh database, and questions about what it left there."""

    applier: Applier
    database: Database
    dsn: str
    connection: asyncpg.Connection
    term: Term

    async def succeed(self) -> Applier:
        """Let a successor lead, as after a crash; return the applier that it fenced."""
        fenced, self.applier = self.applier, await self.term.begin()
        return fenced

    async def apply(self, *commands: Command, heard: float = 0, refetched: bool = False) -> Outcome:
        return await self.applier.apply(Batch(commands, "event", at(heard), refetched=refetched))

    async def people(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM crm.person ORDER BY id")

    async def live(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM crm.active_person ORDER BY id")

    async def companies(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM crm.company ORDER BY id")

    async def person_of(self, of: RecordId) -> int | None:
        found: int | None = await self.connection.fetchval(
            "SELECT person_id FROM crm.person_record WHERE salesforce_id = $1", of
        )
        return found

    async def dirty(self) -> dict[str, set[str]]:
        rows = await self.connection.fetch("SELECT record_id, causes FROM sfsync.dirty")
        return {row["record_id"]: set(row["causes"]) for row in rows}


@asynccontextmanager
async def open_store(
    dsn: str,
    *,
    other_half_wait_s: float = 5.0,
    mapping: BoundMapping = MAPPING,
    lock_timeout_s: float = 10.0,
) -> AsyncIterator[Store]:
    """Lead the org on a migrated database."""
    options = StoreOptions(dsn, lock_timeout_s=lock_timeout_s)
    async with open_database(options) as database, AsyncExitStack() as opened:
        term = Term(database, mapping, other_half_wait_s)
        opened.push_async_callback(term.end)
        applier = await term.begin()
        await bind_org(database, ORG)
        await ensure_columns(database, mapping)
        connection = await asyncpg.connect(dsn)
        opened.push_async_callback(connection.close)
        yield Store(applier, database, dsn, connection, term)

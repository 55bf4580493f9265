"""Remember how far each entity was read: backfill, watermark, owed readings and the certificates of sweeps.

Why: a sweep that is not complete is a failed sweep, so its watermark and its certificate are committed with its
last page and never before. A reading that is owed (after an overflow, a wildcard or a lost position) is a row
that lives until the last page of such a reading is applied; a restart in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..core.events import Position
from ..core.ids import Entity, RecordId
from ..errors import PositionError
from .batch import Progress
from .database import Connection, Database


@dataclass(frozen=True, slots=True)
class Reading:
    """How far one entity was read. Instants are Salesforce's, in ms; None: not yet.

    `mapping` is the coverage of the plan by which it was read in full.
    """

    entity: Entity
    watermark_ms: int | None = None
    backfill_from_ms: int | None = None
    backfill_after: RecordId | None = None
    backfill_records: int = 0
    is_backfilled: bool = False
    mapping: str | None = None


@dataclass(frozen=True, slots=True)
class OwedReading:
    """A reading that an event asked for; `in_full` reads values that no stamp announces."""

    entity: Entity
    in_full: bool
    not_before_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one complete sweep of one entity found. `equal_as_of_ms`: the store equalled the org then."""

    sweep_id: str
    entity: Entity
    reason: str
    window_from_ms: int
    window_to_ms: int
    records_read: int
    equal: int
    drift: Mapping[str, int]
    ahead: int
    deferred: int
    settled: int
    api_calls: int
    duration_ms: int
    equal_as_of_ms: int


async def load_readings(database: Database, org: str) -> dict[Entity, Reading]:
    """Return how far each entity was read."""
    readings = {entity: Reading(entity) for entity in Entity}
    for row in await database.fetch("load_readings", org):
        entity = Entity(row["entity"])
        readings[entity] = Reading(
            entity,
            watermark_ms=row["watermark_ms"],
            backfill_from_ms=row["backfill_from_ms"],
            backfill_after=RecordId(row["backfill_after_id"]) if row["backfill_after_id"] else None,
            backfill_records=row["backfill_records"],
            is_backfilled=row["backfilled_at"] is not None,
            mapping=row["mapping"],
        )
    return readings


async def load_owed(database: Database, org: str) -> list[OwedReading]:
    """Return the readings that are owed, oldest first."""
    rows = await database.fetch("load_resweeps", org)
    return [
        OwedReading(Entity(row["entity"]), row["in_full"], row["not_before_ms"], row["reason"])
        for row in rows
    ]


def tip_progress(
    database: Database, org: str, channel: str, position: Position | None, not_before_ms: int
) -> Progress:
    """Return the progress of a stream that goes on from its tip: no position, and a reading owed to each entity.

    An entity whose watermark is older than the recycle bin keeps a deletion is owed one in full.
    Raises `PositionError`, when it is run, if the position is no longer *position*.
    """

    async def begin(connection: Connection) -> None:
        if not await connection.fetch(database.sql("reset_position"), org, channel, position):
            raise PositionError("the position moved while the stream began at its tip")
        await connection.execute(database.sql("owe_readings"), org, [str(e) for e in Entity], not_before_ms)
        # failpoint: tip.owed - a stream at its tip owes readings

    return begin


async def owe_in_full(database: Database, org: str, entities: Sequence[Entity], reason: str) -> None:
    """Owe entities a reading in full, as soon as it can be made."""
    names = [str(entity) for entity in entities]
    count = len(names)
    await database.execute("insert_resweeps", org, names, [True] * count, [0] * count, [reason] * count)


@dataclass(frozen=True, slots=True)
class BackfillPage:
    """One page of a backfill that began at `from_ms` under `mapping`; the next starts after the record `last`."""

    entity: Entity
    from_ms: int
    last: RecordId | None
    records: int
    mapping: str


def backfill_progress(database: Database, org: str, page: BackfillPage) -> Progress:
    """Return the progress of one page of a backfill."""

    async def advance(connection: Connection) -> None:
        await connection.execute(
            database.sql("advance_backfill"),
            org,
            str(page.entity),
            page.from_ms,
            page.last or "",
            page.records,
            page.mapping,
        )
        # failpoint: backfill.noted - a page of a first load is noted

    return advance


def backfill_end(
    database: Database, org: str, entity: Entity, *, watermark_ms: int, mapping: str
) -> Progress:
    """Return the progress of a backfill's last page: from here on sweeps start at *watermark_ms*."""

    async def complete(connection: Connection) -> None:
        await connection.execute(database.sql("complete_backfill"), org, str(entity), watermark_ms, mapping)
        # failpoint: backfill.ended - a first load is noted as complete

    return complete


def sweep_end(
    database: Database, org: str, certificate: Certificate, *, watermark_ms: int, mapping: str | None
) -> Progress:
    """Return the progress of a sweep's last page: watermark, certificate, and readings no longer owed.

    *mapping* is the coverage of the plan by which the entity was read in full; None when it was not.
    """

    async def complete(connection: Connection) -> None:
        await connection.execute(
            database.sql("complete_sweep"),
            org,
            str(certificate.entity),
            watermark_ms,
            mapping,
            certificate.equal_as_of_ms,
        )
        # failpoint: sweep.watermark - the watermark moved, the certificate is not written
        await connection.execute(
            database.sql("insert_certificate"),
            org,
            certificate.sweep_id,
            str(certificate.entity),
            certificate.reason,
            certificate.window_from_ms,
            certificate.window_to_ms,
            certificate.records_read,
            certificate.equal,
            msgspec.json.encode(certificate.drift).decode(),
            certificate.ahead,
            certificate.deferred,
            certificate.api_calls,
            certificate.duration_ms,
            certificate.equal_as_of_ms,
            certificate.settled,
        )
        # failpoint: sweep.certified - the certificate is written

    return complete

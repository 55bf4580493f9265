"""Find the records of a batch that Postgres refuses, and let the others pass.

Why: one record that cannot be stored must not keep thousands from being written, and must not be forgotten: it is
parked with the reason and stays dirty, so that it is tried again. More than a few of one batch are no record's fault
but ours; then nothing is written and the position stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ..core.commands import Cause
from ..core.order import mark
from ..errors import PoisonError, StoreError
from .batch import Batch, DeadLetter, Outcome
from .database import Connection, Database, row_count, store_errors
from .loading import Loaded
from .writing import RecordWriter

_log = structlog.get_logger()
_PARKED_MIN, _PARKED_SHARE = 20, 0.10
LOCK_WAIT = "SET LOCAL lock_timeout = '250ms'"
LOCKED = "55P03"


def refuse_unless_poison(error: StoreError) -> None:
    """Raise *error* again unless it is about a row: every other kind of error has a class of its own.

    So is a row that an application keeps locked: it must not make everybody else wait.
    """
    if type(error) is not StoreError and error.sqlstate != LOCKED:
        raise error


def refuse_many(parked: int, records: int, error: StoreError) -> None:
    """Raise `PoisonError` when *parked* of so many records are no record's fault; locks are an outage."""
    if parked <= max(_PARKED_MIN, _PARKED_SHARE * records):
        return
    if error.sqlstate == LOCKED:
        raise error
    _log.error("store.batch.poisoned", parked=parked, records=records)
    raise PoisonError(f"{parked} of {records} records cannot be stored") from error


async def park(connection: Connection, database: Database, org: str, letters: Sequence[DeadLetter]) -> int:
    """Keep dead letters; return how many were not there yet."""
    if not letters:
        return 0
    return row_count(
        await connection.execute(
            database.sql("insert_dead_letters"),
            org,
            [letter.entity for letter in letters],
            [letter.record_id for letter in letters],
            [letter.reason for letter in letters],
            [letter.position for letter in letters],
        )
    )


async def write_bisected(
    connection: Connection, writer: RecordWriter, batch: Batch, records: Sequence[Loaded], outcome: Outcome
) -> None:
    """Write what can be written; park each record that cannot. Raises `PoisonError` when that is too many."""
    # We have waited for as long as we may before; now the one that is locked is looked for.
    await connection.execute(LOCK_WAIT)
    pending = [list(records)]
    while pending:
        part = pending.pop()
        try:
            with store_errors():
                async with connection.transaction():
                    await writer.look_again(connection, part)
                    await writer.write(connection, batch, part, outcome)
        except StoreError as error:
            refuse_unless_poison(error)
            if len(part) > 1:
                middle = len(part) // 2
                pending += [part[:middle], part[middle:]]
                continue
            outcome.parked += 1
            refuse_many(outcome.parked, len(records), error)
            parked_id = part[0].row.record_id
            outcome.repairs = [repair for repair in outcome.repairs if repair.record_id != parked_id]
            await _park_record(connection, writer, part[0], batch, error)
            # failpoint: poison.parked - a record that cannot be stored is a dead letter


async def _park_record(
    connection: Connection, writer: RecordWriter, record: Loaded, batch: Batch, error: StoreError
) -> None:
    row = record.row
    reason = str(error)
    mark(row, Cause.POISON, max(batch.heard_ms, row.seen_to_ms))
    if row.mark is not None:
        # The rule may have ended the mark before the row turned out to be poison again.
        row.mark.attempts = record.attempts_before or 0
    if await park(
        connection, writer.database, writer.org, [DeadLetter(reason, str(row.entity), row.record_id)]
    ):
        # A record that is tried again and still does not fit is no news.
        _log.error("store.record.parked", record_id=row.record_id, entity=str(row.entity), reason=reason)

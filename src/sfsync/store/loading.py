"""What the store knows of the records that a batch names, ready for the ordering rule.

Why: everything that a batch must know is read by one statement, the epoch included, because for a single event
the way to the server and back is most of the cost. Columns are taken by place: by name they cost twice as much
as the rule itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from ..core.commands import Cause, RecordCommand, Snapshot
from ..core.ids import Entity, RecordId
from ..core.order import Mark, MirrorRow
from .database import Connection, Database
from .leadership import Leadership, refuse_epoch
from .staging import Place, encode_fields


@dataclass(slots=True)
class Loaded:
    """One record of the batch: the row the rule works on, and what the store knows of its identity.

    `attempts_before`: the reads that its dirty mark has cost so far, None when it was clean.
    `is_linked`: it is in a group with others, waits for its other half, or has a decision of its own. `adopted`:
    None when it is not known, so that the batch says. What follows is the batch's: it was
    given its own id, its projection waits, and the person or company that simply takes its new values.
    """

    row: MirrorRow
    place: Place | None
    was_complete: bool
    was_deleted: bool
    attempts_before: int | None
    master_before: str | None
    own_id: int | None
    subject_id: int | None
    is_linked: bool
    converted_to: str | None
    adopted: bool | None
    named: bool = False
    hold: bool = False
    patched_id: int | None = None

    @property
    def was_dirty(self) -> bool:
        return self.attempts_before is not None

    @property
    def was_known(self) -> bool:
        return self.place is not None


async def load_records(
    connection: Connection, database: Database, leadership: Leadership, commands: Sequence[RecordCommand]
) -> dict[RecordId, Loaded]:
    """Load the records of *commands*, of which there is at least one, and hold the epoch row.

    Raises `FencedError` when a newer epoch exists.
    """
    # In the order of the index, neighbours are found on one page.
    entities = dict(sorted((command.record_id, command.entity) for command in commands))
    reads = {c.record_id: c for c in commands if isinstance(c, Snapshot)}
    if reads:
        rows = await _fetch_compared(connection, database, leadership.org, [*entities], reads)
    else:
        rows = await connection.fetch(database.sql("load_records"), leadership.org, [*entities])
    refuse_epoch(rows[0]["epoch"], leadership)
    return {row["id"]: _loaded(row, entities[row["id"]]) for row in rows}


async def _fetch_compared(
    connection: Connection,
    database: Database,
    org: str,
    record_ids: Sequence[RecordId],
    reads: dict[RecordId, Snapshot],
) -> list[asyncpg.Record]:
    ordered = [reads.get(record_id) for record_id in record_ids]
    return await connection.fetch(
        database.sql("load_read_records"),
        org,
        record_ids,
        [encode_fields(read.fields) if read else None for read in ordered],
        [read.is_deleted if read else None for read in ordered],
        [read.master_record_id if read else None for read in ordered],
    )


def _loaded(row: asyncpg.Record, entity: Entity) -> Loaded:
    (
        record_id, place, complete, is_deleted, master_record_id, set_by_read, seen_from_ms, seen_to_ms,
        last_commit_ms, modstamp_ms, unseen_since_ms, equal, own_id, subject_id, is_linked, converted_to,
        adopted, causes, *_
    ) = row  # fmt: skip
    if complete is None:
        mirror = MirrorRow(entity, record_id)
    else:
        mirror = MirrorRow(
            entity=entity,
            record_id=record_id,
            known=True,
            complete=complete,
            is_deleted=is_deleted,
            master_record_id=master_record_id,
            set_by_read=set_by_read,
            seen_from_ms=seen_from_ms,
            seen_to_ms=seen_to_ms,
            last_commit_ms=last_commit_ms,
            modstamp_ms=modstamp_ms,
            unseen_since_ms=unseen_since_ms,
            equals_read=bool(equal),
        )
    if causes is not None:
        mirror.mark = _mark(row)
    return Loaded(
        row=mirror,
        place=place,
        was_complete=mirror.complete,
        was_deleted=mirror.is_deleted,
        attempts_before=None if causes is None else row["attempts"],
        master_before=master_record_id,
        own_id=own_id,
        subject_id=subject_id,
        is_linked=bool(is_linked),
        converted_to=converted_to,
        adopted=adopted,
    )


def _mark(row: asyncpg.Record) -> Mark:
    return Mark(
        causes={Cause(cause) for cause in row["causes"]},
        since_ms=row["since_ms"],
        touched=set(row["touched"]),
        image_touched=row["image_touched"],
        attempts=row["attempts"],
        next_try_ms=row["next_try_ms"],
    )

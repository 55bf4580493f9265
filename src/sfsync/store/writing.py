"""Write the rows of the mirror that a batch changed, and what follows from them, in the transaction of the batch.

Why: a record whose values alone changed gives them to its person by one statement; everything else is projected
anew, by identity and consent. Which of the two it is, is decided here, record by record and before anything is
written.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.ids import Entity
from ..errors import StoreUnavailableError
from .batch import Batch, Outcome, Rules
from .consent import Provenance
from .database import Connection, Database
from .grouping import Touched
from .loading import Loaded
from .projecting import Projector
from .staging import Fate, Staged, stage, staging_row

_RELATING = frozenset({"AccountId", "ConvertedContactId"})


class MovedError(StoreUnavailableError):
    """Somebody was declined, which writes the mirror too, between our loading and writing it: begin again."""


class RecordWriter:
    """Writes the records of one org."""

    def __init__(self, database: Database, org: str, projector: Projector, rules: Rules) -> None:
        self.database = database
        self.org = org
        self._projector = projector
        self._rules = rules

    async def write(
        self, connection: Connection, batch: Batch, records: Sequence[Loaded], outcome: Outcome
    ) -> None:
        """Write the rows of *records* that changed, and bring people and companies up to date with them."""
        changed = [record for record in records if record.row.changed]
        if not changed:
            return
        await self._assign_ids(connection, changed)
        for record in changed:
            record.patched_id = _patched_id(record)
            if record.adopted is None:
                record.adopted = batch.adopts or not self._rules.adoption.on_request
        staged = await stage(connection, [staging_row(record.row, _fate(record)) for record in changed])
        # failpoint: mirror.staged - the rows to write are with Postgres
        await self._write_mirror(staged, changed)
        entities = {record.row.entity for record in changed if record.patched_id}
        outcome.count(await self._projector.patch(staged, entities, batch.provenance))
        # failpoint: rows.patched - new values of the mirror are in people and companies
        others = [(r.row.entity, _touched(r)) for r in changed if r.patched_id is None]
        await self.project(connection, others, batch.provenance, outcome)

    async def look_again(self, connection: Connection, part: Sequence[Loaded]) -> None:
        """Forget what was known of these rows' places and groups: the part before may have moved and linked them."""
        ids = [record.row.record_id for record in part]
        rows = await connection.fetch(self.database.sql("load_places"), self.org, ids)
        places = {row["id"]: row["ctid"] for row in rows}
        for record in part:
            record.place, record.is_linked = places.get(record.row.record_id), True

    async def _write_mirror(self, staged: Staged, changed: Sequence[Loaded]) -> None:
        if known := sum(record.was_known for record in changed):
            written = await staged.run(
                self.database.sql("update_records"), self.org, self._rules.other_half_wait_s
            )
            # failpoint: mirror.updated - rows of the mirror are updated
            if written != known:
                raise MovedError("rows of the mirror were moved between our loading and writing them")
        if known < len(changed):
            await staged.run(self.database.sql("insert_records"), self.org, self._rules.other_half_wait_s)
            # failpoint: mirror.inserted - rows of the mirror are inserted

    async def _assign_ids(self, connection: Connection, changed: Sequence[Loaded]) -> None:
        """Give an own id to each record that is live for the first time."""
        nameless = [r for r in changed if r.own_id is None and r.row.complete and not r.row.is_deleted]
        if nameless:
            rows = await connection.fetch(self.database.sql("reserve_ids"), len(nameless))
            # failpoint: ids.reserved - new people and companies have their ids
            for record, row in zip(nameless, rows, strict=True):
                record.own_id, record.named = row["nextval"], True
                record.subject_id = record.subject_id or record.own_id

    async def project(
        self,
        connection: Connection,
        touched: Sequence[tuple[Entity, Touched]],
        provenance: Provenance,
        outcome: Outcome,
    ) -> None:
        """Look anew at the projection of records, and count what that changes."""
        outcome.count(await self._projector.project(connection, touched, provenance))


def _fate(record: Loaded) -> Fate:
    return Fate(record.place, record.own_id, record.patched_id, record.hold, bool(record.adopted))


def _patched_id(record: Loaded) -> int | None:
    """Return the person or company that differs from before by this record's new values and nothing else.

    That is so for a live record on its own whose values alone changed. None when identity, company or the
    deleted state may have changed with them, or values that were not known: then it is projected anew.
    """
    row = record.row
    if not record.was_complete or record.was_deleted or row.is_deleted or row.replaced or row.under:
        return None
    if record.is_linked or record.hold or record.named or not _RELATING.isdisjoint(row.over):
        return None
    return record.subject_id


def _touched(record: Loaded) -> Touched:
    row = record.row
    edge_changed = row.master_record_id != record.master_before or bool(row.over.get("ConvertedContactId"))
    return Touched(
        record_id=row.record_id,
        # Somebody who was imported has a row already; it is not written before Salesforce told who that is.
        subject_id=record.subject_id if row.complete or row.is_deleted else None,
        is_linked=record.is_linked or record.hold or edge_changed,
        may_be_linked=not record.was_known or record.was_complete != row.complete or record.named,
        adopted=bool(record.adopted),
    )

"""Make a batch of commands true, with the progress of whoever read them, in one transaction.

Why: a position that is committed with its effect cannot run ahead of it. So cancelling or dying at any await is
safe: either everything of a batch is there or nothing, and what is delivered again changes nothing. Delivery
is at least once, apply is idempotent, and the pair is exactly once in effect.

The batch's records are loaded, the ordering rule is run on them in memory (`core/order.py`; there is only one
writer, and the epoch row is held), and the results are written set by set. Rejected: the rule as SQL guards,
which measured faster for blind partial updates, but cannot say *ambiguous*, and was wrong in every model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import asyncpg
import structlog

from ..core.commands import Cause, Refetch, Resweep, Snapshot
from ..core.ids import Entity, RecordId
from ..core.mapping import BoundMapping
from ..core.order import Mark, MirrorRow, Verdict, fold, proving_wait_ms, schedule
from ..errors import StoreError, StoreUnavailableError
from .adoption import want_targets
from .batch import Batch, DeadLetter, Outcome, Repair, Rules
from .database import Connection, Database, store_errors
from .erased import Erased, load_erased
from .grouping import Touched
from .leadership import Leadership, refuse_if_fenced
from .loading import Loaded, load_records
from .poison import LOCK_WAIT, park, refuse_many, refuse_unless_poison, write_bisected
from .projecting import Projector
from .projection import compose
from .writing import MovedError, RecordWriter

_log = structlog.get_logger()
_AGAIN_MAX = 3
_DEADLOCK = "40P01"
_Project = Callable[[Sequence[asyncpg.Record]], Awaitable[None]]


class Applier:
    """The one writer of an org. `apply` MUST NOT be called concurrently."""

    def __init__(
        self,
        database: Database,
        leadership: Leadership,
        mapping: BoundMapping,
        rules: Rules = Rules(),  # noqa: B008 - a frozen value
    ) -> None:
        self._database = database
        self.leadership = leadership
        self.rules = rules
        self._mapping = mapping
        self._adoption = rules.adoption
        projector = Projector(database, leadership.org, compose(mapping, database.schemas), rules.adoption)
        self._records = RecordWriter(database, leadership.org, projector, rules)
        self._clocks = rules.clocks
        self._erased: Erased | None = None

    @property
    def org(self) -> str:
        return self.leadership.org

    async def apply(self, batch: Batch) -> Outcome:
        """Apply *batch* and its progress atomically.

        Raises `FencedError`, `PositionError`, `PoisonError`, `StoreUnavailableError`; then nothing of it is
        there. Cancellation: rolls back, so the batch will be delivered again.
        """
        for _ in range(_AGAIN_MAX):
            try:
                return await self._apply_or_bisect(batch)
            except StoreUnavailableError as error:
                if not isinstance(error, MovedError) and error.sqlstate != _DEADLOCK:
                    raise
        return await self._apply_or_bisect(batch)

    async def _apply_or_bisect(self, batch: Batch) -> Outcome:
        try:
            return await self._apply(batch, bisect=False)
        except StoreError as error:
            refuse_unless_poison(error)
            # A row cannot be stored. Find out which one; the others must not wait for it.
            # failpoint: poison.found - a batch was refused because of a row
            return await self._apply(batch, bisect=True)

    async def change(
        self, origin: str, work: Callable[[Connection], Awaitable[Sequence[RecordId]]], *, source: str = ""
    ) -> Outcome:
        """Run *work* in a fenced transaction, then project anew the records it returns.

        For what somebody asks of the store itself: decisions, imports, erasure. Raises what `apply` raises.
        """
        outcome = Outcome()
        # *work* may erase somebody: who is erased is loaded anew before the next batch.
        self._erased = None
        with store_errors():
            async with self._database.transaction() as connection:
                await refuse_if_fenced(connection, self._database, self.leadership)
                record_ids = await work(connection)
                rows = await connection.fetch(self._database.sql("load_touched"), self.org, list(record_ids))
                await self._records.project(
                    connection, [_touched_row(row) for row in rows], (origin, source), outcome
                )
                # failpoint: change.projected - what was asked of the store is done, and projected
        # failpoint: change.committed - what was asked of the store is committed
        return outcome

    async def release_held(self) -> int:
        """Project what waited for its other half longer than it may; return how many records were released.

        Raises `PoisonError` when Postgres refuses too many of them.
        """
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            held = await connection.fetch(self._database.sql("load_held_due"), self.org)
        if held:
            # failpoint: held.found - records waited long enough for their other half
            await self._project_or_park(held, self._release)
        return len(held)

    async def _release(self, held: Sequence[asyncpg.Record]) -> None:
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            await _wait_little_for_one(connection, held)
            touched = [
                (Entity(row["entity"]), Touched(row["id"], row["subject_id"], is_linked=True)) for row in held
            ]
            await self._records.project(connection, touched, ("event", "held"), Outcome())
            # failpoint: held.released - what waited for its other half is projected

    async def reproject(self, after: str) -> str | None:
        """Project the next thousand records anew; return the last one's id, None when there are no more.

        A changed mapping may take a new column from a field that the mirror has long known. Raises `PoisonError` when
        Postgres refuses too many of them.
        """
        rows = await self._database.fetch("load_records_after", self.org, after)
        await self._project_or_park(rows, self._reproject)
        return rows[-1]["id"] if rows else None

    async def _reproject(self, rows: Sequence[asyncpg.Record]) -> None:
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            await _wait_little_for_one(connection, rows)
            touched = [_touched_row(row) for row in rows]
            await self._records.project(connection, touched, ("mapping", ""), Outcome())

    async def _project_or_park(self, rows: Sequence[asyncpg.Record], project: _Project) -> None:
        """Project these records; those that Postgres refuses are parked, unless they are too many."""
        try:
            await project(rows)
        except StoreError as error:
            refuse_unless_poison(error)
        else:
            return
        parked = 0
        for row in rows:
            try:
                await project([row])
            except StoreError as error:
                refuse_unless_poison(error)
                parked += 1
                refuse_many(parked, len(rows), error)
                await self._park(row, str(error))

    async def _park(self, row: asyncpg.Record, reason: str) -> None:
        """Make a record that Postgres refuses a dead letter that waits for nothing and is read again."""
        entity, record_id = Entity(row["entity"]), RecordId(row["id"])
        _log.error("store.record.parked", record_id=record_id, entity=str(entity), reason=reason)

        async def end_hold(connection: Connection) -> None:
            await connection.execute(self._database.sql("end_hold"), self.org, record_id)

        again = Refetch(entity, record_id, None, Cause.POISON)
        letter = DeadLetter(reason, str(entity), record_id)
        await self.apply(Batch([again], "event", 0, progress=end_hold, dead_letters=[letter]))

    async def _apply(self, batch: Batch, *, bisect: bool) -> Outcome:
        outcome = Outcome()
        async with self._database.transaction() as connection:
            loaded = await self._load(connection, batch)
            # failpoint: apply.loaded - the records of a batch are loaded
            self._fold(batch, loaded, outcome)
            if bisect:
                await write_bisected(connection, self._records, batch, list(loaded.values()), outcome)
            else:
                await self._records.write(connection, batch, list(loaded.values()), outcome)
            # failpoint: apply.written - mirror, people and companies are written
            if self._adoption.minimal:
                await self._want_targets(connection, loaded.values())
            await self._write_marks(connection, batch, loaded.values(), outcome)
            # Last, because it adds to marks that the batch itself may have written or ended.
            await self._mark_relatives(connection, [r for r in loaded.values() if r.row.changed])
            await self._write_asides(connection, batch, loaded)
            if batch.progress:
                await batch.progress(connection)
            # failpoint: commit.ready - all is written, COMMIT is not sent
            # failpoint in the next await: commit.sent - COMMIT is sent, nobody knows what became of it
        # failpoint: commit.answered - COMMIT got its answer
        return outcome

    # Load and decide ---------------------------------------------------------------------------------

    async def _load(self, connection: Connection, batch: Batch) -> dict[RecordId, Loaded]:
        """Load what the batch is about; refuse to write anything for an org that somebody else leads."""
        commands = [c for c in batch.commands if not isinstance(c, Resweep)]
        if commands:
            loaded = await load_records(connection, self._database, self.leadership, commands)
            loaded = await self._without_erased(connection, loaded)
            if self._adoption.minimal and not batch.adopts:
                return {record_id: record for record_id, record in loaded.items() if record.was_known}
            return loaded
        await refuse_if_fenced(connection, self._database, self.leadership)
        return {}

    async def _without_erased(
        self, connection: Connection, loaded: dict[RecordId, Loaded]
    ) -> dict[RecordId, Loaded]:
        """Leave out records that were erased; one that the mirror holds in full cannot have been."""
        if self._erased is None:
            self._erased = await load_erased(connection, self._database, self.org)
        doubtful = [one for one, record in loaded.items() if not record.was_complete]
        erased = await self._drop_erased(connection, doubtful)
        return {one: record for one, record in loaded.items() if one not in erased} if erased else loaded

    async def _drop_erased(self, connection: Connection, record_ids: Sequence[str]) -> set[str]:
        """Remove what asks for records that were erased, and return which of these were."""
        erased = self._erased.erased_of(record_ids) if self._erased else set()
        if erased:
            await connection.execute(self._database.sql("delete_dirty"), self.org, list(erased))
            await connection.execute(self._database.sql("delete_stubs"), self.org, list(erased))
            # failpoint: erased.dropped - what asked for somebody erased is dropped
        return erased

    def _is_erased(self, record_id: RecordId | None) -> bool:
        return self._erased is not None and record_id is not None and self._erased.is_erased(record_id)

    def _fold(self, batch: Batch, loaded: dict[RecordId, Loaded], outcome: Outcome) -> None:
        for command in batch.commands:
            if isinstance(command, Resweep):
                continue
            record = loaded.get(command.record_id)
            if record is None:
                if self._is_erased(command.record_id):
                    outcome.verdicts[Verdict.ERASED] += 1
                else:
                    outcome.unwanted += 1
                continue
            announced = self._mapping.plans[command.entity].announced
            verdict = fold(record.row, command, announced, self._clocks, batch.heard_ms)
            outcome.verdicts[verdict] += 1
            if verdict is Verdict.REPAIRED and isinstance(command, Snapshot) and not record.was_dirty:
                outcome.repairs.append(_repair(record, command))
        for record in loaded.values():
            said = record.row.over.get("ConvertedContactId")
            converts_now = said is not None and record.converted_to is None
            record.hold = record.row.maybe_merged or (converts_now and not record.row.set_by_read)
            if said is not None and record.converted_to not in (None, said):
                _log.warning("store.conversion.contradicted", record_id=record.row.record_id)

    # Write -------------------------------------------------------------------------------------------

    async def _want_targets(self, connection: Connection, records: Iterable[Loaded]) -> None:
        """Ask for what the changed records point to, but not for whom we have erased."""
        changed = [record.row.record_id for record in records if record.row.changed]
        if changed:
            wanted = await want_targets(connection, self._database, self.org, changed)
            await self._drop_erased(connection, wanted)

    async def _mark_relatives(self, connection: Connection, changed: Sequence[Loaded]) -> None:
        """Distrust contacts whose account was deleted, merged or restored: their own change may be silent."""
        accounts = [r.row.record_id for r in changed if r.row.entity is Entity.ACCOUNT and r.row.turned_ms]
        contacts = [r.row.record_id for r in changed if _may_be_orphan(r)]
        if accounts or contacts:
            await connection.execute(
                self._database.sql("mark_relatives"),
                self.org,
                accounts,
                contacts,
                proving_wait_ms(self._clocks),
            )
            # failpoint: relatives.marked - contacts of an account that went or came are distrusted

    async def _write_marks(
        self,
        connection: Connection,
        batch: Batch,
        records: Iterable[Loaded],
        outcome: Outcome,
    ) -> None:
        upserts, ended = [], []
        for record in records:
            row = record.row
            if row.mark is None and row.marked:
                ended.append(row.record_id)
            elif row.mark is not None and (row.marked or batch.refetched):
                schedule(row.mark, self._clocks, batch.heard_ms, attempted=batch.refetched)
                upserts.append(_mark_row(row, row.mark))
        if upserts:
            arrays = [list(column) for column in zip(*upserts, strict=True)]
            await connection.execute(self._database.sql("upsert_dirty"), self.org, *arrays)
            # failpoint: dirty.marked - records are marked dirty
        if ended:
            await connection.execute(self._database.sql("delete_dirty"), self.org, ended)
            # failpoint: dirty.cleared - marks are ended
            await connection.execute(self._database.sql("delete_dead_letters"), self.org, ended)
        outcome.marked = len(upserts)

    async def _write_asides(self, connection: Connection, batch: Batch, loaded: Collection[RecordId]) -> None:
        resweeps = [c for c in batch.commands if isinstance(c, Resweep)]
        if resweeps:
            await connection.execute(
                self._database.sql("insert_resweeps"),
                self.org,
                [str(c.entity) for c in resweeps],
                [c.in_full for c in resweeps],
                [c.commit_ms + self._clocks.settle_ms for c in resweeps],
                [c.reason for c in resweeps],
            )
            # failpoint: resweep.owed - a reading is owed
        letters = [one for one in batch.dead_letters if one.record_id is None or one.record_id in loaded]
        await park(connection, self._database, self.org, letters)


async def _wait_little_for_one(connection: Connection, rows: Sequence[asyncpg.Record]) -> None:
    """Wait less for the lock of a record that is tried alone: others wait meanwhile, and there may be more."""
    if len(rows) == 1:
        await connection.execute(LOCK_WAIT)


def _touched_row(row: asyncpg.Record) -> tuple[Entity, Touched]:
    return Entity(row["entity"]), Touched(
        row["id"], row["subject_id"], is_linked=row["is_linked"], adopted=row["adopted"]
    )


def _may_be_orphan(record: Loaded) -> bool:
    row = record.row
    if row.entity is not Entity.CONTACT or row.is_deleted:
        return False
    return not record.was_known or record.was_deleted or "AccountId" in row.over or "AccountId" in row.under


def _repair(record: Loaded, read: Snapshot) -> Repair:
    if not record.was_known:
        reason = "missing"
    elif not record.was_complete:
        reason = "incomplete"
    elif record.was_deleted != read.is_deleted:
        reason = "deleted" if read.is_deleted else "undeleted"
    else:
        reason = "stale"
    return Repair(read.entity, read.record_id, reason, read.modstamp_ms)


def _mark_row(row: MirrorRow, row_mark: Mark) -> tuple[object, ...]:
    return (
        row.record_id,
        str(row.entity),
        ",".join(sorted(row_mark.causes)),
        row_mark.since_ms,
        ",".join(sorted(row_mark.touched)),
        row_mark.image_touched,
        row_mark.attempts,
        row_mark.next_try_ms,
    )

"""Make a batch of commands true, with the progress of whoever read them, in one transaction.

Why: a position that is committed with its effect cannot run ahead of it. So cancelling or dying at any await is
safe: either everything of a batch is there or nothing, and what is delivered again changes nothing. Delivery
is at least once, apply is idempotent, and the pair is exactly once in effect.

The batch's records are loaded, the ordering rule is run on them in memory (`core/order.py`; there is only one
writer, and the epoch row is held), and the results are written set by set. Rejected: the rule as SQL guards,
which measured faster for blind partial updates, but cannot say *ambiguous*, and was wrong in every model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import structlog

from ..core.commands import Cause, Command, Refetch, Resweep, Snapshot
from ..core.events import Position
from ..core.ids import Entity, RecordId
from ..core.mapping import BoundMapping
from ..core.order import Clocks, Mark, MirrorRow, Verdict, fold, mark, proving_wait_ms, schedule
from ..errors import PoisonError, StoreError, StoreUnavailableError
from .adoption import Adoption, want_targets
from .database import Connection, Database, row_count, store_errors
from .erased import Erased, load_erased
from .grouping import Touched
from .leadership import Leadership, refuse_if_fenced
from .loading import Loaded, load_records
from .projecting import Projector, Provenance, Written
from .projection import compose
from .staging import Fate, Staged, stage, staging_row

_log = structlog.get_logger()
_MOVED_MAX = 3
_PARKED_MIN, _PARKED_SHARE = 20, 0.10
_RELATING = frozenset({"AccountId", "ConvertedContactId"})

Progress = Callable[[Connection], Awaitable[None]]
"""What else a batch commits: a position, a watermark, a certificate. Runs last in the apply transaction."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be decoded, without any of its values."""

    reason: str
    entity: str | None = None
    record_id: RecordId | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands to apply together. `heard_ms` is the org's time when they were learned.

    `origin` goes to the change feed: event, sweep, backfill, refetch, pull (and mapping, by `reproject`), and so
    does `source`, which says which of them: a position of the stream, the id of a sweep or of a request.
    With `refetched` the reads were made because their records are dirty, and count as attempts. With `adopts`
    whoever is unknown was asked for, and becomes a person or company even where only those do.
    """

    commands: Sequence[Command]
    origin: str
    heard_ms: int
    progress: Progress | None = None
    dead_letters: Sequence[DeadLetter] = ()
    refetched: bool = False
    source: str = ""
    adopts: bool = False

    @property
    def provenance(self) -> Provenance:
        return self.origin, self.source


@dataclass(frozen=True, slots=True)
class Repair:
    """One row that a read had to change: what was wrong with it, and the stamp of what was missed.

    A row that was already known to need a read is none: the stream had said so.
    """

    entity: Entity
    record_id: RecordId
    reason: str
    modstamp_ms: int


@dataclass(slots=True)
class Outcome:
    """What a batch did: verdicts per command, repairs by reads, rows changed in crm, records parked.

    `unwanted` commands were about records that nobody adopted, where the mirror holds no others.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    repairs: list[Repair] = field(default_factory=list)
    people_changed: int = 0
    companies_changed: int = 0
    marked: int = 0
    parked: int = 0
    unwanted: int = 0

    @property
    def changed(self) -> int:
        return self.people_changed + self.companies_changed

    def count(self, written: Written) -> None:
        self.people_changed += written.people
        self.companies_changed += written.companies


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator may set of how records are written."""

    clocks: Clocks = field(default_factory=Clocks)
    other_half_wait_s: float = 5.0
    adoption: Adoption = field(default_factory=Adoption)


class _MovedError(StoreUnavailableError):
    """Somebody was declined, which writes the mirror too, between our loading and writing it: begin again."""


class Applier:
    """The one writer of an org. `apply` MUST NOT be called concurrently."""

    def __init__(
        self,
        database: Database,
        leadership: Leadership,
        mapping: BoundMapping,
        rules: Rules = Rules(),
    ) -> None:
        self._database = database
        self.leadership = leadership
        self.rules = rules
        self._mapping = mapping
        self._adoption = rules.adoption
        self._projector = Projector(
            database, leadership.org, compose(mapping, database.schemas), rules.adoption
        )
        self._clocks = rules.clocks
        self._other_half_wait_s = rules.other_half_wait_s
        self._erased: Erased | None = None

    @property
    def org(self) -> str:
        return self.leadership.org

    async def apply(self, batch: Batch) -> Outcome:
        """Apply *batch* and its progress atomically.

        Raises `FencedError`, `PositionError`, `PoisonError`, `StoreUnavailableError`; then nothing of it is
        there. Cancellation: rolls back, so the batch will be delivered again.
        """
        for _ in range(_MOVED_MAX):
            with suppress(_MovedError):
                return await self._apply_or_bisect(batch)
        return await self._apply_or_bisect(batch)

    async def _apply_or_bisect(self, batch: Batch) -> Outcome:
        try:
            return await self._apply(batch, bisect=False)
        except StoreError as error:
            _refuse_unless_poison(error)
            # A row cannot be stored. Find out which one; the others must not wait for it.
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
                await self._project(
                    connection, [_touched_row(row) for row in rows], (origin, source), outcome
                )
        return outcome

    async def release_held(self) -> int:
        """Project what waited for its other half longer than it may; return how many records were released."""
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            held = await connection.fetch(self._database.sql("load_held_due"), self.org)
        if held:
            try:
                await self._release(held)
            except StoreError as error:
                _refuse_unless_poison(error)
                for row in held:
                    await self._release_or_park(row)
        return len(held)

    async def _release(self, held: Sequence[asyncpg.Record]) -> None:
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            touched = [
                (Entity(row["entity"]), Touched(row["id"], row["subject_id"], is_linked=True)) for row in held
            ]
            await self._project(connection, touched, ("event", ""), Outcome())

    async def reproject(self, after: str) -> str | None:
        """Project the next thousand records anew; return the last one's id, None when there are no more.

        A changed mapping may take a new column from a field that the mirror has long known.
        """
        async with self._database.transaction() as connection:
            await refuse_if_fenced(connection, self._database, self.leadership)
            rows = await connection.fetch(self._database.sql("load_records_after"), self.org, after)
            await self._project(connection, [_touched_row(row) for row in rows], ("mapping", ""), Outcome())
        return rows[-1]["id"] if rows else None

    async def _release_or_park(self, row: asyncpg.Record) -> None:
        try:
            await self._release([row])
        except StoreError as error:
            _refuse_unless_poison(error)
            entity, record_id, reason = Entity(row["entity"]), RecordId(row["id"]), str(error)
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
            self._fold(batch, loaded, outcome)
            if bisect:
                await self._write_bisected(connection, batch, list(loaded.values()), outcome)
            else:
                await self._write(connection, batch, list(loaded.values()), outcome)
            await self._write_marks(connection, batch, loaded.values(), outcome)
            # Last, because it adds to marks that the batch itself may have written or ended.
            await self._mark_relatives(connection, [r for r in loaded.values() if r.row.changed])
            await self._write_asides(connection, batch)
            if batch.progress:
                await batch.progress(connection)
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

    async def _write(
        self, connection: Connection, batch: Batch, records: Sequence[Loaded], outcome: Outcome
    ) -> None:
        changed = [record for record in records if record.row.changed]
        if not changed:
            return
        await self._assign_ids(connection, changed)
        for record in changed:
            record.patched_id = _patched_id(record)
            if record.adopted is None:
                record.adopted = batch.adopts or not self._adoption.on_request
        staged = await stage(connection, [staging_row(record.row, _fate(record)) for record in changed])
        await self._write_mirror(staged, changed)
        entities = {record.row.entity for record in changed if record.patched_id}
        outcome.count(await self._projector.patch(staged, entities, batch.provenance))
        others = [(r.row.entity, _touched(r)) for r in changed if r.patched_id is None]
        await self._project(connection, others, batch.provenance, outcome)
        if self._adoption.minimal:
            wanted = await want_targets(
                connection, self._database, self.org, [r.row.record_id for r in changed]
            )
            await self._drop_erased(connection, wanted)

    async def _write_mirror(self, staged: Staged, changed: Sequence[Loaded]) -> None:
        if known := sum(record.was_known for record in changed):
            written = await staged.run(
                self._database.sql("update_records"), self.org, self._other_half_wait_s
            )
            if written != known:
                raise _MovedError("rows of the mirror were moved between our loading and writing them")
        if known < len(changed):
            await staged.run(self._database.sql("insert_records"), self.org, self._other_half_wait_s)

    async def _assign_ids(self, connection: Connection, changed: Sequence[Loaded]) -> None:
        """Give an own id to each record that is live for the first time."""
        nameless = [r for r in changed if r.own_id is None and r.row.complete and not r.row.is_deleted]
        if nameless:
            rows = await connection.fetch(self._database.sql("reserve_ids"), len(nameless))
            for record, row in zip(nameless, rows, strict=True):
                record.own_id, record.named = row["nextval"], True
                record.subject_id = record.subject_id or record.own_id

    async def _project(
        self,
        connection: Connection,
        touched: Sequence[tuple[Entity, Touched]],
        provenance: Provenance,
        outcome: Outcome,
    ) -> None:
        outcome.count(await self._projector.project(connection, touched, provenance))

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
        if ended:
            await connection.execute(self._database.sql("delete_dirty"), self.org, ended)
            await connection.execute(self._database.sql("delete_dead_letters"), self.org, ended)
        outcome.marked = len(upserts)

    async def _write_asides(self, connection: Connection, batch: Batch) -> None:
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
        letters = [one for one in batch.dead_letters if not self._is_erased(one.record_id)]
        await self._park(connection, letters)

    async def _park(self, connection: Connection, letters: Sequence[DeadLetter]) -> int:
        """Keep dead letters; return how many were not there yet."""
        if not letters:
            return 0
        return row_count(
            await connection.execute(
                self._database.sql("insert_dead_letters"),
                self.org,
                [letter.entity for letter in letters],
                [letter.record_id for letter in letters],
                [letter.reason for letter in letters],
                [letter.position for letter in letters],
            )
        )

    # Poison ------------------------------------------------------------------------------------------

    async def _write_bisected(
        self, connection: Connection, batch: Batch, records: Sequence[Loaded], outcome: Outcome
    ) -> None:
        """Write what can be written; park each record that cannot. Raises `PoisonError` when that is too many."""
        parked_max = max(_PARKED_MIN, _PARKED_SHARE * len(records))
        pending = [list(records)]
        while pending:
            part = pending.pop()
            try:
                with store_errors():
                    async with connection.transaction():
                        await self._look_again(connection, part)
                        await self._write(connection, batch, part, outcome)
            except StoreError as error:
                _refuse_unless_poison(error)
                if len(part) > 1:
                    middle = len(part) // 2
                    pending += [part[:middle], part[middle:]]
                    continue
                outcome.parked += 1
                if outcome.parked > parked_max:
                    _log.error("store.batch.poisoned", parked=outcome.parked, records=len(records))
                    raise PoisonError(
                        f"{outcome.parked} of {len(records)} records cannot be stored"
                    ) from error
                parked_id = part[0].row.record_id
                outcome.repairs = [repair for repair in outcome.repairs if repair.record_id != parked_id]
                await self._park_record(connection, part[0], batch, error)

    async def _look_again(self, connection: Connection, part: Sequence[Loaded]) -> None:
        """Forget what was known of these rows' places and groups: the part before may have moved and linked them."""
        ids = [record.row.record_id for record in part]
        rows = await connection.fetch(self._database.sql("load_places"), self.org, ids)
        places = {row["id"]: row["ctid"] for row in rows}
        for record in part:
            record.place, record.is_linked = places.get(record.row.record_id), True

    async def _park_record(
        self, connection: Connection, record: Loaded, batch: Batch, error: StoreError
    ) -> None:
        row = record.row
        reason = str(error)
        mark(row, Cause.POISON, max(batch.heard_ms, row.seen_to_ms))
        if row.mark is not None:
            # The rule may have ended the mark before the row turned out to be poison again.
            row.mark.attempts = record.attempts_before or 0
        if await self._park(connection, [DeadLetter(reason, str(row.entity), row.record_id)]):
            # A record that is tried again and still does not fit is no news.
            _log.error("store.record.parked", record_id=row.record_id, entity=str(row.entity), reason=reason)


def _touched_row(row: asyncpg.Record) -> tuple[Entity, Touched]:
    return Entity(row["entity"]), Touched(
        row["id"], row["subject_id"], is_linked=row["is_linked"], adopted=row["adopted"]
    )


def _fate(record: Loaded) -> Fate:
    return Fate(record.place, record.own_id, record.patched_id, record.hold, bool(record.adopted))


def _refuse_unless_poison(error: StoreError) -> None:
    """Raise *error* again unless it is about the row: every other kind of error has a class of its own."""
    if type(error) is not StoreError:
        raise error


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

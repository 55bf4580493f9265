"""The org's records behind a log of commits, read as of any instant.

Why: events, queries, getUpdated and lagged reads must agree with one history. Each record keeps its versions by
commit number, so that a read as of an instant is derived from the log and never from the final state; a dictionary
of present rows with a separate event list would let the two drift apart.
"""

import random
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sfsync.simorg.clock import Clock
from sfsync.simorg.generated import Generated, GeneratedEntity, Row
from sfsync.simorg.history import Change, Commit, Fields, Record
from sfsync.simorg.ids import IdSource
from sfsync.simorg.indexes import EntityIndex, Referrers
from sfsync.simorg.schema import FieldDef, Schema
from sfsync.simorg.transaction import Transaction

__all__ = ["Change", "Commit", "Fields", "Record", "Row", "Snapshot", "World"]

QUESTIONS_KEPT = 8
BIN_LIFE = timedelta(days=15)
BEFORE_ALL = datetime(1999, 1, 1, tzinfo=UTC)


class Texts:
    """Texts of record versions as some queries answered them, kept for the queries asked last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, dict[int, Any]] = OrderedDict()

    def of(self, question: Hashable) -> dict[int, Any]:
        """Return the texts kept for one kind of question, by the identity of the state they show."""
        texts = self._kept.setdefault(question, {})
        self._kept.move_to_end(question)
        while len(self._kept) > QUESTIONS_KEPT:
            self._kept.popitem(last=False)
        return texts


class World:
    """The transactional store of one org."""

    def __init__(self, clock: Clock, schema: Schema, seed: int = 1) -> None:
        self.clock = clock
        self.schema = schema
        self.ids = IdSource(seed)
        self.org_id = self.ids.next("Organization")
        # Who acts when nobody else is named: the integration user.
        self.user_id = self.ids.next("User")
        self.rng = random.Random(seed)
        self.log: list[Commit] = []
        # Records that were written at least once; the others are generated whenever they are read.
        self.records: dict[str, Record] = {}
        self.generated = Generated()
        self.indexes = {entity: EntityIndex() for entity in (*schema.entities, *schema.setup)}
        self.referrers = Referrers()
        # Open transactions by key, with their start; the records they hold are locked for everybody else.
        self.open_since: dict[str, datetime] = {}
        self.locks: dict[str, str] = {}
        # A record deleted by the cascade of another, and which one: both come back together.
        self.deleted_with: dict[str, str] = {}
        # Deletions in their order, for emptying the recycle bin after fifteen days.
        self._deletions: deque[tuple[datetime, str]] = deque()
        self._listeners: list[Callable[[Commit], None]] = []
        # Entities on which the API user lacks View All, as the settings of the org have it.
        self.denied: Callable[[], Collection[str]] = tuple
        self.schema_changed_at = clock.now()
        self.texts = Texts()
        self._schema_listeners: list[Callable[[str, str, FieldDef], None]] = []

    @property
    def number(self) -> int:
        """The number of the last commit, 0 before the first."""
        return len(self.log)

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Call *listener* synchronously with every later commit, in commit order."""
        self._listeners.append(listener)

    def on_schema_change(self, listener: Callable[[str, str, FieldDef], None]) -> None:
        """Call *listener* with (entity, action, field) after a field was added, removed, retyped, hidden or shown."""
        self._schema_listeners.append(listener)

    def announce_schema(self, entity: str, action: str, field: FieldDef) -> None:
        """Tell the listeners that a field changed."""
        self.schema_changed_at = self.clock.now()
        for listener in self._schema_listeners:
            listener(entity, action, field)

    def transaction(
        self,
        user_id: str | None = None,
        origin: str = "",
        *,
        started_at: datetime | None = None,
        silent: bool = False,
    ) -> Transaction:
        """Begin a transaction; as a context manager it commits at its end and rolls back on an exception.

        With *started_at* in the past its records are stamped then, though they are committed now.
        """
        return Transaction(self, user_id or self.user_id, origin, started_at=started_at, silent=silent)

    def number_at(self, instant: datetime) -> int:
        """Return the number of the last commit made at or before *instant*."""
        return bisect_right(self.log, instant, key=lambda commit: commit.committed_at)

    def get(self, record_id: str) -> Mapping[str, Any] | None:
        """Return a record's present fields; None if it never was or was purged."""
        record = self.records.get(record_id)
        return self.generated.get(record_id) if record is None else record.states[-1]

    def entity_of(self, record_id: str) -> str | None:
        """Return the entity of a record that exists or existed."""
        record = self.records.get(record_id)
        found = self.generated.find(record_id) if record is None else None
        return record.entity if record is not None else found[0].name if found is not None else None

    def children(self, entity: str, lookup: str, target: str) -> list[str]:
        """Return the present records of *entity* whose *lookup* is *target*, sorted."""
        generated = self.generated.children(entity, lookup, target)
        return sorted([*generated, *self.referrers.of(entity, lookup, target)])

    def snapshot(self, lag_s: float = 0.0, user_id: str | None = None) -> "Snapshot":
        """Return the world as it was *lag_s* seconds ago; with *user_id* only what that user may see of it."""
        veil = Veil(user_id, frozenset(self.denied())) if user_id is not None and self.denied() else None
        if lag_s <= 0:
            return Snapshot(self, self.number, veil)
        now = self.clock.now().timestamp()
        return Snapshot(self, self.number_at(datetime.fromtimestamp(now - lag_s, UTC)), veil)

    def oldest_open(self) -> datetime | None:
        """Return when the oldest transaction still open began."""
        return min(self.open_since.values(), default=None)

    def publish(self, commit: Commit) -> None:
        """Append *commit* to the log, make its changes visible and tell the listeners."""
        self.log.append(commit)
        for change in commit.changes:
            record = self._kept(change.entity, change.record_id)
            before = record.states[-1] if record.states else None
            record.write(commit.number, change.after)
            self.indexes[change.entity].replace(change.record_id, before, change.after)
            self.referrers.replace(change.entity, change.record_id, before, change.after)
            if change.after is not None and change.after["IsDeleted"]:
                self._deletions.append((change.after["SystemModstamp"], change.record_id))
        for listener in self._listeners:
            listener(commit)

    def _kept(self, entity: str, record_id: str) -> Record:
        """Return the record that is written to: an old one, a new one, or a generated one that becomes an old one."""
        record = self.records.get(record_id)
        if record is not None:
            return record
        record = self.records[record_id] = Record(entity, record_id)
        taken = self.generated.take(record_id)
        if taken is not None:
            # Before all commits, since it was there before them.
            record.write(0, taken[1])
            self.indexes[entity].replace(record_id, None, taken[1])
            self.referrers.replace(entity, record_id, None, taken[1])
        return record

    def empty_bin(self) -> None:
        """Purge what has lain in the recycle bin for fifteen days."""
        horizon = self.clock.now() - BIN_LIFE
        expired: list[str] = []
        while self._deletions and self._deletions[0][0] < horizon:
            deleted_at, record_id = self._deletions.popleft()
            fields = self.get(record_id)
            if fields is not None and fields["IsDeleted"] and fields["SystemModstamp"] == deleted_at:
                expired.append(record_id)
        if expired:
            with self.transaction() as tx:
                for record_id in expired:
                    tx.expire(record_id)


@dataclass(frozen=True, slots=True)
class Veil:
    """What a user without View All on some *entities* cannot see: records of them that others own."""

    user_id: str
    entities: frozenset[str]

    def hides(self, entity: str, fields: Mapping[str, Any]) -> bool:
        """Tell whether the user cannot see this record."""
        return entity in self.entities and fields.get("OwnerId") != self.user_id


class Snapshot:
    """The world as one commit left it: the present indexes, with what changed since put back."""

    def __init__(self, world: World, number: int, veil: Veil | None = None) -> None:
        self.world = world
        self.number = number
        self.veil = veil
        self._changed: dict[str, set[str]] = {}
        for commit in world.log[number:]:
            for change in commit.changes:
                self._changed.setdefault(change.entity, set()).add(change.record_id)

    def get(self, record_id: str) -> Mapping[str, Any] | None:
        """Return a record's fields in this snapshot."""
        world = self.world
        record = world.records.get(record_id)
        fields = world.generated.get(record_id) if record is None else record.at(self.number)
        if self.veil is None or fields is None:
            return fields
        return None if self.veil.hides(world.entity_of(record_id) or "", fields) else fields

    def hides(self, entity: str, fields: Mapping[str, Any]) -> bool:
        """Tell whether the reader may not see this record."""
        return self.veil is not None and self.veil.hides(entity, fields)

    def generated(self, entity: str) -> GeneratedEntity | None:
        """Return the generated records of *entity*, if the org began with any."""
        return self.world.generated.entities.get(entity)

    def by_id(self, entity: str) -> Iterator[Row]:
        """Yield (id, fields) in ascending order of id."""
        stored, base = self.stored_by_id(entity), self.generated(entity)
        if base is None:
            return stored
        placed = ((base.place_by_id(row), row) for row in stored)
        return self._flat(entity, base, base.woven(placed, range(base.count)))

    def by_stamp(self, entity: str, since: datetime = BEFORE_ALL) -> Iterator[Row]:
        """Yield (id, fields) in ascending order of (SystemModstamp, Id), from the instant *since* on."""
        stored, base = self.stored_by_stamp(entity, since), self.generated(entity)
        if base is None:
            return stored
        span = range(min(base.count, base.ages.before(since)), base.count)
        return self._flat(entity, base, base.woven(((base.place_by_stamp(row), row) for row in stored), span))

    def count_live(self, entity: str) -> int:
        """Return how many records are not deleted."""
        base = self.generated(entity)
        untouched = base.count - len(base.changed) if base is not None else 0
        return untouched + sum(not fields["IsDeleted"] for _, fields in self.stored_by_id(entity))

    def _flat(self, entity: str, base: GeneratedEntity, runs: Iterable[Row | range]) -> Iterator[Row]:
        veil = self.veil
        for run in runs:
            for row in base.rows(run) if isinstance(run, range) else (run,):
                if veil is None or not veil.hides(entity, row[1]):
                    yield row

    def stored_by_id(self, entity: str, after: str = "") -> Iterator[Row]:
        """Yield what was written at least once, beginning at the id *after* or behind it."""
        records, number, veil = self.world.records, self.number, self.veil
        for record_id in self.world.indexes[entity].with_purged(self._changed.get(entity, ()), after):
            fields = records[record_id].at(number)
            if fields is not None and (veil is None or not veil.hides(entity, fields)):
                yield record_id, fields

    def stored_by_stamp(self, entity: str, since: datetime = BEFORE_ALL) -> Iterator[Row]:
        """Yield what was written at least once in ascending order of (SystemModstamp, Id)."""
        rows = self._by_stamp(entity, since)
        veil = self.veil
        return rows if veil is None else (row for row in rows if not veil.hides(entity, row[1]))

    def _by_stamp(self, entity: str, since: datetime) -> Iterator[Row]:
        changed = self._changed.get(entity, set())
        pending = self._old_stamps(changed, since)
        for key in self.world.indexes[entity].stamps(since):
            if key[1] in changed:
                continue
            while pending and pending[-1] < key:
                yield self._row(pending.pop()[1])
            yield self._row(key[1])
        while pending:
            yield self._row(pending.pop()[1])

    def _old_stamps(self, changed: set[str], since: datetime) -> list[tuple[datetime, str]]:
        """Return where the records changed since this snapshot stood in it, last first."""
        states = ((record_id, self.world.records[record_id].at(self.number)) for record_id in changed)
        stamps = ((fields["SystemModstamp"], record_id) for record_id, fields in states if fields is not None)
        return sorted((key for key in stamps if key[0] >= since), reverse=True)

    def _row(self, record_id: str) -> Row:
        fields = self.world.records[record_id].at(self.number)
        assert fields is not None, "an index names only records that are present"  # noqa: S101  # narrows the type
        return record_id, fields

"""The org's data: versioned records behind a log of commits, read as of any instant.

Why: events, queries, getUpdated and lagged reads must agree with one history. Each record keeps its versions by
commit number, so that a read as of an instant is derived from the log and never from the final state; a dictionary
of present rows with a separate event list would let the two drift apart.

A field map is sparse: a field without a value is absent, so read it with `.get`.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sfsync.simorg.clock import Clock
from sfsync.simorg.ids import IdSource
from sfsync.simorg.indexes import EntityIndex, Referrers
from sfsync.simorg.schema import Schema

Fields = dict[str, Any]
Kind = Literal["CREATE", "UPDATE", "DELETE", "UNDELETE", "PURGE"]
BEFORE_ALL = datetime(1999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """The net change of one record in one transaction; PURGE left the recycle bin and never makes an event."""

    entity: str
    record_id: str
    kind: Kind
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    commit_skew_s: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed transaction; a silent one is announced to nobody (lost by design)."""

    number: int
    transaction_key: str
    started_at: datetime
    committed_at: datetime
    user_id: str
    origin: str
    changes: tuple[Change, ...]
    silent: bool = False


class Record:
    """All versions of one record, oldest first, each under the number of the commit that wrote it."""

    __slots__ = ("entity", "id", "numbers", "states")

    def __init__(self, entity: str, record_id: str) -> None:
        self.entity = entity
        self.id = record_id
        self.numbers: list[int] = []
        self.states: list[Fields | None] = []

    def at(self, number: int) -> Fields | None:
        """Return the fields as commit *number* left them; None if unborn or purged then."""
        if self.numbers and self.numbers[-1] <= number:
            return self.states[-1]
        place = bisect_right(self.numbers, number)
        return self.states[place - 1] if place else None

    def write(self, number: int, fields: Fields | None) -> None:
        """Append the version that commit *number* makes."""
        self.numbers.append(number)
        self.states.append(fields)


class World:
    """The transactional store of one org."""

    def __init__(self, clock: Clock, schema: Schema, *, org_id: str, user_id: str, seed: int = 1) -> None:
        self.clock = clock
        self.schema = schema
        self.org_id = org_id
        self.user_id = user_id
        self.ids = IdSource()
        self.rng = random.Random(seed)
        self.log: list[Commit] = []
        self.records: dict[str, Record] = {}
        self.indexes = {entity: EntityIndex() for entity in schema.entities}
        self.referrers = Referrers()
        # Open long transactions by key, with their start; the records they hold are locked for everybody else.
        self.open_since: dict[str, datetime] = {}
        self.locks: dict[str, str] = {}
        # A record deleted by the cascade of another, and which one: both come back together.
        self.deleted_with: dict[str, str] = {}
        self._listeners: list[Callable[[Commit], None]] = []

    @property
    def number(self) -> int:
        """The number of the last commit, 0 before the first."""
        return self.log[-1].number if self.log else 0

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Call *listener* synchronously with every later commit, in commit order."""
        self._listeners.append(listener)

    def number_at(self, instant: datetime) -> int:
        """Return the number of the last commit made at or before *instant*."""
        return bisect_right(self.log, instant, key=lambda commit: commit.committed_at)

    def get(self, record_id: str, number: int | None = None) -> Fields | None:
        """Return a record's fields now, or as commit *number* left them; None if it is not there."""
        record = self.records.get(record_id)
        return record.at(self.number if number is None else number) if record else None

    def entity_of(self, record_id: str) -> str | None:
        """Return the entity of a record that exists or existed."""
        record = self.records.get(record_id)
        return record.entity if record else None

    def oldest_open(self) -> datetime | None:
        """Return when the oldest transaction still open began."""
        return min(self.open_since.values(), default=None)

    def changed_since(self, number: int) -> Iterator[Change]:
        """Yield what was committed after commit *number*."""
        for commit in self.log[number:]:
            yield from commit.changes

    def publish(self, commit: Commit) -> None:
        """Append *commit* to the log, make its changes visible and tell the listeners."""
        self.log.append(commit)
        for change in commit.changes:
            self._write(commit.number, change)
        for listener in self._listeners:
            listener(commit)

    def _write(self, number: int, change: Change) -> None:
        record = self.records.get(change.record_id)
        if record is None:
            record = self.records[change.record_id] = Record(change.entity, change.record_id)
        before = record.states[-1] if record.states else None
        after = dict(change.after) if change.after is not None and type(change.after) is not dict else change.after
        record.write(number, after)  # type: ignore[arg-type]  # narrowed to a dict just above
        self.indexes[change.entity].replace(change.record_id, before, after)
        self.referrers.replace(change.entity, change.record_id, before, after)

    def scan(self, entity: str, number: int | None = None) -> Iterable[tuple[str, Fields]]:
        """Yield (id, fields) of every record present, deleted ones included, as of commit *number*."""
        return Snapshot(self, self.number if number is None else number).by_id(entity)


class Snapshot:
    """The world as one commit left it: the present indexes, with what changed since put back."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self._overlay: dict[str, dict[str, Fields | None]] = {}
        for change in world.changed_since(number):
            self._overlay.setdefault(change.entity, {})[change.record_id] = None
        for changed in self._overlay.values():
            for record_id in changed:
                changed[record_id] = world.records[record_id].at(number)

    def get(self, record_id: str) -> Fields | None:
        """Return a record's fields in this snapshot."""
        record = self.world.records.get(record_id)
        return record.at(self.number) if record else None

    def by_id(self, entity: str) -> Iterator[tuple[str, Fields]]:
        """Yield (id, fields) in ascending order of id."""
        index = self.world.indexes[entity]
        yield from self._merged(entity, ((record_id, record_id) for record_id in index.ids()), lambda key, _: key)

    def by_stamp(self, entity: str, since: datetime | None) -> Iterator[tuple[str, Fields]]:
        """Yield (id, fields) in ascending order of (SystemModstamp, Id), from the instant *since* on."""
        floor = since or BEFORE_ALL
        keys = ((key, key[1]) for key in self.world.indexes[entity].stamps(floor))
        yield from self._merged(
            entity, keys, lambda record_id, fields: (fields["SystemModstamp"], record_id), floor
        )

    def _merged(
        self,
        entity: str,
        keys: Iterable[tuple[Any, str]],
        key_of: Callable[[str, Fields], Any],
        floor: datetime = BEFORE_ALL,
    ) -> Iterator[tuple[str, Fields]]:
        changed = self._overlay.get(entity, {})
        records = self.world.records
        old = sorted(
            (key_of(record_id, fields), record_id)
            for record_id, fields in changed.items()
            if fields is not None and fields["SystemModstamp"] >= floor
        )
        position = 0
        for key, record_id in keys:
            if record_id in changed:
                continue
            while position < len(old) and old[position][0] < key:
                yield old[position][1], changed[old[position][1]]  # type: ignore[misc]  # None was filtered out
                position += 1
            fields = records[record_id].states[-1]
            if fields is not None:
                yield record_id, fields
        for _, record_id in old[position:]:
            yield record_id, changed[record_id]  # type: ignore[misc]  # None was filtered out

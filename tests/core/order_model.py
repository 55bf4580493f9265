"""A small model of one record: an org that changes it, a stream and reads that tell of it, a mirror that listens.

Why: the ordering rule is a dozen clauses that only together converge, and the history that breaks one of them
comes once in hundreds. The model makes such histories by the thousand, from a seed, without a clock or a
database: changes within the same second, transactions stamped minutes before they commit, reads that lag, a
stream that is late, repeats itself, loses events or only says that there was one. It drives `fold` exactly
as apply does and asks at the end whether the mirror equals the org.

Beside the end it watches the way. A row never lies behind an event that was applied to it. A clean row never lies
behind anything that its stream told or that an accepted read showed. A complete row lacks nothing.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from sfsync.core.commands import Absence, Cause, Image, Patch, RecordCommand, Refetch, Snapshot, Tombstone
from sfsync.core.ids import Entity, record_id

CONTACT, ID, WINNER = Entity.CONTACT, record_id("0035i00000Con01"), record_id("0035i00000Con02")
FIELDS = ("a", "b", "c")
ANNOUNCED = frozenset(FIELDS)
SECOND, MINUTE = 1_000, 60_000
SETTLE_MS, LOOK_BACK_MS, SWEEP_MS = MINUTE, 15 * MINUTE, 15 * MINUTE
HISTORY_MS, PATIENCE_MS = 20 * MINUTE, 12 * 60 * MINUTE


class Mode(Enum):
    """Who tells of changes. A sweep hides the stream's errors, so each must also do alone."""

    STREAM = "stream only, nothing lost"
    SWEEP = "sweep only"
    BOTH = "both, with lost events"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed transaction on the record. A field's value is the number of the change that wrote it."""

    number: int
    kind: str
    fields: tuple[str, ...]
    commit_ms: int
    stamp_ms: int

    @property
    def ends(self) -> bool:
        """Whether the record is deleted by it."""
        return self.kind in ("delete", "merge")


@dataclass(frozen=True, slots=True)
class State:
    """The record after a change."""

    values: dict[str, int | None]
    is_deleted: bool
    is_merged: bool
    stamp_ms: int


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the stream: the change it tells of, what it says of it, and what it asks of the store."""

    change: Change
    values: Mapping[str, int | None]
    commands: tuple[RecordCommand, ...]


class Org:
    """A record's whole history in Salesforce, made from a seed."""

    def __init__(self, random: Random) -> None:
        self.changes = list(_changes(random))
        self.commits = [change.commit_ms for change in self.changes]
        self.states: list[State] = []
        for change in self.changes:
            self.states.append(_after(self.states[-1] if self.states else None, change))

    def as_of(self, instant_ms: int) -> State | None:
        """Return the record as committed at *instant_ms*; None before it was created."""
        known = bisect_right(self.commits, instant_ms)
        return self.states[known - 1] if known else None


def _changes(random: Random) -> Iterator[Change]:
    now_ms = random.choice([-15 * MINUTE, random.randrange(0, 2 * MINUTE)])
    kind, number = "create", 0
    written = tuple(random.sample(FIELDS, random.randint(0, 3)))
    while now_ms < HISTORY_MS:
        age_ms = random.randrange(MINUTE, 12 * MINUTE) if random.random() < 0.15 else random.randrange(200)
        yield Change(number, kind, written, now_ms, now_ms - age_ms)
        number += 1
        now_ms = max(now_ms, 0) + _pause_ms(random)
        if kind in ("delete", "merge"):
            kind, written = "undelete", ()
        else:
            kind = random.choices(["update", "delete", "merge"], [80, 12, 8])[0]
            written = tuple(random.sample(FIELDS, random.choice([1, 1, 2]))) if kind == "update" else ()


def _pause_ms(random: Random) -> int:
    """Changes come in clusters of seconds, with calm between them."""
    longest_ms = random.choices([900, 3 * SECOND, 40 * SECOND, 5 * MINUTE], [40, 20, 25, 15])[0]
    return 1 + random.randrange(longest_ms)


def _after(before: State | None, change: Change) -> State:
    values: dict[str, int | None] = dict(before.values) if before else dict.fromkeys(FIELDS)
    values.update(dict.fromkeys(change.fields, change.number))
    return State(values, change.ends, change.kind == "merge", change.stamp_ms)


@dataclass(frozen=True, slots=True)
class Weather:
    """How badly the org's messages and answers travel in one history."""

    lag_ms_max: int
    is_stream_late: bool
    gap_share: float
    lost_share: float
    replay_share: float

    @staticmethod
    def drawn(random: Random, mode: Mode) -> Weather:
        return Weather(
            lag_ms_max=random.choice([SECOND, 3 * SECOND, SETTLE_MS]),
            is_stream_late=random.random() < 0.5,
            gap_share=random.choice([0.0, 0.1, 0.3]),
            lost_share=random.choice([0.05, 0.3]) if mode is Mode.BOTH else 0.0,
            replay_share=random.choice([0.0, 0.05]),
        )


def _seconds_near(random: Random, instant_ms: int) -> int:
    """A commitTimestamp: whole seconds, on either side of the truth by less than one."""
    return instant_ms // SECOND * SECOND + random.choice([0, SECOND if instant_ms % SECOND else 0])


def _stream(org: Org, random: Random, weather: Weather) -> Iterator[Told]:
    """Tell of each change since the subscription, in the order of the commits."""
    for number, change in enumerate(org.changes):
        if change.commit_ms < 0 or random.random() < weather.lost_share:
            continue
        state = org.states[number]
        if random.random() < weather.gap_share:
            commit_ms = _seconds_near(random, change.commit_ms)
            yield Told(change, {}, (Refetch(CONTACT, ID, commit_ms, Cause.GAP),))
            continue
        halves = [change.fields]
        if len(change.fields) == 2 and random.random() < 0.3:
            # One record may have several events in one transaction, and the later may be timed earlier.
            halves = [change.fields[:1], change.fields[1:]]
        for fields in halves:
            yield _message(change, fields, state, _seconds_near(random, change.commit_ms))


def _message(change: Change, fields: tuple[str, ...], state: State, commit_ms: int) -> Told:
    if change.kind in ("create", "undelete"):
        return Told(change, state.values, (Image(CONTACT, ID, commit_ms, state.values),))
    if change.kind == "update":
        values = {name: state.values[name] for name in fields}
        return Told(change, values, (Patch(CONTACT, ID, commit_ms, values),))
    return Told(
        change, {}, (Tombstone(CONTACT, ID, commit_ms), Refetch(CONTACT, ID, commit_ms, Cause.DELETE))
    )


def _raise_marks(marks: dict[str, int], values: Mapping[str, Any]) -> None:
    for name, number in values.items():
        marks[name] = max(number or 0, marks.get(name, 0))


class Daemon:
    """One mirror row under a rule (a module like `sfsync.core.order`), and the work of keeping it."""

    def __init__(self, org: Org, random: Random, weather: Weather, rule: Any) -> None:
        self.org, self.random, self.weather, self.rule = org, random, weather, rule
        self.clocks = rule.Clocks(fuzz_ms=SECOND, settle_ms=SETTLE_MS)
        self.row = rule.MirrorRow(CONTACT, ID)
        self.values: dict[str, Any] = {}
        self.applied: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.told_life: Change | None = None
        self.is_replaying = False
        self.is_refetching = False
        self.reads = 0
        self.verdicts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []

    def at(self, instant_ms: int, action: Callable[[int], None]) -> None:
        heapq.heappush(self._agenda, (instant_ms, len(self._agenda) + self.reads * 1_000_000, action))

    def run(self) -> None:
        """Do what is on the agenda until nothing is left or patience ends."""
        while self._agenda and not self.faults:
            instant_ms, _, action = heapq.heappop(self._agenda)
            if instant_ms > PATIENCE_MS:
                return
            action(instant_ms)

    # What the stream and the reads bring

    def hear(self, messages: Sequence[Told], now_ms: int) -> None:
        """Apply one batch of the stream."""
        for message in messages:
            _raise_marks(self.told, message.values)
            if message.change.kind != "update" and not isinstance(message.commands[0], Refetch):
                self.told_life = message.change
        self.apply([command for message in messages for command in message.commands], now_ms)

    def read(self, now_ms: int, *, refetched: bool = False, since_stamp_ms: int | None = None) -> int:
        """Send a request now; its answer is applied a little later. Return its T_lo."""
        random = self.random
        self.reads += 1
        answered_ms = now_ms + random.randrange(50, 1_500)
        shown_ms = max(now_ms - SETTLE_MS, answered_ms - random.randrange(self.weather.lag_ms_max))
        earlier_ms = random.choice([0, 0, random.randrange(20 * SECOND)])
        from_ms = (now_ms - earlier_ms) // SECOND * SECOND - SECOND
        to_ms = answered_ms // SECOND * SECOND + SECOND
        state = self.org.as_of(shown_ms)
        command: RecordCommand = Absence(CONTACT, ID, from_ms, to_ms)
        if state is not None:
            master = WINNER if state.is_merged else None
            command = Snapshot(
                CONTACT, ID, dict(state.values), state.is_deleted, master, state.stamp_ms, from_ms, to_ms
            )
            if since_stamp_ms is not None and state.stamp_ms < since_stamp_ms:
                return from_ms
        elif since_stamp_ms is not None:
            return from_ms
        queued_ms = random.choice([0, 0, 10, 2 * SECOND, 30 * SECOND])

        def applied(then_ms: int) -> None:
            if refetched:
                self.is_refetching = False
            self.apply([command], then_ms, refetched=refetched)

        self.at(answered_ms + queued_ms, applied)
        return from_ms

    def apply(self, commands: Sequence[RecordCommand], now_ms: int, *, refetched: bool = False) -> None:
        """Do what the store does with a batch: load, fold, write, schedule."""
        row = self.row
        for command in commands:
            row.equals_read = isinstance(command, Snapshot) and self._equals(command)
            verdict = self.rule.fold(row, command, ANNOUNCED, self.clocks, now_ms)
            self.verdicts[verdict] += 1
            if isinstance(command, Patch | Image) and verdict == "applied":
                _raise_marks(self.applied, command.fields)
            if isinstance(command, Snapshot) and row.replaced:
                _raise_marks(self.told, command.fields)
        if row.changed:
            kept = {} if row.replaced else {**row.under, **self.values}
            self.values = {**kept, **row.over}
        if row.mark is not None and (row.marked or refetched):
            self.rule.schedule(row.mark, self.clocks, now_ms, attempted=refetched)
        row.replaced, row.over, row.under = False, {}, {}
        row.changed = row.marked = False
        self._watch()
        self._plan_refetch(now_ms)

    def _equals(self, read: Snapshot) -> bool:
        return (self.values, self.row.is_deleted, self.row.master_record_id) == (
            read.fields,
            read.is_deleted,
            read.master_record_id,
        )

    def _plan_refetch(self, now_ms: int) -> None:
        mark = self.row.mark
        if mark is not None and not self.is_refetching:
            self.at(max(now_ms, mark.next_try_ms), self._refetch)

    def _refetch(self, now_ms: int) -> None:
        mark = self.row.mark
        if mark is not None and not self.is_refetching and mark.next_try_ms <= now_ms:
            self.is_refetching = True
            self.read(now_ms, refetched=True)

    # What must hold

    def _watch(self) -> None:
        row = self.row
        if row.complete and not self.values.keys() >= ANNOUNCED:
            self.faults.append("a complete row lacks fields")
        if self.is_replaying or (row.mark is not None and Cause.LATE in row.mark.causes):
            return  # Of a repeated stretch some is applied again and some is refused, until a read settles it.
        self._compare(self.applied, "a row lies behind an event that was applied")
        if row.mark is not None:
            return
        self._compare(self.told, "a clean row lies behind what it was told")
        life = self.told_life
        if life is not None and row.is_deleted != life.ends and self._is_last_life(life):
            self.faults.append("a clean row is alive or dead against its stream")

    def _compare(self, least: Mapping[str, int], fault: str) -> None:
        behind = [name for name, number in least.items() if (self.values.get(name) or 0) < number]
        if behind:
            self.faults.append(f"{fault}: {behind}")

    def _is_last_life(self, told: Change) -> bool:
        return all(change.kind == "update" for change in self.org.changes[told.number + 1 :])

    def check_end(self) -> None:
        final = self.org.states[-1]
        if self.row.mark is not None:
            self.faults.append(f"dirty for ever: {sorted(self.row.mark.causes)}")
        if self.values != final.values:
            self.faults.append(f"fields {self.values} are {final.values} in the org")
        if self.row.is_deleted != final.is_deleted:
            self.faults.append(f"deleted is {self.row.is_deleted}, {final.is_deleted} in the org")
        if (self.row.master_record_id is not None) != final.is_merged:
            self.faults.append(f"merged is {self.row.master_record_id}, {final.is_merged} in the org")


@dataclass(slots=True)
class Ending:
    """What became of one history."""

    faults: list[str]
    verdicts: Counter[str] = field(default_factory=Counter)
    reads: int = 0


def play(seed: int, mode: Mode, rule: Any) -> Ending:
    """Play the history of *seed* under *rule* to its end; the same seed is the same history, always."""
    random = Random(f"{seed} {mode.name}")
    weather = Weather.drawn(random, mode)
    daemon = Daemon(Org(random), random, weather, rule)
    daemon.at(
        random.randrange(30 * SECOND),
        lambda now_ms: _ignore(daemon.read(now_ms, since_stamp_ms=-PATIENCE_MS)),
    )
    if mode is not Mode.SWEEP:
        _plan_stream(daemon)
    if random.random() < 0.3:
        _plan_hearsay(daemon)
    for _ in range(random.choice([0, 1, 4])):
        daemon.at(random.randrange(HISTORY_MS), lambda now_ms: _ignore(daemon.read(now_ms)))
    if mode is not Mode.STREAM:
        _plan_sweeps(daemon)
    daemon.run()
    if not daemon.faults:
        daemon.check_end()
    return Ending(daemon.faults, daemon.verdicts, daemon.reads)


def _ignore(_value: int) -> None:
    return None


def _plan_stream(daemon: Daemon) -> None:
    """Put the stream's batches on the agenda: in order, sometimes late, sometimes some of them again."""
    random, weather = daemon.random, daemon.weather
    messages = list(_stream(daemon.org, random, weather))
    now_ms, start = 0, 0
    while start < len(messages):
        end = start + random.choice([1, 1, 2, 5])
        batch = messages[start:end]
        is_late = weather.is_stream_late and random.random() < 0.2
        delay_ms = random.randrange(5 * MINUTE) if is_late else random.randrange(20, 600)
        now_ms = max(now_ms, batch[-1].change.commit_ms + delay_ms)
        daemon.at(now_ms, _heard(daemon, batch, is_replaying=False))
        if random.random() < weather.replay_share:
            again = messages[max(0, end - random.randint(1, 6)) : end]
            for place, message in enumerate(again, start=1):
                now_ms += random.randrange(50)
                daemon.at(now_ms, _heard(daemon, [message], is_replaying=place < len(again)))
        start = end


def _plan_hearsay(daemon: Daemon) -> None:
    """Let the record's account be deleted or restored, as far as the record is known: it may have changed, too."""
    now_ms = daemon.random.randrange(HISTORY_MS)
    turned_ms = now_ms - daemon.random.randrange(MINUTE)

    def heard(then_ms: int) -> None:
        if daemon.row.known:
            daemon.apply([Refetch(CONTACT, ID, turned_ms, Cause.PARENT)], then_ms)

    daemon.at(now_ms, heard)


def _heard(daemon: Daemon, batch: Sequence[Told], *, is_replaying: bool) -> Callable[[int], None]:
    def heard(now_ms: int) -> None:
        daemon.is_replaying = is_replaying
        daemon.hear(batch, now_ms)

    return heard


def _plan_sweeps(daemon: Daemon) -> None:
    watermark_ms = -LOOK_BACK_MS - MINUTE

    def sweep(now_ms: int) -> None:
        nonlocal watermark_ms
        watermark_ms = daemon.read(now_ms, since_stamp_ms=watermark_ms) - LOOK_BACK_MS

    for instant_ms in range(daemon.random.randrange(SWEEP_MS), HISTORY_MS + 4 * SWEEP_MS, SWEEP_MS):
        daemon.at(instant_ms, sweep)

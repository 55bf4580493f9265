"""The ordering rule: what one command is worth against what the mirror already knows.

Why: events and reads arrive late, twice, or in the wrong order, and Salesforce gives no version to compare.
Each branch below answers a history that otherwise ends wrong; `docs/ordering.md` tells them one by one. The
rule is a pure function over one mirror row, run by the only writer between loading and writing the row, so it
can be tested with values. The rejected alternative, a guard inside the SQL, can compare two stamps but cannot
tell an ambiguous event from a contained one, and nobody can test it without a database.

Clocks: every instant is Salesforce's, in epoch ms. Commit seconds and stamps are comparable to ± `fuzz_ms`
only (a commitTimestamp is whole seconds and may lie one second below its siblings); REST lags commits by up
to `settle_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from .commands import Absence, Cause, Image, Patch, RecordCommand, Refetch, Snapshot, Tombstone
from .events import Value
from .ids import Entity, RecordId


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far Salesforce's instants may be trusted."""

    fuzz_ms: int = 1_000
    settle_ms: int = 60_000


class Verdict(StrEnum):
    """What became of one command; every value is counted."""

    APPLIED = "applied"
    REPAIRED = "repaired"
    EQUAL = "equal"
    SETTLED = "settled"
    FILLED = "filled"
    MARKED = "marked"
    CONTAINED = "contained"
    AMBIGUOUS = "ambiguous"
    LATE = "late"
    ASIDE = "kept_aside"
    UNPROVEN = "unproven"
    ABSENT = "absent"
    ERASED = "erased"


@dataclass(slots=True)
class Mark:
    """A dirty mark: why a record needs a fresh read, and from which instant on a read proves anything.

    `touched` holds the fields that later events wrote: a proving read may be older than those events and must
    not overwrite them. `image_touched` says that an Image came, which touches all. An event of before
    `since_ms` touches nothing, because every proving read contains it.
    """

    causes: set[Cause]
    since_ms: int
    touched: set[str] = field(default_factory=set)
    image_touched: bool = False
    attempts: int = 0
    next_try_ms: int | None = None


@dataclass(slots=True)
class MirrorRow:
    """One record as the mirror knows it, and what this batch makes of it.

    The first block is what the store loads. `over` and `under` are this batch's effect on the row's fields:
    `over` replaces them, `under` only fills the ones that the row lacks; with `replaced` nothing of the
    stored fields stays.
    """

    entity: Entity
    record_id: RecordId
    known: bool = False
    complete: bool = False
    is_deleted: bool = False
    master_record_id: RecordId | None = None
    set_by_read: bool = False
    seen_from_ms: int = 0
    seen_to_ms: int = 0
    last_commit_ms: int | None = None
    modstamp_ms: int = 0
    unseen_since_ms: int | None = None
    equals_read: bool = False
    mark: Mark | None = None

    replaced: bool = False
    over: dict[str, Value] = field(default_factory=dict)
    under: dict[str, Value] = field(default_factory=dict)
    changed: bool = False
    marked: bool = False
    turned_ms: int | None = None
    maybe_merged: bool = False


def fold(
    row: MirrorRow, command: RecordCommand, announced: frozenset[str], clocks: Clocks, heard_ms: int
) -> Verdict:
    """Make *command* true of *row*, or say why not; commands of one record MUST come in stream order.

    `announced` are the mapped fields that CDC announces for this entity; `heard_ms` is the org's time when
    the command was learned, used only where the command carries no instant of its own.
    """
    match command:
        case Patch() | Image() | Tombstone():
            return _fold_event(row, command, announced, clocks)
        case Snapshot():
            return _fold_read(row, command, announced, clocks)
        case Absence():
            return _fold_absence(row, command, clocks)
        case Refetch():
            mark(row, command.cause, heard_ms if command.commit_ms is None else command.commit_ms)
            return Verdict.MARKED
        case _:
            assert_never(command)


def mark(row: MirrorRow, cause: Cause, instant_ms: int) -> None:
    """Mark *row* dirty for *cause*; what events wrote before this cause no longer counts as touched."""
    old = row.mark
    # A proof must not be older than anything that the row has shown already.
    since_ms = max(instant_ms, row.seen_to_ms, old.since_ms if old else 0)
    row.mark = Mark(causes={*(old.causes if old else ()), cause}, since_ms=since_ms)
    if old:
        # Only early reads tell a merge from a deletion, so a new deletion earns its own.
        row.mark.attempts = 0 if cause is Cause.DELETE else old.attempts
        row.mark.next_try_ms = old.next_try_ms
    row.marked = True


def proving_wait_ms(clocks: Clocks) -> int:
    """Return how long after a cause a read is asked for that will prove something, given whole-second dates."""
    return clocks.settle_ms + 2 * clocks.fuzz_ms


_EARLY_MS = (1_000, 3_000)
_BACKOFF_MS_MAX = 3_600_000


def schedule(row_mark: Mark, clocks: Clocks, heard_ms: int, *, attempted: bool) -> None:
    """Say when a dirty record is read next; *attempted* when the read just applied was made for this mark.

    A delete is read early as well, because only a read tells a merge from a deletion. A new cause never
    postpones a read that is already due, or a record that changes without end would never be read.
    """
    if attempted:
        row_mark.attempts += 1
    proving_ms = row_mark.since_ms + proving_wait_ms(clocks)
    early = _EARLY_MS if Cause.DELETE in row_mark.causes else ()
    if row_mark.attempts < len(early):
        wanted_ms = min(proving_ms, heard_ms + early[row_mark.attempts])
    else:
        failures = row_mark.attempts - len(early)
        backoff_ms = min(clocks.settle_ms * 2**failures, _BACKOFF_MS_MAX) if failures else 0
        wanted_ms = max(proving_ms, heard_ms + backoff_ms)
    if attempted or row_mark.next_try_ms is None:
        row_mark.next_try_ms = wanted_ms
    else:
        row_mark.next_try_ms = min(row_mark.next_try_ms, wanted_ms)


# Events -----------------------------------------------------------------------------------------------


def _fold_event(
    row: MirrorRow, event: Patch | Image | Tombstone, announced: frozenset[str], clocks: Clocks
) -> Verdict:
    refused = _refuse_by_order(row, event.commit_ms, clocks)
    if refused is not None:
        if isinstance(event, Image):
            _doubt_deletion(row)
        return refused
    if isinstance(event, Patch) and row.known and row.is_deleted:
        mark(row, Cause.PATCH_ON_DELETED, event.commit_ms)
        return Verdict.ASIDE
    overlaps = row.known and row.set_by_read and event.commit_ms <= row.seen_to_ms
    _apply_event(row, event, announced)
    if overlaps:
        # A long transaction's late half may follow a read that already knew better.
        mark(row, Cause.OVERLAP, event.commit_ms)
    return Verdict.APPLIED


def _refuse_by_order(row: MirrorRow, commit_ms: int, clocks: Clocks) -> Verdict | None:
    """Compare an event with the read or the event that set the row last; None lets it through."""
    if not row.known:
        return None
    if row.set_by_read:
        if commit_ms < row.seen_from_ms - clocks.fuzz_ms:
            return Verdict.CONTAINED
        if commit_ms <= row.seen_from_ms + clocks.fuzz_ms:
            mark(row, Cause.AMBIGUOUS, commit_ms)
            return Verdict.AMBIGUOUS
    if row.last_commit_ms is not None and commit_ms < row.last_commit_ms - clocks.fuzz_ms:
        mark(row, Cause.LATE, commit_ms)
        return Verdict.LATE
    return None


def _apply_event(row: MirrorRow, event: Patch | Image | Tombstone, announced: frozenset[str]) -> None:
    was_known = row.known
    touched_mark = row.mark if row.mark and event.commit_ms > row.mark.since_ms else None
    match event:
        case Patch():
            row.over.update(event.fields)
            if touched_mark:
                touched_mark.touched.update(event.fields)
                row.marked = True
        case Image():
            row.over.update(event.fields)
            row.complete = row.complete or announced <= event.fields.keys()
            _turn(row, is_deleted=False, master=None, instant_ms=event.commit_ms)
            if touched_mark:
                touched_mark.image_touched = row.marked = True
        case Tombstone():
            _turn(row, is_deleted=True, master=row.master_record_id, instant_ms=event.commit_ms)
            row.maybe_merged = row.master_record_id is None
        case _:
            assert_never(event)
    row.known = row.changed = True
    row.set_by_read = False
    row.seen_from_ms = event.commit_ms
    row.seen_to_ms = max(row.seen_to_ms, event.commit_ms)
    row.last_commit_ms = max(row.last_commit_ms or 0, event.commit_ms)
    row.unseen_since_ms = None
    if isinstance(event, Patch) and not was_known:
        mark(row, Cause.UNKNOWN, event.commit_ms)


# Reads ------------------------------------------------------------------------------------------------


def _fold_read(row: MirrorRow, read: Snapshot, announced: frozenset[str], clocks: Clocks) -> Verdict:
    proven = row.mark if row.mark and read.read_from_ms >= row.mark.since_ms + clocks.settle_ms else None
    passes = (
        not row.known
        or read.modstamp_ms > row.seen_to_ms + clocks.fuzz_ms
        or read.read_from_ms >= row.seen_to_ms + clocks.settle_ms
    )
    equal = row.equals_read and row.complete and not row.changed
    if equal and row.mark is None:
        if row.unseen_since_ms is not None:
            row.unseen_since_ms, row.changed = None, True
        return Verdict.EQUAL
    if passes:
        _write_whole(row, read)
        if proven:
            _clear_mark(row)
        elif row.mark:
            _renew_mark(row, row.mark)
        if not equal:
            return Verdict.REPAIRED
        return Verdict.SETTLED if proven else Verdict.UNPROVEN
    if proven:
        _write_untouched(row, read, proven)
        _clear_mark(row)
        return Verdict.SETTLED
    return _learn_early(row, read, announced)


def _write_whole(row: MirrorRow, read: Snapshot) -> None:
    """Make the row what the read says; a passing read may overwrite a row that looks newer.

    That is how a lost event is repaired although a later one on another field was applied.
    """
    row.replaced, row.over, row.under = True, dict(read.fields), {}
    _turn(row, is_deleted=read.is_deleted, master=read.master_record_id, instant_ms=read.read_to_ms)
    row.known = row.complete = row.changed = True
    row.set_by_read = True
    row.modstamp_ms = read.modstamp_ms
    row.seen_from_ms = read.modstamp_ms
    row.seen_to_ms = max(row.seen_to_ms, read.modstamp_ms, read.read_to_ms)
    row.unseen_since_ms = None


def _write_untouched(row: MirrorRow, read: Snapshot, row_mark: Mark) -> None:
    """Take from a proving read what no event wrote since the cause; the order columns stay.

    So a record that changes faster than reads settle still comes clean.
    """
    if row_mark.image_touched:
        fresh: Mapping[str, Value] = {}
        row.under = {**read.fields, **row.under}
    else:
        fresh = {name: value for name, value in read.fields.items() if name not in row_mark.touched}
        _turn(row, is_deleted=read.is_deleted, master=read.master_record_id, instant_ms=read.read_to_ms)
    row.over.update(fresh)
    row.modstamp_ms = read.modstamp_ms
    row.complete = row.changed = True
    row.unseen_since_ms = None


def _learn_early(row: MirrorRow, read: Snapshot, announced: frozenset[str]) -> Verdict:
    """Take the little that a read which neither passes nor proves may give, and ask for a later one."""
    verdict = Verdict.UNPROVEN
    if not row.complete:
        row.under = {**read.fields, **row.under}
        row.complete = announced <= read.fields.keys()
        row.changed = True
        verdict = Verdict.FILLED
    if row.mark and row.is_deleted and read.is_deleted and read.master_record_id:
        # A merge must not look like a deletion until the settle time is over. The reverse can wait: an edge
        # lasts until the record is known to live again.
        _turn(row, is_deleted=True, master=read.master_record_id, instant_ms=read.read_to_ms)
        row.modstamp_ms = read.modstamp_ms
        row.changed = True
    mark(row, Cause.UNSURE_READ, row.seen_to_ms)
    return verdict


_DELETED_OR_NOT = frozenset({Cause.AMBIGUOUS, Cause.DELETE})


def _fold_absence(row: MirrorRow, read: Absence, clocks: Clocks) -> Verdict:
    """No row, not even in the recycle bin: that proves no deletion. Only a late enough one ends a mark.

    A deletion that the stream told of, and that could not be ordered, needs no other proof.
    """
    since_ms = row.mark.since_ms if row.mark else row.seen_to_ms
    is_proof = read.read_from_ms >= since_ms + clocks.settle_ms
    if (row.mark or row.known) and not (is_proof or _was_shown(row, read, clocks)):
        return Verdict.UNPROVEN
    if row.mark and is_proof:
        if row.mark.causes >= _DELETED_OR_NOT and Cause.RESTORED not in row.mark.causes:
            # A delete event told of it, within the second of a read that showed it live; now no bin holds it either.
            _turn(row, is_deleted=True, master=row.master_record_id, instant_ms=read.read_to_ms)
        _clear_mark(row)
    if row.known:
        row.unseen_since_ms = read.read_from_ms
        row.changed = True
        if not is_proof and row.mark is None:
            mark(row, Cause.UNSURE_READ, row.seen_to_ms)
    return Verdict.ABSENT


def _was_shown(row: MirrorRow, read: Absence, clocks: Clocks) -> bool:
    """Tell whether REST has shown the record before: then it is gone or hidden, and not just too new to be seen."""
    return row.known and (row.set_by_read or read.read_from_ms >= row.seen_from_ms + clocks.settle_ms)


def _renew_mark(row: MirrorRow, row_mark: Mark) -> None:
    """Ask for a proof that is younger than the read just written, which knew more than the mark did."""
    row_mark.since_ms = max(row_mark.since_ms, row.seen_to_ms)
    row_mark.touched, row_mark.image_touched, row_mark.next_try_ms = set(), False, None
    row.marked = True
    if not row.is_deleted:
        _doubt_deletion(row)


def _doubt_deletion(row: MirrorRow) -> None:
    """A record that came back was deleted before: should it vanish, the deletion told of is no proof."""
    if row.mark and row.mark.causes >= _DELETED_OR_NOT:
        row.mark.causes.add(Cause.RESTORED)
        row.marked = True


def _clear_mark(row: MirrorRow) -> None:
    row.mark = None
    row.marked = True


def _turn(row: MirrorRow, *, is_deleted: bool, master: RecordId | None, instant_ms: int) -> None:
    """Set the deleted state; remember when it turned, since children may be silent about it."""
    master = master if is_deleted else None
    if (
        (row.known and row.is_deleted != is_deleted)
        or (is_deleted and not row.known)
        or (row.known and row.master_record_id != master)
    ):
        row.turned_ms = instant_ms
    row.is_deleted = is_deleted
    row.master_record_id = master
    row.maybe_merged = False

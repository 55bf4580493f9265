"""The ordering rule, one test per sentence, each with the history that otherwise ends wrong.

Why: the rule is short and every clause of it looks like something that could go. A test here names the clause
and tells what happens to a record without it. Instants are seconds; clocks are the shipped ones: 1 s fuzz, 60 s
settle. `test_order_model.py` shows that the clauses together are enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sfsync.core.commands import Absence, Cause, Image, Patch, RecordCommand, Refetch, Snapshot, Tombstone
from sfsync.core.ids import Entity, record_id
from sfsync.core.order import Clocks, MirrorRow, Verdict, fold, schedule

CONTACT = Entity.CONTACT
ID, WINNER = record_id("0035i00000Con01"), record_id("0035i00000Con02")
CLOCKS = Clocks(fuzz_ms=1_000, settle_ms=60_000)
ANNOUNCED = frozenset({"a", "b"})
EMPTY = {"a": None, "b": None, "formula": None}


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def patch(seconds: float, **fields: Any) -> Patch:
    return Patch(CONTACT, ID, ms(seconds), fields)


def image(seconds: float, **fields: Any) -> Image:
    return Image(CONTACT, ID, ms(seconds), {"a": None, "b": None, **fields})


def tombstone(seconds: float) -> Tombstone:
    return Tombstone(CONTACT, ID, ms(seconds))


def gap(seconds: float | None, cause: Cause = Cause.GAP) -> Refetch:
    return Refetch(CONTACT, ID, None if seconds is None else ms(seconds), cause)


def absent(begun: float) -> Absence:
    return Absence(CONTACT, ID, ms(begun), ms(begun + 1))


def read(
    stamp: float, *, begun: float, deleted: bool = False, merged: bool = False, **fields: Any
) -> Snapshot:
    """A read that took a second, of the record as stamped at *stamp*."""
    master = WINNER if merged else None
    return Snapshot(
        CONTACT, ID, {**EMPTY, **fields}, deleted or merged, master, ms(stamp), ms(begun), ms(begun + 1)
    )


@dataclass
class Record:
    """One mirror row over several batches of one command each, with the fields that the store would hold."""

    row: MirrorRow = field(default_factory=lambda: MirrorRow(CONTACT, ID))
    fields: dict[str, Any] = field(default_factory=dict)

    def meets(self, *commands: RecordCommand, heard: float = 0) -> Verdict:
        """Apply *commands*, each in a batch of its own; return what became of the last."""
        verdict = Verdict.MARKED
        for command in commands:
            self.row.equals_read = isinstance(command, Snapshot) and self._equals(command)
            verdict = fold(self.row, command, ANNOUNCED, CLOCKS, ms(heard))
            if self.row.changed:
                kept = {} if self.row.replaced else {**self.row.under, **self.fields}
                self.fields = {**kept, **self.row.over}
            self.row.replaced, self.row.over, self.row.under = False, {}, {}
            self.row.changed = self.row.marked = False
            self.row.turned_ms = None
        return verdict

    def _equals(self, command: Snapshot) -> bool:
        return (self.fields, self.row.is_deleted, self.row.master_record_id) == (
            command.fields,
            command.is_deleted,
            command.master_record_id,
        )

    @property
    def causes(self) -> set[Cause]:
        return self.row.mark.causes if self.row.mark else set()

    @property
    def since_s(self) -> float:
        assert self.row.mark is not None
        return self.row.mark.since_ms / 1000

    @property
    def touched(self) -> set[str]:
        assert self.row.mark is not None
        return self.row.mark.touched


@pytest.fixture
def record() -> Record:
    return Record()


# 1. Event after event


def test_stream_order_decides_between_events_and_never_timestamps(record: Record) -> None:
    """Commit times are whole seconds and a sibling may lie one below: the later event is the truth."""
    record.meets(image(10, a=1), patch(10, a=2), patch(9, a=3))
    assert (record.fields["a"], record.causes) == (3, set())


def test_redelivered_events_are_harmless_in_their_order(record: Record) -> None:
    """After a crash the tail of the stream comes twice; its end must be what it was."""
    tail = [patch(10, a=2), patch(10, b=2), patch(11, a=3)]
    record.meets(image(10, a=1), *tail, *tail)
    assert record.fields == {"a": 3, "b": 2}


def test_event_far_below_the_last_one_is_not_applied_but_marks(record: Record) -> None:
    """An org that was moved replays old events after new ones; applied blindly they would win for ever."""
    record.meets(image(10, a=1), patch(20, a=2))
    assert record.meets(patch(18, a=1)) is Verdict.LATE
    assert (record.fields["a"], record.causes, record.since_s) == (2, {Cause.LATE}, 20)


def test_event_one_second_below_the_last_one_still_counts_as_later(record: Record) -> None:
    """A second is what the clock may lie; refusing it would lose the second of two quick changes."""
    record.meets(image(10, a=1), patch(20, a=2))
    assert record.meets(patch(19, a=3)) is Verdict.APPLIED
    assert record.fields["a"] == 3


# 2. Event after read


def test_event_below_a_read_is_contained_in_it(record: Record) -> None:
    """A lagging stream would put the old value back over what the sweep just read."""
    record.meets(read(50, begun=100, a=2))
    assert record.meets(patch(48, a=1)) is Verdict.CONTAINED
    assert (record.fields["a"], record.causes) == (2, set())


def test_event_above_a_read_is_applied(record: Record) -> None:
    """It happened after what was read."""
    record.meets(read(50, begun=51, a=2))
    assert record.meets(patch(53, a=3)) is Verdict.APPLIED
    assert (record.fields["a"], record.causes) == (3, set())


@pytest.mark.parametrize("commit", [49, 50, 51])
def test_event_within_the_fuzz_of_a_read_is_not_applied_but_marks(record: Record, commit: float) -> None:
    """Two changes in one second, a read between them: nobody can tell whether the event is in the read."""
    record.meets(read(50, begun=100, a=2))
    assert record.meets(patch(commit, a=1)) is Verdict.AMBIGUOUS
    assert (record.fields["a"], record.causes) == (2, {Cause.AMBIGUOUS})


def test_event_that_a_read_may_already_know_better_is_applied_and_marks(record: Record) -> None:
    """A long transaction is stamped early and commits late. Its event looks newer than a read that already holds
    a still later change: it overwrites that, and without a mark the row stays wrong.
    """
    record.meets(read(50, begun=100, a=3))
    assert record.meets(patch(70, a=2)) is Verdict.APPLIED
    assert (record.causes, record.since_s) == ({Cause.OVERLAP}, 101)
    assert record.touched == set(), "the read that proves must be free to put the field back"


def test_only_a_row_last_set_by_a_read_can_be_overlapped(record: Record) -> None:
    """The second event after a read is ordered by the stream, not by the read."""
    record.meets(read(50, begun=100, a=3), patch(70, a=2))
    before = record.causes, record.since_s
    record.meets(patch(110, b=1))
    assert (record.causes, record.since_s) == before
    assert record.touched == {"b"}


# 3. Reads


def test_first_read_of_a_record_passes(record: Record) -> None:
    """There is nothing that it could regress."""
    assert record.meets(read(50, begun=51, a=1)) is Verdict.REPAIRED
    assert (record.row.complete, record.row.seen_from_ms, record.row.seen_to_ms) == (True, ms(50), ms(52))


def test_read_stamped_after_all_that_was_seen_passes(record: Record) -> None:
    """The stream is behind: the read is news."""
    record.meets(image(10, a=1))
    assert record.meets(read(12, begun=13, a=2)) is Verdict.REPAIRED
    assert (record.fields["a"], record.causes) == (2, set())


def test_read_begun_long_after_all_that_was_seen_repairs_a_row_that_looks_newer(record: Record) -> None:
    """The event of a=2 was lost, one of b came. The stamp of the read is no newer than the row, yet the read
    is right: a rule of "newer stamp wins" would leave a wrong for ever.
    """
    record.meets(image(10, a=1), patch(31, b=2))
    assert record.meets(read(31, begun=91, a=2, b=2)) is Verdict.REPAIRED
    assert (record.fields["a"], record.causes) == (2, set())


def test_read_that_may_lag_behind_the_row_does_not_pass(record: Record) -> None:
    """REST shows old rows for seconds after a commit; the sweep would take back what the event just brought."""
    record.meets(image(10, a=1), patch(31, a=2))
    assert record.meets(read(10, begun=32, a=1)) is Verdict.UNPROVEN
    assert (record.fields["a"], record.causes, record.since_s) == (2, {Cause.UNSURE_READ}, 31)


def test_stamp_within_the_fuzz_does_not_make_a_read_newer(record: Record) -> None:
    """Two changes in one second: the read holds the first, its stamp may still look higher."""
    record.meets(image(10, a=1), patch(31, a=2))
    assert record.meets(read(31.9, begun=33, a=1)) is Verdict.UNPROVEN
    assert record.fields["a"] == 2


def test_read_equal_to_a_complete_clean_row_writes_nothing(record: Record) -> None:
    """A sweep over an unchanged store must cost no write, and no refetch either, however early it reads."""
    record.meets(read(10, begun=100, a=1))
    before = record.row.seen_to_ms
    assert record.meets(read(10, begun=102, a=1)) is Verdict.EQUAL
    assert (record.row.seen_to_ms, record.causes) == (before, set())


def test_read_that_does_not_pass_fills_what_an_incomplete_row_lacks(record: Record) -> None:
    """A person need not wait a minute for its other fields because one of them just changed."""
    record.meets(patch(10, a=2))
    assert record.meets(read(9, begun=11, a=1, b=7)) is Verdict.FILLED
    assert (record.fields["a"], record.fields["b"], record.row.complete) == (2, 7, True)
    assert Cause.UNSURE_READ in record.causes


def test_deleted_dirty_row_learns_its_winner_from_any_read(record: Record) -> None:
    """A merge announces itself as a deletion. Waiting for proof would show the person as deleted for a minute."""
    record.meets(image(10, a=1), tombstone(50), gap(50, Cause.DELETE))
    record.meets(read(50, begun=51, merged=True, a=1))
    assert record.row.master_record_id == WINNER
    assert {Cause.DELETE, Cause.UNSURE_READ} <= record.causes, "and this clears nothing"
    assert record.row.seen_from_ms == ms(50)


def test_early_read_says_nothing_else_about_a_deleted_row(record: Record) -> None:
    """A read from before the deletion must not revive the record."""
    record.meets(image(10, a=1), tombstone(50), gap(50, Cause.DELETE))
    record.meets(read(10, begun=51, a=1))
    assert record.row.is_deleted


def test_early_read_without_a_winner_does_not_take_the_winner_away(record: Record) -> None:
    """Read from a server that lags: deleted, not yet merged. An edge lasts until the record lives again."""
    record.meets(image(10, a=1), tombstone(50), gap(50, Cause.DELETE), read(50, begun=51, merged=True, a=1))
    record.meets(read(50, begun=53, deleted=True, a=1))
    assert record.row.master_record_id == WINNER


# 4. Dirty


def test_mark_counts_from_its_latest_cause_or_the_last_applied_event(record: Record) -> None:
    """A read must be younger than all that the row knows, or it proves the past."""
    record.meets(image(10, a=1), gap(30), gap(20))
    assert record.since_s == 30
    record.meets(patch(40, a=2), gap(31))
    assert record.since_s == 40


def test_read_that_does_not_pass_moves_the_mark_to_what_the_row_has_seen(record: Record) -> None:
    """Else a second read as old as the first could pass for proof."""
    record.meets(read(10, begun=100, a=1))
    record.meets(read(10, begun=90, a=0))
    assert record.since_s == 101


def test_events_touch_and_a_new_cause_forgets_what_was_touched(record: Record) -> None:
    """A touched field is protected from the proving read; after a new cause it must be read again, for the lost
    change may have been of that very field.
    """
    record.meets(image(10, a=1), gap(20), patch(25, a=2))
    assert record.touched == {"a"}
    record.meets(gap(30))
    assert record.touched == set()


def test_refused_and_bodiless_events_touch_nothing(record: Record) -> None:
    """What was not written needs no protection, it needs reading."""
    record.meets(read(50, begun=51, a=1), gap(40), patch(50, a=2))
    assert record.touched == set()
    record.meets(patch(40, b=2))
    assert record.touched == set()
    record.meets(tombstone(60), patch(61, b=2))
    assert record.touched == set()


def test_event_that_every_proof_contains_touches_nothing(record: Record) -> None:
    """A read shows a=4. The stream is late: events of a=1, then a=2 come, then the one of a=4 is lost. Protected as
    touched, a=2 would outlive the very read that proves it wrong.
    """
    record.meets(read(50, begun=100, a=4), patch(70, a=1), patch(80, a=2))
    assert (record.since_s, record.touched) == (101, set())
    record.meets(patch(140, b=5))
    assert record.meets(read(140, begun=161, a=4, b=5)) is Verdict.SETTLED
    assert record.fields == {"a": 4, "b": 5, "formula": None}


def test_proof_is_younger_than_every_read_that_the_row_showed(record: Record) -> None:
    """A gap event arrives minutes late, just after a sweep showed the record deleted. A lagging read would prove
    the gap and revive the record.
    """
    record.meets(image(0, a=1), read(90, begun=100, deleted=True, a=1), gap(37))
    assert record.since_s == 101
    record.meets(read(30, begun=107, a=1))
    assert record.row.is_deleted
    assert record.causes


def test_passing_read_that_proves_nothing_asks_for_a_later_proof(record: Record) -> None:
    """A pull between cause and proof shows a newer row than the proof, if the proof's server lags."""
    record.meets(image(0, a=1), gap(10), read(40, begun=41, a=2))
    assert (record.fields["a"], record.causes, record.since_s) == (2, {Cause.GAP}, 42)
    record.meets(read(12, begun=72, a=1))
    assert record.fields["a"] == 2


def test_proving_read_ends_the_mark_and_leaves_touched_fields(record: Record) -> None:
    """A record that changes every 30 s is never quiet for a settle time. The read is older than the last event,
    so it may not overwrite that field; it must give all others, or the gap is never healed.
    """
    record.meets(image(0, a=1, b=1), gap(10))
    for second in range(30, 90, 30):
        record.meets(patch(second, a=second))
    assert record.meets(read(30, begun=70, a=30, b=9)) is Verdict.SETTLED
    assert (record.fields["a"], record.fields["b"], record.causes) == (60, 9, set())
    assert record.row.seen_from_ms == ms(60), "the order columns stay"


def test_proving_read_that_passes_is_written_whole(record: Record) -> None:
    """An event is lost after the cause, one of the touched field: only the read knows."""
    record.meets(image(0, a=1), gap(10), patch(12, a=2))
    assert record.meets(read(14, begun=75, a=3)) is Verdict.REPAIRED
    assert (record.fields["a"], record.causes) == (3, set())


def test_proving_read_gives_deletedness_unless_an_image_came_since(record: Record) -> None:
    """The gap was a deletion; then a field changes no more. But after an UNDELETE the read may be from before."""
    record.meets(image(0, a=1), gap(10), patch(60, a=2))
    record.meets(read(10, begun=75, deleted=True, a=1))
    assert record.row.is_deleted
    other = Record()
    other.meets(image(0, a=1), gap(10), image(60, a=2))
    assert other.meets(read(10, begun=75, deleted=True, a=1, formula=5)) is Verdict.SETTLED
    assert (other.row.is_deleted, other.fields["a"], other.causes) == (False, 2, set())
    assert other.fields["formula"] == 5, "an Image touches all that it can bring, and formulas it cannot"


def test_early_read_proves_nothing_equal_or_not(record: Record) -> None:
    """The gap's change is not yet visible to REST: the read equals the row, and both are wrong."""
    record.meets(read(0, begun=1, a=1), gap(100))
    assert record.meets(read(0, begun=103, a=1)) is Verdict.UNPROVEN
    assert record.causes == {Cause.GAP}
    assert record.meets(read(100, begun=164, a=2)) is Verdict.REPAIRED
    assert record.causes == set()


def test_read_that_finds_no_row_ends_the_mark_and_deletes_nothing(record: Record) -> None:
    """Salesforce does not tell purged from hidden; a lost permission would delete the store."""
    record.meets(image(0, a=1), gap(10))
    assert record.meets(absent(71)) is Verdict.ABSENT
    assert (record.causes, record.row.is_deleted, record.row.unseen_since_ms) == (set(), False, ms(71))


def test_absence_of_a_record_that_a_read_has_shown_is_noted_at_once(record: Record) -> None:
    """An application asked for a record that was purged silently: it must hear "absent", and nothing is deleted."""
    record.meets(read(0, begun=10))
    assert record.meets(absent(30)) is Verdict.ABSENT
    assert record.row.unseen_since_ms == ms(30)
    assert record.causes == {Cause.UNSURE_READ}, "what is not proven is read again"
    assert record.meets(absent(120)) is Verdict.ABSENT
    assert (record.causes, record.row.unseen_since_ms) == (set(), ms(120))
    assert not record.row.is_deleted


def test_early_absence_of_an_old_record_is_noted_and_ends_no_mark(record: Record) -> None:
    """REST is behind by less than the settle time: it has known for long what it does not show now."""
    record.meets(image(0, a=1), gap(90))
    assert record.meets(absent(100)) is Verdict.ABSENT
    assert (record.causes, record.row.unseen_since_ms) == ({Cause.GAP}, ms(100))


def test_early_absence_of_a_record_that_only_an_event_has_shown_says_nothing(record: Record) -> None:
    """It was created a moment ago, and REST is behind: the application must not hear that it is gone."""
    record.meets(image(0, a=1))
    assert record.meets(absent(30)) is Verdict.UNPROVEN
    assert record.row.unseen_since_ms is None


def test_early_absence_proves_nothing(record: Record) -> None:
    """A record that was just created is not yet there for REST."""
    record.meets(gap(10))
    assert record.meets(absent(12)) is Verdict.UNPROVEN
    assert record.causes == {Cause.GAP}


def test_record_that_is_seen_again_is_no_longer_unseen(record: Record) -> None:
    """The permission is back and nothing changed meanwhile: the report of missing records must empty."""
    record.meets(read(0, begun=1, a=1), gap(10), absent(71))
    assert record.meets(read(0, begun=900, a=1)) is Verdict.EQUAL
    assert record.row.unseen_since_ms is None


def test_retries_back_off_from_settle_by_doubling_to_an_hour(record: Record) -> None:
    """A record that cannot be read must not eat the API budget."""
    record.meets(gap(0))
    mark, now, waits = record.row.mark, 0.0, []
    assert mark is not None
    schedule(mark, CLOCKS, 0, attempted=False)
    for _ in range(8):
        assert mark.next_try_ms is not None
        waits.append(mark.next_try_ms / 1000 - now)
        now = mark.next_try_ms / 1000
        schedule(mark, CLOCKS, ms(now), attempted=True)
    assert waits == [62, 120, 240, 480, 960, 1920, 3600, 3600]


def test_new_cause_does_not_postpone_a_read_that_is_due(record: Record) -> None:
    """A record with a gap every 20 s would never be read."""
    record.meets(gap(0))
    assert record.row.mark is not None
    schedule(record.row.mark, CLOCKS, 0, attempted=False)
    record.meets(gap(20))
    schedule(record.row.mark, CLOCKS, ms(20), attempted=False)
    assert record.row.mark.next_try_ms == ms(62)


def test_deletion_is_read_early_twice_to_tell_a_merge(record: Record) -> None:
    """Only a read tells a merge from a deletion, and the person is held for 5 s only."""
    record.meets(image(0, a=1), gap(1))
    assert record.row.mark is not None
    schedule(record.row.mark, CLOCKS, ms(63), attempted=True)
    schedule(record.row.mark, CLOCKS, ms(63), attempted=True)
    record.meets(tombstone(100), gap(100, Cause.DELETE))
    tries, now = [], 101.0
    schedule(record.row.mark, CLOCKS, ms(now), attempted=False)
    for _ in range(3):
        assert record.row.mark.next_try_ms is not None
        now = record.row.mark.next_try_ms / 1000
        tries.append(now)
        schedule(record.row.mark, CLOCKS, ms(now), attempted=True)
    assert tries == [102, 105, 162]


def test_request_without_an_instant_counts_from_when_it_was_heard(record: Record) -> None:
    """An undecodable event has no commit time; it cannot have happened later than it was heard."""
    record.meets(gap(None, Cause.MALFORMED), heard=500)
    assert record.since_s == 500


# 5. Images, patches, deleted records


def test_image_makes_a_record_complete_and_live(record: Record) -> None:
    """CREATE and UNDELETE bring all that CDC announces; formulas hold nobody back."""
    record.meets(tombstone(5), image(10, a=1))
    assert (record.row.complete, record.row.is_deleted, record.fields) == (True, False, {"a": 1, "b": None})


def test_image_that_lacks_an_announced_field_completes_nothing(record: Record) -> None:
    """Its long text came as a diff: shown as it is, the person would have a hole."""
    record.meets(Image(CONTACT, ID, ms(10), {"a": 1}))
    assert not record.row.complete


def test_patch_of_an_unknown_record_is_incomplete_and_dirty(record: Record) -> None:
    """Its creation was before the stream, or lost."""
    record.meets(patch(10, a=1))
    assert (record.row.known, record.row.complete, record.causes) == (True, False, {Cause.UNKNOWN})


def test_patch_never_revives_a_deleted_record(record: Record) -> None:
    """A late or repeated update of a deleted record would make a zombie."""
    record.meets(image(10, a=1), tombstone(20))
    assert record.meets(patch(20, a=2)) is Verdict.ASIDE
    assert (record.row.is_deleted, record.fields["a"]) == (True, 1)
    assert record.causes == {Cause.PATCH_ON_DELETED}


def test_deletion_of_an_unknown_record_is_remembered(record: Record) -> None:
    """Else a late patch or a lagging read would create it again."""
    record.meets(tombstone(20))
    assert (record.row.known, record.row.is_deleted, record.row.complete) == (True, True, False)
    record.meets(gap(20, Cause.DELETE), read(5, begun=21, a=1))
    assert record.row.is_deleted


def test_deletion_within_the_second_of_a_read_holds_when_no_bin_has_the_record(record: Record) -> None:
    """It was told of; refused as ambiguous, and purged before it was read again, it would live for ever."""
    record.meets(read(0, begun=0.3, a=1), tombstone(1), gap(1, Cause.DELETE))
    assert not record.row.is_deleted
    assert record.meets(absent(90)) is Verdict.ABSENT
    assert (record.row.is_deleted, record.row.mark) == (True, None)


@pytest.mark.parametrize("back", [image(1, a=1), read(30, begun=31, a=1)])
def test_record_that_came_back_is_not_deleted_when_it_cannot_be_seen(
    record: Record, back: RecordCommand
) -> None:
    """It was restored after the deletion that could not be ordered: now it may only be hidden."""
    record.meets(read(0, begun=0.3, a=1), tombstone(1), gap(1, Cause.DELETE), back)
    assert record.meets(absent(120)) is Verdict.ABSENT
    assert not record.row.is_deleted


def test_undelete_takes_the_merge_back(record: Record) -> None:
    """The loser lives again: nobody else's record."""
    record.meets(read(10, begun=100, merged=True, a=1), image(200, a=1))
    assert (record.row.is_deleted, record.row.master_record_id) == (False, None)


# 6. What marks relatives


@pytest.mark.parametrize(
    ("before", "command", "turns"),
    [
        ([image(0, a=1)], tombstone(20), True),
        ([image(0, a=1)], read(20, begun=21, deleted=True), True),
        ([tombstone(0)], read(20, begun=80, merged=True), True),
        ([tombstone(0)], image(20, a=1), True),
        ([tombstone(0)], read(20, begun=80, a=1), True),
        ([], tombstone(20), True),
        ([], read(20, begun=21, deleted=True), True),
        ([], image(20, a=1), False),
        ([image(0, a=1)], patch(20, a=2), False),
        ([tombstone(0)], tombstone(20), False),
    ],
)
def test_turns_of_a_record_are_noticed_however_they_are_learned(
    before: list[RecordCommand], command: RecordCommand, turns: bool
) -> None:
    """Children of a deleted, merged or restored account may change without an event: the turn must be seen."""
    record = Record()
    record.meets(*before)
    fold(record.row, command, ANNOUNCED, CLOCKS, 0)
    assert (record.row.turned_ms is not None) is turns


def test_deletion_may_be_a_merge_until_a_read_names_the_winner(record: Record) -> None:
    """The projection of such a record waits for its other half."""
    record.meets(image(0, a=1), tombstone(20))
    assert record.row.maybe_merged
    record.meets(read(20, begun=100, merged=True, a=1))
    assert not record.row.maybe_merged

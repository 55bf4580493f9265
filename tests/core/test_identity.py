"""Who is one person, under which id, and who speaks: from facts alone.

Why: an application keeps our ids next to its own history for years. A test here tells what somebody would have
found under an id that they stored.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.identity import Group, Member, regroup
from sfsync.core.ids import Entity, RecordId, record_id

LEADS = [record_id(f"00Q5i00000Lea0{n}") for n in range(4)]
CONTACTS = [record_id(f"0035i00000Con0{n}") for n in range(4)]


def lead(
    number: int, own: int | None, *, to: int | None = None, date: str | None = None, deleted: bool = False
) -> Member:
    """A lead; *to* is the contact it was converted to."""
    target = None if to is None else CONTACTS[to]
    return Member(
        Entity.LEAD,
        LEADS[number],
        own,
        complete=True,
        is_deleted=deleted,
        converted_contact_id=target,
        converted_date=date,
    )


def contact(
    number: int, own: int | None, *, into: int | None = None, stamp: int = 0, deleted: bool = False
) -> Member:
    """A contact; *into* is the contact it was merged into, which deletes it."""
    master = None if into is None else CONTACTS[into]
    return Member(
        Entity.CONTACT,
        CONTACTS[number],
        own,
        complete=True,
        is_deleted=deleted or into is not None,
        modstamp_ms=stamp,
        master_record_id=master,
    )


def only(*members: Member) -> Group:
    [group] = regroup(members)
    return group


def person_ids(*members: Member) -> dict[RecordId, int]:
    return {m.record_id: group.subject_id for group in regroup(members) for m in group.members}


# Edges


def test_record_without_edges_is_its_own_person() -> None:
    """Two people of one name are two people."""
    assert person_ids(contact(1, 1), contact(2, 2), lead(1, 3)) == {
        CONTACTS[1]: 1,
        CONTACTS[2]: 2,
        LEADS[1]: 3,
    }


def test_converted_lead_and_its_contact_are_one_person_under_the_older_id() -> None:
    """The application knew the lead; its letters to that id went to the same human being."""
    group = only(lead(1, 1, to=1), contact(1, 2))
    assert (group.subject_id, group.speaker, group.alias_ids) == (1, CONTACTS[1], (2,))


def test_edge_to_an_unknown_record_does_not_exist_yet() -> None:
    """A contact whose event was lost must not take its lead's person with it."""
    group = only(lead(1, 1, to=1))
    assert (group.subject_id, group.speaker, group.is_deleted) == (1, LEADS[1], False)


def test_converted_lead_keeps_speaking_while_its_contact_is_incomplete() -> None:
    """One field of a contact is not a person."""
    half = replace(contact(1, None), complete=False)
    assert only(lead(1, 1, to=1), half).speaker == LEADS[1]


def test_purge_of_the_converted_lead_changes_nothing() -> None:
    """Orgs purge converted leads; the edge is permanent, so the person's id stays."""
    group = only(lead(1, 1, to=1, deleted=True), contact(1, 2))
    assert (group.subject_id, group.speaker, group.is_deleted) == (1, CONTACTS[1], False)


def test_merged_record_is_the_winners_person_and_never_gives_it_its_id() -> None:
    """The winner's id meant the winner before the merge and must mean it after an undelete, too."""
    group = only(contact(1, 1, into=2), contact(2, 2))
    assert (group.subject_id, group.speaker, group.alias_ids) == (2, CONTACTS[2], (1,))


def test_undelete_of_a_merge_loser_gives_both_their_old_ids() -> None:
    """So an id never changes its meaning."""
    assert person_ids(contact(1, 1), contact(2, 2)) == {CONTACTS[1]: 1, CONTACTS[2]: 2}


def test_id_is_the_smallest_of_the_root_and_what_reaches_it_for_ever() -> None:
    """Permanent edges may give their id, since nothing takes them back; revocable ones may not, however old."""
    group = only(contact(0, 1, into=1), contact(1, 5), lead(1, 4, to=1), lead(2, 3, to=1), lead(3, 2, to=0))
    assert group.subject_id == 3
    assert sorted(group.alias_ids) == [1, 2, 4, 5]


def test_chain_of_merges_ends_at_the_last_winner() -> None:
    """Three duplicates are merged in two steps."""
    group = only(contact(1, 1, into=2), contact(2, 2, into=3), contact(3, 3))
    assert (group.subject_id, group.speaker) == (3, CONTACTS[3])


def test_cycle_ignores_the_edge_whose_loser_was_read_longest_ago() -> None:
    """1 was merged into 2, restored, and 2 was then merged into 1: the older reading is the outdated one."""
    newer, older = contact(2, 2, into=1, stamp=50), contact(1, 1, into=2, stamp=40)
    group = only(older, newer)
    assert (group.subject_id, group.speaker) == (1, CONTACTS[1])


def test_longer_cycle_loses_one_edge_only() -> None:
    """All three stay one person; only who is the root is in doubt."""
    group = only(
        contact(1, 1, into=2, stamp=30), contact(2, 2, into=3, stamp=20), contact(3, 3, into=1, stamp=40)
    )
    assert (group.subject_id, len(group.members)) == (2, 3)


def test_record_merged_into_itself_is_no_endless_loop() -> None:
    """Nonsense from an org must not stop the daemon."""
    assert only(contact(1, 1, into=1)).subject_id == 1


def test_lead_that_was_converted_and_merged_has_a_root_that_deletion_does_not_move() -> None:
    """The root decides the id; were it the live one of two ends, a deletion would change whom an id means."""
    both = replace(lead(1, 1, to=1, deleted=True), master_record_id=LEADS[2])
    live = only(both, contact(1, 2), lead(2, 3))
    dead = only(both, contact(1, 2, deleted=True), lead(2, 3))
    assert live.subject_id == dead.subject_id == 1


def test_never_live_records_have_no_person() -> None:
    """A record first seen deleted was never anybody to the application."""
    assert regroup([contact(1, None, deleted=True)]) == []


def test_record_first_seen_deleted_joins_the_person_it_was_merged_into() -> None:
    """Its Salesforce id still leads somewhere."""
    group = only(contact(1, None, into=2), contact(2, 7))
    assert (group.subject_id, len(group.members), group.alias_ids) == (7, 2, ())


def test_incomplete_live_record_belongs_to_nobody() -> None:
    """A patch of an unknown record makes no person."""
    assert regroup([replace(contact(1, None), complete=False)]) == []


# Who speaks


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (lead(1, 1, to=1), contact(1, 2, deleted=True), "live before deleted"),
        (contact(1, 2), lead(1, 1, to=1), "contact before lead"),
        (contact(1, 2, deleted=True), lead(1, 1, to=1, deleted=True), "contact before lead, both deleted"),
        (contact(2, 2, deleted=True), contact(3, 1, into=2), "root before loser, however large its id"),
    ],
)
def test_speaker_is_the_first_by_rank(first: Member, second: Member, why: str) -> None:
    """The speaking record gives the person its values and its deletedness."""
    for order in permutations([first, second]):
        group = only(*order)
        assert group.speaker == first.record_id, why
        assert group.is_deleted == first.is_deleted


def test_unconverted_lead_speaks_before_a_converted_one_and_later_conversions_before_earlier() -> None:
    """Of several leads of one person the one still worked on is current, then the one converted last."""
    merged = replace(lead(3, 3, deleted=True), master_record_id=LEADS[1])
    early, late = (
        lead(1, 1, to=1, date="2025-01-01", deleted=True),
        lead(2, 2, to=1, date="2026-01-01", deleted=True),
    )
    gone = replace(contact(1, 4, deleted=True), complete=False)
    assert only(early, late, gone).speaker == LEADS[2]
    assert only(early, late, merged, gone).speaker == LEADS[3]


def test_larger_record_id_speaks_when_nothing_else_decides() -> None:
    """Any rule would do, as long as it is one."""
    a = lead(1, 1, to=1, date="2026-01-01")
    b = lead(2, 2, to=1, date="2026-01-01")
    assert only(a, b, contact(1, 3, deleted=True)).speaker == LEADS[2]


def test_person_is_deleted_only_if_all_its_records_are() -> None:
    """A lead that lives on speaks for its deleted contact."""
    assert not only(lead(1, 1, to=1), contact(1, 2, deleted=True)).is_deleted
    assert only(lead(1, 1, to=1, deleted=True), contact(1, 2, deleted=True)).is_deleted


def test_lasting_lead_is_the_one_converted_first_deleted_or_not() -> None:
    """A lead-only column must not jump when a second lead is converted into the contact, nor when one is purged."""
    first = lead(2, 2, to=1, date="2025-01-01", deleted=True)
    second = lead(1, 1, to=1, date="2026-01-01")
    assert only(first, second, contact(1, 3)).lead_id == LEADS[2]
    twin = lead(3, 4, to=1, date="2025-01-01")
    assert only(first, twin, contact(1, 3)).lead_id == LEADS[2]


def test_lead_speaks_for_itself() -> None:
    """Lead columns then come from the speaking record."""
    assert only(lead(1, 1)).lead_id is None


# Any facts in any order


@st.composite
def facts(draw: st.DrawFn) -> list[Member]:
    """Leads converted to any contacts, contacts merged in any way, cycles and unknown targets included."""
    number_of = st.none() | st.integers(0, 3)
    members = []
    ids = iter(draw(st.permutations(range(1, 9))))
    for n in range(draw(st.integers(0, 4))):
        to = draw(number_of)
        date = None if to is None else draw(st.sampled_from(["2025-01-01", "2026-01-01"]))
        members.append(lead(n, next(ids), to=to, date=date, deleted=draw(st.booleans())))
    for n in range(draw(st.integers(0, 4))):
        into, stamp = draw(number_of), draw(st.integers(0, 3))
        members.append(contact(n, next(ids), into=into, stamp=stamp, deleted=draw(st.booleans())))
    return members


def shape(groups: list[Group]) -> set[tuple[int, RecordId, RecordId | None, bool, frozenset[RecordId]]]:
    return {
        (g.subject_id, g.speaker, g.lead_id, g.is_deleted, frozenset(m.record_id for m in g.members))
        for g in groups
    }


@given(facts(), st.randoms(use_true_random=False))
def test_grouping_does_not_depend_on_the_order_of_the_facts(members: list[Member], random: object) -> None:
    """Two daemons that heard the same things differently must agree."""
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shape(regroup(members)) == shape(regroup(shuffled))


@given(facts())
def test_every_id_leads_to_exactly_one_person(members: list[Member]) -> None:
    """Every id ever handed out resolves, and none to two people."""
    groups = regroup(members)
    handed_out = [i for g in groups for i in (g.subject_id, *g.alias_ids)]
    assert sorted(handed_out) == sorted(m.own_id for m in members if m.own_id is not None)


@given(facts())
def test_ids_never_change_their_meaning(members: list[Member]) -> None:
    """Whatever is merged and restored later, the id of a person is that of a record which is it for ever.

    Undeleting every merge loser leaves each person its id, and gives each loser a person of its own again.
    """
    before = {g.subject_id: g for g in regroup(members)}
    restored = [replace(m, is_deleted=False, master_record_id=None) for m in members]
    after = {m.record_id: g.subject_id for g in regroup(restored) for m in g.members}
    for subject_id, group in before.items():
        [keeper] = [m for m in group.members if m.own_id == subject_id]
        assert after[keeper.record_id] == subject_id


@given(facts(), st.integers(0, 7))
def test_deletion_and_restoration_alone_move_nobody(members: list[Member], which: int) -> None:
    """Only edges group; being deleted says who speaks, not who is who."""
    turned = [
        replace(m, is_deleted=not m.is_deleted) if n == which and m.master_record_id is None else m
        for n, m in enumerate(members)
    ]
    ids = {m.record_id: g.subject_id for g in regroup(members) for m in g.members}
    assert ids == {m.record_id: g.subject_id for g in regroup(turned) for m in g.members}

"""Why this record speaks: one sentence for the first thing in which two records differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.identity import Member, regroup
from sfsync.core.speaking import standings, why_it_speaks
from tests.core.test_identity import CONTACTS, LEADS, contact, lead, only


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([contact(0, 1)], "it is the only record"),
        ([contact(0, 1), contact(1, 2, into=0)], f"{CONTACTS[0]} is live, {CONTACTS[1]} is deleted"),
        (
            [
                replace(contact(0, 1, deleted=True), complete=True),
                replace(contact(1, 2, into=0), complete=False),
            ],
            f"{CONTACTS[0]} is known in full, {CONTACTS[1]} only in part",
        ),
        ([contact(0, 1), lead(0, 2, to=0)], f"{CONTACTS[0]} is a contact, {LEADS[0]} is a lead"),
        (
            [contact(0, None, deleted=True), lead(0, 1, to=0, date="2026-01-01"), lead(1, 2, to=0, date="2026-02-01")],
            f"{LEADS[1]} was converted later than {LEADS[0]}",
        ),
        (
            [contact(0, 1, deleted=True), contact(1, 2, into=0)],
            f"{CONTACTS[1]} was merged or converted into another record, {CONTACTS[0]} was not",
        ),
        (
            [contact(0, 1, deleted=True), contact(1, 2, into=0), contact(2, 3, into=0)],
            f"{CONTACTS[2]} was merged or converted into another record, {CONTACTS[0]} was not",
        ),
    ],
)  # fmt: skip
def test_first_difference_is_told(members: list[Member], said: str) -> None:
    """The sentence names both records, so that it can be checked against Salesforce."""
    assert why_it_speaks(only(*members)) == said


def test_every_standing_says_why_it_comes_before_the_next() -> None:
    """The last one comes before none."""
    group = only(contact(0, 1), contact(1, 2, into=0), contact(2, 3, into=0))
    told = standings(group)
    assert [one.record_id for one in told] == [CONTACTS[0], CONTACTS[2], CONTACTS[1]]
    assert told[1].before == f"{CONTACTS[2]} has the larger record id; in all else it equals {CONTACTS[1]}"
    assert told[2].before is None


MEMBERS = st.lists(
    st.one_of(
        st.builds(
            lead,
            st.integers(0, 3),
            st.integers(1, 9),
            to=st.none() | st.integers(0, 3),
            date=st.sampled_from([None, "2026-01-01", "2026-02-01"]),
            deleted=st.booleans(),
        ),
        st.builds(
            contact,
            st.integers(0, 3),
            st.integers(1, 9),
            into=st.none() | st.integers(0, 3),
            stamp=st.integers(0, 2),
            deleted=st.booleans(),
        ),
    ),
    max_size=8,
    unique_by=lambda member: member.record_id,
)


@given(MEMBERS)
def test_who_is_said_to_speak_is_who_speaks(members: list[Member]) -> None:
    """An explanation that disagrees with the row would be worse than none."""
    for group in regroup(members):
        told = standings(group)
        assert told[0].record_id == group.speaker
        assert {one.record_id for one in told} == {member.record_id for member in group.members}
        assert [one.before is None for one in told] == [False] * (len(told) - 1) + [True]

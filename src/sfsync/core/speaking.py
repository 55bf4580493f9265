"""Say in words why one record of a group speaks and not another.

Why: the rule of `identity.py` orders records by a tuple; whoever asks "why does it show this?" needs the first place
in which two of them differ, and one sentence for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .identity import Group, Member, Rank, rank_members
from .ids import RecordId

_WORDS = (
    "{one} is live, {other} is deleted",
    "{one} is known in full, {other} only in part",
    "{one} is a contact, {other} is a lead",
    "{one} is a lead that was not converted, {other} was",
    "{one} was converted later than {other}",
    "{other} was merged or converted into another record, {one} was not",
    "{one} has the larger record id; in all else it equals {other}",
)
ALONE = "it is the only record"


@dataclass(frozen=True, slots=True)
class Standing:
    """A record's place among those that may speak; `before` says why it comes before the next one."""

    record_id: RecordId
    before: str | None


def standings(group: Group) -> list[Standing]:
    """Order the records of *group* by their right to speak; the first one speaks."""
    ranked = rank_members(group.members)
    following = [*ranked[1:], None]
    return [
        Standing(member.record_id, _difference(member, rank, after))
        for (member, rank), after in zip(ranked, following, strict=True)
    ]


def why_it_speaks(group: Group) -> str:
    """Say why the speaker of *group* is not the record that comes next."""
    return standings(group)[0].before or ALONE


def _difference(member: Member, rank: Rank, after: tuple[Member, Rank] | None) -> str | None:
    if after is None:
        return None
    place = next(
        number for number, (one, other) in enumerate(zip(rank, after[1], strict=True)) if one != other
    )
    return _WORDS[place].format(one=member.record_id, other=after[0].record_id)

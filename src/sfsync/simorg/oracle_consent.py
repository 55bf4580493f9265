"""Who may not be written, what must be asked about them, and whom nobody wanted: the rules again, in plain Python.

Why: of an undecided person the org can say what the question is, but not what the row holds. So whoever made the
decisions tells the oracle how the rows were then (`Given.frozen`), and it compares them column by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfsync.simorg.oracle_address import plain
from sfsync.simorg.oracle_rules import Expected, Group, expect
from sfsync.simorg.oracle_state import PERSON_COLUMNS, SHIPPED, Columns, OrgRecord, Row, Side

# What only the org itself sets: nobody can disagree with it.
# What the org fills by itself when a record is made: a blank in the store disagrees with nothing.
DEFAULTED = frozenset({"status", "owner_id"})
COMPARED = PERSON_COLUMNS.keys() - {"created_at", "modified_at", "converted_on"}


@dataclass(frozen=True, slots=True)
class Given:
    """What a history knows and the org cannot tell.

    `frozen`: rows of people who may not be written, as `freeze` returned them after the decision. `erased`: records
    that were purged in the store. `adopted`: records that were imported or asked for at any time, accounts that
    came along included; None when every record becomes somebody.
    """

    frozen: Mapping[int, Row] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()
    adopted: frozenset[str] | None = None
    default_side: str = "company"
    columns: Columns = field(default_factory=lambda: SHIPPED)

    def wants(self, group: Group) -> bool:
        """Tell whether a group must have a row by itself."""
        return self.adopted is None or any(member.id in self.adopted for member in group.members)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the decisions on its records make of a group; with `is_merger` they disagree about a declined one."""

    state: str
    is_merger: bool = False


def standing(group: Group, side: Side) -> Standing:
    """Combine the decisions on the records of *group*."""
    found = {side.records[member.id].decision for member in group.members if member.id in side.records}
    if len(found) < 2:
        return Standing(found.pop() if found else "synced")
    return Standing("pending", is_merger="declined" in found)


def wanted_accounts(
    groups: Iterable[Group], side: Side, given: Given
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the accounts that come along with adopted people, and those that may have come with their records."""
    wanted = [group for group in groups if given.wants(group)]
    speakers = (expect(group, side, {}, vanished_lives=True).speaker for group in wanted)
    members = (member for group in wanted for member in group.members)
    return _accounts_of(speakers), _accounts_of(members)


def _accounts_of(records: Iterable[OrgRecord]) -> frozenset[str]:
    accounts = (record.fields.get("AccountId") for record in records if record.entity == "Contact")
    return frozenset(account for account in accounts if account)


def frozen_differences(frozen: Mapping[int, Row], side: Side) -> Iterator[str]:
    """Find what was written of rows that may not be written."""
    for row_id, before in frozen.items():
        place = f"{side.noun} {row_id}"
        now = side.undecided.get(row_id)
        if row_id not in side.rows:
            yield f"{place}: was {before['sync']}, and its row is gone"
        elif now is None:
            if before["sync"] == "declined":
                yield f"{place}: was declined, and follows the org although nobody decided so"
        else:
            free = () if before["sync"] == "declined" else ("sync", "sync_reason")
            changed = [name for name in before if name not in free and before[name] != now.get(name)]
            if changed:
                yield f"{place}: is {before['sync']}, but {', '.join(changed)} changed"


def undecided_differences(group: Group, side: Side, expected: Expected) -> Iterator[str]:
    """Compare the rows of a group that is not synced, and the question about it, with what they must be."""
    stands = standing(group, side)
    place = f"{side.noun} {group.subject_id} ({group.root})"
    allowed = {"declined"} if stands.state == "declined" else {"pending", "declined"}
    for row in _own_rows(group, side):
        if row["sync"] not in allowed:
            yield f"{place}: row {row['id']} is {row['sync']}, it must be {stands.state}"
    asked = side.pending.get(group.subject_id or 0, [])
    merged_into = side.rows[group.subject_id or 0]["merged_into"]
    if merged_into is not None:
        yield f"{place}: is marked as merged into {merged_into}, but it stands for itself"
    if stands.state == "declined" and asked:
        yield f"{place}: is declined, and crm.pending_decision still asks"
    if stands.state == "pending":
        # An undecided loser of a merge is shown by its own row, which nobody emptied.
        row = side.rows[asked[0]["row_id"] if asked else group.subject_id or 0]
        yield from (f"{place}: {said}" for said in _question_differences(asked, row, expected, stands))


def idle_questions(undecided: Iterable[Group], side: Side) -> Iterator[str]:
    """Find questions about people who are none."""
    for person_id in sorted(side.pending.keys() - {group.subject_id for group in undecided}):
        if side.rows.get(person_id, {}).get("sync") == "synced":
            yield f"{side.noun} {person_id}: crm.pending_decision asks about it, but it is synced"


def _own_rows(group: Group, side: Side) -> Iterator[Row]:
    for member in group.members:
        known = side.records.get(member.id)
        row = side.rows.get(known.own_id) if known and known.own_id is not None else None
        if row is not None and row["merged_into"] is None:
            yield row


def _question_differences(
    asked: Sequence[Row], row: Row, expected: Expected, stands: Standing
) -> Iterator[str]:
    if not asked:
        yield "is pending, but not in crm.pending_decision"
        return
    first = asked[0]
    if first["salesforce_id"] != expected.speaker.id:
        yield f"the question is about {first['salesforce_id']}, it must be {expected.speaker.id}"
    if (first["reason"] == "merged") != stands.is_merger:
        yield f"the reason is {first['reason']}, but its records were {'' if stands.is_merger else 'not '}merged"
    if first["reason"] in ("unread", "absent"):
        if not expected.speaker.is_purged:
            yield f"the reason is {first['reason']}, but the org has the record"
        return
    if first["is_deleted"] != expected.is_deleted:
        yield f"is_deleted is {first['is_deleted']} in the question"
    yield from _column_differences(asked, row, expected)


def _column_differences(asked: Sequence[Row], row: Row, expected: Expected) -> Iterator[str]:
    listed = {one["column_name"]: one for one in asked if one["column_name"] is not None}
    open_ = {
        name: value
        for name, value in expected.values.items()
        if name in COMPARED and name not in expected.guesses and _disagrees(name, row[name], value)
    }
    for name in sorted(open_.keys() - listed.keys()):
        yield f"crm.pending_decision does not list {name}"
    for name in sorted(listed.keys() - open_.keys() - expected.guesses):
        yield f"crm.pending_decision lists {name}, which does not differ"
    for name in sorted(listed.keys() & open_.keys()):
        if isinstance(open_[name], str) and listed[name]["salesforce_value"] != open_[name]:
            yield f"crm.pending_decision shows another {name} than the org"
    if not open_ and not expected.guesses and asked[0]["reason"] == "differs":
        yield "is pending, although nothing differs"


def _disagrees(name: str, stored: Any, told: Any) -> bool:
    return not is_same(stored, told) and (stored is not None or name not in DEFAULTED)


def is_same(stored: Any, told: Any) -> bool:
    """Tell whether two values count as equal: blank is null or unticked, white space and line ends do not matter."""
    if isinstance(stored, bool) or isinstance(told, bool):
        return bool(stored) == bool(told)
    if isinstance(stored, str | None) and isinstance(told, str | None):
        return plain(stored) == plain(told)
    return bool(stored == told)

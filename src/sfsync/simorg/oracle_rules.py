"""Who is one person, under which id, and what its row must be: the rules again, in plain Python.

Why: said a second time by somebody who does not look at the first. Ids are the only thing taken from the store: a
record's own id is whatever the store once gave it, so the comparison is "equal up to the naming of ids".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sfsync.simorg.oracle_state import DAY, EXACT, FLAG, INSTANT, TEXT, WHOLE, WIDE, Column, OrgRecord, Side

# Who is one -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """The records that are one person or company; `subject_id` is None as long as none was handed an id."""

    members: tuple[OrgRecord, ...]
    root: OrgRecord
    subject_id: int | None

    def live(self, *, vanished_lives: bool) -> list[OrgRecord]:
        """Return the members that are live, counting vanished ones in or out."""
        return [m for m in self.members if not m.is_deleted and (vanished_lives or not m.vanished)]


def group_records(records: Iterable[OrgRecord], side: Side) -> list[Group]:
    """Group the records that the store can know of: leads and contacts, or accounts."""
    present = {r.id: r for r in records if not r.is_purged or r.id in side.records}
    lasting = _edges(present, side, {r.id: r.contact_id for r in present.values()})
    revocable = _edges(present, side, {r.id: r.master_id for r in present.values()})
    _cut_cycles(present, lasting, revocable)
    neighbours: defaultdict[str, set[str]] = defaultdict(set)
    for source, target in [*lasting.items(), *revocable.items()]:
        neighbours[source].add(target)
        neighbours[target].add(source)
    groups, seen = [], set[str]()
    for start in present:
        if start not in seen:
            ids = _reachable(start, neighbours)
            seen |= ids
            groups.append(_group([present[i] for i in sorted(ids)], lasting, revocable, side))
    return groups


def _edges(present: Mapping[str, OrgRecord], side: Side, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return the edges between records that the store can know.

    Where a record left the recycle bin, only the store knows whether it had read its edge in time.
    """
    edges = {}
    for source, target in wanted.items():
        if target is None or target not in present:
            continue
        known_source, known_target = side.records.get(source), side.records.get(target)
        together = known_source and known_target and known_source.subject_id == known_target.subject_id
        if together or not present[source].is_purged:
            edges[source] = target
    return edges


def _cut_cycles(
    present: Mapping[str, OrgRecord], lasting: Mapping[str, str], revocable: dict[str, str]
) -> None:
    """Ignore, in each cycle, the merge whose loser has the oldest SystemModstamp."""
    for start in list(revocable):
        path, step = [start], revocable.get(start)
        while step is not None and step not in path:
            path.append(step)
            step = revocable.get(step) or lasting.get(step)
        if step == start:
            losers = [i for i in path if i in revocable]
            del revocable[min(losers, key=lambda i: (present[i].fields.get("SystemModstamp") or "", i))]


def _reachable(start: str, neighbours: Mapping[str, set[str]]) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        fresh = neighbours.get(frontier.pop(), set()) - found
        found |= fresh
        frontier += fresh
    return found


def _group(
    members: Sequence[OrgRecord], lasting: Mapping[str, str], revocable: Mapping[str, str], side: Side
) -> Group:
    root = max(
        (m for m in members if m.id not in lasting and m.id not in revocable),
        key=lambda m: (m.entity == "Contact", m.id),
    )
    naming = [m for m in members if m is root or _leads_to(m.id, root.id, lasting)]
    own_ids = _own_ids(naming, side) or _own_ids(members, side)
    return Group(tuple(members), root, min(own_ids, default=None))


def _leads_to(source: str, goal: str, lasting: Mapping[str, str]) -> bool:
    step = lasting.get(source)
    for _ in lasting:
        if step is None or step == goal:
            break
        step = lasting.get(step)
    return step == goal


def _own_ids(members: Iterable[OrgRecord], side: Side) -> list[int]:
    known = (side.records.get(member.id) for member in members)
    return [k.own_id for k in known if k is not None and k.own_id is not None]


# What its row must be -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """The row of one group; `guesses` names the columns whose last value nobody could read."""

    speaker: OrgRecord
    is_deleted: bool
    values: Mapping[str, Any]
    guesses: frozenset[str]


def expect(
    group: Group, side: Side, company_ids: Mapping[str, int | None], *, vanished_lives: bool
) -> Expected:
    """Return what the row of *group* must be; *company_ids* tells the company of each account."""
    live = group.live(vanished_lives=vanished_lives)
    speaker = max(group.members, key=lambda m: _rank(m, group.root, is_live=m in live))
    leads = [m for m in group.members if m.entity == "Lead"]
    lead = min(leads, key=lambda m: (m.fields.get("ConvertedDate") or "9999", m.id), default=None)
    values: dict[str, Any] = {}
    guesses = set[str]()
    for name, column in side.columns.items():
        source = lead if column.keeps_lead and speaker.entity == "Contact" else speaker
        values[name] = _value(column, source)
        if source is not None and source.is_purged:
            guesses.add(name)
    if side.noun == "person":
        values["source"] = speaker.entity.lower()
        account = speaker.fields.get("AccountId") if speaker.entity == "Contact" else None
        values["company_id"] = company_ids.get(account) if account else None
        if speaker.is_purged:
            guesses.add("company_id")
    return Expected(speaker, not live, {"salesforce_id": speaker.id, **values}, frozenset(guesses))


def _rank(member: OrgRecord, root: OrgRecord, *, is_live: bool) -> tuple[Any, ...]:
    return (
        is_live,
        member.entity != "Lead",
        not member.fields.get("ConvertedContactId"),
        member.fields.get("ConvertedDate") or "",
        member is root,
        member.id,
    )


def _value(column: Column, source: OrgRecord | None) -> Any:
    if source is None:
        return None
    name = {"Lead": column.lead, "Contact": column.contact, "Account": column.account}[source.entity]
    raw = source.fields.get(name) if name else None
    return None if raw is None or raw == "" else _READERS[column.type](raw)


def _instant(raw: str) -> datetime:
    return datetime.strptime(raw, "%Y-%m-%dT%H:%M:%S.%f%z")


def _text(raw: str) -> str:
    # What no database holds is replaced, and that is declared.
    return raw.replace("\0", "\ufffd")


def _exact(raw: float) -> Decimal:
    return Decimal(repr(raw))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    TEXT: _text,
    FLAG: bool,
    INSTANT: _instant,
    WHOLE: int,
    WIDE: int,
    EXACT: _exact,
    DAY: date.fromisoformat,
}

"""Which records are one person (or one company), under which id, and which of them speaks.

Why: an application stores our person id next to its own history, so an id must never change its meaning,
whatever is converted, merged, deleted or restored, and in whatever order we hear of it. Grouping therefore
depends on facts only. It is recomputed from the records of one group at a time and never updated
incrementally: an undelete would have to undo a union.

Edges: lead → the contact it was converted to, permanent once read; deleted record → the record it was merged
into, revocable, because an undelete takes it back. Both are facts of the record they leave from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .ids import Entity, RecordId


@dataclass(frozen=True, slots=True)
class Member:
    """The facts of one record that identity depends on.

    `own_id` is None until the record was first live, or was imported before it was ever read.
    """

    entity: Entity
    record_id: RecordId
    own_id: int | None
    complete: bool
    is_deleted: bool
    modstamp_ms: int = 0
    master_record_id: RecordId | None = None
    converted_contact_id: RecordId | None = None
    converted_date: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One person or company: its id, the record whose values it shows, and its members.

    `lead_id` is the lead whose values stay in columns that only leads feed; None unless a contact speaks.
    """

    subject_id: int
    speaker: RecordId
    lead_id: RecordId | None
    is_deleted: bool
    members: tuple[Member, ...]

    @property
    def alias_ids(self) -> tuple[int, ...]:
        """The ids that lead here without being the group's own."""
        return tuple(m.own_id for m in self.members if m.own_id is not None and m.own_id != self.subject_id)


def regroup(members: Iterable[Member]) -> list[Group]:
    """Group *members*, which MUST hold every record of each group it touches.

    A set of records none of which was ever live, or was imported, has no person and gives no group.
    """
    present = {m.record_id: m for m in members if m.complete or m.is_deleted or m.own_id is not None}
    permanent = _edges(present, lambda member: member.converted_contact_id)
    revocable = _edges(present, lambda member: member.master_record_id)
    _break_cycles(present, permanent, revocable)
    groups = (
        _group(present, component, permanent, revocable)
        for component in _components(present, permanent, revocable)
    )
    return [group for group in groups if group is not None]


Edges = dict[RecordId, RecordId]


def _edges(present: Mapping[RecordId, Member], target_of: Callable[[Member], RecordId | None]) -> Edges:
    """Return the edges whose target is present; an edge to a record that has no row does not exist."""
    targets = ((member.record_id, target_of(member)) for member in present.values())
    return {source: target for source, target in targets if target is not None and target in present}


def _targets(record_id: RecordId, permanent: Edges, revocable: Edges) -> list[RecordId]:
    return [target for target in (permanent.get(record_id), revocable.get(record_id)) if target is not None]


def _break_cycles(present: Mapping[RecordId, Member], permanent: Edges, revocable: Edges) -> None:
    """Ignore, in each cycle, the revocable edge whose loser was read with the oldest SystemModstamp."""
    while cycle := _find_cycle(present, permanent, revocable):
        losers = [record_id for record_id in cycle if revocable.get(record_id) in cycle]
        if not losers:
            return
        del revocable[min(losers, key=lambda record_id: (present[record_id].modstamp_ms, record_id))]


def _find_cycle(present: Mapping[RecordId, Member], permanent: Edges, revocable: Edges) -> set[RecordId]:
    """Return the records that reach themselves, of one cycle; empty when there is none."""
    for start in sorted(present):
        reached: set[RecordId] = set()
        frontier = _targets(start, permanent, revocable)
        while frontier:
            record_id = frontier.pop()
            if record_id not in reached:
                reached.add(record_id)
                frontier.extend(_targets(record_id, permanent, revocable))
        if start in reached:
            return {record_id for record_id in reached if _reaches(record_id, start, permanent, revocable)}
    return set()


def _reaches(source: RecordId, goal: RecordId, permanent: Edges, revocable: Edges) -> bool:
    reached, frontier = set(), [source]
    while frontier:
        for target in _targets(frontier.pop(), permanent, revocable):
            if target == goal:
                return True
            if target not in reached:
                reached.add(target)
                frontier.append(target)
    return False


def _components(
    present: Mapping[RecordId, Member], permanent: Edges, revocable: Edges
) -> Iterable[list[Member]]:
    neighbours: dict[RecordId, list[RecordId]] = {record_id: [] for record_id in present}
    for edges in (permanent, revocable):
        for source, target in edges.items():
            neighbours[source].append(target)
            neighbours[target].append(source)
    unseen = set(present)
    while unseen:
        frontier, component = [min(unseen)], []
        while frontier:
            record_id = frontier.pop()
            if record_id in unseen:
                unseen.remove(record_id)
                component.append(present[record_id])
                frontier.extend(neighbours[record_id])
        yield component


def _group(
    present: Mapping[RecordId, Member], component: Sequence[Member], permanent: Edges, revocable: Edges
) -> Group | None:
    roots = [m for m in component if not _targets(m.record_id, permanent, revocable)]
    by_rank = sorted(component, key=lambda m: _rank(m, is_root=m in roots), reverse=True)
    # A lead that was converted and then merged has two edges; which end is the root must not depend on what
    # changes, such as being live, or the person's id would change with it.
    root = max(roots, key=lambda m: (m.entity is not Entity.LEAD, m.record_id))
    lasting = [root, *(m for m in component if _reaches_for_ever(m.record_id, root.record_id, permanent))]
    own_ids = [m.own_id for m in lasting if m.own_id is not None]
    own_ids = own_ids or [m.own_id for m in component if m.own_id is not None]
    if not own_ids:
        return None
    speaker = by_rank[0]
    return Group(
        subject_id=min(own_ids),
        speaker=speaker.record_id,
        lead_id=_lasting_lead(component) if speaker.entity is Entity.CONTACT else None,
        is_deleted=speaker.is_deleted,
        members=tuple(component),
    )


Rank = tuple[bool, bool, bool, bool, str, bool, str]


def rank_members(members: Iterable[Member]) -> list[tuple[Member, Rank]]:
    """Order the records of one group by their right to speak, each with what it is ordered by."""
    present = {member.record_id: member for member in members}
    permanent = _edges(present, lambda member: member.converted_contact_id)
    revocable = _edges(present, lambda member: member.master_record_id)
    _break_cycles(present, permanent, revocable)
    ranked = [
        (member, _rank(member, is_root=not _targets(member.record_id, permanent, revocable)))
        for member in present.values()
    ]
    return sorted(ranked, key=lambda one: one[1], reverse=True)


def _rank(member: Member, *, is_root: bool) -> Rank:
    """Order the candidates to speak: live, known in full, contact, unconverted, converted last, root, id."""
    return (
        not member.is_deleted,
        member.complete,
        member.entity is not Entity.LEAD,
        member.converted_contact_id is None,
        member.converted_date or "",
        is_root,
        member.record_id,
    )


def _reaches_for_ever(source: RecordId, root: RecordId, permanent: Edges) -> bool:
    seen: set[RecordId] = set()
    step = permanent.get(source)
    while step is not None and step not in seen:
        if step == root:
            return True
        seen.add(step)
        step = permanent.get(step)
    return False


def _lasting_lead(component: Sequence[Member]) -> RecordId | None:
    leads = [m for m in component if m.entity is Entity.LEAD and m.complete]
    if not leads:
        return None
    return min(leads, key=lambda m: (m.converted_date or "9999-12-31", m.record_id)).record_id

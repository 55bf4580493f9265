"""Recompute which person or company the touched records belong to, and say what must be projected.

Why: nearly every record is a group of its own, so only records with an edge, or ones that may just have got
one, are loaded with their whole group; the rule itself is pure (`core/identity.py`). Work is proportional to
the records touched, never to the table. A record with a decision of its own counts as linked, so that the many
without one cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from ..core.consent import Decision, Reason, combine
from ..core.identity import Group, Member, regroup
from ..core.ids import Entity, RecordId
from .database import Connection, Database


@dataclass(frozen=True, slots=True)
class Touched:
    """A record whose projection must be looked at again.

    `is_linked`: it is or was in a group, waits for its other half, or has a decision of its own.
    `may_be_linked`: it is new to the mirror or became complete or live for the first time, so that an edge or a
    contact of another record may now reach it. One that is not `adopted` becomes nobody.
    """

    record_id: RecordId
    subject_id: int | None
    is_linked: bool = False
    may_be_linked: bool = False
    adopted: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """A group that is pending: who would speak, and why somebody must decide.

    `waiting_ids` are the rows of the records that are pending, the person's own first; `row_ids` all rows of its
    records that may say that they wait, `record_ids` its records.
    """

    subject_id: int
    speaker: RecordId
    lead: RecordId | None
    reason: Reason
    waiting_ids: tuple[int, ...]
    row_ids: tuple[int, ...]
    record_ids: tuple[RecordId, ...]
    alias_ids: tuple[int, ...]


@dataclass(slots=True)
class Regrouping:
    """What identity found: rows to project, ids merged away, and records whose subject is another than before.

    `questions` are groups not to be written, `released` rows that no longer wait, `unasked` people that are no
    question any more, `adopting` records whose group was adopted before them, `adopted_speakers` those who speak for
    adopted people, written or not: their accounts come with them.
    """

    subject_ids: list[int] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    leads: list[str | None] = field(default_factory=list)
    merged: list[tuple[int, int]] = field(default_factory=list)
    moved: list[RecordId] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    unasked: list[int] = field(default_factory=list)
    adopting: list[RecordId] = field(default_factory=list)
    adopted_speakers: list[RecordId] = field(default_factory=list)

    def project(self, subject_id: int, speaker: str, lead: str | None = None) -> None:
        self.subject_ids.append(subject_id)
        self.speakers.append(speaker)
        self.leads.append(lead)


async def regroup_touched(
    connection: Connection, database: Database, org: str, touched: Sequence[Touched]
) -> Regrouping:
    """Write the groups of *touched* records and return what to project. Runs in the apply transaction."""
    result = Regrouping()
    candidates = [t.record_id for t in touched if t.may_be_linked and not t.is_linked]
    linked = {t.record_id for t in touched if t.is_linked}
    if candidates:
        rows = await connection.fetch(database.sql("find_linked"), org, candidates)
        linked.update(row["id"] for row in rows)
    if linked:
        linked |= await _regroup_linked(connection, database, org, sorted(linked), result)
    for t in touched:
        # One that another record of the batch just linked to was projected with its group.
        if t.record_id not in linked and t.subject_id is not None and t.adopted:
            result.project(t.subject_id, t.record_id)
            result.adopted_speakers.append(t.record_id)
        if t.may_be_linked:
            result.moved.append(t.record_id)
    return result


async def _regroup_linked(
    connection: Connection, database: Database, org: str, linked: Sequence[str], result: Regrouping
) -> set[RecordId]:
    """Regroup these records and all that they are in a group with; return whom that concerned."""
    loaded = await connection.fetch(database.sql("load_groups"), org, linked)
    rows = {RecordId(row["id"]): row for row in loaded}
    groups: list[Group] = []
    waiting: set[RecordId] = set()
    for group in regroup(member_of(row) for row in rows.values()):
        if _waits(group, rows):
            waiting.update(member.record_id for member in group.members)
        else:
            groups.append(group)
    # Who is in no group was never live, or is not known well enough yet: nobody's record.
    outcome: dict[RecordId, tuple[int | None, bool]] = dict.fromkeys(rows.keys() - waiting, (None, False))
    outcome |= {m.record_id: (g.subject_id, len(g.members) > 1) for g in groups for m in g.members}
    if outcome:
        ids = list(outcome)
        await connection.execute(
            database.sql("update_members"),
            org,
            ids,
            [outcome[i][0] for i in ids],
            [outcome[i][1] for i in ids],
        )
        # failpoint: members.updated - records are moved to the person they are now
    await _write_aliases(connection, database, org, groups)
    for group in groups:
        _add(result, group, [rows[member.record_id] for member in group.members])
    result.moved.extend(i for i, (subject_id, _) in outcome.items() if subject_id != rows[i]["subject_id"])
    return set(rows)


def _add(result: Regrouping, group: Group, rows: Sequence[asyncpg.Record]) -> None:
    """Say what is to be done for one group, by adoption and consent."""
    if not any(row["adopted"] for row in rows):
        return
    result.adopting.extend(row["id"] for row in rows if not row["adopted"])
    result.adopted_speakers.append(group.speaker)
    result.unasked.extend(group.alias_ids)
    state, is_merger = combine(Decision(row["decision"]) for row in rows)
    if state is not Decision.SYNCED and _is_parted(group, rows):
        # Its row was emptied when it was merged away: there is nothing in it that a decision could keep.
        result.project(group.subject_id, group.speaker, group.lead_id)
    if state is Decision.PENDING:
        speaker = next(row for row in rows if row["id"] == group.speaker)
        reason = Reason.MERGED if is_merger else _reason(speaker)
        row_ids = tuple(row["own_id"] for row in rows if _waits_with(row, group))
        result.questions.append(
            Question(
                subject_id=group.subject_id,
                speaker=group.speaker,
                lead=group.lead_id,
                reason=reason,
                waiting_ids=_waiting_ids(group, rows),
                row_ids=row_ids,
                record_ids=tuple(row["id"] for row in rows),
                alias_ids=group.alias_ids,
            )
        )
        return
    result.unasked.append(group.subject_id)
    if state is Decision.SYNCED and _is_told(group):
        result.released.extend(row["own_id"] for row in rows if row["row_sync"] == "pending")
        result.project(group.subject_id, group.speaker, group.lead_id)
        result.merged.extend((alias, group.subject_id) for alias in group.alias_ids)


def _is_parted(group: Group, rows: Sequence[asyncpg.Record]) -> bool:
    """Tell whether the person's own row is still one that was merged away into somebody else's."""
    return any(row["own_id"] == group.subject_id and row["row_is_merged"] for row in rows)


def _waiting_ids(group: Group, rows: Sequence[asyncpg.Record]) -> tuple[int, ...]:
    waiting = (row["own_id"] for row in rows if row["decision"] == Decision.PENDING and row["row_sync"])
    return tuple(sorted(waiting, key=lambda own_id: (own_id != group.subject_id, own_id)))


def _waits_with(row: asyncpg.Record, group: Group) -> bool:
    """Tell whether the row of this record, if it has one of its own, waits for the decision on *group*."""
    return row["row_sync"] in ("synced", "pending") or (
        row["own_id"] == group.subject_id and bool(row["row_is_merged"])
    )


def _reason(speaker: asyncpg.Record) -> Reason:
    if speaker["complete"] or speaker["is_deleted"]:
        return Reason.DIFFERS
    return Reason.UNREAD if speaker["unseen_since_ms"] is None else Reason.ABSENT


def _is_told(group: Group) -> bool:
    """Tell whether Salesforce said who this is; somebody imported may be wanted before that."""
    return any(m.record_id == group.speaker and (m.complete or m.is_deleted) for m in group.members)


def member_of(row: asyncpg.Record) -> Member:
    """Return what identity must know of a record, from its row of the mirror."""
    return Member(
        entity=Entity(row["entity"]),
        record_id=row["id"],
        own_id=row["own_id"],
        complete=row["complete"],
        is_deleted=row["is_deleted"],
        modstamp_ms=row["modstamp_ms"],
        master_record_id=row["master_record_id"],
        converted_contact_id=row["converted_contact_id"],
        converted_date=row["converted_date"],
    )


def _waits(group: Group, rows: dict[RecordId, asyncpg.Record]) -> bool:
    """Tell whether a half of this group is still expected: a deletion's winner, or a converted lead's contact."""
    present = {member.record_id for member in group.members}
    return any(
        rows[member.record_id]["held"]
        and (
            (member.is_deleted and member.master_record_id is None)
            or (member.converted_contact_id is not None and member.converted_contact_id not in present)
        )
        for member in group.members
    )


async def _write_aliases(
    connection: Connection, database: Database, org: str, groups: Iterable[Group]
) -> None:
    aliases = {alias: group.subject_id for group in groups for alias in group.alias_ids}
    own = [group.subject_id for group in groups]
    if aliases:
        await connection.execute(database.sql("upsert_aliases"), org, list(aliases), list(aliases.values()))
        # failpoint: aliases.written - ids that were merged away lead to their winner
    if own:
        await connection.execute(database.sql("delete_aliases"), own)

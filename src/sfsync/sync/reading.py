"""Turn a page that was read into commands, and keep the rows that cannot be read as dead letters.

Why: one unreadable row must not fail a page of two thousand, and must not be forgotten either: it is dirty, so it
is read again, with growing waits, until it can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.commands import Absence, Cause, Refetch, Snapshot
from ..core.decide import snapshot
from ..core.ids import RecordId, record_id
from ..core.mapping import EntityPlan
from ..errors import DecodeError
from ..salesforce.rest import Page, Rest
from ..salesforce.soql import Selection
from ..store.batch import DeadLetter


def selection(plan: EntityPlan) -> Selection:
    """Return what is read of an entity: everything its plan names."""
    return Selection(plan.entity.value, plan.select)


def read_commands(page: Page, plan: EntityPlan) -> tuple[list[Snapshot | Refetch], list[DeadLetter]]:
    """Return a page's records as commands; those that cannot be read are dead letters and asked for again."""
    commands: list[Snapshot | Refetch] = []
    letters: list[DeadLetter] = []
    for row in page.records:
        try:
            commands.append(snapshot(row, plan, read_from_ms=page.read_from_ms, read_to_ms=page.read_to_ms))
        except DecodeError as error:
            unreadable = _id_of(row)
            letters.append(DeadLetter(str(error), plan.entity.value, unreadable))
            if unreadable is not None:
                commands.append(Refetch(plan.entity, unreadable, page.read_to_ms, Cause.MALFORMED))
    return commands, letters


@dataclass(frozen=True, slots=True)
class Found:
    """What a read of records by id found; absences are among the commands. `read` is the number of rows."""

    commands: Sequence[Snapshot | Refetch | Absence]
    dead_letters: Sequence[DeadLetter]
    read: int
    absent: int
    read_from_ms: int
    read_to_ms: int


async def read_records(rest: Rest, plan: EntityPlan, ids: Sequence[RecordId]) -> Found:
    """Read these records of one entity, deleted ones included. Raises what `Rest.read_by_ids` raises."""
    page = await rest.read_by_ids(selection(plan), ids)
    commands, letters = read_commands(page, plan)
    found = {one for row in page.records if isinstance(one := row.get("Id"), str)}
    absences = [
        Absence(plan.entity, missing, page.read_from_ms, page.read_to_ms)
        for missing in ids
        if missing not in found
    ]
    return Found(
        [*commands, *absences],
        letters,
        len(page.records),
        len(absences),
        page.read_from_ms,
        page.read_to_ms,
    )


async def retrieve_records(
    rest: Rest, plan: EntityPlan, ids: Sequence[RecordId]
) -> tuple[Found, list[RecordId]]:
    """Read those of these records that are live; return them, and the ids of those that this cannot tell of.

    Raises what `Rest.retrieve` raises.
    """
    page = await rest.retrieve(selection(plan), ids)
    commands, letters = read_commands(page, plan)
    found = {row["Id"] for row in page.records}
    missing = [one for one in ids if one not in found]
    return Found(commands, letters, len(page.records), 0, page.read_from_ms, page.read_to_ms), missing


def _id_of(row: dict[str, object]) -> RecordId | None:
    try:
        return record_id(str(row.get("Id")))
    except ValueError:
        return None

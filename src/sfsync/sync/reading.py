"""Turn a page that was read into commands, and keep the rows that cannot be read as dead letters.

Why: one unreadable row must not fail a page of two thousand, and must not be forgotten either: it is dirty, so it
is read again, with growing waits, until it can be read.
"""

from __future__ import annotations

from ..core.commands import Cause, Refetch, Snapshot
from ..core.decide import snapshot
from ..core.ids import RecordId, record_id
from ..core.mapping import EntityPlan
from ..errors import DecodeError
from ..salesforce.rest import Page
from ..salesforce.soql import Selection
from ..store.apply import DeadLetter


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


def _id_of(row: dict[str, object]) -> RecordId | None:
    try:
        return record_id(str(row.get("Id")))
    except ValueError:
        return None

"""Turn a page that was read into commands, and keep the rows that cannot be read as dead letters.

Why: one unreadable row must not fail a page of two thousand, and must not be forgotten either.
"""

from __future__ import annotations

from ..core.commands import Snapshot
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


def read_commands(page: Page, plan: EntityPlan) -> tuple[list[Snapshot], list[DeadLetter]]:
    """Return a page's records as commands, and dead letters for those that cannot be read."""
    commands: list[Snapshot] = []
    letters: list[DeadLetter] = []
    for row in page.records:
        try:
            commands.append(snapshot(row, plan, read_from_ms=page.read_from_ms, read_to_ms=page.read_to_ms))
        except DecodeError as error:
            letters.append(DeadLetter(str(error), plan.entity.value, _id_of(row)))
    return commands, letters


def _id_of(row: dict[str, object]) -> RecordId | None:
    try:
        return record_id(str(row.get("Id")))
    except ValueError:
        return None

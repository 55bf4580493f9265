"""How records stand in the store: what is known of each, and the person or company it is part of today.

Why: whoever had a record read must hear what is true after the commit. The ordering rule says what one read was worth
against one mirror row; the person may be another record's by now, may be declined, or wait for a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from ..core.ids import RecordId, record_id
from .database import Database


@dataclass(frozen=True, slots=True)
class Difference:
    """One column in which a person would change."""

    column: str
    stored: str | None
    salesforce: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """Why a person waits for a decision, and what sending it off would rest on."""

    reason: str
    is_deleted: bool
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """One record and its person or company.

    `version` differs when a mapped column of either changed. `retry_ms`: the org's instant of the next read when
    something is unsettled. `parked`: why what was read could not be stored, if so.
    """

    is_known: bool
    is_deleted: bool
    adopted: bool
    unseen_since_ms: int | None
    speaker: RecordId | None
    account_id: RecordId | None
    retry_ms: int | None
    parked: str | None
    person_id: int | None
    company_id: int | None
    sync: str | None
    sync_reason: str | None
    deleted_at: datetime | None
    version: tuple[object, ...]
    unknown_links: tuple[RecordId, ...]


async def load_standings(database: Database, org: str, ids: Sequence[RecordId]) -> dict[RecordId, Standing]:
    """Return the standing of each of these records, also of those that are not known."""
    rows = await database.fetch("load_standings", org, ids)
    return {RecordId(row["id"]): _standing(row) for row in rows}


def _standing(row: asyncpg.Record) -> Standing:
    columns: dict[str, Any] = dict(row)
    del columns["id"]
    version = (
        columns["person_id"],
        columns.pop("synced_at"),
        columns["company_id"],
        columns.pop("company_synced_at"),
    )
    links = tuple(record_id(link) for link in columns.pop("unknown_links"))
    return Standing(**columns, version=version, unknown_links=links)


async def load_questions(database: Database, person_ids: Sequence[int]) -> dict[int, Question]:
    """Return what these people wait for, as the store sees it at this moment."""
    found: dict[int, Question] = {}
    for row in await database.fetch("load_differences", list(person_ids)):
        old = found.get(row["person_id"])
        differences = old.differences if old else ()
        if row["column_name"] is not None:
            differences += (Difference(row["column_name"], row["stored_value"], row["salesforce_value"]),)
        found[row["person_id"]] = Question(row["reason"], row["is_deleted"], differences)
    return found


async def record_of_person(database: Database, org: str, person_id: int) -> RecordId:
    """Return the record that speaks for a person, given any of its ids. Raises `ValueError` when there is none."""
    rows = await database.fetch("load_person_record", org, person_id)
    if not rows or rows[0]["id"] is None:
        raise ValueError(f"there is no person {person_id} with a record in Salesforce")
    return record_id(rows[0]["id"])

"""Read people and companies for whoever asks: the HTTP API and `sfsync explain`.

Why: an answer is made of several statements, and what is committed between two of them must not show in it, so each
answer is read in one snapshot, in which nothing can be written. Rows come as JSON that Postgres wrote, and are passed
on without being turned into floats. Statements are planned for the filters that are given: one plan for all of them
would read the table from its beginning to find one company's people.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from ..core.ids import RecordId, entity_of, record_id
from ..errors import ConfigError
from .database import Connection, Database
from .report import certificate, instant, plain

Told = dict[str, Any]
"""Facts that `msgspec.json.encode` can write."""

Kind = Literal["person", "company"]
Reference = int | RecordId
"""How somebody names a person or company: an id that we once handed out, or a record's."""

_SNAPSHOT = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL plan_cache_mode = force_custom_plan
"""
_ID_MAX = 2**63 - 1
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_COMMON = ("id", "org", "salesforce_id", "merged_into", "deleted_at", "synced_at")
OWN_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "person": (*_COMMON, "source", "company_id", "sync", "sync_reason", "address_preference"),
    "company": _COMMON,
}
"""The columns of each table that sfsync keeps whatever the mapping says."""


def parse_reference(text: str) -> Reference:
    """Read an id as people write it. Raises `ValueError`, without quoting it, when it is none."""
    if _NUMBER.fullmatch(text) and len(text) < 15 and int(text) <= _ID_MAX:
        return int(text)
    if entity_of(text) is None:
        if _NUMBER.fullmatch(text) and int(text) <= _ID_MAX:
            return int(text)
        raise ValueError("neither an id of ours nor the id of a Lead, Contact or Account")
    return record_id(text)


@dataclass(frozen=True, slots=True)
class Found:
    """The person or company that an id means today."""

    kind: Kind
    id: int
    org: str


@dataclass(frozen=True, slots=True)
class Page:
    """Where a list goes on, and how long a part of it may be. `after` is an id, or a seq to go back from."""

    after: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Which people or companies are asked for; None asks for any."""

    sync: str | None = None
    company_id: int | None = None
    id: int | None = None
    written_since: datetime | None = None
    with_deleted: bool = False
    with_merged: bool = False


class Reader:
    """One snapshot of the store of one org."""

    def __init__(self, connection: Connection, database: Database, org: str) -> None:
        self._connection = connection
        self._database = database
        self.org = org

    async def fetch(self, name: str, *values: object) -> list[asyncpg.Record]:
        """Run `sql/<name>.sql` in the snapshot."""
        return await self._connection.fetch(self._database.sql(name), *values)

    async def has_view(self, name: str) -> bool:
        """Tell whether crm has a view of this name, which some views have only once a mapping was bound."""
        qualified = self._database.schemas.rename(f"crm.{name}")
        return await self._connection.fetchval("SELECT to_regclass($1) IS NOT NULL", qualified) is True


@asynccontextmanager
async def open_reader(database: Database) -> AsyncIterator[Reader]:
    """Open a snapshot. Raises `ConfigError` when the store is bound to no org, `SchemaError` when it is not set up."""
    async with database.transaction() as connection:
        await connection.execute(_SNAPSHOT)
        rows = await connection.fetch(database.sql("load_bound_org"))
        if not rows:
            raise ConfigError("the store is bound to no org yet: start sfsync run first")
        yield Reader(connection, database, rows[0]["id"])


async def find(reader: Reader, reference: Reference) -> Found | None:
    """Follow an id to whom it means today."""
    number, record = (reference, None) if isinstance(reference, int) else (None, reference)
    rows = await reader.fetch("find_subject", reader.org, number, record)
    return Found(rows[0]["subject"], rows[0]["id"], rows[0]["org"]) if rows else None


async def list_people(reader: Reader, chosen: Filter, page: Page) -> list[Told]:
    """List people by id."""
    rows = await reader.fetch(
        "list_people",
        reader.org,
        page.after or 0,
        page.limit,
        chosen.sync,
        chosen.company_id,
        chosen.id,
        chosen.written_since,
        chosen.with_deleted,
        chosen.with_merged,
    )
    return await _tell_rows(reader, "person", [row["row"] for row in rows])


async def list_companies(reader: Reader, chosen: Filter, page: Page) -> list[Told]:
    """List companies by id."""
    rows = await reader.fetch(
        "list_companies",
        reader.org,
        page.after or 0,
        page.limit,
        chosen.id,
        chosen.written_since,
        chosen.with_deleted,
        chosen.with_merged,
    )
    return await _tell_rows(reader, "company", [row["row"] for row in rows])


async def load_row(reader: Reader, found: Found) -> Told:
    """Return the row of a person or company: sfsync's own columns, and `columns` with the mapped ones."""
    rows = await reader.fetch("load_subject", found.kind, found.id)
    [told] = await _tell_rows(reader, found.kind, [row["row"] for row in rows])
    return told


async def _tell_rows(reader: Reader, kind: Kind, texts: Iterable[str]) -> list[Told]:
    mapped = await load_mapped(reader, kind)
    return [_tell_row(kind, text, mapped) for text in texts]


def _tell_row(kind: Kind, text: str, mapped: Mapping[str, Told]) -> Told:
    values = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    told: Told = {name: values.pop(name) for name in OWN_COLUMNS[kind]}
    return told | {"columns": {name: value for name, value in values.items() if name in mapped}}


async def load_mapped(reader: Reader, kind: Kind) -> dict[str, Told]:
    """Return what the mapping says of each column, by name."""
    rows = await reader.fetch("load_mapped_columns", kind)
    return {row["column_name"]: plain(row) | {"sources": json.loads(row["sources"])} for row in rows}


async def load_members(
    reader: Reader, found: Found, row: Told, question: Told | None
) -> list[asyncpg.Record]:
    """Return the mirror's rows of the records of a person or company, by record id."""
    known = [msgspec.json.decode(row["salesforce_id"])]
    if question is not None:
        known += [question["speaker"], question["lead"]]
    return await reader.fetch(
        "load_subject_records", found.org, found.id, [one for one in known if one is not None]
    )


def tell_record(row: asyncpg.Record) -> Told:
    """Say what is known of a record besides its values."""
    return {
        "salesforce_id": row["id"],
        "entity": row["entity"],
        "own_id": row["own_id"],
        "is_deleted": row["is_deleted"],
        "is_complete": row["complete"],
        "is_adopted": row["adopted"],
        "decision": row["decision"],
        "converted_to": row["converted_contact_id"],
        "merged_into": row["master_record_id"],
        "account_id": row["account_id"],
        "modstamp": instant(row["modstamp_ms"] or None),
        "last_commit": instant(row["last_commit_ms"]),
        "unseen_since": instant(row["unseen_since_ms"]),
    }


async def load_aliases(reader: Reader, found: Found) -> list[int]:
    """Return the other ids that lead to a person or company."""
    return [row["own_id"] for row in await reader.fetch("load_aliases", found.org, found.id)]


async def load_address(reader: Reader, person_id: int) -> msgspec.Raw | None:
    """Return the address that was chosen for a person; None before the first mapping was bound."""
    if not await reader.has_view("person_address"):
        return None
    rows = await reader.fetch("load_address_of", person_id)
    return msgspec.Raw(rows[0]["row"].encode()) if rows else None


async def load_history(reader: Reader, found: Found, page: Page) -> list[Told]:
    """List what became of a person or company, the newest first; `page.after` is a seq to go back from."""
    rows = await reader.fetch("list_history", found.org, found.id, page.after, page.limit)
    return [plain(row) for row in rows]


async def list_questions(reader: Reader, page: Page, person_id: int | None = None) -> list[Told]:
    """List the people who wait for a decision, by id, each with the columns that differ."""
    asked = await reader.fetch("list_pending", reader.org, page.after or 0, page.limit, person_id)
    told = {row["person_id"]: plain(row) | {"is_deleted": False, "columns": []} for row in asked}
    if told:
        for row in await reader.fetch("load_differences", list(told)):
            question = told[row["person_id"]]
            question["is_deleted"] = row["is_deleted"]
            if row["column_name"] is not None:
                named = ("column_name", "stored_value", "salesforce_value")
                question["columns"].append({name: row[name] for name in named})
    return list(told.values())


async def load_question(reader: Reader, person_id: int) -> Told | None:
    """Return what a person waits for; None when it waits for no decision."""
    questions = await list_questions(reader, Page(limit=1), person_id)
    return questions[0] if questions else None


async def list_certificates(reader: Reader, entity: str | None, page: Page) -> list[Told]:
    """List certificates, the newest first; `page.after` is an id to go back from."""
    rows = await reader.fetch("list_certificates", reader.org, entity, page.after, page.limit)
    return [certificate(row) for row in rows]


async def load_requests(database: Database, ids: list[int]) -> list[Told]:
    """Tell what became of requests, by id."""
    return [
        plain(row) | {"detail": msgspec.Raw(row["detail"].encode()) if row["detail"] else None}
        for row in await database.fetch("load_requests", ids)
    ]

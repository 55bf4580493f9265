"""Take imported rows: whose they are, what of them is written, and what waits to be read from Salesforce.

Why: an import runs in the leader's fenced transactions, some thousand rows at a time, so that events go on in between
and a daemon that dies repeats at most one part; the rows that a part took are forgotten with it, and its count is
kept with it. An imported person waits, `pending`, until its record was read, whatever the file says. A rehearsal asks
the same questions and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from ..core.consent import Decision
from ..core.ids import Entity, RecordId, entity_of
from ..core.importing import Facts, Fate, Tally, fate_of
from ..core.people_cells import CLEAR
from .database import Connection, Database
from .erased import Erased, load_erased
from .import_statements import ImportStatements

ERASED = "erased: this record was purged from the store"
ERASED_COMPANY = "erased: the record of its company was purged from the store"
Arrays = tuple[list[int | None], list[str], list[str | None], list[str], list[str | None]]


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file as its statements need it: what it is called in the change feed, and the side of addresses it chooses."""

    statements: ImportStatements
    source: str
    side: str | None


@dataclass(slots=True)
class Named:
    """A row's record; `own_id` is None when it was never live."""

    line: int
    record_id: RecordId
    own_id: int | None


@dataclass(slots=True)
class Person:
    """What rows of one part make of one person: several rows when they name several of its records.

    `has_row`: it is in crm.person. `person_id` is None when it is in no group either.
    """

    record_id: RecordId
    person_id: int | None
    has_row: bool
    company: str | None = None
    cells: dict[str, str | None] = field(default_factory=dict)
    rows: list[Named] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """What is to be done with some rows of a file. `unknown`: records of known people that nobody told us about."""

    created: list[Person] = field(default_factory=list)
    present: list[Person] = field(default_factory=list)
    companies: dict[RecordId, dict[str, str | None]] = field(default_factory=dict)
    unknown: list[RecordId] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


async def plan_part(
    connection: Connection, database: Database, org: str, rows: Sequence[asyncpg.Record], tally: Tally
) -> Part:
    """Say what is to be done with *rows*, counting what is settled by that in a copy of *tally*."""
    part = Part(tally=tally.copy())
    await connection.execute(database.sql("prefer_keys"))
    erased = await load_erased(connection, database, org)
    found = await connection.fetch(
        database.sql("find_import_subjects"), org, [row["record_id"] for row in rows]
    )
    people: dict[int | str, Person] = {}
    for row, facts in zip(rows, found, strict=True):
        reason = _erased_reason(row, erased)
        fate = fate_of(
            Facts(facts["decision"], facts["sync"], facts["sync_reason"], is_followed=facts["is_followed"])
        )
        if reason:
            part.rejected.append((row["line"], reason))
            part.tally.note(Fate.REJECTED, row["line"], row["record_id"], reason)
        elif fate in (Fate.CREATED, Fate.UPDATED):
            _add(people, row, facts)
            if row["company_id"] not in (None, CLEAR):
                part.companies.setdefault(RecordId(row["company_id"]), {}).update(
                    msgspec.json.decode(row["company_cells"])
                )
        else:
            part.tally.note(fate, row["line"], row["record_id"])
            if not facts["known"]:
                part.unknown.append(RecordId(row["record_id"]))
    part.created = [person for person in people.values() if not person.has_row]
    part.present = [person for person in people.values() if person.has_row]
    return part


def _erased_reason(row: asyncpg.Record, erased: Erased) -> str:
    if erased.is_erased(row["record_id"]):
        return ERASED
    company = row["company_id"]
    return ERASED_COMPANY if company is not None and erased.is_erased(company) else ""


def _add(people: dict[int | str, Person], row: asyncpg.Record, facts: asyncpg.Record) -> None:
    record_id = RecordId(row["record_id"])
    person_id = facts["person_id"] or facts["subject_id"]
    has_row = facts["person_id"] is not None
    person = people.setdefault(person_id or record_id, Person(record_id, person_id, has_row))
    person.company = row["company_id"] or person.company
    person.cells |= msgspec.json.decode(row["cells"])
    person.rows.append(Named(row["line"], record_id, facts["own_id"]))


# Rehearse ---------------------------------------------------------------------------------------------


async def rehearse_part(
    connection: Connection, database: Database, org: str, file: ImportFile, part: Part
) -> Tally:
    """Count what taking *part* would do. Reads only."""
    statements = file.statements
    differing = await connection.fetch(
        statements.compare_people, org, *_people_arrays(part.present, file.side)
    )
    companies = list(part.companies)
    found = await connection.fetch(database.sql("find_import_companies"), org, companies)
    stored = await connection.fetch(
        statements.compare_companies,
        org,
        *_company_arrays([row["subject_id"] for row in found], companies, part),
    )
    made = {one for one, row in zip(companies, found, strict=True) if not row["has_row"]}
    _count(part, differing, made | {row["record_id"] for row in stored})
    return part.tally


# Take -------------------------------------------------------------------------------------------------


async def take_part(
    connection: Connection, database: Database, org: str, file: ImportFile, part: Part
) -> list[RecordId]:
    """Write *part* and return the records whose projection must be looked at. Runs in the leader's transaction."""
    companies_changed, accounts = await _write_companies(connection, database, org, file, part)
    await _create_people(connection, database, org, file, part)
    differing = await connection.fetch(
        file.statements.update_people, org, *_people_arrays(part.present, file.side), file.source
    )
    _count(part, differing, companies_changed)
    changed = {row["record_id"] for row in differing}
    marks = dict.fromkeys(part.unknown, False) | {one: one in companies_changed for one in part.companies}
    for person in (*part.created, *part.present):
        is_changed = not person.has_row or person.record_id in changed
        marks |= {one.record_id: is_changed for one in person.rows}
    await connection.execute(
        database.sql("mark_imported"), org, list(marks), _entities(marks), list(marks.values())
    )
    await connection.execute(database.sql("notify_change"), org)
    looked_at = [person for person in part.present if person.record_id in changed] + part.created
    ids = [one.record_id for person in looked_at for one in person.rows]
    told = await connection.fetch(database.sql("find_projectable"), org, ids)
    return [*accounts, *(row["id"] for row in told)]


async def _create_people(
    connection: Connection, database: Database, org: str, file: ImportFile, part: Part
) -> None:
    """Give each new person an id and a row that waits, and its record a row in the mirror."""
    if not part.created:
        return
    named = [one for person in part.created for one in person.rows]
    nameless = [one for one in named if one.own_id is None]
    for one, own_id in zip(nameless, await _reserve(connection, database, len(nameless)), strict=True):
        one.own_id = own_id
    for person in part.created:
        person.person_id = person.person_id or person.rows[0].own_id
    ids = [one.record_id for one in named]
    own_ids = [one.own_id for one in named]
    await connection.execute(
        database.sql("adopt_imported"), org, ids, _entities(ids), own_ids, str(Decision.PENDING)
    )
    await connection.fetch(
        file.statements.insert_people, org, *_people_arrays(part.created, file.side), file.source
    )
    await connection.execute(
        database.sql("ask_unread"),
        org,
        [person.person_id for person in part.created],
        [person.record_id for person in part.created],
    )


async def _write_companies(
    connection: Connection, database: Database, org: str, file: ImportFile, part: Part
) -> tuple[set[str], list[RecordId]]:
    """Make rows for companies that are unknown, and fill those that Salesforce has not told about.

    Returns the records whose row changed, and those that were known but not adopted until now.
    """
    companies = list(part.companies)
    if not companies:
        return set(), []
    found = await connection.fetch(database.sql("find_import_companies"), org, companies)
    new = [
        one
        for one, row in zip(companies, found, strict=True)
        if row["own_id"] is None or not row["adopted"] or not row["has_row"]
    ]
    told = {one for one, row in zip(companies, found, strict=True) if row["is_told"]}
    own_ids = dict(zip(new, await _reserve(connection, database, len(new)), strict=True))
    if new:
        await connection.execute(
            database.sql("adopt_imported"),
            org,
            new,
            _entities(new),
            list(own_ids.values()),
            str(Decision.SYNCED),
        )
        found = await connection.fetch(database.sql("find_import_companies"), org, companies)
    subject_ids = {one: row["subject_id"] for one, row in zip(companies, found, strict=True)}
    made = [one for one in new if one not in told]
    untold = [one for one in companies if one not in told and one not in own_ids]
    changed: set[str] = set()
    for statement, ids in (
        (file.statements.insert_companies, made),
        (file.statements.update_companies, untold),
    ):
        if ids:
            arrays = _company_arrays([subject_ids[one] for one in ids], ids, part)
            changed |= {
                row["record_id"] for row in await connection.fetch(statement, org, *arrays, file.source)
            }
    return changed, [one for one in new if one in told]


async def _reserve(connection: Connection, database: Database, count: int) -> list[int]:
    return [row["nextval"] for row in await connection.fetch(database.sql("reserve_ids"), count)]


def _entities(ids: Iterable[str]) -> list[str]:
    return [str(entity_of(one) or Entity.CONTACT) for one in ids]


def _json(cells: dict[str, str | None]) -> str:
    return msgspec.json.encode(cells).decode()


def _people_arrays(people: Sequence[Person], side: str | None) -> Arrays:
    return (
        [person.person_id for person in people],
        [person.record_id for person in people],
        [person.company for person in people],
        [_json(person.cells) for person in people],
        [side] * len(people),
    )


def _company_arrays(subject_ids: list[int | None], ids: Sequence[RecordId], part: Part) -> Arrays:
    nothing: list[str | None] = [None] * len(ids)
    return subject_ids, list(ids), nothing, [_json(part.companies[one]) for one in ids], nothing


def _count(part: Part, differing: Sequence[asyncpg.Record], companies: set[str]) -> None:
    """Count the rows of people who are written or compared; *companies* are those whose row changed."""
    columns: dict[str, Any] = {row["record_id"]: ", ".join(row["columns"]) for row in differing}
    for person in part.created:
        for one in person.rows:
            part.tally.note(Fate.CREATED, one.line, one.record_id)
    for person in part.present:
        why = columns.get(person.record_id) or ("company" if person.company in companies else "")
        for one in person.rows:
            part.tally.note(Fate.UPDATED if why else Fate.UNCHANGED, one.line, one.record_id, why)

"""Erase one person or company: every row that names or describes it, in the leader's transaction.

Why: what is asked for is that nothing is left, so one search finds the whole person, by whichever id it is given, and
counts the same traces for a dry run that the purge then removes. It is all or nothing: a table of an application that
forbids the deletion keeps the person whole, and says so before anything is touched. Rejected: emptying the row and
keeping it. An application would go on showing somebody who asked to be forgotten, and its own columns would stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import asyncpg

from ..core.ids import Entity, RecordId, entity_of, record_id
from .database import Connection, Database
from .erased import load_erased
from .sql import quote

Subject = Literal["person", "company"]
_PREFIXES: tuple[Subject, ...] = ("person", "company")
_ON_DELETE = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_FORBIDDING = frozenset({"NO ACTION", "RESTRICT"})


class ErasedBeforeError(ValueError):
    """Whom a purge names was erased before."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a purge names: by a record of Salesforce's, or by an id of ours."""

    subject: Subject
    record_id: RecordId | None = None
    own_id: int | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of somebody else's table; `rows` refer to whom we erase, None when we may not look."""

    table: str
    columns: tuple[str, ...]
    on_delete: str
    rows: int | None

    @property
    def forbids(self) -> bool:
        return bool(self.rows) and self.on_delete in _FORBIDDING

    def __str__(self) -> str:
        rows = "rows that we may not count" if self.rows is None else f"{self.rows:,} rows"
        return f"{self.table} ({', '.join(self.columns)}, ON DELETE {self.on_delete}): {rows}"


@dataclass(frozen=True, slots=True)
class Trace:
    """What the store holds of one person or company. `counts` is by table."""

    subject: Subject
    record_ids: tuple[RecordId, ...]
    own_ids: tuple[int, ...]
    counts: Mapping[str, int]
    references: tuple[Reference, ...]

    @property
    def pattern(self) -> str:
        """What names it in a request, as a regular expression: any spelling of its records, our ids by their key."""
        # A record's 18 characters begin with its 15. A bare number may be anything, so ours need their surroundings.
        names = [one[:15] for one in self.record_ids]
        if self.own_ids:
            prefix = "(person:)?" if self.subject == "person" else "company:"
            names.append(f'"({self.subject}_id|subject_id)" *: *"?{self._own}')
            names.append(f'"purge" *: *"{prefix}{self._own}')
        return "|".join(names)

    @property
    def pattern_of_pulls(self) -> str | None:
        """What names it as the argument of a pull, which takes a person's bare id."""
        return f"^{self._own}" if self.own_ids and self.subject == "person" else None

    @property
    def _own(self) -> str:
        return f"({'|'.join(map(str, self.own_ids))})(?![0-9])"

    @property
    def refusal(self) -> str:
        """Why it cannot be erased as things are; empty when it can."""
        forbidding = [str(reference) for reference in self.references if reference.forbids]
        if not forbidding:
            return ""
        return (
            f"other tables refer to this {self.subject} and forbid its deletion: {'; '.join(forbidding)}. Delete those"
            " rows or let them refer to nobody, or alter the constraint to ON DELETE CASCADE or SET NULL; then purge again"
        )


def target(text: str) -> Target:
    """Read whom a purge names: a record id of 15 or 18 characters, our id of a person, `person:ID` or `company:ID`.

    Raises `ValueError` when it is none of these.
    """
    prefix, colon, digits = text.rpartition(":")
    subject = next((one for one in _PREFIXES if one == (prefix or "person")), None)
    if subject and digits.isascii() and digits.isdigit() and not digits.startswith("0") and len(digits) <= 18:
        return Target(subject, own_id=int(digits))
    entity = entity_of(text)
    if colon or entity is None:
        raise ValueError(
            "give the id of a Lead, Contact or Account (15 or 18 characters that begin with 00Q, 003 or 001),"
            " the id of a person, or company:ID"
        )
    return Target("company" if entity is Entity.ACCOUNT else "person", record_id(text))


async def find_trace(connection: Connection, database: Database, org: str, wanted: Target) -> Trace:
    """Find all that the store holds of *wanted*.

    Raises `ValueError` when there is nothing, saying whether it was erased before or belongs to another org.
    """
    seeds = [wanted.record_id] if wanted.record_id else []
    owner_id = None
    if wanted.own_id is not None:
        owner_id, seeds = await _find_owner(connection, database, org, wanted)
    rows = await connection.fetch(database.sql("load_groups"), org, seeds)
    record_ids = tuple(sorted(RecordId(row["id"]) for row in rows)) or tuple(seeds)
    own_ids = {row["own_id"] for row in rows if row["own_id"] is not None}
    if not rows and owner_id is not None:
        # Somebody whom no record of Salesforce stands for, by an import.
        own_ids.add(owner_id)
    bare = Trace(wanted.subject, record_ids, tuple(sorted(own_ids)), {}, ())
    counted = await connection.fetchrow(
        database.sql("count_traces"), org, record_ids, bare.own_ids, bare.pattern, bare.pattern_of_pulls
    )
    counts = dict(counted) if counted else {}
    if not any(count for table, count in counts.items() if table != "request"):
        await _refuse_unknown(connection, database, org, wanted)
    references = await _references(connection, database, bare)
    return Trace(bare.subject, bare.record_ids, bare.own_ids, counts, references)


async def erase(
    connection: Connection, database: Database, org: str, trace: Trace, *, source: str
) -> dict[str, int]:
    """Remove all of *trace* and remember its records' hashes; return the number of rows removed, by table.

    *source* says in the feed who asked. Requests are left to `scrub_requests`. Runs in the transaction of
    `Applier.change`. Raises `ValueError` when another table forbids it; then nothing MUST be committed.
    """
    if trace.refusal:
        raise ValueError(trace.refusal)
    erased = await load_erased(connection, database, org)
    hashes = [erased.hash(one) for one in trace.record_ids]
    removed = await connection.fetchrow(
        database.sql("erase_traces"), org, trace.record_ids, trace.own_ids, hashes
    )
    rows = "erase_people" if trace.subject == "person" else "erase_companies"
    of_crm = await connection.fetchrow(database.sql(rows), org, trace.own_ids, source)
    counts = {**dict(removed or {}), **dict(of_crm or {})}
    return {table: count for table, count in counts.items() if isinstance(count, int)}


def bare_trace(record: RecordId) -> Trace:
    """Return the trace of a record of which nothing is left but, perhaps, requests that name it."""
    return Trace("person", (record,), (), {}, ())


async def scrub_requests(
    connection: Connection, database: Database, org: str, trace: Trace, *, but: int
) -> tuple[str, int]:
    """Take *trace* out of all requests but one; return what stands for it from now on, and how many they were."""
    erased = await load_erased(connection, database, org)
    names = [*trace.record_ids, *(f"{trace.subject}:{one}" for one in trace.own_ids)]
    alias = erased.hash(names[0]).hex()
    status = await connection.execute(
        database.sql("scrub_requests"), org, trace.pattern, trace.pattern_of_pulls, alias, but
    )
    return alias, int(status.rpartition(" ")[2])


async def forget_erasure(connection: Connection, database: Database, org: str, record: RecordId) -> None:
    """Let *record* come back with the next reading that shows it. Raises `ValueError` when it was not erased."""
    erased = await load_erased(connection, database, org)
    status = await connection.execute(database.sql("delete_erased"), org, erased.hash(record))
    if status == "DELETE 0":
        raise ValueError("this record was not erased from this store")


async def _find_owner(
    connection: Connection, database: Database, org: str, wanted: Target
) -> tuple[int, list[RecordId]]:
    row = await connection.fetchrow(database.sql("find_owner"), wanted.own_id)
    if row is None or row["subject"] != wanted.subject:
        raise ValueError(f"no {wanted.subject} has this id, or it was erased before")
    if row["org"] != org:
        raise ValueError(_of_other_org(wanted.subject, row["org"], org))
    seeds = row["record_ids"]
    if not seeds:
        found = await connection.fetch(database.sql("find_own_records"), org, row["id"])
        seeds = [one["id"] for one in found]
    return row["id"], [RecordId(one) for one in seeds]


async def _refuse_unknown(connection: Connection, database: Database, org: str, wanted: Target) -> None:
    if wanted.record_id is None:
        return
    erased = await load_erased(connection, database, org)
    if erased.is_erased(wanted.record_id):
        raise ErasedBeforeError("this record was erased before: nothing of it is left but its keyed hash")
    others = await connection.fetch(database.sql("find_record_orgs"), wanted.record_id)
    if others:
        raise ValueError(_of_other_org("record", others[0]["org"], org))
    raise ValueError("this record is unknown: the store holds nothing of it")


def _of_other_org(what: str, org: str, bound: str) -> str:
    return (
        f"this {what} belongs to org {org}, but the store follows org {bound}:"
        " see docs/erasure.md on people of an earlier org"
    )


async def _references(connection: Connection, database: Database, trace: Trace) -> tuple[Reference, ...]:
    rows = await connection.fetch(database.sql("find_references"), trace.subject)
    found = []
    for row in rows:
        table = f"{quote(row['schema_name'])}.{quote(row['table_name'])}"
        count = None
        if row["is_readable"]:
            statement = _count_statement(database, trace.subject, table, row)
            count = await connection.fetchval(statement, trace.own_ids)
        name = f"{row['schema_name']}.{row['table_name']}"
        found.append(Reference(name, tuple(row["columns"]), _ON_DELETE[row["on_delete"]], count))
    return tuple(one for one in found if one.rows != 0)


def _count_statement(database: Database, subject: Subject, table: str, row: asyncpg.Record) -> str:
    pairs = zip(row["columns"], row["referenced_columns"], strict=True)
    matches = " AND ".join(f"r.{quote(own)} = o.{quote(referenced)}" for own, referenced in pairs)
    owned = database.schemas.rename(f"crm.{subject} AS o WHERE o.id = ANY ($1::bigint[])")
    return f"SELECT count(*) FROM {table} AS r, {owned} AND {matches}"

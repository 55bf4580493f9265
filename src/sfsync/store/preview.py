"""Tell what rows would show under another mapping, without writing any.

Why: an operator who changes a mapping asks which letters will look different. Where the mirror has the new field, the
projection's own expressions are compared with the rows, so the answer is exact; where it has not, a sample that was
just read from Salesforce stands in for the mirror, by the same expressions. Rejected: projecting and rolling back,
which locks every row that would change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..core.events import Value
from ..core.ids import Entity, RecordId, entity_of
from ..core.mapping import Column
from ..core.mapping_file import Table
from .database import Database
from .projection import value_of
from .sql import quote

_EXAMPLES = 5
_encode = msgspec.json.Encoder(decimal_format="number").encode
# A person who is not synced is not written, and a row that was merged away shows nothing.
_SHOWN = {
    "person": "t.org = $1 AND t.merged_into IS NULL AND t.sync = 'synced'",
    "company": "t.org = $1 AND t.merged_into IS NULL",
}
_LEAD = """
LEFT JOIN LATERAL (
    SELECT r.fields FROM sfsync.record AS r
    WHERE r.subject_id = t.id AND r.grouped AND r.entity = 'Lead' AND r.org = $1
    ORDER BY r.converted_date NULLS LAST, r.id
    LIMIT 1
) AS l ON true"""
_MIRROR = """
CROSS JOIN LATERAL (
    SELECT r.id, r.entity, r.fields FROM sfsync.record AS r WHERE r.id = t.salesforce_id AND r.org = $1 OFFSET 0
) AS s"""
_SAMPLE = """
CROSS JOIN LATERAL (
    SELECT q.id, q.entity, q.fields FROM unnest($2::text[], $3::text[], $4::jsonb[]) AS q (id, entity, fields)
    WHERE q.id = t.salesforce_id OFFSET 0
) AS s"""


@dataclass(frozen=True, slots=True)
class Example:
    """A row that would change: its id, and the texts before and after; None is null."""

    subject_id: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """How many of the rows that were looked at would change in one column. `sampled`: they are not all rows."""

    looked_at: int
    changing: int
    examples: Sequence[Example]
    sampled: Entity | None = None


async def preview(database: Database, org: str, table: Table, column: Column, *, exists: bool) -> Preview:
    """Compare a column with what the mirror would give it."""
    return await _preview(database, _Question(table, column, exists), _MIRROR, [org])


async def preview_sample(
    database: Database,
    org: str,
    column: Column,
    records: Mapping[RecordId, Mapping[str, Value]],
    *,
    exists: bool,
) -> Preview:
    """Compare a column with what these records of one entity, read now, would give it, in their rows only."""
    entity = entity_of(next(iter(records)))
    table: Table = "company" if entity is Entity.ACCOUNT else "person"
    values = [
        org,
        list(records),
        [str(entity)] * len(records),
        [_encode(fields).decode() for fields in records.values()],
    ]
    found = await _preview(database, _Question(table, column, exists), _SAMPLE, values)
    return Preview(found.looked_at, found.changing, found.examples, sampled=entity)


async def sample_ids(database: Database, org: str, entity: Entity, most: int) -> list[RecordId]:
    """Return the newest records of an entity that speak for a live row."""
    rows = await database.fetch("sample_speakers", org, str(entity), most)
    return [RecordId(row["id"]) for row in rows]


@dataclass(frozen=True, slots=True)
class _Question:
    table: Table
    column: Column
    exists: bool


async def _preview(database: Database, asked: _Question, source: str, values: Sequence[object]) -> Preview:
    old = f"t.{quote(asked.column.name)}" if asked.exists else f"NULL::{asked.column.pg_type}"
    lead = _LEAD if asked.table == "person" else ""
    compared = f"""
SELECT t.id, ({old})::text AS before, (n.value)::text AS after, {old} IS DISTINCT FROM n.value AS changes
FROM crm.{asked.table} AS t{source}{lead}
CROSS JOIN LATERAL (SELECT {value_of(asked.table, asked.column)} AS value) AS n
WHERE {_SHOWN[asked.table]}"""
    statement = f"""
WITH compared AS MATERIALIZED ({compared}
)
SELECT
    (SELECT count(*) FROM compared) AS looked_at,
    (SELECT count(*) FROM compared WHERE changes) AS changing,
    e.id, e.before, e.after
FROM (SELECT 1) AS always
LEFT JOIN LATERAL (SELECT * FROM compared WHERE changes ORDER BY id LIMIT {_EXAMPLES}) AS e ON true"""
    async with database.transaction() as connection:
        rows = await connection.fetch(database.schemas.rename(statement), *values)
    examples = [Example(row["id"], row["before"], row["after"]) for row in rows if row["id"] is not None]
    return Preview(rows[0]["looked_at"], rows[0]["changing"], examples)

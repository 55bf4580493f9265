"""Write the statements that turn mirror rows into people and companies, for one mapping.

Why: which columns exist and where their values come from is known only when the mapping is bound, and it stays
the same until the mapping changes. So the projection is one statement per table, composed once, and Postgres
does the work set by set; a person who is not `synced` is left alone by the statement itself, since a decision
may be taken between our reading and our writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.ids import Entity
from ..core.mapping import BoundMapping, Column
from .sql import Schemas, quote


@dataclass(frozen=True, slots=True)
class Projection:
    """The four statements of one mapping.

    `people` and `companies` take org, origin, and arrays: subject id, speaking record, lasting lead (people
    only). The `merged_*` take org, origin, and arrays: id, id it was merged into. Each returns one row: the
    number of rows it changed.
    """

    people: str
    companies: str
    merged_people: str
    merged_companies: str


def compose(mapping: BoundMapping, schemas: Schemas) -> Projection:
    """Compose the projection statements of *mapping*."""
    return Projection(
        people=schemas.rename(_people(mapping.person)),
        companies=schemas.rename(_companies(mapping.company)),
        merged_people=schemas.rename(_merged("person", [*mapping.person], ["source", "company_id"])),
        merged_companies=schemas.rename(_merged("company", [*mapping.company], [])),
    )


def _typed(expression: str, column: Column) -> str:
    return expression if column.pg_type == "text" else f"({expression})::{column.pg_type}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _person_expression(column: Column) -> str:
    """Say where a person's column comes from: the speaking record `s`, or the lasting lead `l`."""
    contact, lead = column.sources.get(Entity.CONTACT), column.sources.get(Entity.LEAD)
    if contact is not None and contact == lead:
        return f"s.fields ->> {_literal(contact)}"
    branches = ""
    if contact is not None:
        branches += f" WHEN 'Contact' THEN s.fields ->> {_literal(contact)}"
    if lead is not None:
        branches += f" WHEN 'Lead' THEN s.fields ->> {_literal(lead)}"
    if contact is None and lead is not None and column.role == "plain":
        branches += f" ELSE l.fields ->> {_literal(lead)}"
    return f"CASE s.entity{branches} END"


def _people(columns: Sequence[Column]) -> str:
    values = [(quote(column.name), _typed(_person_expression(column), column)) for column in columns]
    fixed = [
        ("salesforce_id", "s.id"),
        ("source", "lower(s.entity)"),
        ("company_id", "CASE WHEN s.entity = 'Contact' THEN a.subject_id END"),
    ]
    source = (
        "unnest($3::bigint[], $4::text[], $5::text[]) AS g (subject_id, speaker, lead)\n"
        "    JOIN sfsync.record AS s ON s.id = g.speaker AND s.org = $1\n"
        "    LEFT JOIN sfsync.record AS l ON l.id = g.lead AND l.org = $1\n"
        "    LEFT JOIN sfsync.record AS a ON a.id = s.account_id AND a.org = $1"
    )
    return _upsert("person", fixed + values, source, guard="t.sync = 'synced' AND ")


def _companies(columns: Sequence[Column]) -> str:
    values = [
        (quote(column.name), _typed(f"s.fields ->> {_literal(column.sources[Entity.ACCOUNT])}", column))
        for column in columns
    ]
    source = (
        "unnest($3::bigint[], $4::text[]) AS g (subject_id, speaker)\n"
        "    JOIN sfsync.record AS s ON s.id = g.speaker AND s.org = $1"
    )
    return _upsert("company", [("salesforce_id", "s.id"), *values], source, guard="")


def _upsert(table: str, values: Sequence[tuple[str, str]], source: str, guard: str) -> str:
    """Compose insert-or-update that writes only rows that differ, and tells the change feed.

    A deleted row keeps the instant of its deletion, however often the deletion is learned again.
    """
    names = [name for name, _ in values]
    deleted = "CASE WHEN s.is_deleted THEN to_timestamp(s.seen_from_ms / 1000.0) END"
    old = ", ".join(["t.merged_into IS NULL", "t.deleted_at IS NULL", *(f"t.{name}" for name in names)])
    new = ", ".join(["true", "EXCLUDED.deleted_at IS NULL", *(f"EXCLUDED.{name}" for name in names)])
    return f"""
WITH written AS (
    INSERT INTO crm.{table} AS t (id, org, deleted_at, {", ".join(names)})
    SELECT g.subject_id, $1, {deleted},
        {(", " + chr(10) + "        ").join(expression for _, expression in values)}
    FROM {source}
    ON CONFLICT (id) DO UPDATE SET
        merged_into = NULL,
        deleted_at = CASE WHEN EXCLUDED.deleted_at IS NULL THEN NULL
            ELSE COALESCE(t.deleted_at, EXCLUDED.deleted_at) END,
        synced_at = now(),
        {(", " + chr(10) + "        ").join(f"{name} = EXCLUDED.{name}" for name in names)}
    WHERE {guard}({old}) IS DISTINCT FROM ({new})
    RETURNING t.id, xmax = 0 AS created
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin)
    SELECT $1, '{table}', w.id, CASE WHEN w.created THEN 'created' ELSE 'changed' END, $2 FROM written AS w
)
SELECT count(*) FROM written
"""


def _merged(table: str, columns: Sequence[Column], structural: Sequence[str]) -> str:
    """Compose the statement that empties merged-away rows: they keep their id and the application's columns."""
    emptied = ["salesforce_id", "deleted_at", *structural, *(quote(column.name) for column in columns)]
    guard = "t.sync = 'synced' AND " if table == "person" else ""
    return f"""
WITH written AS (
    UPDATE crm.{table} AS t SET merged_into = m.subject_id, synced_at = now(),
        {", ".join(f"{name} = NULL" for name in emptied)}
    FROM unnest($3::bigint[], $4::bigint[]) AS m (id, subject_id)
    WHERE t.id = m.id AND {guard}t.merged_into IS DISTINCT FROM m.subject_id
    RETURNING t.id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin)
    SELECT $1, '{table}', w.id, 'merged', $2 FROM written AS w
)
SELECT count(*) FROM written
"""

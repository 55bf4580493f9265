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
from ..core.mapping_file import Table
from .sql import Schemas, quote

# Listeners are told by the statement that changed something; in one transaction equal notices are one.
_COUNT = "SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('sfsync_change', $1) END FROM written"
_SPEAKERS = {"person": (Entity.LEAD, Entity.CONTACT), "company": (Entity.ACCOUNT,)}
# A decision may be taken between our reading and our writing, so the statement itself looks at it.
# A row that was merged away holds nothing that a decision could keep; parted, it is filled again.
_PARTED = {"person": "(t.sync = 'synced' OR t.merged_into IS NOT NULL) AND ", "company": ""}
_GUARD = {"person": "t.sync = 'synced' AND ", "company": ""}


@dataclass(frozen=True, slots=True)
class Projection:
    """The statements of one mapping; each returns one row: the number of rows it changed.

    `people` and `companies` take org, provenance, and arrays: subject id, speaking record, lasting lead (people
    only). `patched_*` take org and provenance, and read the batch's new values from `{source}` (see staging.py)
    instead of the mirror. `merged_*` take org, provenance, and arrays: id, id it was merged into. Provenance is
    an array of two texts: origin and source. `differing` takes org and the arrays of `people`, and returns the
    subject ids whose row would change in a column that a person may disagree with.
    """

    people: str
    companies: str
    patched_people: str
    patched_companies: str
    merged_people: str
    merged_companies: str
    differing: str


def compose(mapping: BoundMapping, schemas: Schemas) -> Projection:
    """Compose the projection statements of *mapping*."""
    return Projection(
        people=schemas.rename(_people(mapping.person)),
        companies=schemas.rename(_companies(mapping.company)),
        patched_people=schemas.rename(_patched("person", mapping.person)),
        patched_companies=schemas.rename(_patched("company", mapping.company)),
        merged_people=schemas.rename(_merged("person", mapping.stored("person"), ["source", "company_id"])),
        merged_companies=schemas.rename(_merged("company", mapping.stored("company"), [])),
        differing=schemas.rename(_differing(mapping.person)),
    )


def pending_view(mapping: BoundMapping) -> str:
    """Compose the view that shows, column by column, what a person who is not decided on would become."""
    values = (
        ",\n        ".join(
            f"({_literal(column.name)}, t.{quote(column.name)}::text, ({_person_value(column)})::text, {_differs(column)})"
            for column in _compared(mapping.person)
        )
        or "(NULL::text, NULL::text, NULL::text, false)"
    )
    return f"""
CREATE OR REPLACE VIEW crm.pending_decision AS
SELECT p.subject_id AS person_id, p.speaker AS salesforce_id, p.reason, p.since,
    d.column_name, d.stored_value, d.salesforce_value, s.is_deleted, t.id AS row_id
FROM sfsync.pending AS p
JOIN crm.person AS t ON t.id = COALESCE(p.row_id, p.subject_id)
JOIN sfsync.record AS s ON s.id = p.speaker AND s.org = p.org
LEFT JOIN sfsync.record AS l ON l.id = p.lead AND l.org = p.org
LEFT JOIN LATERAL (
    VALUES
        {values}
) AS d (column_name, stored_value, salesforce_value, differs) ON d.differs AND (s.complete OR s.is_deleted)
"""


def _compared(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.compared]


def _differs(column: Column) -> str:
    """Say whether the row `t` and what would be written differ in more than white space and line ends."""
    stored, told = f"t.{quote(column.name)}", _person_value(column)
    if column.pg_type == "text":
        stored, told = f"sfsync.plain_text({stored})", f"sfsync.plain_text({told})"
    elif column.pg_type == "boolean":
        # Salesforce knows no blank checkbox: what nobody ticked is false.
        stored, told = f"COALESCE({stored}, false)", f"COALESCE({told}, false)"
    if column.defaulted and column.pg_type != "boolean":
        return f"{stored} IS NOT NULL AND {stored} IS DISTINCT FROM {told}"
    return f"{stored} IS DISTINCT FROM {told}"


def _differing(columns: Sequence[Column]) -> str:
    differs = (chr(10) + "        OR ").join(_differs(column) for column in _compared(columns)) or "false"
    return f"""
SELECT g.subject_id
FROM {_spoken(2)}
    CROSS JOIN LATERAL (SELECT * FROM crm.person WHERE id = g.subject_id OFFSET 0) AS t
WHERE {differs}
"""


def _typed(expression: str, column: Column) -> str:
    return expression if column.pg_type == "text" else f"({expression})::{column.pg_type}"


def _plain(name: str) -> str:
    return name.strip('"')


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _person_value(column: Column) -> str:
    return _typed(_person_expression(column), column)


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


def value_of(table: Table, column: Column) -> str:
    """Say where a column's value comes from: `s`, the speaking record, and for people `l`, the lasting lead."""
    if table == "person":
        return _person_value(column)
    return _typed(f"s.fields ->> {_literal(column.sources[Entity.ACCOUNT])}", column)


def _people(columns: Sequence[Column]) -> str:
    values = [(quote(column.name), _person_value(column)) for column in columns]
    fixed = [
        ("salesforce_id", "s.id"),
        ("source", "lower(s.entity)"),
        ("company_id", "CASE WHEN s.entity = 'Contact' THEN a.subject_id END"),
    ]
    source = f"{_spoken(3)}\n    LEFT JOIN {_looked_up('s.account_id', 'subject_id')} AS a ON true"
    return _upsert("person", fixed + values, source)


def _companies(columns: Sequence[Column]) -> str:
    values = [(quote(column.name), value_of("company", column)) for column in columns]
    source = (
        "unnest($3::bigint[], $4::text[]) AS g (subject_id, speaker)\n"
        f"    CROSS JOIN {_looked_up('g.speaker', 'id, is_deleted, seen_from_ms, fields')} AS s"
    )
    return _upsert("company", [("salesforce_id", "s.id"), *values], source)


def _looked_up(key: str, columns: str) -> str:
    """Compose the look-up of one mirror row; OFFSET 0 keeps it one by key, whatever the planner expects."""
    return f"LATERAL (SELECT {columns} FROM sfsync.record WHERE id = {key} AND org = $1 OFFSET 0)"


def _spoken(first: int) -> str:
    """Compose who speaks for whom, from three arrays that begin with parameter *first*."""
    return (
        f"unnest(${first}::bigint[], ${first + 1}::text[], ${first + 2}::text[]) AS g (subject_id, speaker, lead)\n"
        f"    CROSS JOIN {_looked_up('g.speaker', 'id, entity, account_id, is_deleted, seen_from_ms, fields')} AS s\n"
        f"    LEFT JOIN {_looked_up('g.lead', 'fields')} AS l ON true"
    )


def _upsert(table: str, values: Sequence[tuple[str, str]], source: str) -> str:
    """Compose insert-or-update that writes only rows that differ, and tells the change feed.

    A deleted row keeps the instant of its deletion, however often the deletion is learned again.
    """
    names = [name for name, _ in values]
    deleted = "CASE WHEN s.is_deleted THEN to_timestamp(s.seen_from_ms / 1000.0) END"
    old = ", ".join(["t.merged_into IS NULL", "t.deleted_at IS NULL", *(f"t.{name}" for name in names)])
    new = ", ".join(["true", "EXCLUDED.deleted_at IS NULL", *(f"EXCLUDED.{name}" for name in names)])
    # A statement sees the table as it was before it: that is what the written row is compared with.
    changed = ", ".join(
        f"CASE WHEN o.{name} IS DISTINCT FROM w.{name} THEN {_literal(_plain(name))} END"
        for name in ["deleted_at", *names]
    )
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
    WHERE {_PARTED[table]}({old}) IS DISTINCT FROM ({new})
    RETURNING t.*, xmax = 0 AS created
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id, columns, commit_ms)
    SELECT $1, '{table}', w.id, CASE WHEN w.created THEN 'created' ELSE 'changed' END,
        ($2::text[])[1], ($2::text[])[2], w.salesforce_id, b.columns, s.seen_from_ms
    FROM written AS w
    CROSS JOIN {_looked_up("w.salesforce_id", "seen_from_ms")} AS s
    LEFT JOIN LATERAL (
        SELECT array_remove(ARRAY[{changed}], NULL) AS columns
        FROM crm.{table} AS o WHERE o.id = w.id AND NOT w.created OFFSET 0
    ) AS b ON true
)
{_COUNT}
"""


def _patched(table: str, columns: Sequence[Column]) -> str:
    """Compose the statement that puts new values into rows, for records that feed a row all alone.

    It does what projecting such a record anew would do, for the price of what changed.
    """
    entities = _SPEAKERS[table]
    patches = [(f"t.{quote(column.name)}", *_patch(column, entities)) for column in columns]
    sets = [
        f"{quote(column.name)} = CASE WHEN {said} THEN {value} ELSE {old} END"
        for column, (old, said, value) in zip(columns, patches, strict=True)
    ]
    differs = [f"({said} AND {old} IS DISTINCT FROM {value})" for old, said, value in patches] or ["false"]
    named = (
        ", ".join(
            f"CASE WHEN {said} THEN {_literal(column.name)} END"
            for column, (_, said, _) in zip(columns, patches, strict=True)
        )
        or "NULL::text"
    )
    return f"""
WITH written AS (
    UPDATE crm.{table} AS t SET synced_at = now(),
        {(", " + chr(10) + "        ").join(sets)}
    FROM {{source}}
    WHERE t.id = s.patched_id AND {_GUARD[table]}s.entity IN ({", ".join(f"'{one}'" for one in entities)})
        AND ({(chr(10) + "        OR ").join(differs)})
    RETURNING t.id, s.id AS record_id, s.seen_from_ms, array_remove(ARRAY[{named}], NULL) AS columns
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id, columns, commit_ms)
    SELECT $1, '{table}', w.id, 'changed', ($2::text[])[1], ($2::text[])[2], w.record_id, w.columns, w.seen_from_ms
    FROM written AS w
)
{_COUNT}
"""


def _patch(column: Column, entities: Sequence[Entity]) -> tuple[str, str]:
    """Say when a record `s` of the batch speaks of a column, and what."""
    fields = {column.sources.get(entity) for entity in entities}
    if len(fields) == 1:
        field = _literal(column.sources[entities[0]])
    else:
        branches = (f" WHEN '{entity}' THEN {_literal(name)}" for entity, name in column.sources.items())
        field = f"CASE s.entity{''.join(branches)} END"
    return f"s.over ? {field}", _typed(f"s.over ->> {field}", column)


def _merged(table: str, columns: Sequence[Column], structural: Sequence[str]) -> str:
    """Compose the statement that empties merged-away rows: they keep their id and the application's columns.

    One that was emptied before may have got a column that nobody fed then.
    """
    emptied = ["salesforce_id", "deleted_at", *structural, *(quote(column.name) for column in columns)]
    return f"""
WITH written AS (
    UPDATE crm.{table} AS t SET merged_into = m.subject_id, synced_at = now(),
        {", ".join(f"{name} = NULL" for name in emptied)}
    FROM unnest($3::bigint[], $4::bigint[]) AS m (id, subject_id)
    WHERE t.id = m.id
        AND {_GUARD[table]}(t.merged_into IS DISTINCT FROM m.subject_id
            OR NOT (ROW({", ".join(f"t.{name}" for name in emptied)}) IS NULL))
    RETURNING t.id
), fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source)
    SELECT $1, '{table}', w.id, 'merged', ($2::text[])[1], ($2::text[])[2] FROM written AS w
)
{_COUNT}
"""

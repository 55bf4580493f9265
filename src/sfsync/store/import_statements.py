"""Write the statements that put imported values into people and companies, for the columns that one file feeds.

Why: columns and their types are known only with the mapping, so these statements are composed like those of the
projection, and Postgres reads each text by the column's type. A person who follows Salesforce, or was declined in the
meantime, is left alone by the statement itself; so is a company that Salesforce has told about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .sql import Schemas, quote


@dataclass(frozen=True, slots=True)
class FedColumn:
    """A column that a file has values for."""

    name: str
    pg_type: str


@dataclass(frozen=True, slots=True)
class ImportStatements:
    """The statements for one file. All take $1 org, then arrays: $2 id, $3 record id, $4 company, $5 cells; then
    $6 address side and, where they write, $7 source of the change feed.

    All return one row per row that is or would be written: record_id, columns (those that differ; null when it is
    new). `*_companies` make nothing of $4 and $6.
    """

    insert_people: str
    update_people: str
    compare_people: str
    insert_companies: str
    update_companies: str
    compare_companies: str


def compose_import(
    people: Sequence[FedColumn], companies: Sequence[FedColumn], schemas: Schemas
) -> ImportStatements:
    """Compose the statements for a file that feeds these columns."""
    person, company = _Table("person", people), _Table("company", companies)
    return ImportStatements(
        insert_people=schemas.rename(person.insert()),
        update_people=schemas.rename(person.update()),
        compare_people=schemas.rename(person.compare()),
        insert_companies=schemas.rename(company.insert()),
        update_companies=schemas.rename(company.update()),
        compare_companies=schemas.rename(company.compare()),
    )


_ROWS = "unnest($2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::text[]) AS g (id, record_id, company, cells, side)"

# A rehearsal may name a company that the import would make.
_COMPANY_DIFFERS = """g.company IS NOT NULL
            AND (a.subject_id IS DISTINCT FROM t.company_id OR (g.company <> '-' AND a.subject_id IS NULL))"""


def _looked_up(table: str, key: str, columns: str) -> str:
    """Compose the look-up of one row by key; OFFSET 0 keeps it one, whatever the planner expects."""
    return f"LATERAL (SELECT {columns} FROM {table} WHERE id = {key} OFFSET 0)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: Sequence[FedColumn]

    def insert(self) -> str:
        fixed = [("id", "g.id"), ("org", "$1"), ("salesforce_id", "g.record_id")]
        if self.name == "person":
            fixed += [
                ("source", "CASE left(g.record_id, 3) WHEN '00Q' THEN 'lead' ELSE 'contact' END"),
                ("company_id", "a.subject_id"),
                ("address_preference", "g.side"),
                ("sync", "'pending'"),
                ("sync_reason", "'unread'"),
            ]
        values = [*fixed, *((quote(column.name), _told(column)) for column in self.columns)]
        return f"""
WITH written AS (
    INSERT INTO crm.{self.name} AS t ({", ".join(name for name, _ in values)})
    SELECT {", ".join(value for _, value in values)}
    FROM {_ROWS}
    LEFT JOIN {_looked_up("sfsync.record", "g.company AND org = $1", "subject_id")} AS a ON true
    ON CONFLICT (id) DO NOTHING
    RETURNING t.id, t.salesforce_id AS record_id, NULL::text[] AS columns
), {self._fed("created")}
"""

    def update(self) -> str:
        sets = [
            f"{quote(column.name)} = CASE WHEN {_said(column)} THEN {_told(column)} ELSE t.{quote(column.name)} END"
            for column in self.columns
        ]
        guard = "true"
        if self.name == "person":
            sets += [
                "company_id = CASE WHEN g.company IS NULL THEN t.company_id ELSE g.company_id END",
                "address_preference = COALESCE(t.address_preference, g.side)",
            ]
            guard = "t.sync = 'pending'"
        sets.append(
            "synced_at = CASE WHEN g.columns = '{address_preference}' THEN t.synced_at ELSE now() END"
        )
        return f"""
WITH asked AS MATERIALIZED ({self._asked()}), written AS (
    UPDATE crm.{self.name} AS t SET {", ".join(sets)}
    FROM asked AS g
    -- A condition on both, or the planner would begin with all people who are pending, expecting few.
    WHERE t.id = g.id AND CASE WHEN g.columns <> '{{}}' THEN {guard} END
    RETURNING t.id, g.record_id, g.columns
), {self._fed("changed")}
"""

    def compare(self) -> str:
        return f"""
WITH asked AS MATERIALIZED ({self._asked()})
SELECT g.record_id, g.columns FROM asked AS g WHERE g.columns <> '{{}}'
"""

    def _asked(self) -> str:
        """Compose the rows with what differs in each from what is stored."""
        named = [
            f"CASE WHEN {_said(column)} AND t.{quote(column.name)} IS DISTINCT FROM {_told(column)}"
            f" THEN {_literal(column.name)} END"
            for column in self.columns
        ]
        untold = ""
        if self.name == "person":
            named += [
                f"CASE WHEN {_COMPANY_DIFFERS} THEN 'company_id' END",
                "CASE WHEN t.address_preference IS NULL AND g.side IS NOT NULL THEN 'address_preference' END",
            ]
        else:
            told = _looked_up("sfsync.record", "g.record_id AND org = $1", "complete, is_deleted")
            untold = f"CROSS JOIN {told} AS r WHERE NOT r.complete AND NOT r.is_deleted"
        return f"""
    SELECT g.id, g.record_id, g.company, g.cells, g.side, a.subject_id AS company_id,
        array_remove(ARRAY[{", ".join(named) or "NULL"}]::text[], NULL) AS columns
    FROM {_ROWS}
    CROSS JOIN {_looked_up(f"crm.{self.name}", "g.id", "*")} AS t
    LEFT JOIN {_looked_up("sfsync.record", "g.company AND org = $1", "subject_id")} AS a ON true
    {untold}
"""

    def _fed(self, action: str) -> str:
        return f"""fed AS (
    INSERT INTO sfsync.change (org, subject, subject_id, action, origin, source, record_id, columns)
    SELECT $1, '{self.name}', w.id, '{action}', 'import', $7, w.record_id, w.columns FROM written AS w
)
SELECT w.record_id, w.columns FROM written AS w"""


def _said(column: FedColumn) -> str:
    return f"g.cells ? {_literal(column.name)}"


def _told(column: FedColumn) -> str:
    text = f"g.cells ->> {_literal(column.name)}"
    return text if column.pg_type == "text" else f"({text})::{column.pg_type}"

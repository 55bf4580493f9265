"""Give crm.person and crm.company the columns that the mapping asks for.

Why: mapped columns are typed from Salesforce's describe, so that applications query dates as dates and a
postal code stays text. A column is added automatically; none is ever dropped or retyped without being asked,
because an application may depend on it. The rejected alternative, one jsonb column, was measured 2.8 times
bigger and leaves every reader to guess types.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ..core.mapping import BoundMapping, Column
from ..errors import SchemaError
from .database import Connection, Database
from .sql import quote
from .views import ensure_views

_log = structlog.get_logger()
_SAME_TYPE = {"timestamptz": "timestamp with time zone", "time": "time without time zone"}


async def ensure_columns(database: Database, mapping: BoundMapping) -> None:
    """Add missing columns and bring the views over them up to date.

    Raises `SchemaError` listing every column whose existing type is not the mapping's.
    """
    async with database.transaction() as connection:
        clashes = []
        for table, columns in (("company", mapping.company), ("person", mapping.person)):
            clashes += await _ensure(connection, database, table, columns)
        if clashes:
            raise SchemaError("mapped columns have other types in the database: " + "; ".join(clashes))
        await ensure_views(connection, database.schemas, mapping)


async def _ensure(
    connection: Connection, database: Database, table: str, columns: Sequence[Column]
) -> list[str]:
    rows = await connection.fetch(database.sql("load_columns"), database.schemas.crm, table)
    existing = {row["column_name"]: row["data_type"] for row in rows}
    clashes = []
    for column in columns:
        wanted = _SAME_TYPE.get(column.pg_type, column.pg_type)
        if column.name not in existing:
            statement = f"ALTER TABLE crm.{table} ADD COLUMN {quote(column.name)} {column.pg_type}"
            await connection.execute(database.schemas.rename(statement))
            _log.info("store.column.added", table=table, column=column.name, type=column.pg_type)
        elif existing[column.name] != wanted:
            clashes.append(
                f"{table}.{column.name} is {existing[column.name]}, the mapping needs {column.pg_type}"
            )
    return clashes

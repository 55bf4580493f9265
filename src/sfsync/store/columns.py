"""Give crm.person and crm.company the columns that the mapping asks for, and remember what it asked for.

Why: mapped columns are typed from Salesforce's describe, so that applications query dates as dates and a
postal code stays text. A column is added automatically; none is ever dropped or retyped without being asked,
because an application may depend on it. The rejected alternative, one jsonb column, was measured 2.8 times
bigger and leaves every reader to guess types.

What was bound is remembered in the store rather than in the process: a field may be hidden while no daemon runs, and
a column that somebody else made must be told from one of ours for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import asyncpg
import structlog

from ..core.ids import Entity
from ..core.mapping import BoundMapping, Column, KnownColumn, Memory, PausedColumn
from ..core.mapping_file import Table
from ..core.mapping_plan import Known
from ..errors import SchemaError
from .database import Connection, Database
from .readings import load_readings
from .sql import quote
from .views import ensure_views

_log = structlog.get_logger()
_SAME_TYPE = {"timestamptz": "timestamp with time zone", "time": "time without time zone"}
_SHORT_TYPE = {full: short for short, full in _SAME_TYPE.items()}
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TABLES: tuple[Table, ...] = ("company", "person")


async def load_memory(database: Database, org: str) -> Memory:
    """Return what the store remembers of the last binding, for `mapping.bind`."""
    columns = {}
    for row in await database.fetch("load_bound_columns", database.schemas.crm):
        if row["data_type"] is not None:
            sources = {Entity(entity): field for entity, field in json.loads(row["sources"]).items()}
            pg_type = _SHORT_TYPE.get(row["data_type"], row["data_type"])
            columns[(row["table_name"], row["column_name"])] = KnownColumn(pg_type, row["role"], sources)
    covered = {
        entity: frozenset(reading.mapping.split())
        for entity, reading in (await load_readings(database, org)).items()
        # An older version kept a fingerprint here, which names no fields: nothing is known to lack.
        if reading.is_backfilled
        and reading.mapping is not None
        and not _FINGERPRINT.fullmatch(reading.mapping)
    }
    return Memory(columns, covered)


async def load_known(database: Database) -> Known:
    """Return what a plan needs besides the memory: columns that are suspended, and those that were once fed."""
    bound = await database.fetch("load_bound_columns", database.schemas.crm)
    released = await database.fetch("list_released_columns")
    return Known(
        suspended={_place(row) for row in bound if row["suspended_reason"] is not None},
        released={_place(row) for row in released},
    )


def _place(row: asyncpg.Record) -> tuple[Table, str]:
    return row["table_name"], row["column_name"]


async def take_over(database: Database, columns: Sequence[tuple[Table, str]]) -> None:
    """Give columns of the application to sfsync, so that a mapping may feed them."""
    await database.execute("take_over_columns", *_transposed(columns))


async def ensure_columns(database: Database, mapping: BoundMapping) -> None:
    """Add missing columns, remember the mapping, and bring the views over its columns up to date.

    Raises `SchemaError` listing every column whose existing type is not the mapping's or that is not sfsync's.
    """
    async with database.transaction() as connection:
        before = await connection.fetch(database.sql("load_bound_columns"), database.schemas.crm)
        wanted = _Wanted(mapping, await _ours(connection, database, before))
        compared = [(table, *await _compare(connection, database, wanted, table)) for table in _TABLES]
        _refuse([fault for _, _, faults in compared for fault in faults])
        for table, missing, _ in compared:
            for column in missing:
                await _add(connection, database, table, column)
                # failpoint: columns.added - a column was added
        await _remember(connection, database, mapping)
        # failpoint: columns.remembered - the mapping is remembered
        await ensure_views(connection, database.schemas, mapping)
    _tell(mapping, before)


async def owes_projection(database: Database, mapping: BoundMapping) -> bool:
    """Tell whether rows may lack what the mirror knows of a column that is written now."""
    rows = await database.fetch("load_bound_columns", database.schemas.crm)
    unprojected = {(row["table_name"], row["column_name"]) for row in rows if not row["projected"]}
    return not unprojected.isdisjoint(_written(mapping))


async def note_projected(database: Database, mapping: BoundMapping) -> None:
    """Remember that every row shows every column that is written now."""
    await database.execute("note_projected", *_transposed(_written(mapping)))


async def refuse_foreign_columns(
    database: Database, mapping: BoundMapping, given: Sequence[tuple[Table, str]] = ()
) -> None:
    """Look, changing nothing, whether the store can have these columns, if the *given* ones were taken over.

    Raises `SchemaError` as `ensure_columns`.
    """
    async with database.transaction() as connection:
        before = await connection.fetch(database.sql("load_bound_columns"), database.schemas.crm)
        ours = await _ours(connection, database, before)
        wanted = _Wanted(mapping, None if ours is None else ours | set(given))
        _refuse(
            [fault for table in _TABLES for fault in (await _compare(connection, database, wanted, table))[1]]
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be there, and which columns are sfsync's; None when a version made them that did not remember it."""

    mapping: BoundMapping
    ours: set[tuple[Table, str]] | None


async def _compare(
    connection: Connection, database: Database, wanted: _Wanted, table: Table
) -> tuple[list[Column], list[str]]:
    """Return the columns that are missing, and what is wrong with those that are there."""
    existing = await _existing(connection, database, table)
    suspended = {one.column.name for one in wanted.mapping.paused if one.is_suspended and one.table == table}
    missing, faults = [], []
    for column in wanted.mapping.stored(table):
        if column.name not in existing:
            if column.name not in suspended:
                missing.append(column)
        elif wanted.ours is not None and (table, column.name) not in wanted.ours:
            faults.append(
                f"{table}.{column.name} is the application's own, sfsync did not make it: map another name, or give it"
                f" over with sfsync mapping plan --take-over {table}.{column.name} --apply"
            )
        elif existing[column.name] != _SAME_TYPE.get(column.pg_type, column.pg_type):
            faults.append(
                f"{table}.{column.name} is {existing[column.name]}, the mapping needs {column.pg_type}"
            )
    return missing, faults


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise SchemaError("the mapping asks for columns that it cannot have: " + "; ".join(faults))


async def _existing(connection: Connection, database: Database, table: str) -> Mapping[str, str]:
    rows = await connection.fetch(database.sql("load_columns"), database.schemas.crm, table)
    return {row["column_name"]: row["data_type"] for row in rows}


async def _ours(
    connection: Connection, database: Database, before: Sequence[asyncpg.Record]
) -> set[tuple[Table, str]] | None:
    """Return the columns that sfsync made; None when a version made them that did not remember it."""
    released = await connection.fetch(database.sql("list_released_columns"))
    return {_place(row) for row in (*before, *released)} or None


async def _add(connection: Connection, database: Database, table: str, column: Column) -> None:
    statement = f"ALTER TABLE crm.{table} ADD COLUMN {quote(column.name)} {column.pg_type}"
    await connection.execute(database.schemas.rename(statement))
    _log.info("store.column.added", table=table, column=column.name, type=column.pg_type)


async def _remember(connection: Connection, database: Database, mapping: BoundMapping) -> None:
    paused = {(one.table, one.column.name): one for one in mapping.paused}
    rows = [
        _row(table, column, paused.get((table, column.name)))
        for table in _TABLES
        for column in mapping.stored(table)
    ]
    await connection.execute(database.sql("upsert_mapped_columns"), *_transposed(rows, width=8))
    names = [(table, name) for table, name, *_ in rows]
    for row in await connection.fetch(database.sql("release_columns"), *_transposed(names)):
        _log.info("store.column.released", table=row["table_name"], column=row["column_name"])
    for entity, plan in mapping.plans.items():
        await connection.execute(database.sql("shrink_coverage"), str(entity), plan.coverage.split())


def _row(table: Table, column: Column, paused: PausedColumn | None) -> tuple[object, ...]:
    sources = json.dumps({entity.value: field for entity, field in sorted(column.sources.items())})
    field, reason = (
        (paused.field, paused.reason) if paused is not None and paused.is_suspended else (None, None)
    )
    return (table, column.name, column.pg_type, column.role, sources, field, reason, paused is None)


def _written(mapping: BoundMapping) -> list[tuple[Table, str]]:
    columns: Sequence[tuple[Table, Sequence[Column]]] = (
        ("company", mapping.company),
        ("person", mapping.person),
    )
    return [(table, column.name) for table, of_table in columns for column in of_table]


def _transposed(rows: Sequence[tuple[object, ...]], width: int = 2) -> Iterator[list[object]]:
    """Turn rows into one array per column, which is how statements take them."""
    return cast("Iterator[list[object]]", map(list, zip(*rows, strict=True))) if rows else iter([[]] * width)


def _tell(mapping: BoundMapping, before: Sequence[asyncpg.Record]) -> None:
    suspended = {(one.table, one.column.name): one for one in mapping.paused if one.is_suspended}
    for (table, name), one in suspended.items():
        _log.warning("mapping.column.suspended", table=table, column=name, field=one.field, reason=one.reason)
    stored = {(table, column.name) for table in _TABLES for column in mapping.stored(table)}
    for row in before:
        place = (row["table_name"], row["column_name"])
        if row["suspended_reason"] is not None and place in stored and place not in suspended:
            _log.info("mapping.column.resumed", table=place[0], column=place[1])

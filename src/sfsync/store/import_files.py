"""Put the rows of a file into the store, for the leader to take, and fetch what it could not take.

Why: the file lies where the command runs and the leader may run elsewhere, so its rows travel by the store. They are
copied in parts, so that a file of any length takes the memory of one part, and in one transaction: there is a whole
file or none. A rehearsal puts them into a table of its session instead and reads everything else in a transaction that
Postgres keeps from writing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

import asyncpg
import msgspec

from ..core.importing import Fate, Tally
from ..core.people_cells import ImportRow
from .database import Connection, Database
from .import_statements import FedColumn, compose_import
from .importing import ImportFile, plan_part, rehearse_part

PART_ROWS = 2_000
_COPY_ROWS = 5_000
_COLUMNS = ["import_id", "line", "record_id", "company_id", "cells", "company_cells"]
_PREPARE = """
CREATE TEMP TABLE sfsync_import_row (
    import_id bigint, line bigint, record_id text COLLATE "C", company_id text, cells jsonb, company_cells jsonb,
    reason text
) ON COMMIT DROP
"""


@dataclass(frozen=True, slots=True)
class Feeds:
    """What a file feeds: columns of people and of companies, and the side of addresses it chooses, if any."""

    people: Sequence[FedColumn]
    companies: Sequence[FedColumn]
    side: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The rows of one file, and the table that they are in."""

    import_id: int
    table: str = "sfsync.import_row"


_REHEARSED = Waiting(0, "pg_temp.sfsync_import_row")


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file whose rows wait in the store; the tally counts its duplicates, which do not."""

    import_id: int
    rows: int
    tally: Tally


async def stage_file(database: Database, org: str, feeds: Feeds, rows: Iterable[ImportRow]) -> StagedFile:
    """Store *rows* for the leader. Raises what *rows* raises; then nothing is stored."""
    async with database.transaction() as connection:
        await connection.execute(database.sql("forget_stale_imports"), org)
        import_id: int = await connection.fetchval(
            database.sql("insert_import_file"),
            org,
            [column.name for column in feeds.people],
            [column.name for column in feeds.companies],
            feeds.side,
        )
        copied = await _copy(connection, database.schemas.internal, "import_row", import_id, rows)
        tally = await _drop_duplicates(connection, database, Waiting(import_id))
    return StagedFile(import_id, copied - tally.rows, tally)


async def rehearse_file(
    database: Database,
    org: str,
    feeds: Feeds,
    rows: Iterable[ImportRow],
    progress: Callable[[int, int], None],
) -> Tally:
    """Count what importing *rows* would do. Reads only; *progress* is told rows done and rows in all."""
    statements = compose_import(feeds.people, feeds.companies, database.schemas)
    file = ImportFile(statements, "", feeds.side)
    async with _rehearsing(database) as connection:
        copied = await _copy(connection, "pg_temp", "sfsync_import_row", 0, rows)
        tally = await _drop_duplicates(connection, database, _REHEARSED)
        await connection.execute("SET TRANSACTION READ ONLY")
        after, done = 0, 0
        while part_rows := await next_rows(connection, database, _REHEARSED, after):
            part = await plan_part(connection, database, org, part_rows, tally)
            tally = await rehearse_part(connection, database, org, file, part)
            after, done = part_rows[-1]["line"], done + len(part_rows)
            progress(done, copied)
    return tally


@asynccontextmanager
async def _rehearsing(database: Database) -> AsyncIterator[Connection]:
    async with database.transaction() as connection:
        await connection.execute(_PREPARE)
        yield connection


async def next_rows(
    connection: Connection, database: Database, waiting: Waiting, after: int, rows_max: int = PART_ROWS
) -> list[asyncpg.Record]:
    """Load the next rows of a file that nobody took yet, after a line."""
    statement = _of(database, "load_import_rows", waiting)
    return await connection.fetch(statement, waiting.import_id, after, rows_max)


async def rejected_rows(database: Database, import_id: int) -> list[tuple[int, str, str]]:
    """Return the rows that the leader could not take, by line: line, record id, reason."""
    rows = await database.fetch("list_rejected_rows", import_id)
    return [(row["line"], row["record_id"], row["reason"]) for row in rows]


async def forget_file(database: Database, import_id: int) -> None:
    """Forget a file that is done, with what became of it."""
    await database.execute("forget_import", import_id)


async def _copy(
    connection: Connection, schema: str, table: str, import_id: int, rows: Iterable[ImportRow]
) -> int:
    copied, source = 0, iter(rows)
    while part := [_record(import_id, row) for row in islice(source, _COPY_ROWS)]:
        await connection.copy_records_to_table(table, schema_name=schema, records=part, columns=_COLUMNS)
        copied += len(part)
    return copied


def _record(import_id: int, row: ImportRow) -> tuple[object, ...]:
    cells, company_cells = (msgspec.json.encode(one).decode() for one in (row.cells, row.company_cells))
    return import_id, row.line, row.record_id, row.company, cells, company_cells


async def _drop_duplicates(connection: Connection, database: Database, waiting: Waiting) -> Tally:
    """Leave out what a later row says again: the last one counts."""
    tally = Tally()
    found = await connection.fetch(_of(database, "find_duplicate_rows", waiting), waiting.import_id)
    for row in found:
        tally.note(Fate.DUPLICATE, row["line"], row["record_id"], f"line {row['later']} counts")
    if found:
        places = [row["place"] for row in found]
        await connection.execute(_of(database, "delete_duplicate_rows", waiting), places)
    return tally


def _of(database: Database, name: str, waiting: Waiting) -> str:
    return database.sql(name).replace("{rows}", database.schemas.rename(waiting.table))

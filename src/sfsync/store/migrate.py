"""Bring the base schema up to date with numbered `.sql` files.

Why: the migration tools on PyPI bring SQLAlchemy or a second driver; what is needed is a table, a lock and a
checksum. A migration is append-only: a changed file that was already applied is refused, because two
installations would then differ silently. Columns that follow the mapping are not migrations (`columns.py`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import structlog

from ..errors import SchemaError
from .database import Connection, Database

_log = structlog.get_logger()
_LOCK_KEY = 0x7366_7379_6E63  # "sfsync" in ASCII, so that it is recognized in pg_locks.


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    name: str
    statement: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.statement.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return all migrations of this version, in order."""
    folder = resources.files("sfsync.store").joinpath("migrations")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, each file in its own transaction; return the names applied.

    Raises `SchemaError` when the database is newer than this version or an applied file was changed.
    """
    applied_now = []
    rename = database.schemas.rename
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        await connection.execute(rename("CREATE SCHEMA IF NOT EXISTS sfsync"))
        await connection.execute(
            rename(
                "CREATE TABLE IF NOT EXISTS sfsync.migration"
                " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
        )
    for migration in migrations():
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
            if await _apply(connection, migration, rename):
                applied_now.append(migration.name)
    await _refuse_newer(database)
    return applied_now


async def _apply(connection: Connection, migration: Migration, rename: Callable[[str], str]) -> bool:
    known = await connection.fetchval(
        rename("SELECT checksum FROM sfsync.migration WHERE name = $1"), migration.name
    )
    if known == migration.checksum:
        return False
    if known is not None:
        raise SchemaError(
            f"migration {migration.name} was applied with other text than this version has:"
            " run the version that made this database, or restore it"
        )
    started = time.monotonic()
    await connection.execute(rename(migration.statement))
    # failpoint: migration.run - a migration is run, not noted
    await connection.execute(
        rename("INSERT INTO sfsync.migration (name, checksum) VALUES ($1, $2)"),
        migration.name,
        migration.checksum,
    )
    _log.info(
        "store.migration.applied",
        migration=migration.name,
        duration_ms=round((time.monotonic() - started) * 1000),
    )
    return True


async def _refuse_newer(database: Database) -> None:
    ours = {migration.name for migration in migrations()}
    async with database.transaction() as connection:
        rows = await connection.fetch(database.schemas.rename("SELECT name FROM sfsync.migration"))
    unknown = sorted({row["name"] for row in rows} - ours)
    if unknown:
        raise SchemaError(f"the database has migrations this version does not know: {', '.join(unknown)}")

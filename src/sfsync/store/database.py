"""The way to Postgres: one small pool, fixed session settings, and the translation of driver errors.

Why: asyncpg's classes and SQLSTATEs are read here and nowhere else, so that the rest of sfsync reacts to
"away" (retry), "not what we need" (stop) and "this row cannot be stored" (park it), never to message texts.
Source: PostgreSQL Appendix A, "Error Codes".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from ..errors import ConfigError, SchemaError, StoreError, StoreUnavailableError
from .sql import Schemas, load

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    # The driver's classes are generic for type checkers only.
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

_RETRYABLE_CLASSES = ("08", "53", "57")
_RETRYABLE_CODES = frozenset({"25006", "40001", "40P01", "55P03", "58030", "25P03", "XX000"})
_SCHEMA_CODES = frozenset({"42703", "42804", "42P01", "42501", "42883", "3F000", "3D000", "42704", "22P05"})
_REFUSED_CLASS = "28"
SERVER_VERSION_MIN = 15
# The driver calls it an internal error when the server hangs up at a moment that it did not foresee.
_CONNECTION_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_DRIVER_ERRORS = (asyncpg.PostgresError, *_CONNECTION_ERRORS)


def store_error(error: BaseException) -> StoreError | ConfigError | None:
    """Return our error for one of the driver's; None when *error* is not about Postgres."""
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ConfigError(
            "store.dsn cannot be used as written: check host, port and sslmode;"
            " sslmode=verify-full also needs sslrootcert=/path/to/ca.pem"
        )
    if isinstance(error, asyncpg.PostgresError):
        return _answered(error)
    if isinstance(error, _CONNECTION_ERRORS):
        return StoreUnavailableError(f"the connection to Postgres failed ({type(error).__name__})")
    return None


def _answered(error: asyncpg.PostgresError) -> StoreError:
    code = error.sqlstate or ""
    text = f"Postgres answered SQLSTATE {code} ({type(error).__name__})"
    if code[:2] in _RETRYABLE_CLASSES or code in _RETRYABLE_CODES:
        return StoreUnavailableError(text, sqlstate=code)
    kind = SchemaError if code in _SCHEMA_CODES or code.startswith(_REFUSED_CLASS) else StoreError
    return kind(text + _missing(error), sqlstate=code)


def _missing(error: asyncpg.PostgresError) -> str:
    """Name the constraint, column or table at fault; never the detail, which quotes the row."""
    for kind in ("constraint_name", "column_name", "table_name"):
        name = getattr(error, kind, None)
        if name:
            return f", {kind.removesuffix('_name')} {name}"
    return ""


@contextmanager
def store_errors() -> Iterator[None]:
    """Translate the driver's errors into ours; the only place that reads SQLSTATEs."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        translated = store_error(error)
        if translated is None:
            raise
        raise translated from error


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Where the store is and how patient we are with it."""

    dsn: str
    schemas: Schemas = field(default_factory=Schemas)
    statement_timeout_s: float = 60.0
    lock_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0


class Database:
    """An open pool; `async with database.transaction() as connection` is the only way to write."""

    def __init__(self, pool: Pool, options: StoreOptions) -> None:
        self._pool = pool
        self.options = options

    @property
    def schemas(self) -> Schemas:
        return self.options.schemas

    def sql(self, name: str) -> str:
        """Return the statement of `sql/<name>.sql` with this installation's schema names."""
        return load(name, self.schemas)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Run a block in one transaction; errors come out translated.

        Cancellation: rolls back, unless COMMIT was already sent; then the outcome is what the position says.
        """
        with store_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection

    async def fetch(self, name: str, *values: object) -> list[asyncpg.Record]:
        """Run `sql/<name>.sql` outside a transaction and return its rows."""
        with store_errors():
            return await self._pool.fetch(self.sql(name), *values)

    async def execute(self, name: str, *values: object) -> int:
        """Run `sql/<name>.sql` outside a transaction and return the number of rows it touched."""
        with store_errors():
            return row_count(await self._pool.execute(self.sql(name), *values))

    async def connect_alone(self) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection outside the pool, for leadership and for LISTEN; the caller closes it."""
        with store_errors():
            return await asyncpg.connect(**_connect_arguments(self.options))


def row_count(status: str) -> int:
    """Read the row count from a command's status, for example `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


def _connect_arguments(options: StoreOptions) -> dict[str, Any]:
    settings: Mapping[str, str] = {
        "application_name": "sfsync",
        "search_path": "pg_catalog",
        # What follows Salesforce is written by sessions that say so; it helps no other role (protection.py).
        "sfsync.writer": "on",
        "statement_timeout": str(round(options.statement_timeout_s * 1000)),
        "lock_timeout": str(round(options.lock_timeout_s * 1000)),
        "idle_in_transaction_session_timeout": str(round(options.statement_timeout_s * 1000)),
        "jit": "off",
        # Batches are joined to tables of any size by key. Asked freely, the planner reads a whole table to hash
        # it when it believes that to be cheaper, and keeps such a plan while the table grows.
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_material": "off",
        "timezone": "UTC",
    }
    return {
        "dsn": options.dsn,
        "timeout": options.connect_timeout_s,
        "command_timeout": options.statement_timeout_s + 5,
        "server_settings": dict(settings),
        "target_session_attrs": "read-write",
    }


@asynccontextmanager
async def open_database(options: StoreOptions, *, connections_max: int = 6) -> AsyncIterator[Database]:
    """Open the store.

    Raises `StoreUnavailableError` when Postgres is away, `SchemaError` when it is too old or not UTF-8.
    """
    with store_errors():
        pool = await asyncpg.create_pool(
            min_size=1,
            max_size=connections_max,
            reset=_keep_session,
            **_connect_arguments(options),
        )
    try:
        await _refuse_unfit_server(pool)
        yield Database(pool, options)
    finally:
        pool.terminate()


async def _keep_session(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Skip the driver's reset on release: we change no session state, and it costs a round trip a batch."""


async def _refuse_unfit_server(pool: Pool) -> None:
    with store_errors():
        encoding = await pool.fetchval("SHOW server_encoding")
        version = int(await pool.fetchval("SHOW server_version_num")) // 10_000
    if version < SERVER_VERSION_MIN:
        raise SchemaError(f"PostgreSQL {version} is too old: {SERVER_VERSION_MIN} or newer is needed")
    if encoding != "UTF8":
        raise SchemaError(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")


async def analyze(database: Database) -> None:
    """Tell the planner how big the tables are.

    Without it, a table that a first load has just filled counts as tiny, and batches read all of it.
    """
    async with database.transaction() as connection:
        await connection.execute(database.schemas.rename("ANALYZE sfsync.record, crm.person, crm.company"))

"""The database that the histories of one worker share, and how it is emptied between them.

Why: making a database takes longer than a short history. What one history leaves (rows, statistics of the planner,
which may change the order in which a query finds rows) is removed before the next; columns and plans of the shipped
mapping stay, since every history begins with them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from sfsync.store.embedded import embedded_postgres
from tests.postgres import SETTINGS

from .postgres_wire import SIM_SCHEMA
from .server_sessions import ServerSessions

_SERVER = {
    **SETTINGS,
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "2GB",
    "max_parallel_workers_per_gather": "0",
}


@dataclass(frozen=True, slots=True)
class Store:
    """One database of the simulation, and the real sessions that histories borrow."""

    dsn: str
    sessions: ServerSessions


@contextmanager
def serving_store() -> Iterator[Store]:
    """Serve an empty database: on the server that SFSYNC_TEST_DSN names, else on one of our own."""
    # Ended by a signal, a worker must still stop its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        dsn = os.environ.get("SFSYNC_TEST_DSN") or stack.enter_context(_own_server())
        name = f"sfsync_simulation_{os.getpid()}"
        asyncio.run(_execute(dsn, f'CREATE DATABASE "{name}" TEMPLATE template0'))
        stack.callback(lambda: asyncio.run(_execute(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')))
        own = urlsplit(dsn)._replace(path=f"/{name}", query="sslmode=disable").geturl()
        asyncio.run(_execute(own, SIM_SCHEMA))
        sessions = ServerSessions(own)
        stack.callback(sessions.close)
        yield Store(own, sessions)


@contextmanager
def _own_server() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="sfsync-simulation-") as directory,
        embedded_postgres(Path(directory), settings=_SERVER) as dsn,
    ):
        yield dsn


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


EMPTY = """
DO $$
DECLARE
    tables text;
BEGIN
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ' ORDER BY schemaname, tablename) INTO tables
    FROM pg_tables
    WHERE schemaname IN ('crm', 'sfsync')
        AND tablename NOT IN ('migration', 'postal_code', 'mapped_column', 'released_column');
    SET LOCAL session_replication_role = replica;
    IF tables IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || tables || ' RESTART IDENTITY CASCADE';
        ALTER SEQUENCE sfsync.own_id RESTART;
        UPDATE sfsync.mapped_column
        SET suspended_since = NULL, suspended_field = NULL, suspended_reason = NULL, projected = true;
    END IF;
    DELETE FROM pg_statistic WHERE starelid IN (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('crm', 'sfsync')
    );
END
$$
"""

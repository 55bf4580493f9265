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
        dsn, directory = os.environ.get("SFSYNC_TEST_DSN"), None
        if dsn is None:
            dsn, directory = stack.enter_context(_own_server())
        name = f"sfsync_simulation_{os.getpid()}"
        asyncio.run(_execute(dsn, f'CREATE DATABASE "{name}" TEMPLATE template0'))
        stack.callback(lambda: asyncio.run(_execute(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')))
        own = urlsplit(dsn)._replace(path=f"/{name}", query="sslmode=disable").geturl()
        asyncio.run(_execute(own, SIM_SCHEMA))
        sessions = ServerSessions(own, directory)
        stack.callback(sessions.close)
        yield Store(own, sessions)


@contextmanager
def _own_server() -> Iterator[tuple[str, str]]:
    """Run a server; yield its DSN, and the directory of its socket."""
    with (
        tempfile.TemporaryDirectory(prefix="sfsync-simulation-") as directory,
        embedded_postgres(Path(directory), settings=_SERVER) as dsn,
    ):
        yield dsn, directory


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
    -- A table that was ever written has blocks, and one that was looked at by ANALYZE knows its count of rows.
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid) INTO tables
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('crm', 'sfsync') AND c.relkind = 'r'
        AND c.relname NOT IN ('migration', 'postal_code', 'mapped_column', 'released_column')
        AND (c.reltuples <> -1 OR pg_relation_size(c.oid) > 0);
    SET LOCAL session_replication_role = replica;
    IF tables IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || tables || ' CASCADE';
    END IF;
    PERFORM setval(s.seqrelid, s.seqstart, false)
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('crm', 'sfsync') AND pg_sequence_last_value(s.seqrelid) IS NOT NULL;
    IF to_regclass('sfsync.mapped_column') IS NOT NULL THEN
        UPDATE sfsync.mapped_column
        SET suspended_since = NULL, suspended_field = NULL, suspended_reason = NULL, projected = true
        WHERE NOT projected OR suspended_since IS NOT NULL OR suspended_field IS NOT NULL OR suspended_reason IS NOT NULL;
    END IF;
    DELETE FROM pg_statistic WHERE starelid IN (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('crm', 'sfsync')
    );
    ASSERT NOT EXISTS (
        SELECT FROM pg_depend WHERE refobjid = 'sim.now'::regproc AND classid = 'pg_rewrite'::regclass
    ), 'a view asks for the time: let postgres_wire tell it before statements that only read';
END
$$
"""

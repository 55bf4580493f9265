"""A store as a careful administrator sets it up: sfsync has a role of its own, and so has everybody else.

Why: in other tests sfsync is the superuser that owns the server, who may do everything anyway. What roles may do is
seen only with roles. They belong to the server, so each test's have names of their own and leave with it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from tests.postgres import migrate_database
from tests.store.harness import Store, open_store

PASSWORD = "only-for-this-test"
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Roles:
    """A store whose owner is no superuser; `owner`, `letters` and `reports` are names of roles."""

    store: Store
    superuser: str
    dsn: str
    owner: str
    letters: str
    reports: str

    @asynccontextmanager
    async def session(
        self, role: str | None = None, *, switch: bool = False
    ) -> AsyncIterator[asyncpg.Connection]:
        """Log in as *role*, or as the superuser, perhaps with the switch that lets sfsync write."""
        settings = {"sfsync.writer": "on"} if switch else {}
        dsn = self.superuser if role is None else as_role(self.dsn, role)
        connection = await asyncpg.connect(dsn, server_settings=settings)
        try:
            yield connection
        finally:
            await connection.close()


def as_role(dsn: str, role: str) -> str:
    """Return *dsn* for another role."""
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{PASSWORD}@{place}").geturl()


@asynccontextmanager
async def open_roles(superuser: str) -> AsyncIterator[Roles]:
    """Make roles, and a store that the first of them owns, in an empty database."""
    names = [f"sfsync_test_{os.getpid()}_{next(_NUMBERS)}_{what}" for what in ("owner", "letters", "reports")]
    database = urlsplit(superuser).path.removeprefix("/")
    admin = await asyncpg.connect(superuser)
    try:
        for name in names:
            await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        await admin.execute(f'GRANT CREATE ON DATABASE "{database}" TO {names[0]}')
        dsn = as_role(superuser, names[0])
        await migrate_database(dsn)
        async with open_store(dsn) as store:
            yield Roles(store, superuser, dsn, *names)
    finally:
        for name in reversed(names):
            await admin.execute(f"DROP OWNED BY {name} CASCADE")
            await admin.execute(f"DROP ROLE {name}")
        await admin.close()

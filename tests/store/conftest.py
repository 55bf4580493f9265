"""A store that the many cases of one module share, each with records of its own.

Why: a database for each of several hundred cases would take longer than all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.application import Application
from tests.postgres import PgFleet, available_servers
from tests.store.harness import Store, open_store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_store(pg_fleet: PgFleet) -> AsyncIterator[Store]:
    """One store for all cases of a module, with an application that writes letters."""
    # Thousands of statements: debugging the loop would take longer than all of them.
    asyncio.get_running_loop().set_debug(False)
    server = pg_fleet.server(available_servers()[0])
    async with server.database(migrated=True) as dsn, open_store(dsn) as opened:
        await Application(opened.connection).install()
        yield opened

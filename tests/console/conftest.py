"""The scene of the API: one of its own for a test that changes it, one for all that only look.

Why: making a store takes longer than asking it, and most tests of an API change nothing, which they prove by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.console.scene import Scene, staged
from tests.postgres import PgFleet, available_servers


@pytest.fixture
async def scene(pg_dsn: str) -> AsyncIterator[Scene]:
    """A scene that a test may change."""
    async with staged(pg_dsn) as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still(pg_fleet: PgFleet) -> AsyncIterator[Scene]:
    """A scene that stays as it is; its tests run in the loop of their module."""
    server = pg_fleet.server(available_servers()[0])
    async with server.database(migrated=True) as dsn, staged(dsn) as scene:
        yield scene

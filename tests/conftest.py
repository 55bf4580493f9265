"""Fixtures that every room shares: databases on real PostgreSQL servers, and a proxy that breaks lines.

Why: no test fakes the database. A server comes from SFSYNC_TEST_DSN, else from containers when an engine
answers, else from the embedded launcher; tests of the store run on every version that is there, all others
on the newest. A test gets a database of its own, copied from a template that is migrated once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fault_proxy import FaultProxy, StartProxy
from tests.postgres import PgFleet, PgServer, available_servers

# How long an example takes says more about the machine than about the code.
settings.register_profile("sfsync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sfsync")

STORE_TESTS = Path(__file__).parent / "store"


def pytest_report_header() -> str:
    return f"PostgreSQL: {', '.join(available_servers())}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of the store once on every server; `pg_server` gives all others the newest."""
    if "pg_server" in metafunc.fixturenames and metafunc.definition.path.is_relative_to(STORE_TESTS):
        metafunc.parametrize("pg_server", available_servers(), indirect=True)


@pytest.fixture(scope="session")
def pg_fleet() -> Iterator[PgFleet]:
    """Start servers when they are first asked for and stop them all at the end of the session."""
    with PgFleet() as fleet:
        yield fleet


@pytest.fixture
def pg_server(request: pytest.FixtureRequest, pg_fleet: PgFleet) -> PgServer:
    """The server this test runs on."""
    return pg_fleet.server(getattr(request, "param", available_servers()[0]))


@pytest.fixture
async def pg_dsn(pg_server: PgServer) -> AsyncIterator[str]:
    """The DSN of a fresh database with the schema of sfsync."""
    async with pg_server.database(migrated=True) as dsn:
        yield dsn


@pytest.fixture
async def empty_dsn(pg_server: PgServer) -> AsyncIterator[str]:
    """The DSN of a fresh database with nothing in it."""
    async with pg_server.database(migrated=False) as dsn:
        yield dsn


@pytest.fixture
async def fault_proxy() -> AsyncIterator[StartProxy]:
    """Start proxies in front of `(host, port)`; all are closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(host: str, port: int) -> FaultProxy:
            return await stack.enter_async_context(FaultProxy(host, port))

        yield start

"""Fixtures of the Salesforce room: a scripted org, and the simulated one as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.connection import Connection, LinkTimings, open_connection
from sfsync.salesforce.secret import Secret
from tests.salesforce.stub_org import StubOrg

CANARY = "canary-7f3a-secret"


@pytest.fixture
async def stub() -> AsyncIterator[StubOrg]:
    """A scripted org on a free port."""
    org = StubOrg()
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", org.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, max_line_size=1 << 16)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    org.url = f"http://localhost:{runner.addresses[0][1]}"
    yield org
    await runner.cleanup()


@pytest.fixture
def credentials(stub: StubOrg) -> ClientCredentials:
    """Credentials that the scripted org takes."""
    return ClientCredentials("client", Secret(CANARY), stub.url)


@pytest.fixture
async def connection(credentials: ClientCredentials) -> AsyncIterator[Connection]:
    """A connection to the scripted org."""
    async with open_connection(credentials, timings=LinkTimings(request_s=5, login_pause_s=0)) as opened:
        yield opened

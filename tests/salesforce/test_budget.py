"""API calls are counted by what they are for, and what matters less waits for what matters more."""

from __future__ import annotations

import asyncio

from sfsync.salesforce.budget import Lane, in_lane, lane_in_use
from sfsync.salesforce.connection import Connection
from tests.salesforce.stub_org import StubOrg, answer

PATH = "/services/data/v66.0/limits/"
OK = answer(b"{}")


async def test_calls_are_counted_in_the_lane_of_their_job(stub: StubOrg, connection: Connection) -> None:
    """Tasks that a job begins work for it; what no job asked for is nobody's."""
    stub.then(PATH, OK, OK, OK)
    with in_lane(Lane.VERIFY):
        await asyncio.create_task(connection.request("GET", PATH))
        with in_lane(Lane.PULL):
            await connection.request("GET", PATH)
        assert lane_in_use() is Lane.VERIFY
    await connection.request("GET", PATH)
    assert connection.budget.calls == {Lane.VERIFY: 1, Lane.PULL: 1, Lane.OTHER: 1}

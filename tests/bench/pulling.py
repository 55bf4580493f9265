"""A record on demand: from the asking to the verdict, beside a first load and on a daemon that has nothing to do.

The asker is an application with SQL: it commits the request, then waits for the answer. Daemon, org and Postgres are
processes of their own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from itertools import cycle, islice

import asyncpg

from tests.bench.figures import Figure, percentile
from tests.bench.settings import Bench
from tests.bench.site import COMPLETED, starting_daemon
from tests.cli.conftest import PATIENCE_S
from tests.simorg.site import eventually, org_process

POPULATION, QUICK_POPULATION = 40_000, 12_000
IDLE = 60
ENTITIES = 3


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield `pull.ms` beside a backfill, and without one."""
    population = QUICK_POPULATION if bench.quick else POPULATION
    with org_process("--population", str(population), state_dir=bench.directory / "pulled-org") as org:
        async with (
            bench.server.database(migrated=True) as dsn,
            starting_daemon(org, dsn, bench.directory) as daemon,
        ):
            connection = await asyncpg.connect(dsn)
            try:
                people = await _some_people(connection)
                busy = await _pulls_beside_backfill(connection, people)
                await daemon.until(COMPLETED, wanted=ENTITIES)
                idle = [await _pull(connection, one) for one in islice(cycle(people), IDLE)]
            finally:
                await connection.close()
    yield _figure("pull.ms", busy)
    yield _figure("pull.ms.idle", idle)


def _figure(name: str, waits_ms: Sequence[float]) -> Figure:
    return Figure(name, waits_ms, "ms", more={"p95": round(percentile(waits_ms, 0.95), 1)})


async def _some_people(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Return records of people who are loaded already, as soon as there are some."""
    query = "SELECT salesforce_id FROM crm.person LIMIT 500"

    async def loaded() -> list[str]:
        return [row["salesforce_id"] for row in await connection.fetch(query)]

    found: list[str] = await eventually(loaded, PATIENCE_S)
    return found


async def _pulls_beside_backfill(
    connection: asyncpg.Connection[asyncpg.Record], people: Sequence[str]
) -> list[float]:
    """Pull one after the other until everything is loaded."""
    waits: list[float] = []
    for person in cycle(people):
        loaded = await connection.fetchval(
            "SELECT count(*) FROM sfsync.watermark WHERE backfilled_at IS NOT NULL"
        )
        if loaded == ENTITIES:
            return waits
        waits.append(await _pull(connection, person))
    raise AssertionError("unreachable: there is somebody to pull")


async def _pull(connection: asyncpg.Connection[asyncpg.Record], person: str) -> float:
    """Pull one record; return how many milliseconds the verdict took."""
    began = time.monotonic()
    request = await connection.fetchval("SELECT crm.request_sync($1)", person)
    outcome = await connection.fetchval("SELECT outcome FROM crm.await_sync($1, 30)", request)
    assert outcome in ("equal", "updated"), outcome
    return (time.monotonic() - began) * 1000

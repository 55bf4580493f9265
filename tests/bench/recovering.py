"""Recovery: from the start of a process until it is ready, after a kill, after an hour and after eighty.

What was missed is really missed: the daemon is killed, users go on, and the org's clock moves. After an hour the
events are still there and come all at once; after eighty they are gone, since Salesforce keeps them for seventy-two,
and only reading can tell what happened. Each figure ends when the daemon has caught up *and* says that it is ready;
only then is the whole store compared with the whole org.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.settings import Bench
from tests.bench.site import COMPLETED, Control, Daemon, open_control, running_daemon, starting_daemon
from tests.oracle import wait_until_equal
from tests.simorg.site import org_process

RESTARTS = 5
ENTITIES = 3
POPULATION, QUICK_POPULATION = 100_000, 4_000
HOUR_CHANGES, DAYS_CHANGES = 10_000, 100_000
QUICK_PART = 20
FIRST_CHANGES = 100
HOUR_S, DAYS_S = 3_600, 80 * 3_600
PATIENCE_S = 1_800.0


@dataclass(frozen=True, slots=True)
class _Place:
    org: dict[str, str]
    control: Control
    dsn: str
    directory: Path


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield the seconds until a daemon is ready again, after three kinds of absence."""
    part = QUICK_PART if bench.quick else 1
    population = ("--population", str(QUICK_POPULATION if bench.quick else POPULATION))
    with org_process(*population, state_dir=bench.directory / "recovery-org") as org:
        async with open_control(org) as control, bench.server.database(migrated=False) as dsn:
            place = _Place(dict(org), control, dsn, bench.directory)
            async with running_daemon(org, dsn, bench.directory) as daemon:
                # A stream that has brought nothing yet has no position to come back to.
                await _changes(place, FIRST_CHANGES, daemon)
            yield Figure("recovery.restart_s", [await _restart(place) for _ in range(RESTARTS)], "s")
            yield await _return(place, "hour", HOUR_CHANGES // part, HOUR_S)
            yield await _return(place, "days", DAYS_CHANGES // part, DAYS_S)


async def _changes(place: _Place, events: int, daemon: Daemon | None = None) -> str:
    """Change records, and return the last position; with a daemon, wait until it is there."""
    told = await place.control("POST", "burst", events=events, seed=events, release=True)
    await place.control("DELETE", "burst")
    last = str(told["last_replay_id"]).encode().hex()
    if daemon is not None:
        await daemon.until("stream.batch.applied", position=last)
    return last


async def _ready(daemon: Daemon) -> None:
    await daemon.until("health.changed", ready=True, within_s=PATIENCE_S)


async def _restart(place: _Place) -> float:
    """Start, wait until ready, and kill; return how long it took to be ready."""
    began = time.monotonic()
    async with starting_daemon(place.org, place.dsn, place.directory) as daemon:
        await _ready(daemon)
        took_s = time.monotonic() - began
        daemon.signal(signal.SIGKILL)
    return took_s


async def _return(place: _Place, name: str, changes: int, absent_s: int) -> Figure:
    """Let *changes* happen and time pass while no daemon runs, and measure how long it takes to catch up."""
    last = await _changes(place, changes)
    await place.control("POST", "clock", advance_s=absent_s)
    began = time.monotonic()
    async with starting_daemon(place.org, place.dsn, place.directory) as daemon:
        if absent_s > HOUR_S:
            await daemon.until("stream.position.expired", within_s=PATIENCE_S)
            await daemon.until(COMPLETED, wanted=ENTITIES, within_s=PATIENCE_S)
        else:
            await daemon.until("stream.batch.applied", position=last, within_s=PATIENCE_S)
        await _ready(daemon)
        took_s = time.monotonic() - began
        peak_mb = round(daemon.rss_mb(peak=True), 1)
        report = await wait_until_equal(place.org["control_url"], place.dsn, PATIENCE_S)
        assert report.is_equal, report
    more = {"changes": changes, "people": report.people, "companies": report.companies, "rss_max_mb": peak_mb}
    return Figure(f"recovery.{name}_s", [took_s], "s", more=more)

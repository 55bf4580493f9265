"""A sweep of many records that have not changed: the cost of proving that nothing was missed.

The daemon is asked (SIGUSR2) to read every record. The first such sweep only records the org's replies; the measured
ones read the same bytes from a process that does nothing but send them.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

from tests.bench.figures import Figure
from tests.bench.recorder import recording
from tests.bench.settings import Bench
from tests.bench.site import COMPLETED, Daemon, running_daemon
from tests.simorg.site import org_process

RECORDS, QUICK_RECORDS = 100_000, 10_000
SWEEPS = 3
ENTITIES = 3


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield the records per second of a sweep in full that finds nothing."""
    records = QUICK_RECORDS if bench.quick else RECORDS
    # A population of N people has a quarter as many companies.
    population = ("--population", str(records * 4 // 5))
    with org_process(*population, state_dir=bench.directory / "big-org") as org, recording(org) as recorded:
        async with (
            bench.server.database(migrated=False) as dsn,
            running_daemon(recorded, dsn, bench.directory) as daemon,
        ):
            await _sweep(daemon)
            daemon.forget_peak()
            swept = [await _sweep(daemon) for _ in range(SWEEPS)]
            more = {
                "per_daemon_cpu_s": round(sorted(rate for _, rate in swept)[SWEEPS // 2]),
                "rss_max_mb": round(daemon.rss_mb(peak=True), 1),
            }
    yield Figure(f"sweep.unchanged_s.{records}", [rate for rate, _ in swept], "records/s", more=more)


async def _sweep(daemon: Daemon) -> tuple[float, float]:
    """Have every record read, and return records per second of time and of the daemon's CPU time."""
    daemon.forget_log()
    cpu_s = daemon.cpu_s()
    daemon.signal(signal.SIGUSR2)
    await daemon.until(COMPLETED, wanted=ENTITIES)
    cpu_s = daemon.cpu_s() - cpu_s
    certificates = list(daemon.events(COMPLETED))
    read = sum(one["read"] for one in certificates)
    assert read == sum(one["equal"] for one in certificates), "something was not equal"
    took_s = sum(one["duration_ms"] for one in certificates) / 1000
    return read / took_s, read / cpu_s

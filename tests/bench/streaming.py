"""Events through the real subscription: latency at four rates, throughput when all are there, and memory.

Each event is a transaction of its own that the org committed and encoded before the clock starts; the rate is the
org's letting through. Latency is from that to the daemon's commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import Figure, percentile
from tests.bench.settings import Bench
from tests.bench.site import Control, Daemon, instant_s, open_control, running_daemon
from tests.simorg.site import org_process

RATES = {50: 300, 500: 2_000, 2_000: 8_000, 5_000: 15_000}
QUICK_RATES = {500: 500, 2_000: 2_000}
POPULATION, QUICK_POPULATION = 8_000, 2_000
FLOOD, QUICK_FLOOD = 20_000, 5_000
FLOODS = 3
HOLDS_MS = {"": 0, ".held": 20}
# No event may be as old as the reading that came before it.
SETTLE_S = 3.0


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield latencies with and without hold, the rate end to end, and resident memory."""
    with org_process(
        "--population",
        str(QUICK_POPULATION if bench.quick else POPULATION),
        state_dir=bench.directory / "org",
    ) as org:
        async with open_control(org) as control, bench.server.database(migrated=False) as dsn:
            for suffix, hold_ms in HOLDS_MS.items():
                settings = {"SFSYNC_SYNC__HOLD_MS": hold_ms}
                async with running_daemon(org, dsn, bench.directory, **settings) as daemon:
                    await asyncio.sleep(SETTLE_S)
                    load = _Load(control, daemon)
                    async for figure in _latencies(load, QUICK_RATES if bench.quick else RATES, suffix):
                        yield figure
                    if not hold_ms:
                        yield await _flood(load, QUICK_FLOOD if bench.quick else FLOOD)
                        yield Figure("memory.rss_mb", [daemon.rss_mb(peak=True)], "MB")


@dataclass(slots=True)
class _Load:
    """Puts bursts of the org through the daemon."""

    control: Control
    daemon: Daemon
    seed: int = 0

    async def run(self, events: int, rate: float | None) -> tuple[list[float], float, float]:
        """Let *events* through; return their latencies in ms, the seconds they took and the daemon's CPU seconds."""
        self.seed += 1
        prepared = await self.control("POST", "burst", events=events, release=False, seed=self.seed)
        self.daemon.forget_log()
        cpu_s = self.daemon.cpu_s()
        await self.control("POST", "burst/release", rate=rate)
        last = str(prepared["last_replay_id"]).encode().hex()
        done = await self.daemon.until("stream.batch.applied", position=last)
        cpu_s = self.daemon.cpu_s() - cpu_s
        released = (await self.control("GET", "burst"))["released_us"]
        latencies = _latencies_ms(released, list(self.daemon.events("stream.batch.applied")))
        assert len(latencies) == events, f"{len(latencies)} of {events} events came"
        return latencies, instant_s(done) - released[0][1] / 1e6, cpu_s


def _latencies_ms(released: list[list[int]], applied: list[dict[str, Any]]) -> list[float]:
    """Give each event the commit of the first batch whose position is not before it."""
    latencies: list[float] = []
    for line in applied:
        last = int(bytes.fromhex(line["position"]))
        committed_us = instant_s(line) * 1e6
        while len(latencies) < len(released) and released[len(latencies)][0] <= last:
            latencies.append((committed_us - released[len(latencies)][1]) / 1000)
    return latencies


async def _latencies(load: _Load, rates: Mapping[int, int], suffix: str) -> AsyncIterator[Figure]:
    for rate, events in rates.items():
        latencies, _, cpu_s = await load.run(events, rate)
        batches = sum(1 for _ in load.daemon.events("stream.batch.applied"))
        more = {
            "events_per_batch": round(events / batches, 1),
            "daemon_cpu_share": round(cpu_s / (events / rate), 2),
        }
        yield Figure(f"latency.p50_ms.{rate}{suffix}", [percentile(latencies, 0.5)], "ms", more=more)
        yield Figure(f"latency.p99_ms.{rate}{suffix}", [percentile(latencies, 0.99)], "ms")


async def _flood(load: _Load, events: int) -> Figure:
    """Measure how fast events go through when they need not be waited for."""
    rates, per_cpu_s = [], []
    for _ in range(FLOODS):
        _, took_s, cpu_s = await load.run(events, None)
        rates.append(events / took_s)
        per_cpu_s.append(events / cpu_s)
    more = {"per_daemon_cpu_s": round(sorted(per_cpu_s)[len(per_cpu_s) // 2])}
    return Figure("events.end_to_end_s", rates, "events/s", more=more)

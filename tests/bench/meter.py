"""What a piece of work costs: time on the clock, and processor time of ours and of the server processes behind it.

Why: on a shared machine the clock also counts the waiting for others. Processor time does not, so the ratio of two
of them holds where the ratio of two times is noise.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a piece of work took, and seconds of processor time that it used."""

    wall_s: float
    cpu_s: float


class Meter:
    """Measures work that is done by this process and the server processes *pids*."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._schedules = [Path(f"/proc/{pid}/schedstat") for pid in pids]

    @classmethod
    async def of_database(cls, connection: asyncpg.Connection[asyncpg.Record]) -> Meter:
        """Return a meter for all server processes that work for the database of *connection* now."""
        rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return cls([row["pid"] for row in rows])

    async def cost(self, work: Awaitable[object]) -> Cost:
        """Do *work* and return what it cost."""
        cpu_s, began = self._cpu_s(), time.perf_counter()
        await work
        return Cost(time.perf_counter() - began, self._cpu_s() - cpu_s)

    def _cpu_s(self) -> float:
        served_ns = sum(int(schedule.read_text().split()[0]) for schedule in self._schedules)
        return time.process_time() + served_ns / 1e9

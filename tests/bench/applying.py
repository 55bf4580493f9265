"""Rows applied per second, everything included, against pure binary COPY of the same people.

COPY writes every mapped column of each record into one heap without index or constraint, in one transaction. Apply
gets commands for as many records (see `workload`) on a store that knows far more of them, and does all it does in
production: epoch, mirror, order, identity, projection, change feed, position, NOTIFY, commit. Sizes and methods take
turns in random order.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import asyncpg

from sfsync.core.commands import Command
from sfsync.core.events import Position
from sfsync.store.batch import Batch
from sfsync.store.database import Connection, analyze
from sfsync.store.readings import tip_progress
from tests.bench.figures import Figure
from tests.bench.meter import Cost, Meter
from tests.bench.settings import Bench
from tests.bench.workload import People, heap_rows
from tests.store.harness import MAPPING, ORG, Store, at, open_store

SIZES = {1: 300, 10: 150, 100: 60, 1000: 20, 10000: 5}
QUICK_SIZES = {1: 100, 10: 50, 100: 20, 1000: 7, 10000: 1}
PEOPLE, QUICK_PEOPLE = 50_000, 12_000
LOAD = 5_000
CHANNEL = "/data/ChangeEvents"
COLUMNS = [column.name for column in MAPPING.person]


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield `apply.rows_s.N` for each size of batch, and the rate of COPY it is compared with."""
    rng = random.Random(1)
    sizes = QUICK_SIZES if bench.quick else SIZES
    async with _stocked(bench, rng) as (stream, store, people):
        meter = await Meter.of_database(store.connection)
        costs: dict[int, list[tuple[Cost, Cost]]] = {size: [] for size in sizes}
        # The first batches of each size pay for preparing statements and for cold caches.
        turns = [(size, turn) for size, runs in sizes.items() for turn in range(-max(1, runs // 5), runs)]
        rng.shuffle(turns)
        turns.sort(key=lambda one: one[1] >= 0)
        for size, turn in turns:
            copied = await meter.cost(_copy(store.connection, heap_rows(size, rng)))
            applied = await meter.cost(stream.apply(people.batch(size)))
            if turn >= 0:
                costs[size].append((applied, copied))
    for size, pairs in costs.items():
        yield _compared(size, pairs)
    for size, pairs in costs.items():
        yield Figure(f"copy.rows_s.{size}", [size / copied.wall_s for _, copied in pairs], "rows/s")


def _compared(size: int, pairs: list[tuple[Cost, Cost]]) -> Figure:
    """Compare apply with COPY by the clock, and beside it by processor time, which noise touches less."""
    more = {
        "cpu_us_per_row": round(1e6 * median(applied.cpu_s for applied, _ in pairs) / size, 1),
        "cpu_ratio": round(median(copied.cpu_s / applied.cpu_s for applied, copied in pairs), 3),
    }
    return Figure(
        f"apply.rows_s.{size}",
        [size / applied.wall_s for applied, _ in pairs],
        "rows/s",
        [copied.wall_s / applied.wall_s for applied, copied in pairs],
        "copy",
        more,
    )


class _Stream:
    """Applies batches as the stream does: with a position that is swapped in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._number = 0

    async def apply(self, commands: list[Command]) -> None:
        """Apply one batch; all of it must be written."""
        before, self._number = self._position, self._number + 1

        async def advance(connection: Connection) -> None:
            sql = self._store.database.sql("advance_position")
            moved = await connection.execute(sql, ORG, CHANNEL, before, self._position, at(0))
            assert moved == "UPDATE 1"

        batch = Batch(commands, "event", at(0), progress=advance)
        outcome = await self._store.applier.apply(batch)
        assert outcome.people_changed + outcome.companies_changed == len(commands), (
            "a batch was not written whole"
        )

    @property
    def _position(self) -> Position | None:
        return Position(str(self._number).encode()) if self._number else None


@asynccontextmanager
async def _stocked(bench: Bench, rng: random.Random) -> AsyncIterator[tuple[_Stream, Store, People]]:
    """Open a store that holds people already, with the statistics that a running server has of them."""
    people = People(rng)
    async with bench.server.database(migrated=True) as dsn, open_store(dsn) as store:
        tip = tip_progress(store.database, ORG, CHANNEL, None, at(0))
        await store.applier.apply(Batch((), "event", at(0), progress=tip))
        await store.connection.execute(
            f"CREATE TABLE heap AS SELECT {', '.join(COLUMNS)} FROM crm.person WITH NO DATA"
        )
        stream = _Stream(store)
        founding = people.found(QUICK_PEOPLE if bench.quick else PEOPLE)
        for start in range(0, len(founding), LOAD):
            await stream.apply(founding[start : start + LOAD])
        await analyze(store.database)
        yield stream, store, people


async def _copy(connection: asyncpg.Connection[asyncpg.Record], rows: list[tuple[Any, ...]]) -> None:
    """Write *rows* in one transaction."""
    async with connection.transaction():
        await connection.copy_records_to_table("heap", records=rows, columns=COLUMNS)

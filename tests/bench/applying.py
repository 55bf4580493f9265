"""Rows applied per second, everything included, against pure binary COPY of the same people.

COPY writes every mapped column of each record into one heap without index or constraint, in one transaction. Apply
gets commands for as many records (see `workload`) on a store that knows far more of them, and does all it does in
production: epoch, mirror, order, identity, projection, change feed, position, NOTIFY, commit. Sizes and methods take
turns in random order.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from sfsync.core.commands import Command
from sfsync.core.events import Position
from sfsync.store.apply import Batch
from sfsync.store.database import Connection, analyze
from sfsync.store.readings import tip_progress
from tests.bench.figures import Figure
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
    async with _stocked(bench, rng) as (bulk, store, people):
        copied: dict[int, list[float]] = {size: [] for size in sizes}
        applied: dict[int, list[float]] = {size: [] for size in sizes}
        # The first batches of each size pay for preparing statements and for cold caches.
        turns = [(size, turn) for size, runs in sizes.items() for turn in range(-max(1, runs // 5), runs)]
        rng.shuffle(turns)
        turns.sort(key=lambda one: one[1] >= 0)
        for size, turn in turns:
            copy_s = await _copy(store.connection, heap_rows(size, rng))
            apply_s = await bulk.apply(people.batch(size))
            if turn >= 0:
                copied[size].append(size / copy_s)
                applied[size].append(size / apply_s)
    for size in sizes:
        ratios = [ours / theirs for ours, theirs in zip(applied[size], copied[size], strict=True)]
        yield Figure(f"apply.rows_s.{size}", applied[size], "rows/s", ratios, "copy")
    for size in sizes:
        yield Figure(f"copy.rows_s.{size}", copied[size], "rows/s")


class _Stream:
    """Applies batches as the stream does: with a position that is swapped in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._number = 0

    async def apply(self, commands: list[Command]) -> float:
        """Apply one batch and return the seconds it took."""
        before, self._number = self._position, self._number + 1

        async def advance(connection: Connection) -> None:
            sql = self._store.database.sql("advance_position")
            moved = await connection.execute(sql, ORG, CHANNEL, before, self._position, at(0))
            assert moved == "UPDATE 1"

        batch = Batch(commands, "event", at(0), progress=advance)
        began = time.perf_counter()
        outcome = await self._store.applier.apply(batch)
        took_s = time.perf_counter() - began
        assert outcome.people_changed + outcome.companies_changed == len(commands), (
            "a batch was not written whole"
        )
        return took_s

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


async def _copy(connection: asyncpg.Connection[asyncpg.Record], rows: list[tuple[Any, ...]]) -> float:
    """Write *rows* in one transaction and return the seconds it took."""
    began = time.perf_counter()
    async with connection.transaction():
        await connection.copy_records_to_table("heap", records=rows, columns=COLUMNS)
    return time.perf_counter() - began

"""What each size costs: the first load, the room that it takes, and an ordinary sweep that finds a thousand changes.

First loads are real, from an org of that size, up to `ORG_RECORDS_MAX` records. The sweeps and the sizes of tables are
measured on one store that grows: a daemon loads the smallest size from an org, then SQL copies those rows under other
ids until there are as many as asked. The org stays the same, so that only the size of the store differs.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from sfsync.core.ids import Entity
from tests.bench.figures import Figure
from tests.bench.processes import ServerCpu
from tests.bench.settings import Bench
from tests.bench.site import COMPLETED, Control, Daemon, instant_s, open_control, starting_daemon
from tests.simorg.site import org_process

SIZES, QUICK_SIZES = (10_000, 100_000), (2_000, 4_000)
ORG_RECORDS_MAX = 250_000
CHANGES = 1_000
SWEEPS = 5
PATIENCE_S = 1_800.0
ENTITIES = len(Entity)
TABLES = ("sfsync.record", "crm.person", "crm.company", "sfsync.change")


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield `growth.backfill_s.N`, then `growth.sweep_ms.N` and `growth.bytes_per_record.N`."""
    sizes = sorted(bench.sizes or (QUICK_SIZES if bench.quick else SIZES))
    server = await ServerCpu.of(bench.server.dsn)
    for size in sizes:
        if size <= ORG_RECORDS_MAX:
            yield await _backfill(bench, server, size)
    with org_process(*_population(sizes[0]), state_dir=bench.directory / "growing-org") as org:
        async with open_control(org) as control, bench.server.database(migrated=True) as dsn:
            for size in sizes:
                place = _Place(bench, server, dict(org), control, dsn)
                async for figure in _grown(place, size):
                    yield figure


@dataclass(frozen=True, slots=True)
class _Place:
    bench: Bench
    server: ServerCpu
    org: dict[str, str]
    control: Control
    dsn: str


def _population(records: int) -> tuple[str, str]:
    """N people come with a quarter as many companies."""
    return "--population", str(records * 4 // 5)


async def _backfill(bench: Bench, server: ServerCpu, size: int) -> Figure:
    """Load an org of that size for the first time."""
    with org_process(*_population(size), state_dir=bench.directory / f"org-{size}") as org:
        async with bench.server.database(migrated=True) as dsn:
            wal = await _ask(dsn, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
            async with starting_daemon(org, dsn, bench.directory) as daemon:
                began = await daemon.until("backfill.entity.started")
                cpu_s = daemon.cpu_s() + server.seconds()
                ended = await daemon.until("backfill.entity.completed", wanted=ENTITIES, within_s=PATIENCE_S)
                cpu_s = daemon.cpu_s() + server.seconds() - cpu_s
                loads = list(daemon.events("backfill.entity.completed"))
                peak_mb = daemon.rss_mb(peak=True)
            wal = await _ask(dsn, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')") - wal
            tables = await _tables(dsn)
    took_s = instant_s(ended) - instant_s(began)
    records = sum(load["records"] for load in loads)
    more = {
        "records": records,
        "records_s": round(records / took_s),
        "cpu_us_per_record": round(1e6 * cpu_s / records, 1),
        "rss_max_mb": round(peak_mb),
        "wal_bytes_per_record": round(float(wal) / records),
        "api_calls": sum(load["api_calls"] for load in loads),
        "mb": tables,
    }
    return Figure(f"growth.backfill_s.{size}", [took_s], "s", more=more)


async def _grown(place: _Place, size: int) -> AsyncIterator[Figure]:
    """Bring the store to that size, and sweep it a few times, a thousand changes each."""
    filled = await _ask(place.dsn, "SELECT count(*) FROM sfsync.record")
    if filled:
        await _fill(place.dsn, size)
    async with starting_daemon(place.org, place.dsn, place.bench.directory) as daemon:
        await daemon.until(COMPLETED, wanted=ENTITIES, within_s=PATIENCE_S)
        if not filled:
            await _execute(place.dsn, "CREATE TABLE template AS SELECT id FROM sfsync.record")
        await _execute(place.dsn, "VACUUM ANALYZE sfsync.record", "VACUUM ANALYZE crm.person")
        daemon.forget_peak()
        swept = [await _sweep(place, daemon, size + number) for number in range(SWEEPS)]
        peak_mb = daemon.rss_mb(peak=True)
    records = await _ask(place.dsn, "SELECT count(*) FROM sfsync.record")
    middle = sorted(swept, key=lambda one: one.cpu_ms)[SWEEPS // 2]
    more = {
        "records": records,
        "read": middle.read,
        "cpu_ms": round(middle.cpu_ms),
        "api_calls": middle.api_calls,
        "rss_max_mb": round(peak_mb),
    }
    yield Figure(f"growth.sweep_ms.{size}", [one.wall_ms for one in swept], "ms", more=more)
    tables = await _tables(place.dsn)
    yield Figure(
        f"growth.bytes_per_record.{size}",
        [1e6 * sum(sum(parts) for parts in tables.values()) / records],
        "bytes",
        more={"mb": tables},
    )


@dataclass(frozen=True, slots=True)
class _Swept:
    wall_ms: float
    cpu_ms: float
    read: int
    api_calls: int


async def _sweep(place: _Place, daemon: Daemon, seed: int) -> _Swept:
    """Let a thousand records change, let the stream bring them, and sweep; the sweep reads them all again."""
    told = await place.control("POST", "burst", events=CHANGES, seed=seed, release=True)
    await place.control("DELETE", "burst")
    await daemon.until("stream.batch.applied", position=str(told["last_replay_id"]).encode().hex())
    daemon.forget_log()
    cpu_s = daemon.cpu_s() + place.server.seconds()
    daemon.signal(signal.SIGUSR1)
    await daemon.until(COMPLETED, wanted=ENTITIES, within_s=PATIENCE_S)
    cpu_s = daemon.cpu_s() + place.server.seconds() - cpu_s
    certificates = list(daemon.events(COMPLETED))
    # The next sweep must not find these changes again.
    await place.control("POST", "clock", advance_s=3_600)
    return _Swept(
        sum(one["duration_ms"] for one in certificates),
        1000 * cpu_s,
        sum(one["read"] for one in certificates),
        sum(one["api_calls"] for one in certificates),
    )


_FILL = """
INSERT INTO {table} ({columns})
SELECT {values} FROM {table} AS t JOIN template AS m ON m.id = t.{key}
CROSS JOIN generate_series({first}, {last}) AS k (k)
"""
_OWN_IDS = ("own_id", "subject_id", "company_id")


async def _fill(dsn: str, size: int) -> None:
    """Copy the loaded rows, under ids that the org does not have, until there are *size* records."""
    loaded = await _ask(dsn, "SELECT count(*) FROM template")
    first = await _ask(dsn, "SELECT count(*) FROM sfsync.record") // loaded
    last = size // loaded - 1
    if last < first:
        return
    stride = await _ask(dsn, "SELECT max(own_id) + 1 FROM sfsync.record JOIN template USING (id)")
    for table in ("crm.company", "crm.person", "sfsync.record"):
        key = "id" if table == "sfsync.record" else "salesforce_id"
        columns = await _columns(dsn, table)
        statement = _FILL.format(
            table=table,
            columns=", ".join(f'"{one}"' for one in columns),
            values=", ".join(_value(one, table, stride) for one in columns),
            key=key,
            first=first,
            last=last,
        )
        await _execute(dsn, "SET sfsync.writer = 'on'", statement)
    await _execute(dsn, f"SELECT setval('sfsync.own_id', {stride * (last + 1)})")


async def _columns(dsn: str, table: str) -> list[str]:
    names = await _ask(
        dsn,
        "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
    )
    return list(names)


def _value(column: str, table: str, stride: int) -> str:
    """Say what a copy has in that column: other ids, and the same of everything else."""
    if column in ("account_id", "salesforce_id") or (column == "id" and table == "sfsync.record"):
        # These four characters of an id are zeros in orgs as small as ours.
        return f"overlay(t.{column} PLACING lpad(to_hex(k.k), 4, '0') FROM 6 FOR 4)"
    if column in _OWN_IDS or column == "id":
        return f"t.{column} + k.k * {stride}"
    return f't."{column}"'


async def _tables(dsn: str) -> Mapping[str, list[float]]:
    """Return MB of each table, TOAST included, and of its indexes."""
    sizes = {}
    for table in TABLES:
        heap = await _ask(dsn, f"SELECT pg_table_size('{table}')")
        indexes = await _ask(dsn, f"SELECT pg_indexes_size('{table}')")
        sizes[table] = [round(heap / 1e6, 1), round(indexes / 1e6, 1)]
    return sizes


async def _ask(dsn: str, question: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()

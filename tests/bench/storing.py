"""What a change of one field costs the store: rows updated in their page (HOT), write-ahead log, growth, indexes.

Records get Title and LastModifiedDate, the least that a CDC update says, through the whole of apply. Autovacuum
looks every second instead of every minute, as the changes of half an hour come within ten seconds.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from sfsync.core.commands import Image, Patch
from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import default_mapping_text, parse_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.store.batch import Batch
from sfsync.store.database import analyze
from tests.bench.figures import Figure
from tests.bench.settings import Bench
from tests.bench.workload import People, value_of
from tests.store.harness import MAPPING, Store, at, open_store

PEOPLE, QUICK_PEOPLE = 10_000, 2_000
ROUNDS = 5
AT_ONCE = 1_000
LONG_PEOPLE = 1_000
# Characters of a description; the longest that Salesforce keeps is 32,000.
LENGTHS = (0, 500, 4_000, 32_000)
TABLES = ("sfsync.record", "crm.person")
TUNED = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
# What the tables get besides what the migrations give them.
VARIANTS: Mapping[str, str] = {
    "as_made": "",
    "autovacuum_off": "autovacuum_enabled = false",
    "autovacuum_default": "autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 2",
    "autovacuum_tuned": TUNED,
    "fillfactor_100": "fillfactor = 100",
    "fillfactor_70": "fillfactor = 70",
    "fillfactor_70_autovacuum_tuned": f"fillfactor = 70, {TUNED}",
}


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield `storage.hot_share.<variant>`, the use of indexes, and `storage.wal_bytes.<characters>`."""
    await _on_server(bench, "ALTER SYSTEM SET autovacuum_naptime = '1s'", "SELECT pg_reload_conf()")
    try:
        for variant, options in VARIANTS.items():
            changed = await _changed(bench, options)
            yield _hot(variant, changed)
            if variant == "as_made":
                for figure in _indexes(changed):
                    yield figure
    finally:
        await _on_server(bench, "ALTER SYSTEM RESET autovacuum_naptime", "SELECT pg_reload_conf()")
    for length in LENGTHS:
        yield await _long(bench, length)


@dataclass(frozen=True, slots=True)
class _Changed:
    """What statistics say after all changes, and sizes in bytes before and after."""

    people: int
    changes: int
    wal_bytes: int
    before: Mapping[str, int]
    after: Mapping[str, int]
    updates: Mapping[str, asyncpg.Record]
    indexes: Sequence[asyncpg.Record]


async def _changed(bench: Bench, options: str) -> _Changed:
    """Change each of many people a few times, in a random order."""
    rng = random.Random(1)
    people = People(rng)
    async with bench.server.database(migrated=True) as dsn:
        async with open_store(dsn) as store:
            if options:
                for table in TABLES:
                    await store.connection.execute(f"ALTER TABLE {table} SET ({options})")
            founding = people.found(QUICK_PEOPLE if bench.quick else PEOPLE)
            await _apply(store, founding)
            await analyze(store.database)
            await store.connection.execute("VACUUM sfsync.record, crm.person, crm.company")
            before = await _sizes(store.connection)
            wal = await _wal(store.connection)
            for second in range(1, ROUNDS + 1):
                rng.shuffle(people.known)
                await _apply(store, [_one_field(*known, second, rng) for known in people.known])
            wal = await _wal(store.connection) - wal
            after = await _sizes(store.connection)
        # Statistics of a session are certain to be there when it is over.
        connection = await asyncpg.connect(dsn)
        try:
            updates = await connection.fetch(
                "SELECT schemaname || '.' || relname AS name, n_tup_upd, n_tup_hot_upd, n_dead_tup, autovacuum_count"
                " FROM pg_stat_user_tables"
            )
            indexes = await connection.fetch(
                "SELECT relname, indexrelname, idx_scan, pg_relation_size(indexrelid) AS bytes"
                " FROM pg_stat_user_indexes WHERE pg_relation_size(indexrelid) > 100000 ORDER BY 4 DESC"
            )
        finally:
            await connection.close()
    return _Changed(
        len(people.known),
        ROUNDS * len(people.known),
        wal,
        before,
        after,
        {row["name"]: row for row in updates},
        indexes,
    )


def _hot(variant: str, changed: _Changed) -> Figure:
    more: dict[str, Any] = {
        "changes": changed.changes,
        "wal_bytes_per_change": round(changed.wal_bytes / changed.changes),
    }
    shares = []
    for table in TABLES:
        row = changed.updates[table]
        shares.append(row["n_tup_hot_upd"] / max(row["n_tup_upd"], 1))
        more[table] = {
            "hot_share": round(shares[-1], 3),
            "heap_mb": [_mb(changed.before[table]), _mb(changed.after[table])],
            "indexes_mb": [_mb(changed.before[f"{table} indexes"]), _mb(changed.after[f"{table} indexes"])],
            "dead": row["n_dead_tup"],
            "autovacuums": row["autovacuum_count"],
        }
    return Figure(f"storage.hot_share.{variant}", [min(shares)], "share", more=more)


def _indexes(changed: _Changed) -> list[Figure]:
    return [
        Figure(
            f"storage.index_bytes.{row['indexrelname']}",
            [row["bytes"] / changed.people],
            "bytes/person",
            more={"table": row["relname"], "scans": row["idx_scan"]},
        )
        for row in changed.indexes
    ]


async def _long(bench: Bench, length: int) -> Figure:
    """Change one field of records whose description has that many characters and does not change."""
    rng = random.Random(1)
    people = People(rng)
    corpus = _corpus(rng)
    mapping = _with_description() if length else MAPPING
    async with bench.server.database(migrated=True) as dsn, open_store(dsn, mapping=mapping) as store:
        founding = people.found(LONG_PEOPLE)
        if length:
            founding = [_described(one, corpus, length, rng) for one in founding]
        await _apply(store, founding)
        await analyze(store.database)
        # The first change of a page after a checkpoint logs the page: not what is asked here.
        await _apply(store, [_one_field(*known, 1, rng) for known in people.known])
        wal = await _wal(store.connection)
        await _apply(store, [_one_field(*known, 2, rng) for known in people.known])
        per_change = (await _wal(store.connection) - wal) / len(people.known)
        widths = await store.connection.fetchrow(
            "SELECT avg(pg_column_size(r.fields)) AS fields, avg(octet_length(r.fields::text)) AS text"
            " FROM sfsync.record AS r WHERE r.entity <> 'Account'"
        )
        assert widths is not None
        person = await store.connection.fetchval("SELECT avg(pg_column_size(p.*)) FROM crm.person AS p")
    more = {
        "fields_stored_bytes": round(widths["fields"]),
        "fields_text_bytes": round(widths["text"]),
        "person_bytes": round(person),
    }
    return Figure(f"storage.wal_bytes.{length}", [per_change], "bytes/change", more=more)


def _with_description() -> BoundMapping:
    text = default_mapping_text().replace(
        "[person]\n", '[person]\ndescription = { contact = "Description", lead = "Description" }\n', 1
    )
    described = {entity: standard_describe(entity) for entity in Entity}
    return bind(parse_mapping(tomllib.loads(text)), described)


def _corpus(rng: random.Random) -> str:
    """Return a text of made-up words, which repeat as words do."""
    words = [
        "".join(chr(rng.randrange(0x3041, 0x3097)) for _ in range(rng.randint(2, 5))) for _ in range(2_000)
    ]
    return "、".join(rng.choices(words, k=50_000))


def _described(command: Any, corpus: str, length: int, rng: random.Random) -> Any:
    if command.entity is Entity.ACCOUNT:
        return command
    begin = rng.randrange(len(corpus) - length)
    text = corpus[begin : begin + length]
    return Image(
        command.entity, command.record_id, command.commit_ms, {**command.fields, "Description": text}
    )


def _one_field(entity: Entity, record: Any, second: int, rng: random.Random) -> Patch:
    names = ("Title", "LastModifiedDate")
    return Patch(entity, record, at(second), {name: value_of(entity, name, rng) for name in names})


async def _apply(store: Store, commands: Sequence[Any]) -> None:
    for start in range(0, len(commands), AT_ONCE):
        await store.applier.apply(Batch(commands[start : start + AT_ONCE], "event", at(0)))


async def _sizes(connection: Any) -> Mapping[str, int]:
    sizes = {}
    for table in TABLES:
        sizes[table] = await connection.fetchval("SELECT pg_table_size($1::text::regclass)", table)
        sizes[f"{table} indexes"] = await connection.fetchval(
            "SELECT pg_indexes_size($1::text::regclass)", table
        )
    return sizes


async def _wal(connection: Any) -> int:
    told: int = await connection.fetchval(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    )
    return told


async def _on_server(bench: Bench, *statements: str) -> None:
    connection = await asyncpg.connect(bench.server.dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _mb(size: int) -> float:
    return round(size / 1e6, 1)

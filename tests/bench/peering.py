"""The same records loaded by us and by the programs people use today, in turns within one run.

Each gets an empty database on the same server. From every figure the cost of an empty run of the same program is
taken off (imports, connecting, making tables), for us what comes before the first load begins. The peers are given
files; we and the loop read a simulated org over HTTP, which runs on the same cores (the loop's replies come from a
recorder). Processor time is that of the program and of the server.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from sfsync.core.ids import Entity
from tests.bench.environments import HERE, MissingError, environment, version
from tests.bench.figures import Figure, Skipped
from tests.bench.peer_records import log_in, query, write_records
from tests.bench.processes import ServerCpu, Spent, spend
from tests.bench.recorder import recording
from tests.bench.settings import Bench
from tests.bench.site import instant_s, starting_daemon
from tests.simorg.site import org_process

PEOPLE, QUICK_PEOPLE = 16_000, 1_600
TURNS, QUICK_TURNS = 3, 1
OURS = "sfsync"
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the records are, and where they go."""

    org: Mapping[str, str]
    replies: Mapping[str, str]
    token: str
    records: Path
    count: int
    bench: Bench
    server: ServerCpu


@dataclass(frozen=True, slots=True)
class _Run:
    """How to run one peer: its command, and what it reads, empty or not."""

    command: Sequence[str]
    stdin: Path | None = None


_Peer = Callable[[Path, _Place, str, bool], _Run]


async def measure(bench: Bench) -> AsyncIterator[Figure | Skipped]:
    """Yield `peer.<name>.rows_s` for us and for each peer that can be had."""
    rng = random.Random(1)
    async with _place(bench) as place:
        programs: dict[str, Path] = {}
        for name in PEERS:
            try:
                programs[name] = environment(name)
            except MissingError as error:
                yield Skipped(f"peer.{name}.rows_s", str(error))
        starts = {name: await _run(name, programs[name], place, empty=True) for name in programs}
        turns: list[dict[str, Spent]] = []
        for _ in range(QUICK_TURNS if bench.quick else TURNS):
            turn: dict[str, Spent] = {}
            for name in rng.sample([OURS, *programs], len(programs) + 1):
                if name == OURS:
                    turn[OURS] = await _load(place)
                else:
                    spent = await _run(name, programs[name], place, empty=False)
                    turn[name] = spent.less(starts[name])
            turns.append(turn)
    yield _figure(OURS, place.count, turns)
    for name in programs:
        yield _figure(name, place.count, turns, starts[name])


def _figure(
    name: str, count: int, turns: Sequence[Mapping[str, Spent]], start: Spent | None = None
) -> Figure:
    more: dict[str, object] = {
        "records": count,
        "cpu_us_per_row": round(1e6 * median(turn[name].cpu_s for turn in turns) / count, 1),
        "rss_max_mb": round(median(turn[name].rss_max_mb for turn in turns)),
    }
    rates = [count / turn[name].wall_s for turn in turns]
    if start is None:
        return Figure(f"peer.{name}.rows_s", rates, "records/s", more=more)
    ratios = [turn[OURS].wall_s / turn[name].wall_s for turn in turns]
    more |= {
        "ours_is": round(median(1 / ratio for ratio in ratios), 1),
        "ours_is_by_cpu": round(median(turn[name].cpu_s / turn[OURS].cpu_s for turn in turns), 1),
        "start_s": round(start.wall_s, 2),
        "version": version(name),
    }
    return Figure(f"peer.{name}.rows_s", rates, "records/s", ratios, f"peer.{OURS}", more)


@asynccontextmanager
async def _place(bench: Bench) -> AsyncIterator[_Place]:
    """Serve an org, read its records into files, and have its replies to the loop's queries recorded."""
    people = str(QUICK_PEOPLE if bench.quick else PEOPLE)
    records = bench.directory / "peer-records"
    with org_process("--population", people, state_dir=bench.directory / "peer-org") as org:
        with recording(org) as replies:
            count = await write_records(replies, records)
            for entity in Entity:
                (records / f"{entity}.soql").write_text(query(entity))
            async with aiohttp.ClientSession() as http:
                token = (await log_in(http, org)).token
            yield _Place(org, replies, token, records, count, bench, await ServerCpu.of(bench.server.dsn))


async def _load(place: _Place) -> Spent:
    """Let the daemon load everything for the first time; from the first load's beginning to the last one's end."""
    async with place.bench.server.database(migrated=True) as dsn:
        async with starting_daemon(place.org, dsn, place.bench.directory) as daemon:
            began = await daemon.until("backfill.entity.started")
            cpu_s = daemon.cpu_s() + place.server.seconds()
            ended = await daemon.until("backfill.entity.completed", wanted=len(Entity), within_s=PATIENCE_S)
            cpu_s = daemon.cpu_s() + place.server.seconds() - cpu_s
            return Spent(instant_s(ended) - instant_s(began), cpu_s, daemon.rss_mb(peak=True))


async def _run(name: str, programs: Path, place: _Place, *, empty: bool) -> Spent:
    """Run one peer on an empty database, and look whether it wrote every record."""
    async with place.bench.server.database(migrated=False) as dsn:
        run = PEERS[name](programs, place, dsn, empty)
        log = str(place.bench.directory / f"{name}.log")
        spent = await spend(run.command, place.server, stdin=run.stdin, environ={"PEER_LOG": log})
        written = await _written(dsn)
    assert written == (0 if empty else place.count), f"{name} wrote {written} of {place.count} records"
    return spent


async def _written(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        counts = [
            await connection.fetchval(f"SELECT count(*) FROM peer.{entity.lower()}") for entity in Entity
        ]
    finally:
        await connection.close()
    return sum(counts)


def _target(settings: Mapping[str, str]) -> _Peer:
    """A Singer target: messages on standard input, everything else as it comes."""

    def run(programs: Path, place: _Place, dsn: str, empty: bool) -> _Run:
        parts = urlsplit(dsn)
        config = {
            "host": parts.hostname,
            "port": parts.port,
            "user": parts.username,
            "password": parts.password,
            **{name: value.format(database=parts.path[1:]) for name, value in settings.items()},
        }
        path = place.bench.directory / "target.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        messages = place.records / ("singer-empty.jsonl" if empty else "singer.jsonl")
        return _Run([str(programs / "target-postgres"), "--config", str(path)], messages)

    return run


def _script(script: str, *, reads_org: bool = False) -> _Peer:
    def run(programs: Path, place: _Place, dsn: str, empty: bool) -> _Run:
        login = [place.replies["url"], place.token] if reads_org else []
        options = ["--empty"] if empty else []
        return _Run([str(programs / "python"), str(HERE / script), dsn, str(place.records), *login, *options])

    return run


PEERS: Mapping[str, _Peer] = {
    "pipelinewise": _target({"dbname": "{database}", "default_target_schema": "peer"}),
    "meltano": _target({"database": "{database}", "default_target_schema": "peer"}),
    "gurglefish": _script("peer_gurglefish.py"),
    "row_loop": _script("peer_row_loop.py", reads_org=True),
}

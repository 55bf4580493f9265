"""One history: an org, a daemon, what happens to both, and the verdict; everything is drawn from its seed.

Why three modes: a sweep hides what the stream does wrong, and a stream hides what a sweep does wrong. With the stream
alone nothing is lost and nothing sweeps; with the sweep alone no event arrives; with both, events are lost.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import asyncpg
from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.errors import ApiError
from sfsync.simorg.life import Life, Pace
from sfsync.simorg.org import Org

from .acts_host import MAPPING, put_mapping
from .acts_links import clear_up, give_again
from .acts_org import restore_fields
from .chaos import ALL, acts_for
from .frozen import frozen
from .host import Host
from .judge import Judge
from .loop import PROCESS, StuckError, VirtualLoop
from .mappings import write_mappings
from .met import Met, observed
from .network import Network
from .postgres_wire import PostgresServer
from .stage import Stage, arrives
from .store import EMPTY, Store
from .versions import versioned
from .watch import WATCH

MODES = ("stream", "sweep", "both")
KINDS = ("create", "update", "reparent", "convert", "merge", "delete", "undelete", "purge")
ORG_URL = "http://localhost:8000"
_PATIENCE_S = (5, 20, 40, 60, 120, 240, 600, 900, 900, 1_800, 3_600)


@dataclass(slots=True)
class Told:
    """What came of a history."""

    seed: int
    mode: str
    violations: list[str] = field(default_factory=list)
    met: Met = field(default_factory=Met)
    trace: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    exchanges: int = 0
    is_judged: bool = False


@dataclass(slots=True)
class Ground:
    """What a history stands on: one loop, one network, one way to Postgres, and the seed's chance."""

    loop: VirtualLoop
    rng: random.Random
    network: Network
    postgres: PostgresServer
    dsn: str
    note: Callable[[str], None]


def mode_of(seed: int) -> str:
    """Return the mode of a seed, where none is asked for."""
    return MODES[seed % len(MODES)]


def play(seed: int, store: Store, mode: str = "all", *, swarm: Collection[str] = ()) -> Told:
    """Play the history of *seed* from its beginning to the verdict.

    The acts of *swarm* come often; a few others may, which are drawn.
    """
    told = Told(seed, mode_of(seed) if mode == "all" else mode)
    with begun(told, store) as ground:
        ground.loop.run_until_complete(History(told, ground, swarm).run())
    if not told.is_judged and not told.violations:
        told.violations.append("the history ended without a verdict")
    return told


@contextmanager
def begun(told: Told, store: Store) -> Iterator[Ground]:
    """Prepare the ground for the history *told* of, and bury what the block leaves behind."""
    loop = VirtualLoop()

    def note(text: str) -> None:
        told.trace.append(f"{loop.time():.6f} {text}")

    rng = random.Random(f"{told.seed} {told.mode}")
    network = Network(loop, random.Random(rng.getrandbits(64)), note)
    postgres = PostgresServer(loop, store.sessions, note)
    loop.network, loop.postgres = network, postgres
    loop.set_exception_handler(_complaining(told))
    with frozen(loop, rng.getrandbits(64)), observed(told.met, note, told.violations), versioned():
        try:
            yield Ground(loop, rng, network, postgres, store.dsn, note)
        except StuckError as error:
            told.violations.append(f"stuck: {error}")
        finally:
            told.virtual_s, told.exchanges = loop.time(), postgres.exchanges
            _bury(loop, postgres)
    told.met.update("network", network.met)
    told.met.update("postgres", postgres.met)


def _complaining(told: Told) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return what hears the loop complain. A process that was killed leaves much behind; one that lives must not."""

    def complain(_loop: asyncio.AbstractEventLoop, complaint: dict[str, Any]) -> None:
        process, error = PROCESS.get(), complaint.get("exception")
        text = f"{complaint.get('message')} {type(error).__name__}"
        told.met.note("complaint", text)
        if process is not None and not process.is_dead:
            told.violations.append(f"the loop complained in {process.name}: {text}")

    return complain


def _bury(loop: VirtualLoop, postgres: PostgresServer) -> None:
    postgres.close()
    with warnings.catch_warnings():
        # What is closed without having been run is meant to be.
        warnings.simplefilter("ignore")
        loop.bury()
        loop.close()
        gc.collect()


class History:
    """The life of one org and of the daemon that follows it; `run` tells it from the beginning to the verdict."""

    patience_s: ClassVar[Sequence[int]] = _PATIENCE_S

    def __init__(self, told: Told, ground: Ground, swarm: Collection[str] = ()) -> None:
        self._told = told
        self._ground = ground
        self._swarm = swarm

    async def run(self) -> None:
        """Let it happen, and judge it."""
        await self._empty()
        org = make_org(self._ground.rng.getrandbits(32))
        runner = await self._serve(org)
        judge = Judge(org, self._ground.dsn, self._told.met)
        await judge.open()
        with _configured(self._settings(org)) as (settings, mappings):
            stage = self._stage(org, judge, settings, mappings)
            try:
                await self._live(stage)
                if not self._told.violations:
                    await self._settle(stage)
            finally:
                self._end(stage)
                await runner.cleanup()

    async def _empty(self) -> None:
        connection = await asyncpg.connect(self._ground.dsn)
        await connection.execute(EMPTY)
        await connection.execute(WATCH)
        await connection.close()

    async def _serve(self, org: Org) -> web.AppRunner:
        org.url = ORG_URL
        runner = web.AppRunner(build_app(org), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._ground.network.server = runner.server
        self._ground.network.server_context = copy_context()
        org.world.on_commit(
            lambda commit: self._ground.note(
                f"org commit {commit.number} "
                + " ".join(f"{change.kind} {change.record_id}" for change in commit.changes)
            )
        )
        return runner

    def _settings(self, org: Org) -> dict[str, str]:
        rng, mode = self._ground.rng, self._told.mode
        adopt = rng.choice(["all", "all", "all", "on_request"])
        mirror = rng.choice(["all", "adopted"])
        sync = {
            "SWEEP_ENABLED": str(mode != "stream").lower(),
            "SWEEP_INTERVAL_S": rng.choice([5, 20, 60, 200, 900]),
            "SETTLE_S": rng.choice([5, 10, 60]),
            "HOLD_MS": rng.choice([0, 20]),
            "SWEEP_PAGE": rng.choice([5, 50, 2000]),
            "REFETCH_BATCH": rng.choice([3, 400]),
            "BATCH_EVENTS_MAX": rng.choice([3, 5000]),
            "QUEUE_EVENTS_MAX": rng.choice([10, 20000]),
            "OTHER_HALF_WAIT_S": rng.choice([0, 5]),
            "AUTH_RETRY_S": 300,
            "ADOPT": adopt,
            "MIRROR": mirror if adopt == "on_request" else "all",
        }
        return {
            "SFSYNC_SALESFORCE__LOGIN_URL": ORG_URL,
            "SFSYNC_SALESFORCE__FLOW": "client_credentials",
            "SFSYNC_SALESFORCE__CLIENT_ID": org.credentials.client_id,
            "SFSYNC_SALESFORCE__CLIENT_SECRET": org.credentials.client_secret,
            "SFSYNC_STORE__DSN": self._ground.dsn,
            "SFSYNC_CONSOLE__ENABLED": "false",
        } | {f"SFSYNC_SYNC__{name}": str(value) for name, value in sync.items()}

    def _stage(self, org: Org, judge: Judge, settings: dict[str, str], mappings: dict[str, str]) -> Stage:
        rng, told, note = self._ground.rng, self._told, self._ground.note
        self._set_org(org)
        mix = {kind: rng.choice([0.0, 1.0, 5.0]) for kind in KINDS} | {"create": 3.0, "update": 8.0}
        stage = Stage(
            told.mode,
            rng,
            org,
            Life(org, Pace(1.0, rng.getrandbits(32), mix)),
            Host("daemon", settings, self._ground.dsn, rng=rng, met=told.met, note=note),
            Host("standby", settings, self._ground.dsn, rng=rng, met=told.met, note=note),
            self._ground.network,
            self._ground.postgres,
            judge,
            told.met,
            note,
            mappings,
            set() if settings["SFSYNC_SYNC__ADOPT"] == "on_request" else None,
        )
        restore_fields(stage)
        return stage

    def _set_org(self, org: Org) -> None:
        rng = self._ground.rng
        org.settings.read_lag_s = rng.choice([0.0, 0.0, 1.0, 3.0])
        org.settings.batch_max = rng.choice([1, 3, 100])
        org.settings.skew_share = rng.choice([0.0, 0.1, 0.5])
        org.settings.merge_share = rng.choice([0.0, 0.5, 1.0])
        org.settings.split_share = rng.choice([0.0, 0.3])
        org.settings.cleared_compound = rng.choice(["bare", "dotted"])
        org.settings.connect_place = rng.choice(["last", "first", "shuffled"])
        org.settings.commit_numbers = rng.choice(["ns", "scn"])
        org.settings.replay_anywhere = rng.random() < 0.5
        org.settings.deliver_on_any = rng.random() < 0.2
        org.settings.terse_failures = rng.random() < 0.2
        if self._told.mode == "sweep":
            org.faults.add("lose_event", times=None)

    async def _live(self, stage: Stage) -> None:
        """Let life go on, with what the swarm allows in between."""
        rng = self._ground.rng
        _found(stage, rng.choice([0, 8, 25]))
        acts = stage.acts = acts_for(stage.mode, rng, self._swarm)
        if stage.adopted is not None:
            acts |= {name: ALL[name] for name in ("asked", "import")}
        swarm = [name for name in self._swarm if name in acts]
        self._ground.note(f"seed {self._told.seed} {stage.mode}: {', '.join(acts)}")
        stage.host.start()
        await stage.judge.begin()
        await asyncio.sleep(rng.choice([0.0, 1.0, 30.0]))
        for _ in range(rng.choice([8, 15, 35])):
            await asyncio.sleep(_pause_s(rng))
            if rng.random() < 0.6:
                stage.life.step()
            else:
                name = rng.choice(swarm if swarm and rng.random() < 0.7 else sorted(acts))
                self._ground.note(f"act {name}")
                stage.met.note("act", name)
                with suppress(ApiError):
                    # A record may be locked by an open transaction, as for any user.
                    await acts[name](stage)
            self._check(await stage.judge.broken())
            if self._told.violations:
                break

    async def _settle(self, stage: Stage) -> None:
        """End all trouble, and wait until the store is what the org says and nothing is owed."""
        if stage.open:
            await asyncio.wait(stage.open)
        self._end_trouble(stage)
        found: list[str] = []
        for wait_s in self.patience_s:
            await asyncio.sleep(wait_s)
            self._check(await stage.judge.broken())
            found = await stage.judge.differences(stage)
            if not found or self._told.violations or stage.host.findings:
                break
        self._check([f"after all: {line}" for line in found[:5]])
        self._check(stage.host.findings + stage.standby.findings)
        if not self._told.violations:
            again = self._ground.rng.choice([None, None, self._read_again, self._hear_again])
            if again is not None:
                await again(stage)
                self._check(await stage.judge.broken())
        self._told.is_judged = True

    def _end_trouble(self, stage: Stage) -> None:
        self._ground.note("trouble ends")
        for fault in stage.org.faults.listing():
            if fault["kind"] != "lose_event" or stage.mode != "sweep":
                self._told.met.note("fault", fault["kind"], fault["taken"])
                stage.org.faults.clear(fault["number"])
        stage.org.bus.open_gate()
        clear_up(stage)
        stage.postgres.is_down = False
        stage.postgres.fate = arrives
        stage.host.dies_young = 0
        restore_fields(stage)
        if os.environ[MAPPING] != stage.mappings["wide"]:
            put_mapping(stage, "wide")
            stage.host.kill()
            stage.standby.kill()
        stage.host.start()

    async def _read_again(self, stage: Stage) -> None:
        """Let the daemon begin anew and sweep: what is equal must not be written again."""
        before = await stage.judge.versions()
        stage.host.kill()
        await asyncio.sleep(400)
        await self._must_be_unwritten(stage, before, "read again")

    async def _hear_again(self, stage: Stage) -> None:
        """Let the last event of each record be delivered again: what it says must not be written again."""
        before = await stage.judge.versions()
        give_again(stage, stage.judge.last_events())
        await asyncio.sleep(400)
        await self._must_be_unwritten(stage, before, "heard again")

    async def _must_be_unwritten(self, stage: Stage, before: Mapping[Any, str], how: str) -> None:
        after = await stage.judge.versions()
        # A row that was not there may be of a record that was purged before anybody had heard of it.
        changed = sorted(key for key, was in before.items() if after.get(key, was) != was)
        self._ground.note(f"{how}: {len(changed)} rows written")
        stage.met.note("end", how)
        self._check([f"an equal row was written when {how}: {noun} {row_id}" for noun, row_id in changed[:3]])

    def _end(self, stage: Stage) -> None:
        stage.host.close()
        stage.standby.close()
        for task in list(stage.open):
            task.cancel()
        for fault in stage.org.faults.listing():
            self._told.met.note("fault", fault["kind"], fault["taken"])

    def _check(self, broken: list[str]) -> None:
        for line in broken:
            if line not in self._told.violations:
                self._ground.note(f"VIOLATION {line}")
                self._told.violations.append(line)


def _found(stage: Stage, count: int) -> None:
    """Let the org have some records before anybody looks."""
    mix, stage.life.pace = stage.life.pace, Pace(1.0, 1, {"create": 1.0})
    for _ in range(count):
        stage.life.step()
    stage.life.pace = mix


def _pause_s(rng: random.Random) -> float:
    return rng.choice([0.0, rng.uniform(0.0, 1.5), rng.uniform(1.0, 20.0), rng.uniform(20.0, 150.0)])


@contextmanager
def _configured(settings: dict[str, str]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Let a reload find the configuration where a process would: in the environment and in files."""
    with ExitStack() as stack:
        mappings = write_mappings(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        settings = {**settings, MAPPING: mappings["wide"]}
        stack.enter_context(patch.dict(os.environ, settings))
        stack.enter_context(suppress(asyncio.CancelledError))
        yield settings, mappings

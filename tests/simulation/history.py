"""One history: an org, a daemon, what happens to both, and the verdict; everything is drawn from its seed.

Why three modes: a sweep hides what the stream does wrong, and a stream hides what a sweep does wrong. With the stream
alone nothing is lost and nothing sweeps; with the sweep alone no event arrives; with both, events are lost.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

import asyncpg
from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.errors import ApiError
from sfsync.simorg.life import Life, Pace
from sfsync.simorg.oracle import Given
from sfsync.simorg.org import Org

from .chaos import Stage, acts_for, show_or_hide
from .frozen import frozen
from .host import Host
from .judge import Judge
from .loop import StuckError, VirtualLoop
from .met import Met, observed
from .network import Network, Weather
from .postgres_wire import PostgresServer
from .store import EMPTY, Store
from .versions import WATCH, versioned

MODES = ("stream", "sweep", "both")
KINDS = ("create", "update", "reparent", "convert", "merge", "delete", "undelete", "purge")
ORG_URL = "http://localhost:8000"
H = TypeVar("H", bound="History")
_PATIENCE_S = (5, 20, 40, 60, 120, 240, 600, 900, 900, 1_800)


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


def mode_of(seed: int) -> str:
    """Return the mode of a seed, where none is asked for."""
    return MODES[seed % len(MODES)]


def play(seed: int, store: Store, mode: str = "all", *, swarm: Collection[str] = ()) -> Told:
    """Play the history of *seed* from its beginning to the verdict.

    The acts of *swarm* may always come; which others may is drawn, as all else is.
    """
    told = Told(seed, mode_of(seed) if mode == "all" else mode)
    with begun(told, store, partial(History, swarm=swarm)) as (loop, history):
        loop.run_until_complete(history.run())
    return told


@contextmanager
def begun(told: Told, store: Store, make: Callable[..., H]) -> Iterator[tuple[VirtualLoop, H]]:
    """Give a loop, and a history that *make* made to be run on it; in the block this process lives in its time."""
    loop = VirtualLoop()

    def note(text: str) -> None:
        told.trace.append(f"{loop.time():.6f} {text}")

    rng = random.Random(f"{told.seed} {told.mode}")
    network = Network(loop, random.Random(rng.getrandbits(64)), note)
    postgres = PostgresServer(loop, store.sessions, note)
    loop.network, loop.postgres = network, postgres
    history = make(told, rng, network, postgres, store.dsn, note)
    with frozen(loop, rng.getrandbits(64)), observed(told.met, note), versioned():
        try:
            yield loop, history
        except StuckError as error:
            told.violations.append(f"stuck: {error}")
        finally:
            told.virtual_s, told.exchanges = loop.time(), postgres.exchanges
            postgres.close()
            with warnings.catch_warnings():
                # What is closed without having been run is meant to be.
                warnings.simplefilter("ignore")
                loop.bury()
                loop.close()
                gc.collect()
    told.met.update("network", network.met)
    told.met.update("postgres", postgres.met)
    for complaint in loop.complaints:
        told.met.note("complaint", complaint.partition(":")[0])
        told.trace.append(f"complaint {complaint}")


class History:
    """What happens from an empty store to the verdict; an heir may let it be told from outside what happens."""

    def __init__(
        self,
        told: Told,
        rng: random.Random,
        network: Network,
        postgres: PostgresServer,
        dsn: str,
        note: Any,
        swarm: Collection[str] = (),
    ) -> None:
        self._told = told
        self._rng = rng
        self._network = network
        self._postgres = postgres
        self._dsn = dsn
        self._note = note
        self._swarm = swarm

    async def run(self) -> None:
        await self._empty()
        org = make_org(self._rng.getrandbits(32))
        runner = await self._serve(org)
        judge = Judge(org, self._dsn)
        await judge.open()
        with _environment(self._settings(org)) as settings:
            stage = self._stage(org, judge, settings)
            try:
                await self._live(stage)
                await self._settle(stage)
            finally:
                stage.host.close()
                stage.standby.close()
                for task in list(stage.open):
                    task.cancel()
                for fault in org.faults.listing():
                    self._told.met.note("fault", fault["kind"], fault["taken"])
                await runner.cleanup()

    async def _empty(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(EMPTY)
        await connection.execute(WATCH)
        await connection.close()

    async def _serve(self, org: Org) -> web.AppRunner:
        org.url = ORG_URL
        runner = web.AppRunner(build_app(org), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._network.server = runner.server
        self._network.server_context = copy_context()
        org.world.on_commit(
            lambda commit: self._note(
                f"org commit {commit.number} "
                + " ".join(f"{change.kind} {change.record_id}" for change in commit.changes)
            )
        )
        return runner

    def _settings(self, org: Org) -> dict[str, str]:
        rng, mode = self._rng, self._told.mode
        settle_s = rng.choice([5, 10, 60])
        return {
            "SFSYNC_SALESFORCE__LOGIN_URL": ORG_URL,
            "SFSYNC_SALESFORCE__FLOW": "client_credentials",
            "SFSYNC_SALESFORCE__CLIENT_ID": org.credentials.client_id,
            "SFSYNC_SALESFORCE__CLIENT_SECRET": org.credentials.client_secret,
            "SFSYNC_STORE__DSN": self._dsn,
            "SFSYNC_CONSOLE__ENABLED": "false",
            "SFSYNC_SYNC__SWEEP_ENABLED": str(mode != "stream").lower(),
            "SFSYNC_SYNC__SWEEP_INTERVAL_S": str(rng.choice([60, 200, 900])),
            "SFSYNC_SYNC__SETTLE_S": str(settle_s),
            "SFSYNC_SYNC__HOLD_MS": str(rng.choice([0, 20])),
            "SFSYNC_SYNC__SWEEP_PAGE": str(rng.choice([5, 50, 2000])),
            "SFSYNC_SYNC__REFETCH_BATCH": str(rng.choice([3, 400])),
            "SFSYNC_SYNC__BATCH_EVENTS_MAX": str(rng.choice([3, 5000])),
            "SFSYNC_SYNC__QUEUE_EVENTS_MAX": str(rng.choice([10, 20000])),
            "SFSYNC_SYNC__OTHER_HALF_WAIT_S": str(rng.choice([0, 5])),
            "SFSYNC_SYNC__AUTH_RETRY_S": "300",
        }

    def _stage(self, org: Org, judge: Judge, settings: dict[str, str]) -> Stage:
        rng, told = self._rng, self._told
        org.settings.read_lag_s = rng.choice([0.0, 0.0, 1.0, 3.0])
        org.settings.batch_max = rng.choice([1, 3, 100])
        org.settings.skew_share = rng.choice([0.0, 0.1, 0.5])
        org.settings.merge_share = rng.choice([0.0, 0.5, 1.0])
        org.settings.split_share = rng.choice([0.0, 0.3])
        org.settings.cleared_compound = rng.choice(["bare", "dotted"])
        org.settings.connect_place = rng.choice(["last", "first", "shuffled"])
        org.settings.commit_numbers = rng.choice(["ns", "scn"])
        org.settings.replay_anywhere = rng.random() < 0.5
        if told.mode == "sweep":
            org.faults.add("lose_event", times=None)
        mix = {kind: rng.choice([0.0, 1.0, 5.0]) for kind in KINDS} | {"create": 3.0, "update": 8.0}
        found = {"rng": rng, "met": told.met, "note": self._note}
        return Stage(
            told.mode,
            rng,
            org,
            Life(org, Pace(1.0, rng.getrandbits(32), mix)),
            Host("daemon", settings, self._dsn, **found),
            Host("standby", settings, self._dsn, **found),
            self._network,
            self._postgres,
            judge,
            told.met,
            self._note,
        )

    async def _live(self, stage: Stage) -> None:
        """Let life go on, with what the swarm allows in between."""
        rng = self._rng
        _found(stage, rng.choice([0, 8, 25]))
        acts = stage.acts = acts_for(stage.mode, rng, self._swarm)
        self._note(f"seed {self._told.seed} {stage.mode}: {', '.join(acts)}")
        stage.host.start()
        await asyncio.sleep(rng.choice([0.0, 1.0, 30.0]))
        for _ in range(rng.choice([8, 15, 35])):
            await asyncio.sleep(_pause_s(rng))
            if rng.random() < 0.65:
                stage.life.step()
            else:
                name = rng.choice(sorted(acts))
                self._note(f"act {name}")
                stage.met.note("act", name)
                with suppress(ApiError):
                    # A record may be locked by an open transaction, as for any user.
                    await acts[name](stage)
            self._check(await stage.judge.broken())

    async def _settle(self, stage: Stage) -> None:
        """End all trouble, and wait until the store is what the org says."""
        if stage.open:
            await asyncio.wait(stage.open)
        self._end_trouble(stage)
        report = None
        for wait_s in _PATIENCE_S:
            await asyncio.sleep(wait_s)
            self._check(await stage.judge.broken())
            report = await stage.judge.report(Given(frozen=stage.frozen), may_be_unheard=stage.loses_events)
            if report.is_equal or self._told.violations or stage.host.findings:
                break
        assert report is not None
        self._note(
            f"settled: {report.people} people, {report.companies} companies, {report.count} differences"
        )
        stage.met.note("end", "people", report.people)
        self._check([f"after all: {line}" for line in report.differences[:5]])
        self._check(stage.host.findings + stage.standby.findings)
        if not self._told.violations and self._rng.random() < 0.3:
            await self._read_again(stage)

    def _end_trouble(self, stage: Stage) -> None:
        self._note("trouble ends")
        for fault in stage.org.faults.listing():
            if fault["kind"] != "lose_event" or stage.mode != "sweep":
                self._told.met.note("fault", fault["kind"], fault["taken"])
                stage.org.faults.clear(fault["number"])
        self._network.weather = Weather()
        self._postgres.is_down = False
        self._postgres.fate = lambda _session: "arrive"
        for entity, name in sorted(stage.hidden):
            show_or_hide(stage, entity, name, "show")
        stage.host.start()

    async def _read_again(self, stage: Stage) -> None:
        """Let the daemon begin anew and sweep: what is equal must not be written again."""
        before = await stage.judge.versions()
        stage.host.kill()
        await asyncio.sleep(400)
        after = await stage.judge.versions()
        changed = sorted(key for key in after if before.get(key) != after[key])
        self._note(f"read again: {len(changed)} rows written")
        stage.met.note("end", "read again")
        self._check([f"an equal row was written again: {noun} {row_id}" for noun, row_id in changed[:3]])

    def _check(self, broken: list[str]) -> None:
        for line in broken:
            if line not in self._told.violations:
                self._note(f"VIOLATION {line}")
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
def _environment(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Let a reload find the settings where a process would: in the environment."""
    with patch.dict(os.environ, settings), suppress(asyncio.CancelledError):
        yield settings

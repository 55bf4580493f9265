"""The stage of a play: a simulated org, a database, the daemon, and the judge; all of them processes.

Why: one stage serves one recipe after the other, since starting it takes longer than most faults last. A stage on which
a recipe failed is torn down, or its remains would be taken for the next one's doing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
import asyncpg
import msgspec

from ...config import load_settings
from ...errors import ConfigError
from ..demo.stage import Org, open_org, open_process, run_sfsync
from .daemons import Daemon, start_daemon
from .fitting import Fit, extended, fit, with_custom_field
from .overlay import Overlay
from .store import Server, drop_database, make_database

_LOOK_S = 0.05
_START_S = 60.0
_ORG_LONG_POLL_S = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stage is made of."""

    overlay: Overlay
    server: Server
    directory: Path
    people: int
    seed: int
    types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says: whether the store equals the org, where not, and what nobody could know."""

    is_equal: bool
    people: int
    companies: int
    differences: Sequence[str]
    undetectable: Sequence[str]


class Judge:
    """The judge's process, asked one question after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, timeout_s: float, without: Collection[str] = ()) -> Verdict:
        """Wait until the store equals the org, but for the columns *without*; return the last verdict."""
        question = msgspec.json.encode({"timeout_s": timeout_s, "without": sorted(without)})
        assert self._process.stdin and self._process.stdout  # noqa: S101 - pipes were asked for.
        self._process.stdin.write(question + b"\n")
        line = await self._process.stdout.readline()
        try:
            return msgspec.json.decode(line, type=Verdict)
        except msgspec.MsgspecError as error:
            raise ConfigError("the judge ended; its reason is above") from error


@dataclass(slots=True)
class Stage:
    """What a recipe may act upon; `undetectable` is what nobody could know of earlier ones."""

    plan: Plan
    org: Org
    fit: Fit
    judge: Judge
    http: aiohttp.ClientSession
    environ: Mapping[str, str]
    daemons: list[Daemon] = field(default_factory=list)
    undetectable: set[str] = field(default_factory=set)

    @property
    def daemon(self) -> Daemon:
        """The daemon that was started last."""
        return self.daemons[-1]

    async def start(self) -> Daemon:
        """Start another daemon with the same configuration."""
        log = next(
            path for number in count(1) if not (path := self.plan.directory / f"daemon-{number}.log").exists()
        )
        self.daemons.append(await start_daemon(self.plan.overlay.config, self.environ, log))
        return self.daemon

    async def ready(self, within_s: float) -> bool:
        """Wait until the daemon is ready; tell whether it is."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not self.daemon.is_ready():
            if self.daemon.exit_code is not None or asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def owed(self) -> int:
        """Return how many records are dirty and how many readings are owed, as `sfsync status` tells it."""
        connection = await asyncpg.connect(self.environ["SFSYNC_STORE__DSN"])
        try:
            return int(
                await connection.fetchval(
                    "SELECT (SELECT count(*) FROM sfsync.dirty) + (SELECT count(*) FROM sfsync.resweep)"
                )
            )
        finally:
            await connection.close()

    async def run(self, *words: str) -> None:
        """Run an operator's command with the daemon's configuration. Raises `ConfigError` when it fails."""
        config = ["--config", str(self.plan.overlay.config)] if self.plan.overlay.config else []
        await run_sfsync(words[0], *config, *words[1:], env=self.environ)


@asynccontextmanager
async def open_stage(plan: Plan) -> AsyncIterator[Stage]:
    """Set a stage and wait until the store equals the org. Raises `ConfigError` when it does not come to that."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        org = await stack.enter_async_context(open_org(people=plan.people, seed=plan.seed))
        await org.tell("settings", {"long_poll_s": _ORG_LONG_POLL_S})
        dsn = await make_database(plan.server)
        stack.push_async_callback(drop_database, plan.server, dsn)
        environ = plan.overlay.environ(org.login, dsn)
        settings = load_settings(plan.overlay.config, environ)
        mapping = with_custom_field(settings, plan.directory)
        if mapping is not None:
            environ["SFSYNC_MAPPING__FILE"] = str(mapping)
            settings = extended(settings, mapping)
        fitted = await fit(settings, org, plan.types)
        judge = await stack.enter_async_context(_open_judge(plan, org, fitted, dsn))
        stage = Stage(plan, org, fitted, judge, http, environ)
        stack.push_async_callback(_close_daemons, stage)
        await _raise_curtain(stage)
        yield stage


@asynccontextmanager
async def _open_judge(plan: Plan, org: Org, fitted: Fit, dsn: str) -> AsyncIterator[Judge]:
    columns = plan.directory / "columns.json"
    columns.write_bytes(msgspec.json.encode(fitted.columns))
    side = plan.overlay.settings.address.default_side
    words = ("--control", org.control_url, "--columns", str(columns), "--default-side", side)
    pipe = asyncio.subprocess.PIPE
    env = {**os.environ, "SFSYNC_STORE__DSN": dsn}
    async with open_process("sfsync.simorg.oracle_desk", *words, env=env, stdin=pipe, stdout=pipe) as process:
        yield Judge(process)


async def _close_daemons(stage: Stage) -> None:
    await asyncio.gather(*(daemon.close() for daemon in stage.daemons))


async def _raise_curtain(stage: Stage) -> None:
    daemon = await stage.start()
    if not await stage.ready(_START_S):
        raise ConfigError(f"the daemon does not become ready with this configuration: {daemon.last_words()}")
    verdict = await stage.judge.ask(_START_S)
    if not verdict.is_equal:
        raise ConfigError(
            "the store does not equal the org after the first load:\n  " + "\n  ".join(verdict.differences)
        )

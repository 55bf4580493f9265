"""The demo from curtain to curtain: start everything, let the org live, stop, and hear the verdict.

Why: `perform` owns the order in which things begin and end; the stage knows processes, the screen knows looks.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ...errors import ConfigError
from ...store.database import Connection
from ...store.embedded import embedded_postgres
from ..daemon_log import DaemonLog, Entry
from .scenes import Scenes
from .screen import Screen
from .stage import DaemonProcess, Org, judge, open_daemon, open_org
from .story import Storyteller

_READY_S = 90.0
_LOOK_EVERY_S = 0.25
_JUDGE_PATIENCE_S = 45.0


@dataclass(frozen=True, slots=True)
class Playbill:
    """What the demo was asked to be."""

    seconds: float
    people: int
    rate: float
    seed: int
    directory: Path
    plain: bool


class LogReader:
    """Follow the daemon's JSON log; keep the figures that the screen shows."""

    def __init__(self, path: Path, screen: Screen) -> None:
        self._log = DaemonLog(path)
        self._screen = screen
        self.is_ready = False

    def read(self) -> None:
        """Take in the complete lines that were written since the last call."""
        for entry in self._log.fresh():
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        figures = self._screen.figures
        match entry:
            case {
                "event": "stream.batch.applied",
                "events": int(events),
                "duration_ms": int() | float() as ms,
            }:
                figures.events += events
                figures.batches += 1
                figures.commit_ms = float(ms)
            case {"event": "sweep.entity.completed", "entity": entity, "repaired": dict(repaired)}:
                figures.sweeps += entity == "Lead"
                figures.repaired += sum(count for count in repaired.values() if isinstance(count, int))
            case {"event": "health.changed", "ready": bool(ready)}:
                self.is_ready = ready
            case _:
                pass


async def perform(playbill: Playbill) -> int:
    """Run the demo; return the exit code. Raises `ConfigError` when something cannot be started."""
    playbill.directory.mkdir(parents=True, exist_ok=True)
    log = (playbill.directory / "daemon.log").resolve()
    stop = asyncio.Event()
    with (
        Screen(plain=playbill.plain, seconds=playbill.seconds) as screen,
        _stopping(stop),
        _scratch() as scratch,
    ):
        screen.enter("starting a Postgres of our own and a simulated org")
        async with AsyncExitStack() as stack:
            dsn = await asyncio.to_thread(stack.enter_context, embedded_postgres(scratch / "postgres"))
            org = await stack.enter_async_context(open_org(people=playbill.people, seed=playbill.seed))
            daemon = await stack.enter_async_context(open_daemon(org, dsn, log))
            is_equal = await Performance(playbill, org, daemon, dsn, screen).play(stop)
    print(f"the daemon's log: {log}")
    return 0 if is_equal else 1


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a temporary directory that other users may pass through: as root, the server runs as another one."""
    with tempfile.TemporaryDirectory(prefix="sfsync-demo-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


@contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C and TERM end the org's life early; the verdict is still spoken."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Performance:
    """One run of the demo on a stage that is set."""

    def __init__(self, playbill: Playbill, org: Org, daemon: DaemonProcess, dsn: str, screen: Screen) -> None:
        self._playbill = playbill
        self._org = org
        self._daemon = daemon
        self._dsn = dsn
        self._screen = screen
        self._reader = LogReader(daemon.log, screen)
        self._scenes = Scenes(org, dsn, daemon.env, screen, playbill.directory)
        self._teller = Storyteller()
        self._told = 0
        self._began = time.monotonic()

    async def play(self, stop: asyncio.Event) -> bool:
        """Show the org's life until its time is over; return whether the store equalled the org then."""
        self._screen.enter("first load of everything there is")
        store = await self._when_ready(stop)
        try:
            await self._org.tell("life", {"rate": self._playbill.rate, "seed": self._playbill.seed})
            self._began = time.monotonic()
            self._screen.enter("the org lives, the store follows")
            await self._live(store, stop)
            await self._org.rest()
            self._screen.enter("the org rests; is the store equal?")
            return await self._verdict(store)
        finally:
            await store.close()

    async def _live(self, store: Connection, stop: asyncio.Event) -> None:
        """Look on until the time is over. What a scene began is ended, or somebody would be left undecided."""
        scenes = asyncio.create_task(self._scenes.play(), name="scenes")
        try:
            while not (scenes.done() and (stop.is_set() or self._is_over())):
                await self._look(store)
                if scenes.done():
                    scenes.result()
        finally:
            scenes.cancel()
            await asyncio.wait({scenes})

    def _is_over(self) -> bool:
        return bool(self._playbill.seconds) and time.monotonic() - self._began >= self._playbill.seconds

    async def _when_ready(self, stop: asyncio.Event) -> Connection:
        deadline = time.monotonic() + _READY_S
        while not self._reader.is_ready:
            self._daemon.must_run()
            self._reader.read()
            if stop.is_set() or time.monotonic() > deadline:
                raise ConfigError(f"the daemon did not become ready; see {self._daemon.log}")
            await asyncio.sleep(_LOOK_EVERY_S)
        return await asyncpg.connect(self._dsn)

    async def _look(self, store: Connection) -> None:
        """Bring the screen up to date once."""
        self._daemon.must_run()
        self._reader.read()
        figures = self._screen.figures
        figures.elapsed_s = time.monotonic() - self._began
        figures.people = await store.fetchval("SELECT count(*) FROM crm.active_person")
        figures.companies = await store.fetchval(
            "SELECT count(*) FROM crm.company WHERE merged_into IS NULL AND deleted_at IS NULL"
        )
        figures.dirty = await store.fetchval("SELECT count(*) FROM sfsync.dirty")
        await self._tell(store)
        self._screen.refresh()
        await asyncio.sleep(_LOOK_EVERY_S)

    async def _tell(self, store: Connection) -> None:
        for commit in (await self._org.ask(f"log?after={self._told}&limit=500"))["commits"]:
            self._told = commit["number"]
            happening = self._teller.tell(commit)
            if happening is not None:
                row = await store.fetchval(
                    "SELECT person_id FROM crm.person_record WHERE salesforce_id = $1"
                    " UNION ALL SELECT company_id FROM crm.company_record WHERE salesforce_id = $1",
                    happening.record_id,
                )
                self._screen.show(happening, row)

    async def _verdict(self, store: Connection) -> bool:
        is_equal, opinion = await judge(self._org, self._dsn, patience_s=_JUDGE_PATIENCE_S)
        await self._look(store)
        figures = self._screen.figures
        if is_equal:
            self._screen.enter("equal")
            self._screen.say(
                f"store equals org: {figures.people} people, {figures.companies} companies,"
                f" {figures.events} events, {figures.repaired} repaired"
            )
        else:
            self._screen.enter("NOT equal")
            self._screen.say(f"store differs from org:\n{opinion}")
        return is_equal

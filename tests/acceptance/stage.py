"""A simulated org and daemons as processes, and short words for what happens to them.

Why: an acceptance test tells a history: the org lives, a fault strikes, a process is killed, and in the end the
store is what the oracle says. Everything here is a process of its own, driven from outside as an operator would:
by signals, the control API, the log and `/readyz`. Calls block, since nothing else runs in such a test.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg

from tests.oracle import NOTHING_GIVEN, Given, Report, wait_until_equal
from tests.simorg.site import org_process

PATIENCE_S = 30.0
LOOK_S = 0.02

# Every kind of change in a few seconds.
LIVELY = {
    "create": 15,
    "update": 35,
    "reparent": 10,
    "convert": 10,
    "merge": 10,
    "delete": 12,
    "undelete": 8,
}

T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], str], within_s: float = PATIENCE_S) -> T:
    """Return the first true value of *condition*, asked again and again; fail after *within_s*."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(LOOK_S)
    return value


def ask(url: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    """Send one request; return its status and JSON body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class SimOrg:
    """A running simulated org and its control API."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self.told = told
        self.control_url = told["control_url"]

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control API; return the JSON body of a success."""
        status, answer = ask(f"{self.control_url}/{path}", method, body)
        assert status == 200, answer
        return answer

    def transact(self, *steps: Mapping[str, Any], **options: Any) -> dict[str, str]:
        """Run steps in one transaction; return the ids of the records that steps named."""
        ids: dict[str, str] = self.control("POST", "transaction", {"steps": steps, **options})["ids"]
        return ids

    def create(self, entity: str, **fields: Any) -> str:
        """Create one record; return its id."""
        return self.transact({"op": "create", "entity": entity, "fields": fields, "as": "it"})["it"]

    def update(self, record_id: str, **fields: Any) -> None:
        """Change one record."""
        self.transact({"op": "update", "id": record_id, "fields": fields})

    def plant(self, kind: str, **params: Any) -> None:
        """Plant a fault; without `times` it strikes once."""
        self.control("POST", "faults", {"kind": kind, **params})

    def struck(self, kind: str) -> int:
        """Return how often planted faults of *kind* have struck."""
        faults = self.control("GET", "faults")["faults"]
        return sum(fault["taken"] for fault in faults if fault["kind"] == kind)

    def heal(self) -> None:
        """Forget all faults."""
        self.control("DELETE", "faults")

    def set(self, **settings: Any) -> None:
        """Change settings of the org."""
        self.control("POST", "settings", settings)

    def begin_life(self, rate: float = 25, seed: int = 1, **mix: float) -> None:
        """Let users work, *rate* transactions per second."""
        self.control("POST", "life", {"rate": rate, "seed": seed, "mix": mix or LIVELY})

    def done(self) -> int:
        """Return how many things background life has done."""
        return sum(self.control("GET", "life")["done"].values())

    def live(self, steps: int, rate: float = 25, seed: int = 1, **mix: float) -> dict[str, int]:
        """Let users work until *steps* things are done; return what they did."""
        self.begin_life(rate, seed, **mix)
        until(lambda: self.done() >= steps, f"{steps} steps of life")
        return self.end_life()

    def end_life(self) -> dict[str, int]:
        """Stop background life and return what was done, by kind."""
        done: dict[str, int] = self.control("DELETE", "life")["done"]
        return done

    def stats(self) -> dict[str, Any]:
        """Return what was asked and delivered."""
        stats: dict[str, Any] = self.control("GET", "stats")
        return stats


class Log:
    """The JSON lines that a daemon wrote so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._entries: list[dict[str, Any]] = []

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All whole lines."""
        with self.path.open("rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        self._entries += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return self._entries

    def all(self, event: str, **keys: Any) -> list[dict[str, Any]]:
        """Return the entries of *event* that carry *keys*."""
        return [
            entry
            for entry in self.entries
            if entry.get("event") == event and keys.items() <= {k: entry.get(k) for k in keys}.items()
        ]

    def tail(self) -> str:
        """Return the last lines, for the message of a failure."""
        return "\n".join(self.path.read_text(errors="replace").splitlines()[-25:])


class Running(Protocol):
    """A process, as far as a stage must know it; `Popen` is one."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> Any: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


Start = Callable[[Mapping[str, str], Path, Path], Running]
"""Start `sfsync run` with this environment, in this directory, its output in this file."""


def start_alone(environ: Mapping[str, str], directory: Path, log: Path) -> Running:
    """Start `sfsync run` by a Python of its own."""
    with log.open("wb") as stream:
        return Popen(
            [sys.executable, "-m", "sfsync", "run"],
            env=dict(environ),
            cwd=directory,
            stdout=stream,
            stderr=stream,
            process_group=0,  # Ctrl-C in the terminal is for whoever plays the history.
        )


class Daemon:
    """One `sfsync run`."""

    def __init__(
        self, environ: Mapping[str, str], directory: Path, name: str, start: Start = start_alone
    ) -> None:
        self.log = Log(directory / f"{name}.log")
        self._process = start(environ, directory, self.log.path)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def wait_for(
        self, event: str, count: int = 1, within_s: float = PATIENCE_S, **keys: Any
    ) -> dict[str, Any]:
        """Wait until *event* with these keys was logged *count* times; return the last of them."""

        def found() -> list[dict[str, Any]]:
            entries = self.log.all(event, **keys)
            assert entries or self._process.poll() is None, f"the daemon ended:\n{self.log.tail()}"
            return entries if len(entries) >= count else []

        return until(found, lambda: f"{event} {keys} {count} times in\n{self.log.tail()}", within_s)[-1]

    def readiness(self) -> dict[str, Any]:
        """Return what `/readyz` answers."""
        port = self.wait_for("console.started")["port"]
        assert self._process.poll() is None, f"the daemon ended:\n{self.log.tail()}"
        status, answer = ask(f"http://127.0.0.1:{port}/readyz")
        assert status == (200 if answer["ready"] else 503)
        return dict(answer)

    def wait_ready(self, within_s: float = PATIENCE_S) -> Self:
        """Wait until `/readyz` is green."""
        until(lambda: self.readiness()["ready"], lambda: f"ready; log:\n{self.log.tail()}", within_s)
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to a daemon that runs."""
        assert self._process.poll() is None, f"the daemon ended:\n{self.log.tail()}"
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)

    def terminate(self, within_s: float = 10.0) -> int:
        """Ask it to end; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.ended(within_s)

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Wait until it has ended by itself; return its exit code."""
        until(
            lambda: self._process.poll() is not None,
            lambda: f"the end of the daemon; log:\n{self.log.tail()}",
            within_s,
        )
        code: int = self._process.returncode
        return code

    def close(self) -> None:
        """End it whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


QUICK = {
    "SFSYNC_SYNC__SETTLE_S": "1",
    "SFSYNC_SYNC__BACKOFF_S_MAX": "0.4",
    "SFSYNC_SYNC__AUTH_RETRY_S": "1",
    "SFSYNC_SYNC__SWEEP_INTERVAL_S": "3600",
    "SFSYNC_SALESFORCE__LONG_POLL_S": "3",
    "SFSYNC_CONSOLE__PORT": "0",
    "SFSYNC_LOG__FORMAT": "json",
}
STREAM_ONLY = {"SFSYNC_SYNC__SWEEP_ENABLED": "false"}


class Stage:
    """One org, one store, and the daemons between them; leaving it ends them all."""

    def __init__(self, org: SimOrg, dsn: str, directory: Path, start: Start = start_alone) -> None:
        self.org = org
        self.dsn = dsn
        self._directory = directory
        self._start = start
        self.daemons: list[Daemon] = []

    @property
    def environ(self) -> dict[str, str]:
        """What a process of ours needs to reach this org and this store."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
            if name in os.environ
        }
        return {
            **kept,
            **QUICK,
            "SFSYNC_SALESFORCE__LOGIN_URL": self.org.told["url"],
            "SFSYNC_SALESFORCE__FLOW": "client_credentials",
            "SFSYNC_SALESFORCE__CLIENT_ID": self.org.told["client_id"],
            "SFSYNC_SALESFORCE__CLIENT_SECRET": self.org.told["client_secret"],
            "SFSYNC_STORE__DSN": self.dsn,
        }

    def daemon(self, settings: Mapping[str, str] | None = None) -> Daemon:
        """Start a daemon; *settings* are variables of its environment."""
        name = f"daemon-{len(self.daemons)}"
        started = Daemon({**self.environ, **(settings or {})}, self._directory, name, self._start)
        self.daemons.append(started)
        return started

    async def must_be_equal(self, within_s: float = PATIENCE_S, given: Given = NOTHING_GIVEN) -> Report:
        """Wait until the store is what the oracle says; fail with the differences."""
        report = await wait_until_equal(self.org.control_url, self.dsn, within_s, given=given)
        assert report.is_equal, f"{report}\n{self.daemons[-1].log.tail() if self.daemons else ''}"
        return report

    async def value(self, query: str, *arguments: object) -> Any:
        """Return one value from the store."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in self.daemons:
            daemon.close()


@contextmanager
def open_stage(dsn: str, directory: Path, *, population: int = 0, seed: int = 1) -> Iterator[Stage]:
    """Start an org of *population* people, quick in its timings, and set the stage around it."""
    arguments = ("--population", str(population), "--seed", str(seed))
    with ExitStack() as stack:
        org = SimOrg(stack.enter_context(org_process(*arguments, state_dir=directory)))
        org.set(long_poll_s=2)
        yield stack.enter_context(Stage(org, dsn, directory))

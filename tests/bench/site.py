"""The daemon as a process of its own, against a simulated org in another: what they cost, and when they were done.

Why: what a daemon costs is seen from outside only. The instant of a commit is taken from the log line that the
daemon writes right behind it, which names the position; the instant of release is the org's; both processes
read the same clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_S = 120.0
LOOK_S = 0.05
COMPLETED = "sweep.entity.completed"
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Daemon:
    """A running `sfsync run`: its log so far, and its resources."""

    pid: int
    log: Path
    _read: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)

    def cpu_s(self) -> float:
        """Return the processor time that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_S

    def rss_mb(self, *, peak: bool = False) -> float:
        """Return its resident memory, or the most that it ever had since `forget_peak`."""
        wanted = "VmHWM:" if peak else "VmRSS:"
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith(wanted)) / 1024

    def forget_peak(self) -> None:
        """Begin a new peak of resident memory."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def events(self, name: str) -> Iterator[dict[str, Any]]:
        """Return the log lines of that name so far, oldest first."""
        with self.log.open() as log:
            log.seek(self._read)
            while (line := log.readline()).endswith("\n"):
                self.lines.append(json.loads(line))
                self._read = log.tell()
        return (line for line in self.lines if line["event"] == name)

    def forget_log(self) -> None:
        """Drop the log so far."""
        list(self.events(""))
        self.lines.clear()

    async def until(
        self, name: str, wanted: int = 1, within_s: float = PATIENCE_S, **members: Any
    ) -> dict[str, Any]:
        """Wait for that many log lines with these members and return the last."""
        async with asyncio.timeout(within_s):
            while True:
                found = [line for line in self.events(name) if line.items() >= members.items()]
                if len(found) >= wanted:
                    return found[-1]
                Path(f"/proc/{self.pid}/status").read_text()  # Raises when it is gone.
                await asyncio.sleep(LOOK_S)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def instant_s(line: Mapping[str, Any]) -> float:
    """Return when a log line was written, in seconds since the epoch."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@asynccontextmanager
async def running_daemon(
    org: Mapping[str, str], dsn: str, directory: Path, **settings: object
) -> AsyncIterator[Daemon]:
    """Run `sfsync run` until the block ends; the block begins when its first sweep is done."""
    async with starting_daemon(org, dsn, directory, **settings) as daemon:
        await daemon.until(COMPLETED, wanted=3)
        yield daemon


@asynccontextmanager
async def starting_daemon(
    org: Mapping[str, str], dsn: str, directory: Path, **settings: object
) -> AsyncIterator[Daemon]:
    """Run `sfsync run` until the block ends; the block begins at once."""
    log = directory / "daemon.log"
    environ = {name: text for name, text in os.environ.items() if not name.startswith("SFSYNC_")} | {
        "SFSYNC_SALESFORCE__LOGIN_URL": org["url"],
        "SFSYNC_SALESFORCE__FLOW": "client_credentials",
        "SFSYNC_SALESFORCE__CLIENT_ID": org["client_id"],
        "SFSYNC_SALESFORCE__CLIENT_SECRET": org["client_secret"],
        "SFSYNC_STORE__DSN": dsn,
        "SFSYNC_CONSOLE__PORT": "0",
        "SFSYNC_SYNC__SETTLE_S": "1",
        **{name: str(value) for name, value in settings.items()},
    }
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sfsync", "run", cwd=directory, env=environ, stderr=stderr
        )
    try:
        yield Daemon(process.pid, log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


class Control:
    """The control API of a simulated org."""

    def __init__(self, http: aiohttp.ClientSession, org: Mapping[str, str]) -> None:
        self._http = http
        self._url = org["control_url"]

    async def __call__(self, method: str, path: str, **body: Any) -> Any:
        """Call one route and return its JSON."""
        async with self._http.request(method, f"{self._url}/{path}", json=body or None) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@asynccontextmanager
async def open_control(org: Mapping[str, str]) -> AsyncIterator[Control]:
    """Open the control API of *org*."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as http:
        yield Control(http, org)

"""The daemons of a play, as processes, and what they wrote to their logs.

Why: a fault is judged by what an operator would see, so a daemon is known here by its log, its exit code and its
`/metrics` alone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from ..daemon_log import DaemonLog, Entry

_END_S = 15.0


class Daemon:
    """One `sfsync run`, and its JSON log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = DaemonLog(log)
        self._entries: list[Entry] = []
        self.log = log

    @property
    def exit_code(self) -> int | None:
        """The exit code, None as long as it runs; a signal that ended it counts below zero."""
        return self._process.returncode

    def entries(self) -> list[Entry]:
        """Return all whole lines that it wrote."""
        self._entries += self._log.fresh()
        return self._entries

    def last_words(self) -> str:
        """Return the end of its log, for whoever wants to know why it is not there."""
        return self.log.read_text(errors="replace").strip().rpartition("\n")[2][-600:]

    def is_ready(self) -> bool:
        """Tell whether it last said that it is ready, and runs."""
        said = [entry for entry in self.entries() if entry.get("event") == "health.changed"]
        return self.exit_code is None and bool(said) and bool(said[-1]["ready"])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.exit_code is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def close(self) -> None:
        """End it gently, or else by force."""
        self.signal(signal.SIGTERM)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_S)
        finally:
            await self.kill()

    async def figures(self, http: aiohttp.ClientSession, token: str) -> dict[str, float]:
        """Return what `/metrics` counts; nothing when it does not answer."""
        port = next((e["port"] for e in self.entries() if e.get("event") == "console.started"), None)
        if port is None or self.exit_code is not None:
            return {}
        try:
            async with http.get(
                f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
            ) as answer:
                return _counters(await answer.text())
        except (aiohttp.ClientError, TimeoutError):
            return {}


async def start_daemon(config: Path | None, environ: Mapping[str, str], log: Path) -> Daemon:
    """Start `sfsync run` as an operator would; Ctrl-C reaches only us, not it."""
    words = ["--config", str(config)] if config else []
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sfsync",
            "run",
            *words,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    return Daemon(process, log)


def _counters(text: str) -> dict[str, float]:
    """Read our counters from Prometheus' text format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("sfsync_") and name.partition("{")[0].endswith("_total"):
            found[name] = float(value)
    return found

"""The processes of the demo: the simulated org, the daemon, the judge; each started, watched and ended here."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from ...errors import ConfigError

_START_S = 60.0
_END_S = 15.0


@asynccontextmanager
async def open_process(
    *words: str, env: Mapping[str, str], **streams: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m WORDS`; end it with the block, gently first. Ctrl-C reaches only us, not it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, env=dict(env), start_new_session=True, **streams
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                process.kill()
                await process.wait()


@dataclass(frozen=True, slots=True)
class Org:
    """The simulated org that runs, and how to log in to it."""

    http: aiohttp.ClientSession
    login: Mapping[str, str]

    @property
    def control_url(self) -> str:
        return self.login["control_url"]

    async def ask(self, path: str) -> Any:
        """GET from the control API."""
        async with self.http.get(f"{self.control_url}/{path}") as response:
            return await response.json()

    async def tell(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """POST to the control API. Raises `ConfigError` when it refuses."""
        async with self.http.post(f"{self.control_url}/{path}", json=body or {}) as response:
            if response.status >= 400:
                raise ConfigError(f"the simulated org refused {path}: {await response.text()}")
            return await response.json()

    async def rest(self) -> Any:
        """End the background life; return what it did."""
        return await self.forget("life")

    async def forget(self, path: str) -> Any:
        """DELETE at the control API."""
        async with self.http.delete(f"{self.control_url}/{path}") as response:
            return await response.json()


@asynccontextmanager
async def open_org(*, people: int, seed: int) -> AsyncIterator[Org]:
    """Start a simulated org with a population. Raises `ConfigError` when it does not start."""
    words = ("sfsync.simorg", "--port", "0", "--population", str(people), "--seed", str(seed))
    async with open_process(*words, env=os.environ, stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for.
        try:
            first = await asyncio.wait_for(process.stdout.readline(), _START_S)
            login = msgspec.json.decode(first, type=dict[str, str])
        except (TimeoutError, msgspec.MsgspecError) as error:
            raise ConfigError("the simulated org did not start; its reason is above") from error
        async with aiohttp.ClientSession() as http:
            yield Org(http, login)


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """The daemon that runs; it writes its JSON log to `log`."""

    process: asyncio.subprocess.Process
    log: Path
    env: Mapping[str, str]

    def must_run(self) -> None:
        """Raise `ConfigError` when the daemon has ended."""
        if self.process.returncode is not None:
            raise ConfigError(f"the daemon ended with exit code {self.process.returncode}; see {self.log}")


@asynccontextmanager
async def open_daemon(org: Org, dsn: str, log: Path) -> AsyncIterator[DaemonProcess]:
    """Start the daemon as an operator would, with settings that suit a short life."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SFSYNC_")}
    env |= {
        "SFSYNC_SALESFORCE__LOGIN_URL": org.login["url"],
        "SFSYNC_SALESFORCE__FLOW": "client_credentials",
        "SFSYNC_SALESFORCE__CLIENT_ID": org.login["client_id"],
        "SFSYNC_SALESFORCE__CLIENT_SECRET": org.login["client_secret"],
        "SFSYNC_STORE__DSN": dsn,
        # The simulated org answers at most a second stale, so nothing need settle for a minute.
        "SFSYNC_SYNC__SETTLE_S": "3",
        "SFSYNC_SYNC__SWEEP_INTERVAL_S": "15",
        "SFSYNC_CONSOLE__PORT": "0",
        "SFSYNC_LOG__FORMAT": "json",
    }
    with log.open("wb") as stream:
        async with open_process("sfsync", "run", env=env, stderr=stream) as process:
            yield DaemonProcess(process, log, env)


async def run_sfsync(*words: str, env: Mapping[str, str]) -> None:
    """Run a command as an operator would. Raises `ConfigError` with what it said when it fails."""
    pipe = asyncio.subprocess.PIPE
    async with open_process("sfsync", *words, env=env, stdout=pipe, stderr=pipe) as process:
        _, said = await process.communicate()
    if process.returncode:
        raise ConfigError(f"sfsync {words[0]} failed: {said.decode('utf-8', 'replace').strip()}")


async def judge(org: Org, dsn: str, *, patience_s: float) -> tuple[bool, str]:
    """Compare the store with the org, in a process that shares nothing with the daemon.

    Return whether they are equal, and what the judge wrote.
    """
    words = ("sfsync.simorg.oracle", "--control", org.control_url, "--dsn", dsn, "--timeout", str(patience_s))
    async with open_process(*words, env=os.environ, stdout=asyncio.subprocess.PIPE) as process:
        output, _ = await process.communicate()
    return process.returncode == 0, output.decode("utf-8", "replace").strip()

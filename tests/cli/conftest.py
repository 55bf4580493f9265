"""The command line as a user has it: processes, against a simulated org and a real Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.simorg.site import org_process

CANARY = "c4n4ry-s3cret"
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs `sfsync` with settings for the org and the database of one test."""

    environ: Mapping[str, str]
    directory: Path

    async def __call__(self, *words: str, stdin: str = "", **changes: str) -> Ended:
        """Run a command to its end; *changes* are environment variables."""
        process = await self._start(*words, **changes)
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(stdin.encode())
        return Ended(process.returncode or 0, out.decode(), err.decode())

    @asynccontextmanager
    async def running(self, *words: str, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command while the block runs, then end it by SIGTERM; it must leave cleanly."""
        process = await self._start(*words, **changes)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await process.communicate()

    def words(self, *words: str) -> list[str]:
        """The command line of a command."""
        return [sys.executable, "-m", "sfsync", *words]

    def full_environ(self, **changes: str) -> dict[str, str]:
        """The environment of a command: none of the developer's own settings."""
        plain = {name: text for name, text in os.environ.items() if not name.startswith("SFSYNC_")}
        return {**plain, **self.environ, **changes}

    async def _start(self, *words: str, **changes: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.words(*words),
            cwd=self.directory,
            env=self.full_environ(**changes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture(scope="module")
def org_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A simulated org of its own process; what its first line tells."""
    with org_process("--population", "40", state_dir=tmp_path_factory.mktemp("org")) as told:
        yield told


@pytest.fixture
async def org(org_of_module: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """The org of this module, without the faults that a test planted in it."""
    yield org_of_module
    async with (
        aiohttp.ClientSession() as http,
        http.delete(f"{org_of_module['control_url']}/faults") as answer,
    ):
        assert answer.status == 200


@pytest.fixture
def cli(org: dict[str, str], pg_dsn: str, tmp_path: Path) -> Cli:
    """The command line, set up for `org` and a migrated database."""
    return Cli(salesforce_environ(org) | {"SFSYNC_STORE__DSN": pg_dsn}, tmp_path)


@pytest.fixture
def lone_cli(tmp_path: Path) -> Cli:
    """The command line with nothing set up."""
    return Cli({}, tmp_path)


def salesforce_environ(org: Mapping[str, str]) -> dict[str, str]:
    """Settings that lead to a simulated org."""
    return {
        "SFSYNC_SALESFORCE__LOGIN_URL": org["url"],
        "SFSYNC_SALESFORCE__FLOW": "client_credentials",
        "SFSYNC_SALESFORCE__CLIENT_ID": org["client_id"],
        "SFSYNC_SALESFORCE__CLIENT_SECRET": org["client_secret"],
        "SFSYNC_CONSOLE__PORT": "0",
    }


async def control(org: Mapping[str, str], path: str, **body: Any) -> Any:
    """Call the org's control API."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{org['control_url']}/{path}", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json()

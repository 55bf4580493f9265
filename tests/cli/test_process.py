"""The daemon as a process: what somebody else on the machine can see of it, and what it leaves behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.conftest import CANARY, PATIENCE_S, Cli
from tests.cli.test_explain import SALESFORCE

PROC = Path("/proc")


@pytest.mark.skipif(not (PROC / "self" / "limits").exists(), reason="not Linux")
async def test_daemon_shows_no_secret_and_dumps_no_core(lone_cli: Cli) -> None:
    """Every user may read command lines, and a core dump holds tokens and people."""
    changes = {
        "SFSYNC_SALESFORCE__CLIENT_SECRET": CANARY,
        "SFSYNC_STORE__DSN": "postgresql://x@127.0.0.1:1/x",
    }
    cli = Cli(SALESFORCE | changes, lone_cli.directory)
    async with cli.running("run") as process:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"daemon.started" not in (line := await process.stderr.readline()):
                assert line
        own = PROC / str(process.pid)
        [core] = [
            one for one in (own / "limits").read_text().splitlines() if one.startswith("Max core file size")
        ]
        assert core.split()[4:6] == ["0", "0"]
        assert CANARY not in (own / "cmdline").read_text()
        reading = asyncio.create_task(process.stderr.read())
        process.terminate()
        await reading

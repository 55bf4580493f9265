"""The API as an operator has it: served by the daemon that leads and by its stand-by, over one store."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli.conftest import PATIENCE_S, Cli, control
from tests.cli.test_with_daemon import QUICK, daemon
from tests.console.caller import TOKEN
from tests.simorg.site import eventually


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


async def test_leader_and_standby_serve_the_api(
    cli: Cli, pg_dsn: str, org: dict[str, str], token_file: Path
) -> None:
    """Readers need no leader; what they ask for is done by the one that leads."""
    ports = (free_port(), free_port())
    console = {"SFSYNC_CONSOLE__TOKEN_FILE": str(token_file)}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    step = {"op": "create", "entity": "Contact", "fields": {"LastName": "Asked"}, "as": "asked"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        daemon(cli, pg_dsn, **console, SFSYNC_CONSOLE__PORT=str(ports[0])),
        cli.running("run", **QUICK, **console, SFSYNC_CONSOLE__PORT=str(ports[1])),
    ):

        async def call(port: int, path: str, **body: Any) -> Any:
            method = "POST" if body else "GET"
            url = f"http://127.0.0.1:{port}/v1/{path}"
            async with http.request(method, url, json=body or None) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def standby_answers() -> bool:
            try:
                return bool(await call(ports[1], "status"))
            except aiohttp.ClientConnectionError:
                return False

        await eventually(standby_answers, PATIENCE_S)
        people = await call(ports[0], "people?limit=500")
        assert people["people"]
        assert await call(ports[1], "people?limit=500") == people

        asked = (await control(org, "transaction", steps=[step], silent=True))["ids"]["asked"]
        pulled = await call(ports[1], "pull", ids=[asked])
        assert pulled["requests"][0]["outcome"] in ("created", "unsettled")
        assert (await call(ports[0], f"people/{asked}"))["columns"]["last_name"] == "Asked"

"""Login and push of the org as a process: what a client in another process, or another language, meets."""

import asyncio
import json
import os
import signal
import ssl
import time
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

import aiohttp
import jwt
import pytest

from tests.simorg.push_rig import ALL_CHANGES
from tests.simorg.site import org_process
from tests.simorg.test_aiosfstream import OrgPassword, opened, receive, record_ids


async def test_first_line_is_enough_to_log_in_and_subscribe_over_https(process: dict[str, str]) -> None:
    """JWT with the key file that the line names, HTTPS with its CA file, CometD with the token of the reply."""
    key = Path(process["private_key_file"]).read_text()
    claims = {"iss": process["client_id"], "sub": process["username"], "aud": "https://login.salesforce.com"}
    assertion = jwt.encode({**claims, "exp": int(time.time()) + 180}, key, algorithm="RS256")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    trusting = ssl.create_default_context(cafile=process["ca_file"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
        async with http.post(f"{process['url']}/services/oauth2/token", data=form) as response:
            granted = await response.json()
        headers = {"Authorization": f"{granted['token_type']} {granted['access_token']}"}
        url = f"{granted['instance_url']}/cometd/66.0"
        handshake: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0", "id": "1"}
        async with http.post(url, json=[handshake], headers=headers) as response:
            client_id = json.loads(await response.text())[0]["clientId"]
        subscribe = {
            "channel": "/meta/subscribe",
            "clientId": client_id,
            "subscription": ALL_CHANGES,
            "id": "2",
        }
        async with http.post(url, json=[subscribe], headers=headers) as response:
            subscribed = json.loads(await response.text())[0]

    assert granted["instance_url"] == process["url"]
    assert subscribed["successful"]


async def test_refresh_token_of_the_first_line_is_good(process: dict[str, str]) -> None:
    """A client of the refresh flow needs a token to begin with."""
    form = {name: process[name] for name in ("client_id", "client_secret", "refresh_token")}
    trusting = ssl.create_default_context(cafile=process["ca_file"])

    async with aiohttp.ClientSession() as http:
        url = f"{process['url']}/services/oauth2/token"
        async with http.post(url, data={"grant_type": "refresh_token", **form}, ssl=trusting) as response:
            assert response.status == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_foreign_client_follows_the_process(tmp_path: Path) -> None:
    """The same as in one process, with nothing shared but the address and the credentials."""
    with org_process(state_dir=tmp_path) as told:
        login = OrgPassword(told["client_id"], told["client_secret"], told["username"], told["password"])
        login.token_url = f"{told['url']}/services/oauth2/token"
        steps = [
            {"op": "create", "entity": "Account", "fields": {"Name": "Acme"}, "as": "account"},
            {
                "op": "create",
                "entity": "Contact",
                "fields": {"LastName": "L", "AccountId": "$account"},
                "as": "contact",
            },
        ]
        async with opened(login) as client, aiohttp.ClientSession() as http:
            await client.subscribe(ALL_CHANGES)
            async with http.post(f"{told['control_url']}/transaction", json={"steps": steps}) as response:
                ids = (await response.json())["ids"]
            messages = await receive(client, 2)

    assert record_ids(messages) == [ids["account"], ids["contact"]]


async def test_process_ends_quickly_with_a_poll_held(tmp_path: Path) -> None:
    """SIGTERM must not wait for the 110 seconds of a held poll."""
    process = Popen([executable, "-m", "sfsync.simorg", "--state-dir", str(tmp_path)], stdout=PIPE)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        async with aiohttp.ClientSession() as http:
            poll = asyncio.create_task(_hold(http, told))
            await _until_held(http, told)
            began = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
            took_s = time.monotonic() - began
            await asyncio.gather(poll, return_exceptions=True)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert took_s < 2


async def _hold(http: aiohttp.ClientSession, told: dict[str, str]) -> None:
    """Shake hands and poll until the server answers the second poll or goes away."""
    form = {name: told[name] for name in ("client_id", "client_secret")} | {
        "grant_type": "client_credentials"
    }
    async with http.post(f"{told['url']}/services/oauth2/token", data=form) as response:
        headers = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
    url = f"{told['url']}/cometd/66.0"
    async with http.post(url, json=[{"channel": "/meta/handshake", "id": "1"}], headers=headers) as response:
        client_id = json.loads(await response.text())[0]["clientId"]
    for _ in range(2):
        message = {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}
        async with http.post(url, json=[message], headers=headers) as response:
            await response.read()


async def _until_held(http: aiohttp.ClientSession, told: dict[str, str]) -> None:
    async with asyncio.timeout(10):
        held = 0
        while not held:
            async with http.get(f"{told['control_url']}/stats") as response:
                held = (await response.json())["bus"]["held_polls"]


async def test_life_begun_on_the_command_line_is_known_to_the_control_api(tmp_path: Path) -> None:
    """A user who stops life must not leave a second one running that nobody can see or stop."""
    with org_process("--population", "40", "--life", "50", state_dir=tmp_path) as told:
        async with aiohttp.ClientSession() as http:

            async def ask(method: str, path: str) -> Any:
                async with http.request(method, f"{told['control_url']}/{path}") as response:
                    return await response.json()

            async with asyncio.timeout(10):
                while not (begun := await ask("GET", "life"))["done"]:
                    assert begun["running"], begun
            ended = await ask("DELETE", "life")
            commits = (await ask("GET", "stats"))["commits"]
            await asyncio.sleep(0.2)  # ten steps, were life still going on

            assert begun["rate"] == 50
            assert sum(ended["done"].values()) > 0
            assert not (await ask("GET", "life"))["running"]
            assert (await ask("GET", "stats"))["commits"] == commits

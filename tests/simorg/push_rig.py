"""A simulated org in this process, and a bare Bayeux client that shows every reply as it came."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.cometd import SERVER
from sfsync.simorg.cometd_server import CometdServer
from sfsync.simorg.org import Org

ALL_CHANGES = "/data/ChangeEvents"
Reply = dict[str, Any]


@dataclass
class Rig:
    """An org, its address, and an HTTP session for plain requests."""

    org: Org
    url: str
    http: aiohttp.ClientSession
    server: CometdServer
    stop: Callable[[], Awaitable[None]]
    clients: list["Bayeux"] = field(default_factory=list)

    def token(self, username: str | None = None) -> str:
        """Log in without HTTP."""
        user_id = self.org.credentials.user_id
        if username is not None:
            users = self.org.world.snapshot().by_id("User")
            user_id = next(each for each, fields in users if fields["Username"] == username)
        return self.org.sessions.issue(user_id).token

    def client(self, token: str | None = None, version: str = "66.0") -> "Bayeux":
        """Return a client with a cookie jar of its own."""
        client = Bayeux(f"{self.url}/cometd/{version}", token or self.token())
        self.clients.append(client)
        return client

    async def subscribed(self, channel: str = ALL_CHANGES, replay: int | None = -1) -> "Bayeux":
        """Return a client that has subscribed, whose next connect will be held."""
        client = self.client()
        await client.handshake()
        assert (await client.connect())[0]["successful"]
        reply = await client.subscribe(channel, replay)
        assert reply["successful"], reply
        return client

    def create(self, entity: str = "Lead", **fields: Any) -> str:
        """Commit one new record and return its id."""
        given = {
            "Lead": {"LastName": "山田", "Company": "株式会社サンプル"},
            "Contact": {"LastName": "Okafor"},
        }
        values = given.get(entity, {"Name": "Acme"}) | fields
        with self.org.world.transaction(origin="com/salesforce/api/rest/66.0;client=Test") as transaction:
            return transaction.create(entity, values)

    def update(self, record_id: str, **fields: Any) -> None:
        """Commit one update."""
        with self.org.world.transaction() as transaction:
            transaction.update(record_id, fields)


class Bayeux:
    """Sends Bayeux messages and returns the replies."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.client_id: str | None = None
        self.http = aiohttp.ClientSession()
        self._ids = count(1)

    async def post(self, *messages: Mapping[str, Any], token: str | None = None) -> list[Reply]:
        """Send *messages* in one request and return the reply's messages."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.http.post(self.url, json=list(messages), headers=headers) as response:
            replies: list[Reply] = json.loads(await response.text())
            return replies

    def message(self, channel: str, **members: Any) -> Reply:
        """Return a message of this client."""
        return {"channel": channel, "id": str(next(self._ids)), "clientId": self.client_id, **members}

    async def handshake(self, **members: Any) -> Reply:
        """Begin a session."""
        offer = {"version": "1.0", "supportedConnectionTypes": ["long-polling"], **members}
        message = {"channel": "/meta/handshake", "id": str(next(self._ids)), **offer}
        reply = (await self.post(message))[0]
        self.client_id = reply.get("clientId")
        return reply

    async def connect(self, **members: Any) -> list[Reply]:
        """Poll once."""
        return await self.post(self.message("/meta/connect", connectionType="long-polling", **members))

    async def subscribe(self, channel: Any = ALL_CHANGES, replay: Any = -1) -> Reply:
        """Subscribe; without *replay* no replay map is sent."""
        ext = {} if replay is None else {"ext": {"replay": {channel: replay}}}
        return (await self.post(self.message("/meta/subscribe", subscription=channel, **ext)))[0]

    async def events(self) -> list[Reply]:
        """Poll once and return the data messages only."""
        return [reply for reply in await self.connect() if "data" in reply]


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the server has no event for what a test looks at
            await asyncio.sleep(0.005)


@asynccontextmanager
async def open_rig() -> AsyncIterator[Rig]:
    """Serve a new org on a free port; polls are held for a quarter of a second at most."""
    org = make_org(seed=7)
    org.settings.long_poll_s = 0.25
    org.settings.skew_share = org.settings.split_share = org.settings.merge_share = 0.0
    app = build_app(org)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        rig = Rig(org, f"http://localhost:{port}", http, app[SERVER], runner.cleanup)
        try:
            yield rig
        finally:
            for client in rig.clients:
                await client.http.close()
            await runner.cleanup()

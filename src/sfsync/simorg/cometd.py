"""The CometD endpoint: Bayeux messages over HTTP long polling, with the faults of the wire.

Why: any Bayeux client must find what it expects, so the address may end in a slash or in the operation's name, the
body may be one message or a list, JSON or a form. Events are read from the session before the reply is written; a
reply that is cut takes its events with it.

Faults of the wire have the first message's channel as their subject, those of the reply `channel events=N`, so that
`match: "events=[1-9]"` cuts a reply which carries events.

Source: Streaming API guide, "Client Connection Considerations"; clients: CometD JS and Java, faye, aiocometd.
"""

import asyncio
import gzip
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from sfsync.simorg import bayeux
from sfsync.simorg.burst import add_burst_routes
from sfsync.simorg.cometd_server import BROWSER_COOKIE, Answer, Caller, CometdServer, Message
from sfsync.simorg.feed import Feed
from sfsync.simorg.gate import accepts_gzip
from sfsync.simorg.json_body import read_json, write_json

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

SERVER = web.AppKey("cometd_server", CometdServer)
REQUEST_BYTES_MAX = 32_768
FAULT_LOOK_S = 0.1
BUSY_PAGE = (
    "<html><head><title>503 Service Unavailable</title></head>"
    "<body><h1>Service Unavailable</h1><p>The server is temporarily unable to service your request.</p></body></html>"
)


def add_cometd_routes(app: web.Application, org: "Org") -> None:
    """Serve CometD for *org*, and announce on its bus what it commits from now on."""
    endpoint = CometdEndpoint(org)
    feed = Feed(org)
    org.world.on_commit(feed.announce)
    org.world.on_schema_change(feed.announce_schema)
    app[SERVER] = endpoint.server
    app.router.add_post("/cometd", endpoint.post)
    app.router.add_post("/cometd/{address:.*}", endpoint.post)
    app.on_shutdown.append(endpoint.close)
    add_burst_routes(app, org)


class CometdEndpoint:
    """The HTTP side of one org's CometD server."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._rng = random.Random(org.world.rng.getrandbits(64))
        self._closing = asyncio.Event()
        self.server = CometdServer(org)

    async def close(self, _app: web.Application) -> None:
        """Answer what is held, because the process ends."""
        self._closing.set()
        self.server.sessions.release_all()

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        if len(body) > REQUEST_BYTES_MAX:
            return _reply([{"successful": False, "error": bayeux.TOO_LARGE}], status=413)
        try:
            messages = _messages(request, body)
        except ValueError as error:
            return web.Response(status=400, text=f"400::{error}")
        channel = str(messages[0].get("channel", ""))
        spoilt = await self._spoil_request(request, channel)
        if spoilt is not None:
            return spoilt
        version = request.match_info.get("address", "").partition("/")[0]
        browser = request.cookies.get(BROWSER_COOKIE)
        caller = Caller(request.headers.get("Authorization"), browser, version)
        answer = await self.server.answer(messages, caller)
        response = self._response(answer)
        return await self._spoil_reply(request, response, f"{channel} events={len(answer.events)}")

    def _response(self, answer: Answer) -> web.Response:
        replies = [write_json(reply) for reply in answer.replies]
        parts = self._arranged(answer, replies)
        errors = {str(reply.get("error", ""))[:3] for reply in answer.replies}
        status = self._org.settings.auth_http_status if "401" in errors else 200
        response = web.Response(
            body=b"[" + b",".join(parts) + b"]",
            status=status,
            content_type="application/json",
            charset="UTF-8",
        )
        if answer.browser is not None:
            response.set_cookie(BROWSER_COOKIE, answer.browser, path="/cometd", httponly=True)
        if answer.browser is not None or "403" in errors:
            response.set_cookie(
                "sfdc-stream", f"!{self._rng.getrandbits(96):x}", path="/cometd", httponly=True
            )
        return response

    def _arranged(self, answer: Answer, replies: list[bytes]) -> list[bytes]:
        """Return events and replies in the order that the settings ask for; events keep their own."""
        match self._org.settings.connect_place:
            case "first":
                return replies + answer.events
            case "shuffled":
                place = self._rng.randint(0, len(answer.events))
                return answer.events[:place] + replies + answer.events[place:]
            case _:
                return answer.events + replies

    async def _spoil_request(self, request: web.Request, channel: str) -> web.StreamResponse | None:
        """Delay, hang or refuse a request as a planted fault asks."""
        faults = self._org.faults
        delay = faults.take("cometd_delay", channel)
        if delay is not None:
            await self._pause(float(delay.params.get("s", 1.0)), lambda: True)
        hang = faults.take("cometd_hang", channel)
        if hang is not None:
            await self._pause(float(hang.params.get("s", 86_400)), lambda: faults.is_planted(hang.number))
            return _cut(request)
        page = faults.take("cometd_html_503", channel)
        if page is not None:
            status = int(page.params.get("status", 503))
            text = str(page.params.get("body", BUSY_PAGE))
            return web.Response(status=status, text=text, content_type="text/html")
        return None

    async def _spoil_reply(
        self, request: web.Request, response: web.Response, subject: str
    ) -> web.StreamResponse:
        """Cut the line before or in the middle of a reply as a planted fault asks."""
        if self._org.faults.take("cometd_cut", subject):
            return _cut(request)
        if self._org.faults.take("cometd_cut_mid_body", subject):
            return await _cut_in_body(request, response)
        if accepts_gzip(request, response):
            # At the lowest level: a burst of events must cost the org little.
            response.body = gzip.compress(bytes(response.body or b""), 1)  # type: ignore[arg-type]  # bytes here
            response.headers["Content-Encoding"] = "gzip"
        return response

    async def _pause(self, seconds: float, goes_on: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and goes_on() and not self._closing.is_set():
            try:
                async with asyncio.timeout(min(FAULT_LOOK_S, max(end - loop.time(), 0))):
                    await self._closing.wait()
            except TimeoutError:
                continue


def _messages(request: web.Request, body: bytes) -> list[Message]:
    """Return the Bayeux messages of a request. Raises ValueError."""
    if request.content_type == "application/x-www-form-urlencoded":
        body = dict(parse_qsl(body.decode(errors="replace"))).get("message", "").encode()
    try:
        decoded = read_json(body)
    except ValueError as error:
        raise ValueError(f"the body is no JSON: {error}") from error
    messages = decoded if isinstance(decoded, list) else [decoded]
    if not messages or not all(isinstance(message, dict) for message in messages):
        raise ValueError("the body must be a Bayeux message or a list of them")
    return messages


def _reply(messages: list[dict[str, Any]], *, status: int) -> web.Response:
    body = write_json(messages)
    return web.Response(body=body, status=status, content_type="application/json", charset="UTF-8")


def _cut(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut_in_body(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Announce the whole body, send half of it, and close the connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    partial = web.StreamResponse(
        status=response.status, headers={"Content-Type": "application/json;charset=UTF-8"}
    )
    partial.content_length = len(body)
    await partial.prepare(request)
    await partial.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return partial

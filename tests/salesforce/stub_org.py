"""A server that answers like an org exactly what a test tells it to, down to broken bytes.

Why: the simulated org is faithful, so it cannot send what no org would send. This one knows no rules: each
path has a queue of scripted replies and a default.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ORG_ID = "00D5i000000DemoEAC"
CHANNEL = "/data/ChangeEvents"
DATE = "Tue, 24 Nov 2026 03:04:05 GMT"
DATE_MS = 1795489445000

Respond = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class StubOrg:
    """The scripted org; `script["/meta/connect"]` or `script["/services/..."]` hold what comes next."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    script: dict[str, deque[Respond]] = field(default_factory=lambda: defaultdict(deque))
    instance_url: str | None = None
    logins: int = 0
    date: str = DATE
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    def then(self, key: str, *replies: Respond) -> None:
        """Queue replies for a path or a meta channel."""
        self.script[key].extend(replies)

    def count(self, path: str) -> int:
        """Count the requests to paths that start with *path*."""
        return sum(1 for one in self.seen if one.path.startswith(path))

    def sent(self, channel: str) -> list[dict[str, Any]]:
        """Return the messages that were sent on a meta channel."""
        messages = [json.loads(one.body)[0] for one in self.seen if one.path.startswith("/cometd/")]
        return [message for message in messages if message["channel"] == channel]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.path_qs, dict(request.headers), body))
        message: dict[str, Any] = json.loads(body)[0] if request.path.startswith("/cometd/") else {}
        key = message.get("channel") or request.path
        if self.script[key]:
            return await self.script[key].popleft()(request, message)
        if request.path == "/services/oauth2/token":
            return await self.grant(request, message)
        if message:
            return await bayeux([ok(message)])(request, message)
        if request.path == "/services/data/":
            return await answer(json.dumps([{"version": "65.0"}, {"version": "66.0"}]).encode())(
                request, message
            )
        return web.Response(status=404, headers={"Date": self.date})

    async def hang(self, _request: web.Request, _message: dict[str, Any]) -> web.StreamResponse:
        """Never answer, and say when that has begun."""
        self.hung.set()
        await asyncio.Event().wait()
        return web.Response()

    def stall_after(self, body: bytes, *, status: int = 200) -> Respond:
        """Send headers and *body*, and never the rest."""

        async def respond(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
            response = web.StreamResponse(status=status, headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(body)
            return await self.hang(request, message)

        return respond

    async def grant(self, _request: web.Request, _message: dict[str, Any]) -> web.Response:
        """Answer a login with a new token."""
        self.logins += 1
        return web.json_response(token_answer(self, f"00D5i000000Demo!token{self.logins}"))


def token_answer(org: StubOrg, token: str) -> dict[str, str]:
    return {
        "access_token": token,
        "instance_url": org.instance_url or org.url,
        "id": f"{org.url}/id/{ORG_ID}/0055i000000SyncAAE",
        "token_type": "Bearer",
        "issued_at": "1795489445000",
    }


def ok(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the reply of a healthy server to *message*."""
    reply = {"channel": message["channel"], "id": message["id"], "successful": True, "clientId": "client1"}
    if message["channel"] == "/meta/handshake":
        reply["ext"] = {"replay": True, "payload.format": True}
    if message["channel"] == "/meta/connect":
        reply["advice"] = {"reconnect": "retry", "interval": 0, "timeout": 110000}
    if message["channel"] == "/meta/subscribe":
        reply["subscription"] = message["subscription"]
    return reply | more


def event(replay_id: int, payload: Any = None) -> dict[str, Any]:
    """Return an event message."""
    return {
        "channel": CHANNEL,
        "data": {
            "schema": "x",
            "payload": {"n": replay_id} if payload is None else payload,
            "event": {"replayId": replay_id},
        },
    }


def answer(
    body: bytes,
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Respond:
    """Answer with these bytes."""

    async def respond(_request: web.Request, _message: dict[str, Any]) -> web.Response:
        return web.Response(
            body=body, status=status, headers={"Date": DATE, "Content-Type": content_type} | (headers or {})
        )

    return respond


def bayeux(messages: Sequence[dict[str, Any]], *, status: int = 200) -> Respond:
    """Answer with Bayeux messages as they are."""
    return answer(json.dumps(list(messages)).encode(), status=status)


def good(*extra: dict[str, Any], **more: Any) -> Respond:
    """Answer a meta message well, after *extra* messages, with *more* in the reply."""

    async def respond(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return await bayeux([*extra, ok(message, **more)])(request, message)

    return respond


def good_after(raw: bytes) -> Respond:
    """Answer a meta message well, after *raw*, the compressed beginning of an array of messages."""

    async def respond(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return await gzipped(raw + json.dumps(ok(message)).encode() + b"]")(request, message)

    return respond


def refused(error: str, **more: Any) -> Respond:
    """Answer a meta message with a refusal."""

    async def respond(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        reply = {"channel": message["channel"], "id": message["id"], "successful": False, "error": error}
        return await bayeux([reply | more])(request, message)

    return respond


def errors(status: int, code: str, message: str = "said by somebody else", **headers: str) -> Respond:
    """Answer with an error array of the data APIs."""
    body = json.dumps([{"message": message, "errorCode": code}]).encode()
    return answer(
        body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def oauth_error(status: int, error: str, description: str) -> Respond:
    """Answer with an error object of the token endpoint."""
    return answer(json.dumps({"error": error, "error_description": description}).encode(), status=status)


def result(records: list[dict[str, Any]], *, date: str = DATE, **more: Any) -> Respond:
    """Answer with a query result."""
    body = {"totalSize": len(records), "done": True, "records": records} | more
    return answer(json.dumps(body).encode(), headers={"Date": date, "Sforce-Limit-Info": "api-usage=18/5000"})


def gzipped(body: bytes) -> Respond:
    """Answer with a compressed body."""
    return answer(gzip.compress(body), headers={"Content-Encoding": "gzip"})


async def cut(request: web.Request, _message: dict[str, Any]) -> web.StreamResponse:
    """Close the socket without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response()


def cut_after(body: bytes, *, announced: int) -> Respond:
    """Announce *announced* bytes, send *body*, close the socket."""

    async def respond(request: web.Request, _message: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Length": str(announced), "Content-Type": "application/json"}
        )
        await response.prepare(request)
        await response.write(body)
        if request.transport:
            request.transport.close()
        return response

    return respond

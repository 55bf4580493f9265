"""Receive change events by CometD, in a session that any anomaly ends.

Why: a session is crash-only. It is opened from a committed position, it delivers, and whatever is not exactly as
it should be (a cut line, a late answer, an HTML page, a reply that says no, a subscription nobody confirmed)
raises the error that names the caller's next move and the session is over. Nothing is retried inside: a
client that reconnects by itself has been measured to skip what was lost with a half-written reply, to go
deaf when a re-subscription is refused, and to loop hot on errors without advice. The next session starts from
the committed position, so nothing is lost and what comes twice is harmless.

Cancellation: at any await ends the session; nothing that was not returned has moved any position.
Source: Bayeux 1.0; Salesforce Streaming API guide (long poll 110 s, 40 s to reconnect, replay extension).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import aiohttp
import msgspec
import structlog

from ..core.events import Position, RawEvent
from ..errors import AuthError, ReplayExpiredError, SalesforceError, SubscribeError, UnavailableError
from .auth import Session
from .bayeux import (
    CONNECT,
    DISCONNECT,
    HANDSHAKE,
    SUBSCRIBE,
    Advice,
    Arrival,
    Message,
    bayeux_refusal,
    failure_text,
    read_reply,
)
from .connection import Connection
from .refusals import refusal
from .reply import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, REPLY_BYTES_MAX, CometdTimings, Reply
from .transport import CONNECT_S, date_ms, network_errors

log = structlog.get_logger()

TIP = -1


class CometdSession:
    """One confirmed subscription. Made by `open_session`."""

    def __init__(
        self,
        connection: Connection,
        http: aiohttp.ClientSession,
        login: Session,
        channel: str,
        timings: CometdTimings,
    ) -> None:
        self.channel = channel
        self.date_ms: int | None = None
        self.last_reply_at = time.monotonic()
        self._connection = connection
        self._http = http
        self._timings = timings
        self._numbers = count(1)
        self._login = login
        self._client_id: str | None = None
        self._advice = Advice()
        self._position: Position | None = None
        self._pending: deque[RawEvent] = deque()
        self._reply: Reply | None = None
        self._unanswered: dict[str, str] = {}

    async def receive(self) -> list[RawEvent]:
        """Return the events of one reply, in order; an empty list when the poll brought none.

        Of a huge reply, return the next batch. Raises the error that ended the session.
        """
        if not self._pending:
            await self._advance()
        return _take(self._pending)

    # ---- opening and closing

    async def open(self, position: Position | None) -> None:
        """Handshake, connect, subscribe from *position* (None: from the tip) and wait for the confirmation."""
        replay_id = _replay_id(position)
        self._position = position
        await self._converse(
            HANDSHAKE,
            version="1.0",
            minimumVersion="1.0",
            supportedConnectionTypes=["long-polling"],
            ext={"replay": True},
        )
        # failpoint: stream.handshaken - the handshake was answered
        await self._poll()
        await self._drain()
        ext = {"replay": {self.channel: replay_id}}
        try:
            async with asyncio.timeout(self._timings.reply_s):
                await self._converse(SUBSCRIBE, subscription=self.channel, ext=ext)
                while SUBSCRIBE in self._unanswered:
                    self._must_fit()
                    await self._advance()
        except TimeoutError as error:
            raise UnavailableError(
                "the subscription was not confirmed in time", code="UNCONFIRMED"
            ) from error
        # failpoint: stream.subscribed - the subscription is confirmed

    async def close(self) -> None:
        """Say goodbye, briefly and at best effort, so that no ghost uses up the org's concurrent clients."""
        if self._reply is not None:
            self._reply.close()
        if self._client_id is None:
            return
        # failpoint: stream.closing - the session is about to say goodbye
        with suppress(SalesforceError, TimeoutError):
            async with asyncio.timeout(self._timings.goodbye_s):
                (await self._post(DISCONNECT, self._timings.goodbye_s)).close()

    # ---- requests

    async def _converse(self, channel: str, **content: Any) -> None:
        """Send one request and take in its whole reply."""
        self._reply = await self._post(channel, self._timings.reply_s, **content)
        await self._drain()
        if channel == HANDSHAKE:
            self._must_be_answered(HANDSHAKE)

    async def _drain(self) -> None:
        while self._reply is not None:
            await self._take_in()

    async def _poll(self) -> None:
        """Send one connect and take in the first part of its reply."""
        if self._advice.interval:
            await asyncio.sleep(min(self._advice.interval / 1000, self._timings.slack_s))
        held_s = self._timings.long_poll_s
        if self._advice.timeout:
            held_s = min(held_s, self._advice.timeout / 1000)
        self._reply = await self._post(CONNECT, held_s + self._timings.slack_s, connectionType="long-polling")
        # failpoint: stream.connect.answered - a connect is answered, its body not read
        await self._take_in()

    async def _advance(self) -> None:
        """Go on with the reply that is open, or send the next connect."""
        if self._reply is not None:
            await self._take_in()
        else:
            await self._poll()

    async def _post(self, channel: str, wait_s: float, **content: Any) -> Reply:
        number = str(next(self._numbers))
        message = {"channel": channel, "id": number, **content}
        if self._client_id is not None:
            message["clientId"] = self._client_id
        headers = self._connection.headers(self._login)
        headers["Content-Type"] = "application/json"
        self._unanswered[channel] = number
        with network_errors(f"no answer to {channel}"):
            async with asyncio.timeout(wait_s):
                response = await self._http.post(
                    f"{self._login.instance_url}/cometd/{self._connection.api_version}",
                    data=msgspec.json.encode([message]),
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(
                        total=wait_s + self._timings.transfer_s, sock_connect=CONNECT_S
                    ),
                    allow_redirects=False,
                )
        self.last_reply_at = time.monotonic()
        self.date_ms = date_ms(response.headers)
        reply = Reply(response, self.channel, self._timings)
        if response.status != 200:
            await self._refuse_status(reply, channel)
        return reply

    async def _refuse_status(self, reply: Reply, channel: str) -> None:
        """Raise what an HTTP failure means: with a Bayeux body that body decides, else the status."""
        body = await reply.body_for_error()
        for one in _messages_of(body, self.channel):
            if isinstance(one, Message) and failure_text(one.error, one.ext):
                self._refuse(one, channel)
        error = refusal(reply.status, reply.headers, body)
        if isinstance(error, AuthError) or 300 <= reply.status < 400:
            self._connection.invalidate(self._login)
        raise error

    # ---- replies

    async def _take_in(self) -> None:
        """Take in the next part of the open reply; at its end, what had to be answered must be."""
        assert self._reply is not None  # noqa: S101
        for one in await self._reply.next_part():
            if isinstance(one, Arrival):
                self._arrive(one)
            else:
                self._check(one)
        if self._reply.is_over:
            self._reply = None
            self._must_be_answered(CONNECT)

    def _arrive(self, arrival: Arrival) -> None:
        """Queue an event. One without a place takes its predecessor's, so that committing it moves nothing."""
        self._position = arrival.position or self._position
        if self._position is None:
            log.error("stream.event.parked", entity=None, reason="no replay id", position=None)
            return
        self._pending.append(RawEvent(self._position, arrival.payload))

    def _check(self, one: Message) -> None:
        """Take note of a meta message. Raises when it refuses, or answers something that was not asked."""
        if one.successful is False or (one.error and one.successful is not True):
            self._refuse(one, one.channel or next(reversed(self._unanswered), CONNECT))
        if one.channel not in (HANDSHAKE, CONNECT, SUBSCRIBE):
            return
        if one.successful is not True or str(one.id) != self._unanswered.get(one.channel):
            raise UnavailableError(f"{one.channel} was answered out of turn", code="CORRELATION")
        if one.channel == HANDSHAKE:
            self._greet(one)
        elif one.clientId not in (None, self._client_id):
            raise UnavailableError(f"{one.channel} was answered for another client", code="CORRELATION")
        del self._unanswered[one.channel]
        self._follow(one.advice)

    def _greet(self, one: Message) -> None:
        if not one.clientId:
            raise UnavailableError("the handshake gave no client id", code="HANDSHAKE")
        if one.ext and one.ext.replay is False:
            raise SubscribeError(
                "the server does not offer replay: events would be lost unseen", code="NO_REPLAY"
            )
        self._client_id = one.clientId

    def _follow(self, advice: Advice | None) -> None:
        if advice is None:
            return
        if advice.reconnect in ("none", "handshake"):
            raise UnavailableError(f"the server advises {advice.reconnect}", code="ADVICE")
        # Advice is merged: a reply may leave out what has not changed.
        self._advice = Advice(
            interval=self._advice.interval if advice.interval is None else advice.interval,
            timeout=self._advice.timeout if advice.timeout is None else advice.timeout,
        )

    def _refuse(self, one: Message, channel: str) -> None:
        error = bayeux_refusal(failure_text(one.error, one.ext), channel=channel)
        if isinstance(error, ReplayExpiredError) and self._position is None:
            error = SubscribeError("the tip of the channel was refused as a replay id", code=error.code)
        if isinstance(error, AuthError) or error.code == "403::Handshake denied":
            self._connection.invalidate(self._login)
        raise error

    def _must_fit(self) -> None:
        if sum(len(event.payload) for event in self._pending) > REPLY_BYTES_MAX:
            raise UnavailableError(
                "too many events came before the subscription was confirmed", code="OVERSIZE"
            )

    def _must_be_answered(self, channel: str) -> None:
        if channel in self._unanswered:
            raise UnavailableError(f"{channel} was not answered", code="UNANSWERED")


@asynccontextmanager
async def open_session(
    connection: Connection, *, channel: str, position: Position | None, timings: CometdTimings | None = None
) -> AsyncIterator[CometdSession]:
    """Subscribe to *channel* after *position* (None: from the tip) and yield the session once it is confirmed.

    Raises `AuthError` (the token is already dropped: the next session logs in again), `ReplayExpiredError`,
    `SubscribeError`, `LimitError` or `UnavailableError`.
    """
    timings = timings or CometdTimings()
    async with AsyncExitStack() as stack:
        # A jar per client: two clients with the same cookies are slowed down by the server.
        jar = aiohttp.CookieJar(quote_cookie=False)
        http = await stack.enter_async_context(connection.open_http(jar))
        session = CometdSession(connection, http, await connection.session(), channel, timings)
        stack.push_async_callback(session.close)
        await session.open(position)
        yield session


def _replay_id(position: Position | None) -> int:
    if position is None:
        return TIP
    if not position.isdigit():
        raise ReplayExpiredError("the stored position is no replay id of this transport", code="POSITION")
    return int(position)


def _messages_of(body: bytes, channel: str) -> Sequence[Message | Arrival]:
    try:
        return read_reply(body, channel)
    except UnavailableError:
        return ()


def _take(pending: deque[RawEvent]) -> list[RawEvent]:
    """Take the next batch: whole small replies, bounded parts of large ones."""
    taken: list[RawEvent] = []
    size = 0
    while pending and len(taken) < BATCH_EVENTS_MAX and size < BATCH_BYTES_MAX:
        taken.append(pending.popleft())
        size += len(taken[-1].payload)
    return taken

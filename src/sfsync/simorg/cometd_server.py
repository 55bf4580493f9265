"""The Bayeux conversation: handshake, connect, subscribe, unsubscribe and disconnect, message by message.

Why: apart from HTTP, so that batches, single messages and held polls are one code path. A poll that shares its request
with other messages is answered at once, as CometD's own server does it; only a lone one is held.

Source: Bayeux protocol 1.0; Streaming API guide, "Streaming API Error Codes"; CometD server behaviour.
"""

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sfsync.simorg import bayeux
from sfsync.simorg.bayeux import Failure
from sfsync.simorg.channels import check_channel, start_cursor
from sfsync.simorg.cometd_session import BayeuxSession, BayeuxSessions, Hold
from sfsync.simorg.deliveries import Deliveries

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

Message = Mapping[str, Any]
VERSION_MIN = 37.0
_VERSION = re.compile(r"\d{1,4}(\.\d{1,2})?", re.ASCII)
BROWSER_COOKIE = "BAYEUX_BROWSER"
# How often a poll looks again while a fault withholds its events, for no event announces the end of a fault.
WITHHELD_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, and how: its `Authorization` header, its cookie and the version in its address."""

    authorization: str | None
    browser: str | None
    version: str


@dataclass(slots=True)
class Answer:
    """The reply to one request, and the session it belongs to."""

    replies: list[dict[str, Any]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    session: BayeuxSession | None = None
    browser: str | None = None


class CometdServer:
    """Answers Bayeux messages for one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._rng = random.Random(org.world.rng.getrandbits(64))
        self.sessions = BayeuxSessions(org)
        self.deliveries = Deliveries(org)
        org.bus.count_clients = lambda: len(self.sessions.live())

    async def answer(self, messages: Sequence[Message], caller: Caller) -> Answer:
        """Answer the messages of one request in their order."""
        answer = Answer()
        for message in messages:
            reply = await self._reply(message, caller, answer, alone=len(messages) == 1)
            if reply is not None:
                answer.replies.append(reply)
        if self._org.settings.deliver_on_any and answer.session is not None and not answer.events:
            self._collect(answer.session, answer)
        if answer.session is not None:
            answer.session.replied_at_ms = self._org.clock.now_ms()
        return answer

    async def _reply(
        self, message: Message, caller: Caller, answer: Answer, *, alone: bool
    ) -> dict[str, Any] | None:
        channel = str(message.get("channel", ""))
        try:
            self._raise_fault(channel, message)
            match channel:
                case bayeux.HANDSHAKE:
                    return self._handshake(message, caller, answer)
                case bayeux.CONNECT:
                    return await self._connect(message, caller, answer, alone=alone)
                case bayeux.SUBSCRIBE:
                    return self._subscribe(message, caller, answer)
                case bayeux.UNSUBSCRIBE | bayeux.DISCONNECT:
                    return self._leave(message, caller, answer)
                case _:
                    self._session(message, caller)
                    raise Failure(
                        bayeux.PUBLISH_DENIED if channel.startswith("/") else bayeux.CHANNEL_MISSING
                    )
        except Failure as failure:
            return failure.reply(message, terse=self._org.settings.terse_failures)

    def _handshake(self, message: Message, caller: Caller, answer: Answer) -> dict[str, Any]:
        self._org.stats.note("handshake", caller.version)
        try:
            self._check_version(caller)
        except Failure as failure:
            raise bayeux.handshake_denied(failure.error) from None
        if caller.authorization is None:
            raise bayeux.handshake_denied(bayeux.AUTHENTICATION_MISSING)
        login = self._org.sessions.check(caller.authorization)
        if login is None:
            raise bayeux.handshake_denied(bayeux.AUTHENTICATION_INVALID)
        offered = message.get("supportedConnectionTypes", ["long-polling"])
        if not isinstance(offered, list) or "long-polling" not in offered:
            raise bayeux.invalid_connection_type(
                ",".join(map(str, offered)) if isinstance(offered, list) else offered
            )
        if len(self.sessions.live()) >= self._org.settings.concurrent_clients:
            raise bayeux.handshake_denied(bayeux.CONCURRENT_LIMIT)
        answer.browser = caller.browser or f"{self._rng.getrandbits(80):x}"
        answer.session = self.sessions.open(login.user_id, answer.browser)
        return bayeux.success(
            message,
            ext={"replay": True, "payload.format": True},
            minimumVersion="1.0",
            clientId=answer.session.client_id,
            supportedConnectionTypes=["long-polling"],
            version="1.0",
        )

    async def _connect(
        self, message: Message, caller: Caller, answer: Answer, *, alone: bool
    ) -> dict[str, Any]:
        session = self._session(message, caller)
        self._org.stats.note("connect", session.client_id)
        answer.session = session
        connection_type = message.get("connectionType", "long-polling")
        if connection_type != "long-polling":
            raise bayeux.invalid_connection_type(connection_type)
        self.deliveries.check()
        if session.hold is not None:
            session.hold.release()
        is_first, session.is_connected = not session.is_connected, True
        if self.sessions.shares_browser(session):
            return self._connected(message, session, interval=2_000, **{"multiple-clients": True})
        if is_first or not alone or _wants_no_wait(message):
            self._collect(session, answer)
            return self._connected(message, session)
        await self._poll(session, caller, answer)
        return bayeux.success(message, clientId=session.client_id)

    def _connected(
        self, message: Message, session: BayeuxSession, interval: int = 0, **more: Any
    ) -> dict[str, Any]:
        timeout_ms = int(self._org.settings.long_poll_s * 1_000)
        advice = {"interval": interval, "timeout": timeout_ms, "reconnect": "retry", **more}
        return bayeux.success(message, clientId=session.client_id, advice=advice)

    async def _poll(self, session: BayeuxSession, caller: Caller, answer: Answer) -> None:
        """Hold the request until events come, the time is over, or the hold is released. Raises Failure."""
        hold = session.hold = Hold()
        self._org.bus.waiting.add(hold.wake)
        deadline = asyncio.get_running_loop().time() + self._org.settings.long_poll_s
        try:
            while not hold.is_released:
                if self._org.sessions.check(caller.authorization) is None:
                    raise bayeux.unauthorized()
                self._collect(session, answer)
                is_withheld = any(self._org.faults.peek("withhold", channel) for channel in session.cursors)
                look_s = WITHHELD_LOOK_S if is_withheld else None
                if answer.events or not await self._wake(hold, deadline, look_s):
                    return
        finally:
            self._org.bus.waiting.discard(hold.wake)
            if session.hold is hold:
                session.hold = None
        if not self.sessions.is_live(session):
            raise bayeux.unknown_client()

    @staticmethod
    async def _wake(hold: Hold, deadline: float, look_s: float | None) -> bool:
        """Wait for news, *look_s* at most if it is given; return False once the deadline has passed."""
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            return False
        hold.wake.clear()
        try:
            async with asyncio.timeout(left_s if look_s is None else min(left_s, look_s)):
                await hold.wake.wait()
        except TimeoutError:
            return look_s is not None
        return True

    def _subscribe(self, message: Message, caller: Caller, answer: Answer) -> dict[str, Any] | None:
        session = answer.session = self._session(message, caller)
        asked = message.get("subscription")
        note = {
            "client": session.client_id,
            "subscription": asked,
            "replay": _replay_map(message),
            "error": None,
        }
        self._org.stats.note("subscribe", note)
        subject = str(asked)
        if self._org.faults.take("expire_replay", subject):
            self._org.bus.expire()
        try:
            refused = self._org.faults.take("subscribe_refuse", subject)
            if refused is not None:
                raise Failure(str(refused.params.get("error", bayeux.CREATE_DENIED)))
            self.deliveries.check()
            for name in asked if isinstance(asked, list) else [asked]:
                channel = check_channel(self._org, name)
                session.cursors[channel] = start_cursor(self._org, channel, message)
        except Failure as failure:
            note["error"] = failure.error
            raise
        if session.hold is not None:
            session.hold.wake.set()
        if self._org.faults.take("subscribe_no_reply", subject):
            return None
        return bayeux.success(message, clientId=session.client_id, subscription=asked)

    def _leave(self, message: Message, caller: Caller, answer: Answer) -> dict[str, Any]:
        session = self._session(message, caller)
        if message["channel"] == bayeux.DISCONNECT:
            self.sessions.drop(session)
            return bayeux.success(message, clientId=session.client_id)
        answer.session = session
        asked = message.get("subscription")
        for channel in asked if isinstance(asked, list) else [asked]:
            session.cursors.pop(str(channel), None)
        return bayeux.success(message, clientId=session.client_id, subscription=asked)

    def _collect(self, session: BayeuxSession, answer: Answer) -> None:
        answer.events += session.collect(self._org)
        self.deliveries.count(len(answer.events))

    def _session(self, message: Message, caller: Caller) -> BayeuxSession:
        """Return the live session that *message* belongs to. Raises Failure."""
        self._check_version(caller)
        login = self._org.sessions.check(caller.authorization)
        if login is None:
            raise bayeux.unauthorized()
        if not message.get("clientId"):
            raise Failure(bayeux.HANDSHAKE_MISSING, bayeux.REHANDSHAKE)
        session = self.sessions.find(str(message["clientId"]))
        if session is None:
            raise bayeux.unknown_client()
        if self._org.settings.require_cookie and caller.browser != session.browser:
            if caller.browser is not None:
                raise bayeux.unknown_client()
            raise bayeux.cookie_missing(session.client_id, BROWSER_COOKIE)
        if login.user_id != session.user_id:
            raise Failure(bayeux.WRONG_USER, bayeux.REHANDSHAKE)
        return session

    @staticmethod
    def _check_version(caller: Caller) -> None:
        if not _VERSION.fullmatch(caller.version):
            raise Failure(bayeux.VERSION_MISSING)
        if float(caller.version) < VERSION_MIN:
            raise Failure(bayeux.VERSION_OLD)

    def _raise_fault(self, channel: str, message: Message) -> None:
        """Raise the failure that a planted fault asks for, with the meta channel as its subject."""
        faults, is_handshake = self._org.faults, channel == bayeux.HANDSHAKE
        if faults.take("cometd_503_busy", channel):
            raise bayeux.handshake_denied(bayeux.BUSY) if is_handshake else bayeux.unauthorized(bayeux.BUSY)
        if faults.take("cometd_401", channel):
            denied = bayeux.handshake_denied(bayeux.AUTHENTICATION_INVALID)
            raise denied if is_handshake else bayeux.unauthorized()
        if is_handshake:
            self._raise_handshake_fault(channel)
            return
        gone = faults.take("cometd_unknown_client", channel)
        if gone is not None:
            session = self.sessions.find(str(message.get("clientId")))
            if session is not None:
                self.sessions.drop(session)
            raise bayeux.unknown_client(str(gone.params.get("advice", "handshake")))
        if faults.take("cometd_daily_limit", channel):
            raise Failure(bayeux.DAILY_LIMIT)

    def _raise_handshake_fault(self, channel: str) -> None:
        limit = self._org.faults.take("cometd_concurrent_limit", channel)
        if limit is not None:
            per_server = limit.params.get("scope") == "server"
            raise bayeux.handshake_denied(bayeux.SERVER_LIMIT if per_server else bayeux.CONCURRENT_LIMIT)
        refused = self._org.faults.take("handshake_refuse", channel)
        if refused is not None:
            raise bayeux.handshake_denied(str(refused.params.get("reason", bayeux.AUTHENTICATION_INVALID)))


def _wants_no_wait(message: Message) -> bool:
    """Tell whether a connect asks for an answer at once, as CometD's own clients do to learn where they stand."""
    advice = message.get("advice")
    return isinstance(advice, dict) and advice.get("timeout") == 0


def _replay_map(message: Message) -> object:
    ext = message.get("ext")
    return ext.get("replay") if isinstance(ext, dict) else None

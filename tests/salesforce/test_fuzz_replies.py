"""Whatever a server says over Bayeux, a session ends with one of our errors or goes on, and never hoards."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfsync.core.events import Position, RawEvent
from sfsync.errors import SalesforceError, UnavailableError
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.bayeux import SUBSCRIBE, Arrival, Message, bayeux_refusal, read_reply
from sfsync.salesforce.cometd import open_session
from sfsync.salesforce.connection import LinkTimings, open_connection
from sfsync.salesforce.framing import HEAD_BYTES, ArrayFramer, FramingError
from sfsync.salesforce.reply import CometdTimings
from sfsync.salesforce.secret import Secret
from tests.hostile import FUZZ, anything, as_json, damaged, text, torn
from tests.salesforce.stub_org import CHANNEL, StubOrg, bayeux, event, ok

MIB = 1 << 20
CONNECTED = {"channel": "/meta/connect", "id": "3", "successful": True, "clientId": "client1"}
ADVICE = {"reconnect": "retry", "interval": 0, "timeout": 110000}
REPLY: list[dict[str, Any]] = [
    event(17),
    event(18, {"n": {"deep": [1, 2, {"x": None}]}}),
    CONNECTED | {"advice": ADVICE, "error": "403::x", "ext": {"sfdc": {"failureReason": "503::y"}}},
]


@FUZZ
@given(damaged(REPLY))
@example([event(10**400)])
@example([event(-1)])
def test_damaged_reply_is_read_or_refused(reply: Any) -> None:
    """A broken event does not break its neighbours, and a broken reply is an outage."""
    must_be_read_or_refused(as_json(reply))


@FUZZ
@given(torn(st.just(as_json(REPLY))))
def test_torn_reply_is_read_or_refused(reply: bytes) -> None:
    """A cut or a spoilt byte anywhere must not look like an empty poll of another kind."""
    must_be_read_or_refused(reply)


def must_be_read_or_refused(reply: bytes) -> None:
    try:
        found = read_reply(reply, CHANNEL)
    except UnavailableError:
        return
    for one in found:
        assert isinstance(one, Message | Arrival)
        assert not isinstance(one, Arrival) or one.position is None or one.position.isdigit()


@FUZZ
@given(st.lists(torn(st.just(as_json(REPLY))), max_size=4), st.integers(64, 4096))
def test_framer_holds_no_more_than_it_may(pieces: list[bytes], limit: int) -> None:
    """In whatever pieces the bytes come, and whatever they are."""
    framer = ArrayFramer(element_bytes_max=limit)
    try:
        for piece in pieces:
            framer.feed(piece)
            assert len(framer._element) <= max(limit, HEAD_BYTES)
        framer.finish()
    except FramingError:
        pass


@FUZZ
@given(
    st.one_of(text, st.from_regex(r"[1-5][0-9]{2}:.{0,9}:.{0,9}")),
    st.sampled_from(["/meta/connect", SUBSCRIBE]),
)
def test_refusal_repeats_nothing_that_is_unknown(said: str, channel: str) -> None:
    """The text of a refusal is chosen by whoever sends it, and our errors are logged whole."""
    error = bayeux_refusal(f"{said}c4n4ry", channel=channel)
    assert "c4n4ry" not in str(error) + str(error.code)


MONSTERS = {
    "10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "events 10,000 deep": b'[{"channel":"/data/ChangeEvents","data":{"payload":'
    + b"[" * 10_000
    + b"]" * 10_000
    + b',"event":{"replayId":1}}}]',
    "objects without end": b'[{"a":' * 20_000,
    "quotes": b'["' + b'\\"' * MIB,
    "commas": b"[" + b",a" * (MIB // 20),
    "empty objects": b"[" + b"{}," * (MIB // 10) + b"{}]",
}


@pytest.mark.parametrize("name", MONSTERS)
def test_monster_is_over_soon_and_fits(name: str) -> None:
    """A reply is read in linear time and a bounded multiple of its size."""
    tracemalloc.start()
    try:
        must_be_read_or_refused(MONSTERS[name])
        assert tracemalloc.get_traced_memory()[1] < 128 * MIB
    finally:
        tracemalloc.stop()


# ---- whole sessions


class Liar(StubOrg):
    """A server whose answers to the four meta messages are damaged; the login is good."""

    def __init__(self) -> None:
        super().__init__()
        self.lies: dict[str, Any] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/cometd/"):
            [message] = json.loads(await request.read())
            lie = self.lies.get(message["channel"], {})
            events = [event(n) for n in range(2)] if message["channel"] == "/meta/connect" else []
            told = [*events, ok(message) | lie] if isinstance(lie, dict) else lie
            return await bayeux(told)(request, message)
        return await super().serve(request)


async def listen(liar: Liar, polls: int) -> list[RawEvent]:
    credentials = ClientCredentials("client", Secret("s"), liar.url)
    timings = CometdTimings(long_poll_s=0.2, slack_s=0.2, reply_s=0.3, transfer_s=1, goodbye_s=0.1)
    events: list[RawEvent] = []
    async with open_connection(credentials, timings=LinkTimings(request_s=1, login_pause_s=0)) as connection:
        async with open_session(
            connection, channel=CHANNEL, position=Position(b"1"), timings=timings
        ) as session:
            for _ in range(polls):
                events += await session.receive()
    return events


META = ("/meta/handshake", "/meta/connect", "/meta/subscribe", "/meta/disconnect")
members = st.dictionaries(
    st.sampled_from(
        ["id", "clientId", "successful", "channel", "advice", "ext", "error", "subscription", "data"]
    ),
    st.one_of(anything, damaged(ADVICE), damaged({"sfdc": {"failureReason": "500::z"}, "replay": True})),
    max_size=2,
)
lies = st.dictionaries(
    st.sampled_from(META), st.one_of(members, members, anything.map(lambda one: [one])), max_size=2
)


def test_session_with_a_liar_goes_on_or_ends_with_our_error() -> None:
    """Every answer of a whole conversation may be anything; the supervisor above knows our errors only."""
    liar = Liar()
    outcomes = {"went on": 0, "ended": 0}
    with asyncio.Runner() as runner:
        server = runner.run(start(liar))

        @settings(FUZZ, max_examples=40)
        @given(lies)
        @example({})
        @example({"/meta/connect": {"advice": {"interval": 10**400}}})
        @example({"/meta/connect": {"advice": {"timeout": 10**400}}})
        @example({"/meta/connect": {"advice": {"interval": -(10**400), "timeout": -1}}})
        @example({"/meta/handshake": {"clientId": "\ud83d"}})
        @example({"/meta/handshake": {"clientId": "x\r\nHost: evil.test"}})
        def converse(told: dict[str, Any]) -> None:
            liar.lies = told
            try:
                assert len(runner.run(listen(liar, 2))) >= 2
                outcomes["went on"] += 1
            except SalesforceError:
                outcomes["ended"] += 1

        try:
            converse()
        finally:
            runner.run(server.cleanup())
    assert min(outcomes.values()) > 5, outcomes


async def start(org: StubOrg) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", org.serve)
    server = web.AppRunner(app, shutdown_timeout=0.1)
    await server.setup()
    await web.TCPSite(server, "localhost", 0).start()
    org.url = f"http://localhost:{server.addresses[0][1]}"
    return server

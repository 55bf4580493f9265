"""A session ends at any anomaly, with the error that names the next move, and loses no event."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sfsync.core.events import Position, RawEvent
from sfsync.errors import (
    AuthError,
    LimitError,
    ReplayExpiredError,
    SalesforceError,
    SubscribeError,
    UnavailableError,
)
from sfsync.salesforce.cometd import CometdSession, open_session
from sfsync.salesforce.connection import Connection
from sfsync.salesforce.reply import CometdTimings
from tests.salesforce.stub_org import (
    CHANNEL,
    DATE_MS,
    Respond,
    StubOrg,
    answer,
    bayeux,
    cut,
    cut_after,
    errors,
    event,
    good,
    good_after,
    gzipped,
    refused,
)

FAST = CometdTimings(long_poll_s=0.3, slack_s=0.3, reply_s=0.5, transfer_s=10, goodbye_s=0.5)
SAMPLES = Path(__file__).parents[1] / "samples"


def opened(
    connection: Connection, position: Position | None = None, timings: CometdTimings = FAST
) -> AbstractAsyncContextManager[CometdSession]:
    return open_session(connection, channel=CHANNEL, position=position, timings=timings)


async def first_batch(connection: Connection, timings: CometdTimings = FAST) -> list[RawEvent]:
    async with opened(connection, timings=timings) as session:
        return await session.receive()


async def receive_into(got: list[RawEvent], connection: Connection) -> None:
    async with opened(connection) as session:
        while True:
            got += await session.receive()


def positions(events: list[RawEvent]) -> list[bytes]:
    return [one.position for one in events]


async def test_events_come_in_order_with_position_and_untouched_payload(
    stub: StubOrg, connection: Connection
) -> None:
    """Whatever JSON text came is what the core decodes: no float, no key order is changed on the way."""
    raw = b'[{"data":{"schema":"s","payload":{"b":1.10,"a":"\\u5c71"},"event":{"replayId":7}},"channel":"/data/ChangeEvents"},'
    stub.then("/meta/connect", good(), good_after(raw), good(event(8), event(9)))
    async with opened(connection) as session:
        assert await session.receive() == [RawEvent(Position(b"7"), b'{"b":1.10,"a":"\\u5c71"}')]
        assert positions(await session.receive()) == [b"8", b"9"]
        assert await session.receive() == []
        assert session.date_ms == DATE_MS


@pytest.mark.parametrize(
    ("position", "sent"), [(None, -1), (Position(b"0"), 0), (Position(b"843170"), 843170)]
)
async def test_subscription_starts_at_the_given_position(
    stub: StubOrg, connection: Connection, position: Position | None, sent: int
) -> None:
    """A session that starts anywhere else loses events, or replays three days of them."""
    async with opened(connection, position):
        assert [one["ext"] for one in stub.sent("/meta/subscribe")] == [{"replay": {CHANNEL: sent}}]


async def test_stored_position_that_is_no_replay_id_counts_as_expired(
    stub: StubOrg, connection: Connection
) -> None:
    """A position of another transport must lead to tip and resweep, not to a crash loop."""
    with pytest.raises(ReplayExpiredError):
        async with opened(connection, Position(b"\x00\x01")):
            pass
    assert stub.count("/cometd/") == 0


async def test_events_on_handshake_and_subscribe_replies_come_first(
    stub: StubOrg, connection: Connection
) -> None:
    """Bayeux allows events on any reply; those of the subscribe reply are the oldest of a replay."""
    stub.then("/meta/subscribe", good(event(1), event(2)))
    stub.then("/meta/connect", good(), good(event(3)))
    async with opened(connection, Position(b"0")) as session:
        assert positions(await session.receive()) == [b"1", b"2"]
        assert positions(await session.receive()) == [b"3"]


async def test_subscribe_confirmation_may_ride_on_a_later_connect(
    stub: StubOrg, connection: Connection
) -> None:
    """Bayeux lets a server send any reply with any answer."""

    async def late(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        number = stub.sent("/meta/subscribe")[0]["id"]
        confirmation = {
            "channel": "/meta/subscribe",
            "id": number,
            "successful": True,
            "subscription": CHANNEL,
        }
        return await good(event(1), confirmation)(request, message)

    stub.then("/meta/subscribe", bayeux([]))
    stub.then("/meta/connect", good(), late)
    async with opened(connection) as session:
        assert positions(await session.receive()) == [b"1"]


async def test_unconfirmed_subscription_is_an_error(stub: StubOrg, connection: Connection) -> None:
    """A client that goes on without confirmation is connected and deaf for ever."""
    stub.then("/meta/subscribe", bayeux([]))
    with pytest.raises(UnavailableError, match="not confirmed"):
        await asyncio.wait_for(first_batch(connection), 5)


UNKNOWN = {"reconnect": "handshake", "interval": 0}
TOO_MANY = (
    "403::To protect all customers from excessive use and Denial of Service attacks, we limit the number of "
    "simultaneous connections per server. Your request has been denied because this limit has been exceeded. "
    "Please try your request again later."
)
REPLAY = (
    "400::The replayId {1795} you provided was invalid.  Please provide a valid ID, -2 to replay all events, "
    "or -1 to replay only new events."
)


def denied(reason: str) -> Respond:
    return refused(
        "403::Handshake denied",
        advice={"reconnect": "none"},
        ext={"sfdc": {"failureReason": reason}, "replay": True, "payload.format": True},
    )


REFUSALS = [
    ("/meta/handshake", denied("401::Authentication invalid"), AuthError),
    ("/meta/handshake", denied("401::Request requires authentication"), AuthError),
    ("/meta/handshake", denied("403::Organization concurrent user limit exceeded"), LimitError),
    ("/meta/handshake", denied(TOO_MANY), LimitError),
    (
        "/meta/handshake",
        denied("400::API version in the URI is mandatory. URI format: '/cometd/66.0'"),
        SubscribeError,
    ),
    ("/meta/handshake", denied("400::Unsupported API version. Only API versions '37.0' and"), SubscribeError),
    ("/meta/handshake", refused("403::Handshake denied", advice={"reconnect": "none"}), UnavailableError),
    ("/meta/connect", refused("401::Authentication invalid", advice={"reconnect": "none"}), AuthError),
    ("/meta/connect", refused("403::Unknown client", advice=UNKNOWN), UnavailableError),
    ("/meta/connect", refused("403::Unknown client", advice={"reconnect": "none"}), UnavailableError),
    ("/meta/connect", refused("403::Unknown client"), UnavailableError),
    (
        "/meta/connect",
        bayeux([{"error": "403::Unknown client", "successful": False, "advice": UNKNOWN}]),
        UnavailableError,
    ),
    ("/meta/connect", refused("403::Client has not completed handshake"), UnavailableError),
    ("/meta/connect", refused("403::Organization total events daily limit exceeded"), LimitError),
    (
        "/meta/connect",
        refused(
            "401::Authentication invalid",
            ext={"sfdc": {"failureReason": "503::Server is too busy.  Please try your request again later."}},
        ),
        UnavailableError,
    ),
    (
        "/meta/connect",
        refused("503::Server is too busy. Please try your request again later."),
        UnavailableError,
    ),
    ("/meta/connect", refused("413::Maximum Request Size Exceeded"), UnavailableError),
    (
        "/meta/connect",
        refused("400::Authenticated user id does not match the session's user id"),
        UnavailableError,
    ),
    (
        "/meta/connect",
        refused("400::Client 4kz has established a session, but no cookie present"),
        UnavailableError,
    ),
    ("/meta/connect", refused("400::Invalid connection type {websocket}"), UnavailableError),
    ("/meta/connect", refused("402::Unknown client"), UnavailableError),
    ("/meta/connect", refused("499::Something nobody has heard of"), UnavailableError),
    ("/meta/connect", refused(""), UnavailableError),
    ("/meta/subscribe", refused(REPLAY), ReplayExpiredError),
    ("/meta/subscribe", refused(REPLAY.replace(".  Please", ". Please")), ReplayExpiredError),
    ("/meta/subscribe", bayeux([{"error": REPLAY, "successful": False}]), ReplayExpiredError),
    (
        "/meta/subscribe",
        refused("400::The channel you requested to subscribe to does not exist {/data/X}"),
        SubscribeError,
    ),
    (
        "/meta/subscribe",
        refused("400::The channel you requested to subscribe to doesn't exist {/data/X}"),
        SubscribeError,
    ),
    ("/meta/subscribe", refused("400::Channel name not specified"), SubscribeError),
    ("/meta/subscribe", refused("400::Channel subscriptions must start with a leading '/'"), SubscribeError),
    ("/meta/subscribe", refused("403::Cannot create channel {/data/X}"), SubscribeError),
    ("/meta/subscribe", refused("403::Restricted channel"), SubscribeError),
    (
        "/meta/subscribe",
        refused("403::User not allowed to subscribe CDC without View All Data permissions"),
        SubscribeError,
    ),
    ("/meta/subscribe", refused("403:denied_by_security_policy:create_denied"), SubscribeError),
    ("/meta/subscribe", refused("403::Organization total events daily limit exceeded"), LimitError),
    ("/meta/subscribe", refused("403::Client has not completed handshake"), UnavailableError),
    ("/meta/subscribe", refused("404::Something nobody has heard of"), SubscribeError),
    ("/meta/subscribe", refused("503::Server is too busy. Please try"), UnavailableError),
]


@pytest.mark.parametrize(("channel", "reply", "expected"), REFUSALS, ids=range(len(REFUSALS)))
async def test_each_failure_string_becomes_its_class(
    stub: StubOrg, connection: Connection, channel: str, reply: Respond, expected: type[SalesforceError]
) -> None:
    """The class is the caller's next move: a wrong one is a login storm, a deaf stream or a lost position."""
    stub.then(channel, reply)
    with pytest.raises(SalesforceError) as caught:
        async with opened(connection, Position(b"1795")):
            pass
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "sample", sorted(SAMPLES.glob("0[67]*-bayeux-*40*.json")), ids=lambda path: path.stem
)
async def test_captured_refusals_end_the_session(stub: StubOrg, connection: Connection, sample: Path) -> None:
    """Real replies differ from documented ones: numeric ids, missing channels."""
    captured = json.loads(sample.read_text())
    messages = captured if isinstance(captured, list) else [captured]
    stub.then("/meta/connect", good(), bayeux(messages))
    with pytest.raises(SalesforceError) as caught:
        async with opened(connection, Position(b"82")) as session:
            await session.receive()
    text = next(one["error"] for one in messages if "error" in one)
    wanted = {"401": AuthError, "403": UnavailableError, "400": ReplayExpiredError}[text[:3]]
    assert type(caught.value) is wanted


async def test_refused_tip_is_not_taken_for_an_expired_position(
    stub: StubOrg, connection: Connection
) -> None:
    """Answering a refused tip with another subscription at the tip would go round for ever."""
    stub.then("/meta/subscribe", refused(REPLAY))
    with pytest.raises(SubscribeError) as caught:
        async with opened(connection, None):
            pass
    assert not isinstance(caught.value, ReplayExpiredError)


async def test_401_drops_the_token_and_busy_server_does_not(stub: StubOrg, connection: Connection) -> None:
    """A 503 hidden behind a 401 must not cause logins; a real 401 must cause exactly one."""
    busy = {"sfdc": {"failureReason": "503::Server is too busy. Please try your request again later."}}
    stub.then("/meta/handshake", refused("401::Authentication invalid", ext=busy))
    with pytest.raises(UnavailableError) as caught:
        async with opened(connection):
            pass
    assert caught.value.retry_after_s == 180
    await connection.session()
    assert stub.logins == 1
    stub.then("/meta/connect", refused("401::Authentication invalid"))
    with pytest.raises(AuthError):
        async with opened(connection):
            pass
    async with opened(connection):
        assert stub.logins == 2


EVENT_BYTES = json.dumps([event(1)]).encode()
ANOMALIES = {
    "cut before the answer": cut,
    "cut inside the body": cut_after(EVENT_BYTES[:30], announced=len(EVENT_BYTES)),
    "body is cut but well framed": answer(EVENT_BYTES[:-1]),
    "html with 503": answer(b"<html>maintenance</html>", status=503, content_type="text/html"),
    "html with 200": answer(b"<html>maintenance</html>", content_type="text/html"),
    "no answer": None,
    "empty body": answer(b""),
    "null": answer(b"null"),
    "an object instead of an array": answer(b"{}"),
    "invalid json": answer(b'[{"channel": oops}]'),
    "not utf-8": answer(b'[{"channel":"\xff\xfe"}]'),
    "no connect reply": bayeux([event(1)]),
    "empty array": bayeux([]),
    "someone else's reply": good(id="9999"),
    "someone else's client": good(clientId="client2"),
    "neither successful nor refused": bayeux([{"channel": "/meta/connect"}]),
    "advice none": good(advice={"reconnect": "none"}),
    "advice handshake": good(advice={"reconnect": "handshake"}),
    "unasked subscribe reply": good({"channel": "/meta/subscribe", "id": "3", "successful": True}),
    "redirect": answer(b"", status=302, headers={"Location": "http://localhost:1/"}),
    "unknown encoding": answer(b"x", headers={"Content-Encoding": "br"}),
    "gzip that is none": answer(b"x" * 100, headers={"Content-Encoding": "gzip"}),
    "deeply nested": answer(b'[{"ext":' + b"[" * 100_000),
    "bare 403": answer(b"", status=403),
    "bare 500": answer(b"", status=500),
}


@pytest.mark.parametrize("anomaly", ANOMALIES.values(), ids=ANOMALIES.keys())
async def test_any_anomaly_of_a_poll_ends_the_session(
    stub: StubOrg, connection: Connection, anomaly: Respond | None
) -> None:
    """What is retried inside a session skips what was lost with the broken reply."""
    stub.then("/meta/connect", good(), anomaly or stub.hang)
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(first_batch(connection), 5)


@pytest.mark.parametrize("status", [200, 503])
async def test_body_that_stalls_ends_the_session(stub: StubOrg, connection: Connection, status: int) -> None:
    """A line that dies in the middle of an answer gives no error by itself."""
    stub.then("/meta/connect", good(), stub.stall_after(b"[", status=status))
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(first_batch(connection), 5)


async def test_bare_http_401_drops_the_token(stub: StubOrg, connection: Connection) -> None:
    """Some answers to a dead token are REST errors, not Bayeux."""
    stub.then("/meta/connect", good(), errors(401, "INVALID_SESSION_ID"))
    with pytest.raises(AuthError):
        async with opened(connection) as session:
            await session.receive()
    await connection.session()
    assert stub.logins == 2


async def test_bayeux_body_decides_over_http_status(stub: StubOrg, connection: Connection) -> None:
    """An HTTP 401 whose body says the server is busy is no reason to log in."""
    busy = {"sfdc": {"failureReason": "503::Server is too busy.  Please try your request again later."}}
    reply = {
        "channel": "/meta/connect",
        "successful": False,
        "error": "401::Authentication invalid",
        "ext": busy,
    }
    stub.then("/meta/connect", good(), bayeux([reply], status=401))
    with pytest.raises(UnavailableError):
        async with opened(connection) as session:
            await session.receive()
    await connection.session()
    assert stub.logins == 1


async def test_unknown_messages_and_other_channels_are_ignored(stub: StubOrg, connection: Connection) -> None:
    """A server may speak of what nobody asked; it must not stop the stream."""
    foreign: list[dict[str, Any]] = [
        {"channel": "/service/x", "data": [1]},
        {"channel": "/data/Other", "data": event(5)["data"]},
        {},
    ]
    stub.then("/meta/connect", good(), good(*foreign, event(6)))
    async with opened(connection) as session:
        assert positions(await session.receive()) == [b"6"]


async def test_broken_envelope_keeps_its_payload_and_moves_no_position(
    stub: StubOrg, connection: Connection
) -> None:
    """An event without a place must neither stop the stream, nor be lost, nor move the position to a place it has not."""
    broken: list[dict[str, Any]] = [
        {"channel": CHANNEL, "data": {"payload": {"n": 2}}},
        {"channel": CHANNEL, "data": {"payload": {"n": 3}, "event": {"replayId": "three"}}},
        {"channel": CHANNEL, "data": {"payload": {"n": 4}, "event": {"replayId": -1}}},
        {"channel": CHANNEL, "data": None},
        {"channel": CHANNEL},
    ]
    stub.then("/meta/connect", good(), good(event(1), *broken, event(9)))
    async with opened(connection) as session:
        events = await session.receive()
    assert positions(events) == [b"1"] * 6 + [b"9"]
    assert [json.loads(one.payload) for one in events[1:4]] == [{"n": 2}, {"n": 3}, {"n": 4}]


async def test_lone_surrogate_does_not_stop_the_stream(stub: StubOrg, connection: Connection) -> None:
    """Salesforce sends half emoji; a strict parser refuses the whole reply for one of them."""
    stub.then("/meta/connect", good(), good(event(1), event(2, {"LastName": "\ud83d"}), event(3)))
    async with opened(connection) as session:
        events = await session.receive()
    assert positions(events) == [b"1", b"2", b"3"]
    assert b"\\ud83d" in events[1].payload


async def test_message_without_any_position_is_parked(stub: StubOrg, connection: Connection) -> None:
    """At the very start there is no predecessor whose place it could take."""
    stub.then("/meta/connect", good(), good({"channel": CHANNEL, "data": {}}, event(1)))
    async with opened(connection, None) as session:
        assert positions(await session.receive()) == [b"1"]


async def test_interval_is_milliseconds_and_waited(stub: StubOrg, connection: Connection) -> None:
    """Taken for seconds, an advised interval of 2,000 would be half an hour of deafness."""
    stub.then("/meta/connect", good(advice={"reconnect": "retry", "interval": 150, "timeout": 110000}))
    started = asyncio.get_running_loop().time()
    async with opened(connection) as session:
        await session.receive()
    assert 0.15 <= asyncio.get_running_loop().time() - started < 5


async def test_each_session_keeps_its_own_cookies(stub: StubOrg, connection: Connection) -> None:
    """Without its cookie a client is refused; with another's it is slowed down."""

    async def with_cookie(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = await good()(request, message)
        response.set_cookie("BAYEUX_BROWSER", f"b{len(stub.sent('/meta/handshake'))}")
        return response

    stub.then("/meta/handshake", with_cookie, with_cookie)
    for number in (1, 2):
        stub.seen.clear()
        async with opened(connection):
            cookies = [one.headers.get("Cookie") for one in stub.seen if one.path.startswith("/cometd/")]
        assert cookies == [None, "BAYEUX_BROWSER=b1", "BAYEUX_BROWSER=b1"], number


async def test_leaving_says_goodbye(stub: StubOrg, connection: Connection) -> None:
    """A ghost session uses up one of twenty concurrent clients for 40 seconds."""
    async with opened(connection):
        assert not stub.sent("/meta/disconnect")
    assert [one["clientId"] for one in stub.sent("/meta/disconnect")] == ["client1"]


async def test_goodbye_that_hangs_does_not_hold_up_leaving(stub: StubOrg, connection: Connection) -> None:
    """Shutdown has ten seconds for everything."""
    stub.then("/meta/disconnect", stub.hang)
    async with asyncio.timeout(3):
        async with opened(connection):
            pass


async def test_cancelled_poll_ends_the_session(stub: StubOrg, connection: Connection) -> None:
    """Cancellation is how the daemon stops: it must pass through and still say goodbye."""
    stub.then("/meta/connect", good(), stub.hang)
    slow = CometdTimings(goodbye_s=0.5)
    task = asyncio.create_task(first_batch(connection, timings=slow))
    await stub.hung.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stub.sent("/meta/disconnect")


def huge_reply(events: int, payload_bytes: int) -> bytes:
    blob = 'x[{\\"' * (payload_bytes // 5)
    return json.dumps([event(number, {"t": blob}) for number in range(events)]).encode()[:-1] + b","


async def test_huge_reply_comes_in_bounded_batches(stub: StubOrg, connection: Connection) -> None:
    """After a long stop one reply can exceed all memory: it is passed on while it arrives, complete and in order."""
    big = huge_reply(300, 60_000)
    stub.then("/meta/connect", good(), good_after(big), good(event(1000)))
    got: list[RawEvent] = []
    # The stub shares our loop: while it and we work through 18 MB, neither answers the other in time.
    async with opened(connection, timings=replace(FAST, slack_s=20.0)) as session:
        while not got or got[-1].position != b"1000":
            batch = await session.receive()
            assert sum(len(one.payload) for one in batch) < 5 << 20
            got += batch
    assert positions(got) == [str(number).encode() for number in range(300)] + [b"1000"]
    assert all(json.loads(one.payload)["t"].startswith('x[{\\"') for one in got[:300])


async def test_huge_reply_that_is_cut_keeps_what_was_whole(stub: StubOrg, connection: Connection) -> None:
    """What was complete may be committed, so a reply that always breaks at the same place still makes progress."""
    big = huge_reply(200, 60_000)
    stub.then("/meta/connect", good(), answer(big))
    got: list[RawEvent] = []
    with pytest.raises(UnavailableError):
        await receive_into(got, connection)
    assert positions(got) == [str(number).encode() for number in range(200)]


@pytest.mark.parametrize("neighbours", [0, 300], ids=["whole reply", "framed reply"])
async def test_monstrous_event_is_cut_and_its_neighbours_live(
    stub: StubOrg, connection: Connection, neighbours: int
) -> None:
    """One element over 2 MiB is parked by the core; the stream must not stop at it for ever."""
    monster = json.dumps(
        event(500, {"ChangeEventHeader": {"entityName": "Lead"}, "t": "x" * (3 << 20)})
    ).encode()
    around = huge_reply(neighbours, 30_000) if neighbours else b"["
    stub.then("/meta/connect", good(), good_after(around + monster + b","), good(event(1000)))
    got: list[RawEvent] = []
    async with opened(connection, Position(b"400")) as session:
        while not got or got[-1].position != b"1000":
            got += await session.receive()
    assert len(got) == neighbours + 2
    assert len(got[-2].payload) == 64 * 1024
    assert b"ChangeEventHeader" in got[-2].payload


async def test_gzip_bomb_stays_bounded(stub: StubOrg, connection: Connection) -> None:
    """A few kilobytes of gzip may hold gigabytes of blanks."""
    stub.then("/meta/connect", good(), gzipped(b"[" + b" " * (100 << 20)))
    with pytest.raises(UnavailableError, match="larger than"):
        async with opened(connection) as session:
            await session.receive()

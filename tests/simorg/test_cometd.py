"""The CometD endpoint, seen by a client that keeps to the protocol and by one that does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from tests.simorg.push_rig import ALL_CHANGES, Rig, open_rig, until

RETRY = {"interval": 0, "timeout": 250, "reconnect": "retry"}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as opened:
        yield opened


def ids(events: list[dict[str, Any]]) -> list[str]:
    """Return the record ids that *events* name, in order."""
    return [each for event in events for each in event["data"]["payload"]["ChangeEventHeader"]["recordIds"]]


def replay_ids(events: list[dict[str, Any]]) -> list[int]:
    """Return the replay ids of *events*, in order."""
    return [event["data"]["event"]["replayId"] for event in events]


async def test_handshake_answers_like_the_captured_one(rig: Rig) -> None:
    """Clients look for `ext.replay` and for the long-polling transport, and for no advice."""
    reply = await rig.client().handshake()

    assert reply.pop("clientId")
    assert reply == {
        "channel": "/meta/handshake",
        "id": "1",
        "version": "1.0",
        "minimumVersion": "1.0",
        "successful": True,
        "supportedConnectionTypes": ["long-polling"],
        "ext": {"replay": True, "payload.format": True},
    }


async def test_first_connect_is_answered_at_once_and_the_second_held(rig: Rig) -> None:
    """A client learns its advice from the first connect; holding that one would stall every start."""
    client = rig.client()
    await client.handshake()
    loop = asyncio.get_running_loop()

    began = loop.time()
    first = await client.connect()
    between = loop.time()
    second = await client.connect()

    assert first[0]["advice"] == RETRY
    assert between - began < 0.2
    assert second[0]["successful"]
    assert "advice" not in second[0]
    assert loop.time() - between >= 0.24


async def test_held_connect_is_answered_as_soon_as_an_event_is_there(rig: Rig) -> None:
    """Push means milliseconds, not the end of the poll."""
    rig.org.settings.long_poll_s = 30
    client = await rig.subscribed()
    poll = asyncio.create_task(client.events())
    await until_held(rig)

    lead = rig.create()

    async with asyncio.timeout(5):
        events = await poll
    assert ids(events) == [lead]
    assert events[0]["channel"] == ALL_CHANGES
    assert set(events[0]) == {"channel", "data"}
    assert set(events[0]["data"]) == {"schema", "payload", "event"}


async def test_subscribe_with_a_position_wakes_the_held_poll(rig: Rig) -> None:
    """Most clients subscribe while their poll is held; the replayed events must not wait for its end."""
    rig.org.settings.long_poll_s = 30
    lead = rig.create()
    client = rig.client()
    await client.handshake()
    await client.connect()
    poll = asyncio.create_task(client.events())
    await until_held(rig)

    await client.subscribe(replay=-2)

    async with asyncio.timeout(5):
        assert ids(await poll) == [lead]


async def test_connect_that_asks_for_no_wait_is_not_held(rig: Rig) -> None:
    """CometD's Java and JavaScript clients send `advice: {timeout: 0}`."""
    rig.org.settings.long_poll_s = 30
    client = await rig.subscribed()

    async with asyncio.timeout(5):
        assert (await client.connect(advice={"timeout": 0}))[0]["successful"]


async def test_second_connect_releases_the_first(rig: Rig) -> None:
    """A client that lost a reply polls again; the server must not hold two polls, nor give the dead one the events."""
    rig.org.settings.long_poll_s = 30
    client = await rig.subscribed()
    first = asyncio.create_task(client.connect())
    await until_held(rig)
    second = asyncio.create_task(client.events())

    async with asyncio.timeout(5):
        released = await first
    assert [reply["channel"] for reply in released] == ["/meta/connect"]
    lead = rig.create()
    async with asyncio.timeout(5):
        assert ids(await second) == [lead]


@pytest.mark.parametrize("suffix", ["", "/", "/handshake", "/connect"])
async def test_address_may_end_in_a_slash_or_in_the_operation(rig: Rig, suffix: str) -> None:
    """CometD JS appends the operation's name to the address."""
    client = rig.client()
    client.url += suffix

    assert (await client.handshake())["successful"]


async def test_single_message_and_form_are_accepted(rig: Rig) -> None:
    """Bayeux allows a bare message, and old clients post a form."""
    client = rig.client()
    message = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
    headers = {"Authorization": f"OAuth {client.token}"}

    async with client.http.post(client.url, json=message, headers=headers) as response:
        bare = json.loads(await response.text())
    async with client.http.post(
        client.url, data={"message": json.dumps([message])}, headers=headers
    ) as response:
        form = json.loads(await response.text())

    assert bare[0]["successful"]
    assert form[0]["successful"]


async def test_body_that_is_no_bayeux_is_refused(rig: Rig) -> None:
    """A broken client must see its own mistake, not a stack trace."""
    client = rig.client()
    for body, says in ((b"[", "no JSON"), (b"[]", "Bayeux message"), (b"[1]", "Bayeux message")):
        async with client.http.post(client.url, data=body) as response:
            assert response.status == 400
            assert says in await response.text()


async def test_batch_is_answered_in_order_and_its_connect_not_held(rig: Rig) -> None:
    """Aiocometd sends its subscribes in one request with the connect after a new handshake."""
    rig.org.settings.long_poll_s = 30
    rig.org.settings.connect_place = "last"
    client = rig.client()
    await client.handshake()
    await client.connect()

    async with asyncio.timeout(5):
        replies = await client.post(
            client.message("/meta/subscribe", subscription="/data/LeadChangeEvent"),
            client.message("/meta/subscribe", subscription="/data/ContactChangeEvent"),
            client.message("/meta/connect", connectionType="long-polling"),
        )

    assert [reply["channel"] for reply in replies] == ["/meta/subscribe", "/meta/subscribe", "/meta/connect"]
    assert all(reply["successful"] for reply in replies)


async def test_single_entity_channel_carries_its_entity_only(rig: Rig) -> None:
    """The daemon must not rely on a channel for order across entities, but others subscribe to one entity."""
    client = await rig.subscribed("/data/ContactChangeEvent")
    rig.create("Account")
    contact = rig.create("Contact")
    rig.create("Lead")

    events = await client.events()

    assert ids(events) == [contact]
    assert events[0]["channel"] == "/data/ContactChangeEvent"


async def test_entity_that_is_not_selected_leaves_a_hole_but_no_event(rig: Rig) -> None:
    """Opportunity is not selected for change data capture by default."""
    client = await rig.subscribed()
    rig.create("Opportunity", Name="Deal", StageName="Prospecting", CloseDate="2026-12-01")
    lead = rig.create("Lead")

    assert ids(await client.events()) == [lead]


async def test_unsubscribe_and_disconnect_end_delivery(rig: Rig) -> None:
    """A closed session is unknown from then on, and its held poll is answered."""
    client = await rig.subscribed()
    gone = await client.post(client.message("/meta/unsubscribe", subscription=ALL_CHANGES))
    rig.create()

    assert gone[0]["successful"]
    assert await client.events() == []
    assert (await client.post(client.message("/meta/disconnect")))[0]["successful"]
    assert (await client.connect())[0]["error"] == "403::Unknown client"


async def test_publishing_by_cometd_is_refused(rig: Rig) -> None:
    """Salesforce publishes by REST only."""
    client = await rig.subscribed()

    reply = (await client.post(client.message(ALL_CHANGES, data={"a": 1})))[0]

    assert reply["error"] == "403:denied_by_security_policy:publish_denied"


async def test_replay_positions_minus_one_minus_two_and_exclusive(rig: Rig) -> None:
    """A position names the last event that was handled: the next one after it must come, and it itself must not."""
    leads = [rig.create() for _ in range(4)]
    everything = await (await rig.subscribed(replay=-2)).events()
    positions = replay_ids(everything)

    assert ids(everything) == leads
    assert positions == sorted(set(positions))
    assert ids(await (await rig.subscribed(replay=positions[1])).events()) == leads[2:]
    assert ids(await (await rig.subscribed(replay=positions[3])).events()) == []
    assert ids(await (await rig.subscribed(replay=-1)).events()) == []
    assert ids(await (await rig.subscribed(replay=None)).events()) == []


async def test_replay_ids_are_not_contiguous(rig: Rig) -> None:
    """A client that computes the next id breaks here, before it breaks in production."""
    for _ in range(40):
        rig.create()

    positions = replay_ids(await (await rig.subscribed(replay=-2)).events())

    steps = {later - earlier for earlier, later in pairwise(positions)}
    assert len(steps) > 3
    assert steps <= set(range(1, 8))


async def test_unknown_replay_id_is_refused_with_the_captured_words(rig: Rig) -> None:
    """Clients match `400::The replayId`; the subscription does not exist afterwards."""
    rig.create()
    client = rig.client()
    await client.handshake()
    await client.connect()

    for asked in (1, rig.org.bus.last_replay_id + 1, "abc"):
        reply = await client.subscribe(ALL_CHANGES, asked)
        assert reply["error"] == (
            f"400::The replayId {{{asked}}} you provided was invalid.  Please provide a valid ID, "
            "-2 to replay all events, or -1 to replay only new events."
        )
        assert reply["subscription"] == ALL_CHANGES
    rig.create()
    assert await client.events() == []


async def test_events_older_than_the_retention_are_gone(rig: Rig) -> None:
    """An outage of more than 72 hours must be noticed by the 400, not pass as a quiet weekend."""
    rig.create()
    position = rig.org.bus.last_replay_id
    rig.org.clock.advance(72 * 3600 - 60)
    assert (await rig.subscribed(replay=position)).client_id
    rig.org.clock.advance(120)
    client = rig.client()
    await client.handshake()
    await client.connect()

    assert "400::The replayId" in (await client.subscribe(ALL_CHANGES, position))["error"]
    assert (await client.subscribe(ALL_CHANGES, -2))["successful"]
    assert await client.events() == []


async def test_replay_map_is_read_by_the_exact_channel_name(rig: Rig) -> None:
    """EMP-Connector sends its whole map with each subscribe; the other entries are not for this channel."""
    lead = rig.create()
    client = rig.client()
    await client.handshake()
    await client.connect()
    replay = {"/data/changeevents": -2, "/data/LeadChangeEvent": 1, "/data/AccountChangeEvent": -2}

    reply = await client.post(
        client.message("/meta/subscribe", subscription=ALL_CHANGES, ext={"replay": replay}),
    )
    assert reply[0]["successful"]
    assert await client.events() == []

    rig.org.settings.replay_map_strict = True
    strict = await client.post(
        client.message("/meta/subscribe", subscription=ALL_CHANGES, ext={"replay": replay}),
    )
    assert strict[0]["error"].startswith(f"400::The replayId for channel {{{ALL_CHANGES}}} wasn't found")
    assert lead


async def test_batch_holds_no_more_than_its_limit(rig: Rig) -> None:
    """The rest follows with the next polls, at once and in order."""
    rig.org.settings.batch_max = 10
    leads = [rig.create() for _ in range(25)]
    client = await rig.subscribed(replay=-2)

    batches = [await client.events() for _ in range(3)]

    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [each for batch in batches for each in ids(batch)] == leads


@pytest.mark.parametrize(("place", "first", "last"), [("first", True, False), ("last", False, True)])
async def test_connect_reply_stands_where_the_setting_puts_it(
    rig: Rig, place: str, first: bool, last: bool
) -> None:
    """Bayeux promises no order between events and the connect reply."""
    rig.org.settings.connect_place = place
    for _ in range(3):
        rig.create()
    client = await rig.subscribed(replay=-2)

    replies = await client.connect()

    assert ("advice" in replies[0] or replies[0]["channel"] == "/meta/connect") is first
    assert (replies[-1]["channel"] == "/meta/connect") is last


async def test_events_may_ride_on_the_subscribe_reply(rig: Rig) -> None:
    """A client that drops data messages outside of connect replies loses them for good."""
    rig.org.settings.deliver_on_any = True
    lead = rig.create()
    client = rig.client()
    await client.handshake()
    await client.connect()

    replies = await client.post(
        client.message("/meta/subscribe", subscription=ALL_CHANGES, ext={"replay": {ALL_CHANGES: -2}})
    )

    assert ids([reply for reply in replies if "data" in reply]) == [lead]


async def test_cookie_is_set_and_required(rig: Rig) -> None:
    """A client without a jar must fail at once, as it would against Salesforce."""
    client = rig.client()
    await client.handshake()
    names = {cookie.key for cookie in client.http.cookie_jar}
    client.http.cookie_jar.clear()

    reply = (await client.connect())[0]

    assert "BAYEUX_BROWSER" in names
    assert reply["error"] == (
        f"400::Client {client.client_id} has established a session, but no BAYEUX_BROWSER cookie present"
    )
    rig.org.settings.require_cookie = False
    assert (await client.connect())[0]["successful"]


async def test_two_clients_with_one_jar_are_told_so(rig: Rig) -> None:
    """One jar for two clients slows both down: that is how the mistake shows."""
    rig.org.settings.long_poll_s = 30
    first = await rig.subscribed()
    second = rig.client()
    await second.http.close()
    second.http = first.http
    await second.handshake()
    await second.connect()
    poll = asyncio.create_task(first.connect())
    await until_held(rig)

    async with asyncio.timeout(5):
        reply = (await second.connect())[0]

    assert reply["advice"] == {
        "interval": 2000,
        "multiple-clients": True,
        "reconnect": "retry",
        "timeout": 30_000,
    }
    await second.post(first.message("/meta/disconnect"))
    await poll


async def test_session_is_dropped_after_the_reconnect_window(rig: Rig) -> None:
    """A consumer that takes 41 seconds over a batch has no session left, and its subscription is gone with it."""
    client = await rig.subscribed()
    rig.org.clock.advance(39)
    assert (await client.connect())[0]["successful"]
    rig.org.clock.advance(41)

    reply = (await client.connect())[0]

    assert reply == {
        "channel": "/meta/connect",
        "id": reply["id"],
        "successful": False,
        "error": "403::Unknown client",
        "advice": {"interval": 0, "reconnect": "handshake"},
    }
    assert rig.server.sessions.live() == []


async def test_held_poll_outlasts_the_window(rig: Rig) -> None:
    """The window runs after a reply, not while the server itself keeps the client waiting."""
    rig.org.settings.reconnect_window_s = 0.1
    client = await rig.subscribed()

    replies = [(await client.connect())[0]["successful"] for _ in range(2)]

    assert replies == [True, True]


async def test_session_belongs_to_the_user_who_began_it(rig: Rig) -> None:
    """A client that logs in as somebody else must begin anew."""
    client = await rig.subscribed()

    replies = await client.post(client.message("/meta/connect"), token=rig.token("admin@example.com"))

    assert replies[0]["error"] == "400::Authenticated user id does not match the session's user id"


async def test_messages_before_a_handshake_are_refused(rig: Rig) -> None:
    """Neither without a client id, nor with an invented one."""
    client = rig.client()

    missing = await client.post({"channel": "/meta/subscribe", "subscription": ALL_CHANGES, "id": "1"})
    invented = await client.post({"channel": "/meta/connect", "clientId": "abc", "id": "2"})

    assert missing[0]["error"] == "403::Client has not completed handshake"
    assert invented[0]["error"] == "403::Unknown client"
    assert invented[0]["advice"]["reconnect"] == "handshake"


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        (None, "400::Channel name not specified"),
        ("", "400::Channel name not specified"),
        ("data/ChangeEvents", "400::Channel subscriptions must start with a leading '/'"),
        (
            "/data/FooChangeEvent",
            "400::The channel you requested to subscribe to does not exist {/data/FooChangeEvent}",
        ),
        ("/event/Foo__e", "400::The channel you requested to subscribe to does not exist {/event/Foo__e}"),
        ("/foo", "403::Cannot create channel {/foo}"),
        ("/meta/connect", "403::Restricted channel"),
        ("/data/*", "403::Restricted channel"),
    ],
)
async def test_channels_that_cannot_be_subscribed(rig: Rig, channel: str | None, error: str) -> None:
    """A wrong channel is a mistake of configuration and must say which."""
    client = rig.client()
    await client.handshake()
    await client.connect()

    assert (await client.subscribe(channel))["error"] == error


async def test_missing_view_all_refuses_one_entity_but_silences_it_on_the_general_channel(rig: Rig) -> None:
    """The general channel drops what the user may not see without a word."""
    rig.org.settings.denied_entities = ["Contact"]
    client = await rig.subscribed()
    rig.create("Contact")
    lead = rig.create("Lead")

    assert ids(await client.events()) == [lead]
    refused = await client.subscribe("/data/ContactChangeEvent")
    assert refused["error"] == "403::User not allowed to subscribe CDC without View All Data permissions"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("36.0", "400::Unsupported API version. Only API versions '37.0' and later are supported."),
        ("", "400::API version in the URI is mandatory. URI format: '/cometd/66.0'"),
        ("latest", "400::API version in the URI is mandatory. URI format: '/cometd/66.0'"),
    ],
)
async def test_api_version_in_the_address_is_checked(rig: Rig, version: str, reason: str) -> None:
    """Versions below 37.0 are refused with the address to use."""
    reply = await rig.client(version=version).handshake()

    assert reply["error"] == "403::Handshake denied"
    assert reply["advice"] == {"reconnect": "none"}
    assert reply["ext"]["sfdc"]["failureReason"].startswith(reason)


async def test_handshake_needs_a_good_token(rig: Rig) -> None:
    """The cause stands in `failureReason` only; `error` says the same for all."""
    client = rig.client("no-token")
    bad = await client.handshake()
    async with client.http.post(client.url, json=[{"channel": "/meta/handshake", "id": "1"}]) as response:
        absent = json.loads(await response.text())[0]

    assert bad == {
        "channel": "/meta/handshake",
        "id": "1",
        "successful": False,
        "error": "403::Handshake denied",
        "advice": {"reconnect": "none"},
        "ext": {
            "sfdc": {"failureReason": "401::Authentication invalid"},
            "replay": True,
            "payload.format": True,
        },
    }
    assert absent["ext"]["sfdc"]["failureReason"] == "401::Request requires authentication"


async def test_websocket_is_refused(rig: Rig) -> None:
    """Only long polling is offered."""
    client = rig.client()
    handshake = await client.handshake(supportedConnectionTypes=["websocket"])
    await client.handshake()
    connect = await client.post(client.message("/meta/connect", connectionType="websocket"))

    assert handshake["error"] == "400::Invalid connection type {websocket}"
    assert connect[0]["error"] == "400::Invalid connection type {websocket}"


async def test_revoked_token_ends_the_held_poll(rig: Rig) -> None:
    """Revoking is seen at once, and the advice says that polling again is of no use."""
    rig.org.settings.long_poll_s = 30
    client = await rig.subscribed()
    poll = asyncio.create_task(client.connect())
    await until_held(rig)

    rig.org.sessions.revoke()

    async with asyncio.timeout(5):
        reply = (await poll)[0]
    assert reply["error"] == "401::Authentication invalid"
    assert reply["advice"] == {"reconnect": "none", "interval": 0}


@pytest.mark.parametrize("status", [200, 401])
async def test_http_status_beside_a_bayeux_401_is_a_setting(rig: Rig, status: int) -> None:
    """Salesforce answers 200; a gateway in between may not, and the Bayeux body is there all the same."""
    rig.org.settings.auth_http_status = status
    client = await rig.subscribed()
    rig.org.sessions.revoke()
    headers = {"Authorization": f"Bearer {client.token}"}

    async with client.http.post(
        client.url, json=[client.message("/meta/connect")], headers=headers
    ) as response:
        assert response.status == status
        assert json.loads(await response.text())[0]["error"] == "401::Authentication invalid"


async def test_more_clients_than_allowed_are_denied(rig: Rig) -> None:
    """The limit counts live sessions; one that left frees its place."""
    rig.org.settings.concurrent_clients = 1
    first = await rig.subscribed()
    second = rig.client()

    denied = await second.handshake()
    await first.post(first.message("/meta/disconnect"))

    assert denied["ext"]["sfdc"]["failureReason"] == "403::Organization concurrent user limit exceeded"
    assert (await second.handshake())["successful"]


async def test_daily_delivery_limit_refuses_connect_and_subscribe(rig: Rig) -> None:
    """Deliveries of the last 24 hours count, and a day later all is well again."""
    rig.org.settings.delivery_limit = 2
    for _ in range(2):
        rig.create()
    client = await rig.subscribed(replay=-2)
    assert len(await client.events()) == 2

    connect = (await client.connect())[0]
    subscribe = await client.subscribe("/data/LeadChangeEvent")
    rig.org.clock.advance(25 * 3600)
    again = await rig.subscribed()

    assert connect["error"] == "403::Organization total events daily limit exceeded"
    assert subscribe["error"] == "403::Organization total events daily limit exceeded"
    assert again.client_id


async def test_request_above_the_size_limit_is_refused(rig: Rig) -> None:
    """32,768 bytes is the limit, which a replay map of many channels may reach."""
    client = rig.client()

    replies = await client.post({"channel": "/meta/handshake", "pad": "x" * 33_000})

    assert replies[0]["error"] == "413::Maximum Request Size Exceeded"


async def test_cut_reply_takes_its_events_with_it(rig: Rig) -> None:
    """The trap: on the same session they never come again; only a new subscribe from the position brings them."""
    first = rig.create()
    position = rig.org.bus.last_replay_id
    client = await rig.subscribed(replay=-2)
    assert ids(await client.events()) == [first]
    lost = rig.create()
    rig.org.faults.add("cometd_cut", match="events=[1-9]")

    with pytest.raises(aiohttp.ClientError):
        await client.connect()
    later = rig.create()

    assert ids(await client.events()) == [later]
    assert ids(await (await rig.subscribed(replay=position)).events()) == [lost, later]


async def test_cut_in_the_middle_of_a_body_is_an_incomplete_reply(rig: Rig) -> None:
    """Half a JSON text arrives, of a length that was announced as more."""
    rig.create()
    client = await rig.subscribed(replay=-2)
    rig.org.faults.add("cometd_cut_mid_body", match="events=[1-9]")

    with pytest.raises(aiohttp.ClientError):
        await client.connect()


@pytest.mark.parametrize("advice", ["handshake", "none", "absent"])
async def test_unknown_client_by_fault_drops_the_session(rig: Rig, advice: str) -> None:
    """The advice varies in captures, and is sometimes missing."""
    client = await rig.subscribed()
    rig.org.faults.add("cometd_unknown_client", match="connect", advice=advice)

    reply = (await client.connect())[0]

    assert reply["error"] == "403::Unknown client"
    assert reply.get("advice", {}).get("reconnect", "absent") == advice
    assert (await client.connect())[0]["error"] == "403::Unknown client"


async def test_busy_server_hides_beside_a_401(rig: Rig) -> None:
    """Whoever reads `error` only fetches tokens in a loop while the server is overloaded."""
    client = await rig.subscribed()
    rig.org.faults.add("cometd_503_busy", times=2)

    connect = (await client.connect())[0]
    handshake = await client.handshake()

    busy = "503::Server is too busy.  Please try your request again later."
    assert connect["error"] == "401::Authentication invalid"
    assert connect["ext"]["sfdc"]["failureReason"] == busy
    assert connect["advice"]["reconnect"] == "none"
    assert handshake["ext"]["sfdc"]["failureReason"] == busy


async def test_faults_of_the_conversation_word_their_refusals(rig: Rig) -> None:
    """Each fault consumes itself, and the next attempt succeeds."""
    client = await rig.subscribed()
    rig.org.faults.add("cometd_401", match="connect")
    rig.org.faults.add("cometd_daily_limit", match="subscribe")
    rig.org.faults.add("subscribe_refuse", match="Lead", error="403:denied_by_security_policy:create_denied")
    rig.org.faults.add("cometd_concurrent_limit", scope="server")
    rig.org.faults.add("handshake_refuse", reason="403::Organization concurrent user limit exceeded")

    assert (await client.connect())[0]["error"] == "401::Authentication invalid"
    assert (await client.connect())[0]["successful"]
    assert "daily limit" in (await client.subscribe())["error"]
    refused = await client.subscribe("/data/LeadChangeEvent")
    assert refused["error"] == "403:denied_by_security_policy:create_denied"
    assert "Denial of Service" in (await client.handshake())["ext"]["sfdc"]["failureReason"]
    assert "concurrent user" in (await client.handshake())["ext"]["sfdc"]["failureReason"]
    assert (await client.handshake())["successful"]


async def test_subscribe_without_a_reply(rig: Rig) -> None:
    """A client that waits for no confirmation believes it is subscribed."""
    client = rig.client()
    await client.handshake()
    await client.connect()
    rig.org.faults.add("subscribe_no_reply")

    assert await client.post(client.message("/meta/subscribe", subscription=ALL_CHANGES)) == []


async def test_html_page_instead_of_bayeux(rig: Rig) -> None:
    """A gateway in between answers with HTML."""
    client = await rig.subscribed()
    rig.org.faults.add("cometd_html_503")

    async with client.http.post(client.url, json=[client.message("/meta/connect")]) as response:
        assert response.status == 503
        assert response.content_type == "text/html"


async def test_delay_and_hang_keep_the_client_waiting(rig: Rig) -> None:
    """A hang ends when its fault is cleared, and then without an answer."""
    client = await rig.subscribed()
    loop = asyncio.get_running_loop()
    rig.org.faults.add("cometd_delay", s=0.2)
    began = loop.time()
    await client.post(client.message("/meta/unsubscribe", subscription=ALL_CHANGES))
    assert loop.time() - began >= 0.2

    fault = rig.org.faults.add("cometd_hang")
    hanging = asyncio.create_task(client.connect())
    await until(lambda: fault.taken)
    assert not hanging.done()
    rig.org.faults.clear(fault.number)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(hanging, 5)


async def test_withheld_events_come_when_the_fault_is_cleared(rig: Rig) -> None:
    """Starvation: subscribed, polled, answered, and nothing delivered, as after a bulk load."""
    rig.org.settings.long_poll_s = 0.2
    client = await rig.subscribed()
    fault = rig.org.faults.add("withhold", times=None, match="ChangeEvents")
    lead = rig.create()

    assert await client.events() == []
    rig.org.settings.long_poll_s = 30
    poll = asyncio.create_task(client.events())
    await until_held(rig)
    rig.org.faults.clear(fault.number)

    async with asyncio.timeout(5):
        assert ids(await poll) == [lead]


async def test_event_faults_lose_double_spoil_and_expire(rig: Rig) -> None:
    """The world keeps telling the truth while its events go wrong."""
    client = await rig.subscribed()
    rig.org.faults.add("lose_event", match="Lead")
    rig.org.faults.add("duplicate_event", match="Contact")
    rig.org.faults.add("malformed_event", match="Account")
    lead, contact, account = rig.create("Lead"), rig.create("Contact"), rig.create("Account")

    events = await client.events()

    assert ids(events[:2]) == [contact, contact]
    assert len({*replay_ids(events[:2])}) == 1
    assert "ChangeEventHeader" not in events[2]["data"]["payload"]
    assert all(rig.org.world.get(each) for each in (lead, contact, account))
    position = rig.org.bus.last_replay_id
    rig.org.faults.add("expire_replay")
    assert "400::The replayId" in (await client.subscribe(ALL_CHANGES, position))["error"]


async def test_terse_failures_lack_what_captures_lack(rig: Rig) -> None:
    """Clients crash on the missing `subscription` of a failed subscribe."""
    rig.org.settings.terse_failures = True
    client = rig.client()
    await client.handshake()

    refused = await client.subscribe("/data/FooChangeEvent")
    unknown = (await client.post({"channel": "/meta/connect", "clientId": "x", "id": "1"}))[0]

    assert "subscription" not in refused
    assert set(unknown) == {"error", "successful", "advice"}


async def until_held(rig: Rig) -> None:
    """Wait until a client's poll is held."""
    await until(lambda: any(session.hold for session in rig.server.sessions.live()))


async def test_many_events_come_compressed_to_a_client_that_takes_it(rig: Rig) -> None:
    """A client must be tried with what Salesforce sends: it compresses where it may."""
    client = await rig.subscribed()
    for _ in range(5):
        rig.create()
    message = client.message("/meta/connect", connectionType="long-polling")
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": "gzip"}
    async with client.http.post(client.url, json=[message], headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert sum("data" in reply for reply in await response.json()) == 5
    rig.create()
    plain = {**headers, "Accept-Encoding": "identity"}
    async with client.http.post(client.url, json=[message], headers=plain) as response:
        assert "Content-Encoding" not in response.headers

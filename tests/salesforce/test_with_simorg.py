"""The client against the simulated org as a process: whole conversations, nothing scripted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sfsync.core.events import Position, RawEvent
from sfsync.core.ids import RecordId
from sfsync.errors import (
    AuthError,
    LimitError,
    QueryError,
    ReplayExpiredError,
    SalesforceError,
    SubscribeError,
    UnavailableError,
)
from sfsync.salesforce.auth import ClientCredentials, Credentials, JwtBearer, LegacyPassword
from sfsync.salesforce.cometd import CometdSession, open_session
from sfsync.salesforce.connection import Connection, LinkTimings, open_connection
from sfsync.salesforce.reply import CometdTimings
from sfsync.salesforce.rest import Rest
from sfsync.salesforce.secret import Secret
from sfsync.salesforce.soql import Keyset, Selection
from tests.simorg.site import org_process

CHANNEL = "/data/ChangeEvents"
FAST = CometdTimings(long_poll_s=1.0, slack_s=1.0, reply_s=1.0, goodbye_s=0.5)
LEADS = Selection("Lead", ("LastName", "Company", "IsDeleted"))
Control = Callable[..., Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the running org told about itself."""
    with org_process("--population", "300", state_dir=tmp_path_factory.mktemp("simorg")) as told:
        yield told


@pytest.fixture
async def control(told: dict[str, str]) -> AsyncIterator[Control]:
    """Drive the org; faults are forgotten before and after."""
    async with aiohttp.ClientSession(told["control_url"] + "/") as http:

        async def call(method: str, path: str, body: Any = None) -> Any:
            async with http.request(method, path, json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
                return answer

        await call("DELETE", "faults")
        usual = await call("GET", "settings")
        await call("POST", "settings", {"long_poll_s": 0.5})
        yield call
        await call("DELETE", "faults")
        await call("POST", "settings", usual)


def own_credentials(told: dict[str, str]) -> ClientCredentials:
    return ClientCredentials(told["client_id"], Secret(told["client_secret"]), told["url"])


@pytest.fixture
async def connection(told: dict[str, str], control: Control) -> AsyncIterator[Connection]:
    """A connection to the running org."""
    async with open_connection(own_credentials(told), timings=LinkTimings(login_pause_s=0)) as opened:
        yield opened


def opened(
    connection: Connection, position: Position | None = None, channel: str = CHANNEL
) -> AbstractAsyncContextManager[CometdSession]:
    return open_session(connection, channel=channel, position=position, timings=FAST)


async def create(control: Control, *names: str) -> list[RecordId]:
    """Create one lead per name, each in its own transaction."""
    created = []
    for name in names:
        step = {
            "op": "create",
            "entity": "Lead",
            "fields": {"LastName": name, "Company": "株式会社"},
            "as": "x",
        }
        created.append(RecordId((await control("POST", "transaction", {"steps": [step]}))["ids"]["x"]))
    return created


async def receive(session: CometdSession, wanted: int) -> list[RawEvent]:
    """Receive until *wanted* events came."""
    events: list[RawEvent] = []
    async with asyncio.timeout(10):
        while len(events) < wanted:
            events += await session.receive()
    return events


def names_of(events: list[RawEvent]) -> list[str]:
    payloads = [json.loads(event.payload) for event in events]
    return [payload["Name"]["LastName"] for payload in payloads]


async def test_events_arrive_in_order_and_replay_goes_on_after_any_of_them(
    control: Control, connection: Connection
) -> None:
    """The whole promise of the stream: what was committed is the only thing not delivered again."""
    async with opened(connection) as session:
        await create(control, "A", "B", "C")
        events = await receive(session, 3)
    assert names_of(events) == ["A", "B", "C"]
    await create(control, "D")
    for place, expected in [(0, ["B", "C", "D"]), (1, ["C", "D"]), (2, ["D"])]:
        async with opened(connection, events[place].position) as session:
            assert names_of(await receive(session, len(expected))) == expected


async def test_tip_delivers_nothing_old(control: Control, connection: Connection) -> None:
    """A first session starts now; a sweep brings the rest."""
    await create(control, "old")
    async with opened(connection) as session:
        assert await session.receive() == []
        await create(control, "new")
        assert names_of(await receive(session, 1)) == ["new"]


async def test_expired_position_says_so(control: Control, connection: Connection) -> None:
    """Only this class leads to tip and resweep; any other would loop on the lost position."""
    async with opened(connection) as session:
        await create(control, "A")
        (event,) = await receive(session, 1)
    await control("POST", "faults", {"kind": "expire_replay"})
    with pytest.raises(ReplayExpiredError):
        async with opened(connection, event.position):
            pass
    async with opened(connection, None):
        pass


async def test_revoked_token_ends_the_session_and_the_next_logs_in(
    control: Control, connection: Connection
) -> None:
    """One new login, from the same position, and nothing lost."""
    async with opened(connection) as session:
        await create(control, "A")
        (event,) = await receive(session, 1)
        await control("POST", "revoke", {})
        await create(control, "B")
        with pytest.raises(AuthError):
            await receive(session, 1)
    async with opened(connection, event.position) as session:
        assert names_of(await receive(session, 1)) == ["B"]
    assert connection.logins == 2


FAULTS: list[tuple[str, dict[str, Any], type[SalesforceError]]] = [
    ("cometd_unknown_client", {"advice": "handshake"}, UnavailableError),
    ("cometd_unknown_client", {"advice": "none"}, UnavailableError),
    ("cometd_unknown_client", {"advice": "absent"}, UnavailableError),
    ("cometd_401", {}, AuthError),
    ("cometd_503_busy", {}, UnavailableError),
    ("cometd_html_503", {}, UnavailableError),
    ("cometd_cut", {}, UnavailableError),
    ("cometd_cut_mid_body", {}, UnavailableError),
    ("cometd_hang", {}, UnavailableError),
    ("cometd_daily_limit", {}, LimitError),
]


@pytest.mark.parametrize(
    ("kind", "more", "expected"), FAULTS, ids=[f"{kind}-{more.get('advice', '')}" for kind, more, _ in FAULTS]
)
async def test_faulty_poll_loses_no_event(
    control: Control, connection: Connection, kind: str, more: dict[str, Any], expected: type[SalesforceError]
) -> None:
    """The event that was in the broken reply comes again in the next session."""
    async with opened(connection) as session:
        await create(control, "A")
        (first,) = await receive(session, 1)
        await control("POST", "faults", {"kind": kind, "match": "connect", **more})
        await create(control, "B", "C")
        with pytest.raises(SalesforceError) as caught:
            await receive(session, 10)
    assert type(caught.value) is expected
    await control("DELETE", "faults")
    async with opened(connection, first.position) as session:
        assert names_of(await receive(session, 2)) == ["B", "C"]


async def test_refused_and_unanswered_subscriptions(control: Control, connection: Connection) -> None:
    """Connected and deaf is the worst state of a subscriber."""
    await control("POST", "faults", {"kind": "subscribe_refuse", "error": "403::Restricted channel"})
    with pytest.raises(SubscribeError):
        async with opened(connection):
            pass
    await control("POST", "faults", {"kind": "subscribe_no_reply"})
    with pytest.raises(UnavailableError, match="not confirmed"):
        async with opened(connection):
            pass
    with pytest.raises(SubscribeError):
        async with opened(connection, channel="/data/NothingChangeEvent"):
            pass


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("403::Organization concurrent user limit exceeded", LimitError),
        ("401::Authentication invalid", AuthError),
        ("503::Server is too busy.  Please try your request again later.", UnavailableError),
    ],
)
async def test_denied_handshake_tells_its_hidden_reason(
    control: Control, connection: Connection, reason: str, expected: type[SalesforceError]
) -> None:
    """All three say `403::Handshake denied` on the outside."""
    await control("POST", "faults", {"kind": "handshake_refuse", "reason": reason})
    with pytest.raises(SalesforceError) as caught:
        async with opened(connection):
            pass
    assert type(caught.value) is expected


async def test_sessions_leave_no_ghosts(control: Control, connection: Connection) -> None:
    """The twentieth ghost is the last client that a small org admits."""
    inside = []
    for _ in range(3):
        async with opened(connection):
            inside.append((await control("GET", "stats"))["bus"]["clients"])
    assert (await control("GET", "stats"))["bus"]["clients"] == inside[-1] - 1
    assert inside[0] >= inside[-1]


HABITS: list[dict[str, Any]] = [
    {"deliver_on_any": True},
    {"terse_failures": True},
    {"auth_http_status": 401},
    {"connect_place": "first"},
    {"connect_place": "last"},
    {"batch_max": 1},
    {"replay_anywhere": True},
    {"replay_map_strict": True},
]


@pytest.mark.parametrize("habits", HABITS, ids=str)
async def test_session_survives_what_documents_disagree_about(
    control: Control, connection: Connection, habits: dict[str, Any]
) -> None:
    """Where the guide and captured replies differ, either may be met tomorrow."""
    await control("POST", "settings", habits)
    async with opened(connection) as session:
        await create(control, "A", "B", "C")
        events = await receive(session, 3)
    assert names_of(events) == ["A", "B", "C"]
    async with opened(connection, events[0].position) as session:
        assert names_of(await receive(session, 2)) == ["B", "C"]
        await control("POST", "revoke", {})
        with pytest.raises(AuthError):
            await receive(session, 1)
    await control("POST", "faults", {"kind": "expire_replay"})
    with pytest.raises(ReplayExpiredError):
        async with opened(connection, events[0].position):
            pass


async def test_every_flow_logs_in(told: dict[str, str], control: Control) -> None:
    """All of them lead to the same org, and a wrong secret leads nowhere."""
    key = Secret(Path(told["private_key_file"]).read_text())
    client, secret, url = told["client_id"], Secret(told["client_secret"]), told["url"]
    flows: list[Credentials] = [
        own_credentials(told),
        JwtBearer(client, told["username"], key, url),
        LegacyPassword(
            client, secret, told["username"], Secret(told["password"]), Secret(told["security_token"]), url
        ),
    ]
    for flow in flows:
        async with open_connection(flow) as connection:
            assert connection.org_id == told["org_id"]
    with pytest.raises(AuthError, match="client secret"):
        async with open_connection(ClientCredentials(client, Secret("wrong"), url)):
            pass


async def test_describe_versions_limits(connection: Connection) -> None:
    """What `check` stands on."""
    rest = Rest(connection)
    assert connection.api_version in await rest.versions()
    assert "DailyApiRequests" in await rest.limits()
    fields = {field["name"] for field in (await rest.describe("Lead"))["fields"]}
    assert {"Id", "LastName", "SystemModstamp", "IsDeleted", "MasterRecordId"} <= fields
    assert connection.api_usage is not None
    with pytest.raises(QueryError):
        await rest.describe("Nothing__c")


async def ids_by_pages(rest: Rest, limit: int) -> list[str]:
    """Read all leads by keyset on the id."""
    found: list[str] = []
    after: RecordId | None = None
    while True:
        page = await rest.backfill_page(LEADS, after=after, limit=limit)
        found += [record["Id"] for record in page.records]
        if page.done:
            return found
        after = RecordId(found[-1])


async def test_keyset_pages_read_every_record_once(control: Control, connection: Connection) -> None:
    """Any page size gives the same records, deleted ones included."""
    (gone,) = await create(control, "Gone")
    await control("POST", "transaction", {"steps": [{"op": "delete", "id": gone}]})
    state = await control("GET", "state?entity=Lead")
    everybody = sorted(record["id"] for record in state["records"] if not record["purged"])
    assert gone in everybody
    rest = Rest(connection)
    for limit in (7, len(everybody), 2000):
        assert sorted(await ids_by_pages(rest, limit)) == everybody


async def test_sweep_reads_what_changed_since_and_nothing_before(
    control: Control, connection: Connection
) -> None:
    """Equal stamps across a page's edge are the usual case after a mass update."""
    rest = Rest(connection)
    await control("POST", "clock", {"advance_s": 100})
    since_ms = await connection.clock_ms()
    steps = [
        {"op": "create", "entity": "Lead", "fields": {"LastName": f"S{n}", "Company": "X"}, "as": f"s{n}"}
        for n in range(25)
    ]
    ids = (await control("POST", "transaction", {"steps": steps}))["ids"].values()
    found: list[str] = []
    after: Keyset | None = None
    while True:
        page = await rest.sweep_page(LEADS, since_ms, after=after, limit=10)
        assert page.read_from_ms <= page.read_to_ms
        found += [record["Id"] for record in page.records]
        if page.done:
            break
        after = Keyset.of(page.records[-1])
    assert sorted(found) == sorted(ids)


async def test_read_by_ids_sees_deleted_and_misses_purged(control: Control, connection: Connection) -> None:
    """Deleted has proof, purged is absence: the two must not look alike."""
    live, deleted, purged = await create(control, "live", "deleted", "purged")
    await control(
        "POST", "transaction", {"steps": [{"op": "delete", "id": deleted}, {"op": "delete", "id": purged}]}
    )
    await control("POST", "transaction", {"steps": [{"op": "purge", "id": purged}]})
    page = await Rest(connection).read_by_ids(LEADS, [live, deleted, purged])
    assert {record["Id"]: record["IsDeleted"] for record in page.records} == {live: False, deleted: True}


async def test_retrieve_shows_what_is_live_and_nothing_else(control: Control, connection: Connection) -> None:
    """Deleted and purged look alike to collections: only queryAll may tell them apart."""
    live, deleted, purged = await create(control, "live", "deleted", "purged")
    steps = [{"op": "delete", "id": deleted}, {"op": "delete", "id": purged}, {"op": "purge", "id": purged}]
    await control("POST", "transaction", {"steps": steps})
    rest = Rest(connection)
    page = await rest.retrieve(LEADS, [deleted, live, purged])
    same = await rest.read_by_ids(LEADS, [live])
    assert page.records == same.records
    with pytest.raises(QueryError, match="no field Nope__c on Lead"):
        await rest.retrieve(Selection("Lead", ("Nope__c",)), [live])


async def test_unknown_field_is_named(connection: Connection) -> None:
    """A field that an administrator removed: the operator must read its name."""
    with pytest.raises(QueryError, match="no field Nope__c on Lead"):
        await Rest(connection).backfill_page(Selection("Lead", ("Nope__c",)))


async def test_revoked_token_in_the_middle_of_a_sweep_is_renewed(
    control: Control, connection: Connection
) -> None:
    """The page is repeated, the sweep goes on, and one login is made for all."""
    rest = Rest(connection)
    await rest.backfill_page(LEADS, limit=5)
    await control("POST", "revoke", {})
    pages = await asyncio.gather(*(rest.backfill_page(LEADS, limit=5) for _ in range(10)))
    assert all(len(page.records) == 5 for page in pages)
    assert connection.logins == 2


async def test_spent_allocation_waits_long(control: Control, connection: Connection) -> None:
    """Retrying burns what other integrations need."""
    await control("POST", "faults", {"kind": "limit_reached", "which": "daily", "times": 1})
    with pytest.raises(LimitError):
        await Rest(connection).limits()


async def test_clock_is_the_orgs(control: Control, connection: Connection) -> None:
    """This machine may be minutes off; the org's order of events is what counts."""
    before = await connection.clock_ms()
    await control("POST", "clock", {"advance_s": 3600})
    assert 3_600_000 <= await connection.clock_ms() - before < 3_660_000

"""What the control API does to push and login: bursts, published payloads, settings, enrichment, revocation."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.channels import CUSTOM
from sfsync.simorg.tls import ensure_tls, server_context
from tests.simorg.push_rig import ALL_CHANGES, Rig, open_rig, until

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as opened:
        yield opened


async def control(rig: Rig, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Call the control API and return status and JSON."""
    async with rig.http.request(method, f"{rig.url}/control/{path}", json=body) as response:
        return response.status, await response.json()


async def test_burst_is_real_transactions_released_when_asked(rig: Rig) -> None:
    """The world says what the events say, and nothing is delivered before the release."""
    lead = rig.create()
    commits = rig.org.world.number
    client = await rig.subscribed()

    _, prepared = await control(rig, "POST", "burst", {"events": 500, "release": False, "entity": "Lead"})
    before = await client.events()
    await control(rig, "POST", "burst/release", {"rate": None})
    events: list[dict[str, Any]] = []
    while len(events) < 500:
        events += await client.events()
    _, report = await control(rig, "GET", "burst")

    assert before == []
    assert (prepared["prepared"], rig.org.world.number - commits) == (500, 500)
    positions = [event["data"]["event"]["replayId"] for event in events]
    assert positions == sorted(positions)
    assert [positions[0], positions[-1]] == [prepared["first_replay_id"], prepared["last_replay_id"]]
    told: dict[str, Any] = {}
    for event in events:
        told |= event["data"]["payload"]
    fields = rig.org.world.get(lead)
    assert fields is not None
    assert all(fields[name] == told[name] for name in ("Title", "Phone", "Company"))
    assert fields["City"] == told["Address"]["City"]
    assert [replay_id for replay_id, _ in report["released_us"]] == positions
    assert report["behind_gate"] == 0


async def test_burst_passes_over_what_an_open_transaction_holds(rig: Rig) -> None:
    """A long transaction beside a burst is what a drill wants, not a reason to fail."""
    held, free = rig.create(), rig.create()
    with rig.org.world.transaction() as transaction:
        transaction.update(held, {"Title": "held"})
        status, prepared = await control(rig, "POST", "burst", {"events": 20, "entity": "Lead"})
    assert (status, prepared["prepared"]) == (200, 20)
    last = rig.org.world.log[-2]
    assert [change.record_id for change in last.changes] == [free]


async def test_burst_that_fails_leaves_the_gate_open(rig: Rig) -> None:
    """Events of others would be invisible for ever behind a gate that nobody opens."""
    held, client = rig.create(), await rig.subscribed()
    with rig.org.world.transaction() as transaction:
        transaction.update(held, {"Title": "held"})
        status, refused = await control(rig, "POST", "burst", {"events": 5, "entity": "Lead"})
    assert (status, list(refused)) == (400, ["error"])
    assert "UNABLE_TO_LOCK_ROW" in refused["error"] or "unable to obtain" in refused["error"]
    assert [
        event["data"]["payload"]["ChangeEventHeader"]["recordIds"] for event in await client.events()
    ] == [[held]]


async def test_burst_keeps_its_rate(rig: Rig) -> None:
    """A hundred events at two hundred a second take half a second, not less."""
    rig.create()
    await control(rig, "POST", "burst", {"events": 100, "rate": 200})
    _, report = await control(rig, "GET", "burst")
    while report["is_releasing"]:
        _, report = await control(rig, "GET", "burst")

    instants = [instant for _, instant in report["released_us"]]
    assert len(instants) == 100
    assert 0.45 < (instants[-1] - instants[0]) / 1e6 < 5


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("burst", {"events": 0}, "events must be a whole number"),
        ("burst", {"events": 1, "rate": -1}, "rate must be a positive number"),
        ("burst", {"events": 1, "entity": "Case"}, "entity must be one of"),
        ("burst", {"events": 1}, "no live record"),
        ("burst", {"events": 1, "speed": 3}, "speed"),
        ("publish", {"events": [{"entity": "Foo"}]}, "events[0]: entity must be one of"),
        ("settings", {"connect_place": "middle"}, "connect_place must be one of"),
        ("settings", {"login_state": "drunk"}, "login_state must be one of"),
        ("settings", {"person_accounts": True}, "business accounts only"),
    ],
)
async def test_bad_control_input_is_refused_with_what_to_do(
    rig: Rig, path: str, body: dict[str, Any], says: str
) -> None:
    """A typing error in a drill must not pass as a drill that found nothing."""
    status, answer = await control(rig, "POST", path, body)

    assert status == 400
    assert says in answer["error"]


async def test_captured_payloads_can_be_published(rig: Rig) -> None:
    """A real payload goes through the real subscription, number beyond 2^53 included."""
    sample = json.loads((SAMPLES / "050-cometd-lead-update-status.json").read_text())
    client = await rig.subscribed()

    await control(
        rig, "POST", "publish", {"events": [{"entity": "Lead", "payload": sample["data"]["payload"]}]}
    )

    (event,) = await client.events()
    assert event["data"]["payload"] == sample["data"]["payload"]


async def test_enriched_channel_unmerges_and_adds_unchanged_fields(rig: Rig) -> None:
    """Several messages share one replay id, and a field in the body is not therefore changed."""
    await control(rig, "POST", "settings", {"enriched_fields": ["Account.Industry"], "merge_share": 1.0})
    accounts = [rig.create("Account", Industry="Banking") for _ in range(2)]
    client = await rig.subscribed(CUSTOM)
    with rig.org.world.transaction() as transaction:
        for account in accounts:
            transaction.update(account, {"Phone": "1"})

    events = await client.events()

    payloads = [event["data"]["payload"] for event in events]
    assert [event["channel"] for event in events] == [CUSTOM, CUSTOM]
    assert len({event["data"]["event"]["replayId"] for event in events}) == 1
    assert [payload["ChangeEventHeader"]["recordIds"] for payload in payloads] == [
        [each] for each in accounts
    ]
    assert all(payload["Industry"] == "Banking" for payload in payloads)
    assert all("Industry" not in payload["ChangeEventHeader"]["changedFields"] for payload in payloads)


async def test_custom_channel_may_carry_an_entity_of_its_own(rig: Rig) -> None:
    """An entity selected in any channel can be read on its own channel, but is not on the general one."""
    await control(rig, "POST", "settings", {"channel_entities": ["Opportunity"]})
    general, custom, single = [
        await rig.subscribed(channel) for channel in (ALL_CHANGES, CUSTOM, "/data/OpportunityChangeEvent")
    ]
    rig.create("Opportunity", Name="Deal", StageName="Prospecting", CloseDate="2026-12-01")

    assert len(await custom.events()) == len(await single.events()) == 1
    assert await general.events() == []


async def test_stats_tell_what_clients_asked(rig: Rig) -> None:
    """A test of a client reads here which positions it sent."""
    rig.create()
    position = rig.org.bus.last_replay_id
    client = await rig.subscribed(replay=position)
    await client.events()

    _, stats = await control(rig, "GET", "stats")

    assert stats["calls"]["handshake"] == 1
    assert stats["calls"]["connect"] == 2
    assert [each["replay"] for each in stats["details"]["subscribe"]] == [{ALL_CHANGES: position}]
    assert stats["bus"]["published"] == 1
    assert stats["bus"]["clients"] == 1
    assert stats["sessions"]["tokens"] >= 1


async def test_new_org_id_voids_tokens_and_positions(rig: Rig) -> None:
    """A refreshed sandbox is another org behind the same address."""
    rig.create()
    position = rig.org.bus.last_replay_id
    old = rig.client()

    _, answer = await control(rig, "POST", "org_id")

    assert (await old.handshake())["ext"]["sfdc"]["failureReason"] == "401::Authentication invalid"
    renewed = rig.client()
    await renewed.handshake()
    await renewed.connect()
    assert "400::The replayId" in (await renewed.subscribe(ALL_CHANGES, position))["error"]
    assert renewed.token.startswith(answer["org_id"][:15])


async def test_hanging_and_held_requests_do_not_delay_the_end(rig: Rig) -> None:
    """The process must end within two seconds whatever is held open."""
    rig.org.settings.long_poll_s = 60
    held = await rig.subscribed()
    hanging = rig.client()
    fault = rig.org.faults.add("cometd_hang", match="handshake")
    tasks = [asyncio.create_task(held.connect()), asyncio.create_task(hanging.handshake())]
    await until(lambda: fault.taken and rig.org.bus.waiting)
    loop = asyncio.get_running_loop()

    began = loop.time()
    await rig.stop()

    assert loop.time() - began < 2
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_https_is_served_with_a_certificate_of_its_own_ca(tmp_path: Path) -> None:
    """A client that trusts the CA file connects to localhost; one that does not is refused."""
    files = ensure_tls(tmp_path)
    certificate = files.cert_file.read_bytes()
    runner = web.AppRunner(build_app(make_org()))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(files))
        await site.start()
        url = f"https://localhost:{runner.addresses[0][1]}/services/data/"
        trusting = ssl.create_default_context(cafile=str(files.ca_file))
        async with aiohttp.ClientSession() as http:
            async with http.get(url, ssl=trusting) as response:
                assert response.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(url)
    finally:
        await runner.cleanup()
    assert files.key_file.stat().st_mode & 0o077 == 0
    assert ensure_tls(tmp_path).cert_file.read_bytes() == certificate

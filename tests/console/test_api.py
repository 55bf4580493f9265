"""The HTTP API over real sockets and a real store: what it tells, to whom, and how it refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from sfsync.console.routes import ROUTES
from sfsync.core.ids import record_id
from sfsync.store.people import open_reader
from tests.console.caller import TOKEN, Caller, calling
from tests.fault_proxy import StartProxy
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    CONTACT3,
    LEAD,
    LEAD2,
    Store,
    at,
    gap,
    image,
    open_store,
    patch,
    read,
    tombstone,
)
from tests.store.test_consent import imported
from tests.sync.room import furnished
from tests.sync.test_sweep import advance, lose

CANARY = "c4n4ry"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@dataclass(slots=True)
class Scene:
    """A store with a history, and a client of its API.

    Person `ada` was a lead, was converted to `CONTACT` of `ACCOUNT` and took in `CONTACT2` by a merge; `bob` was
    deleted; `eve` is a lead of her own.
    """

    store: Store
    api: Caller
    ada: int
    merged: int
    bob: int
    eve: int
    company: int


@pytest.fixture
async def scene(pg_dsn: str) -> AsyncIterator[Scene]:
    async with open_store(pg_dsn, other_half_wait_s=0) as store, calling(pg_dsn) as api:
        await store.apply(image(LEAD, 0, LastName="Lovelace", Company="Analytical", LeadSource="Web"))
        await store.apply(image(LEAD2, 1, LastName="Eve", Company="Mallory"))
        ada = await store.person_of(LEAD)
        await store.apply(
            image(ACCOUNT, 2, Name="Analytical Engines"),
            image(CONTACT, 2, LastName="Lovelace", AccountId=ACCOUNT),
            patch(LEAD, 2, IsConverted="true", ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
        )
        await store.apply(image(CONTACT2, 3, LastName="Byron"), image(CONTACT3, 3, LastName="Bob"))
        merged, bob = await store.person_of(CONTACT2), await store.person_of(CONTACT3)
        await store.apply(read(CONTACT2, 4, begun=200, deleted=True, master=CONTACT, LastName="Byron"))
        await store.apply(patch(CONTACT, 5, FirstName="Ada"))
        await store.apply(tombstone(CONTACT3, 6))
        await store.applier.release_held()
        company = await store.connection.fetchval("SELECT id FROM crm.company")
        eve = await store.person_of(LEAD2)
        assert None not in (ada, merged, bob, eve)
        yield Scene(store, api, ada or 0, merged or 0, bob or 0, eve or 0, company)


def ids(page: dict[str, Any]) -> list[int]:
    return [one["id"] for one in page["people"]]


async def test_people_are_listed_without_those_that_are_gone(scene: Scene) -> None:
    """A mailing list must not hold the deleted and the merged unless it is asked to."""
    api = scene.api
    assert ids(await api.get("/v1/people")) == sorted([scene.ada, scene.eve])
    assert scene.bob in ids(await api.get("/v1/people?include=deleted"))
    everybody = await api.get("/v1/people?include=deleted,merged")
    assert set(ids(everybody)) == {scene.ada, scene.merged, scene.bob, scene.eve}
    assert everybody["next"] is None
    [merged] = [one for one in everybody["people"] if one["id"] == scene.merged]
    assert merged["merged_into"] == scene.ada


async def test_pages_by_key_show_each_person_once(scene: Scene) -> None:
    """Somebody who is made or deleted while a list is read must not shift it."""
    found: list[int] = []
    following: str | None = "/v1/people?include=deleted,merged&limit=1"
    while following is not None:
        page = await scene.api.get(following)
        assert len(page["people"]) <= 1
        found += ids(page)
        following = page["next"]
    assert found == sorted({scene.ada, scene.merged, scene.bob, scene.eve})


async def test_filters_choose_people(scene: Scene) -> None:
    """Each filter alone, and two together."""
    api = scene.api
    assert ids(await api.get(f"/v1/people?company_id={scene.company}")) == [scene.ada]
    assert ids(await api.get(f"/v1/people?salesforce_id={LEAD[:15]}")) == [scene.ada]
    assert ids(await api.get(f"/v1/people?salesforce_id={ACCOUNT}")) == []
    assert ids(await api.get("/v1/people?salesforce_id=0035i00000Nobdy")) == []
    assert ids(await api.get(f"/v1/people?company_id={scene.ada}")) == []
    assert ids(await api.get("/v1/people?sync=synced")) == sorted([scene.ada, scene.eve])
    assert ids(await api.get("/v1/people?sync=declined")) == []
    later = quote((datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert ids(await api.get(f"/v1/people?updated_since={later}")) == []
    assert ids(await api.get("/v1/people?updated_since=2020-01-01T00:00:00Z&limit=500")) == sorted(
        [scene.ada, scene.eve]
    )


async def test_any_id_ever_handed_out_leads_to_the_person_of_today(scene: Scene) -> None:
    """An application stored one of them years ago."""
    for asked in (scene.ada, scene.merged, LEAD, CONTACT2, CONTACT[:15]):
        person = await scene.api.get(f"/v1/people/{asked}")
        assert person["id"] == scene.ada
        assert person["requested_id"] == (CONTACT if asked == CONTACT[:15] else asked)
    person = await scene.api.get(f"/v1/people/{scene.ada}")
    assert person["columns"]["first_name"] == "Ada"
    assert person["company"]["id"] == person["company_id"] == scene.company
    assert person["company"]["columns"]["name"] == "Analytical Engines"
    assert {one["salesforce_id"] for one in person["records"]} == {LEAD, CONTACT, CONTACT2}
    assert scene.merged in person["aliases"]


async def test_company_is_told_like_a_person(scene: Scene) -> None:
    """By our id and by its account's."""
    for asked in (scene.company, ACCOUNT):
        company = await scene.api.get(f"/v1/companies/{asked}")
        assert (company["id"], company["salesforce_id"]) == (scene.company, ACCOUNT)
    [listed] = (await scene.api.get("/v1/companies"))["companies"]
    assert listed["id"] == scene.company
    told = await scene.api.get(f"/v1/companies/{scene.company}/provenance")
    assert told["speaker"]["reason"] == "it is the only record"
    assert (await scene.api.get(f"/v1/companies/{scene.company}/history"))["changes"][-1][
        "action"
    ] == "created"


async def test_history_goes_back_from_the_newest(scene: Scene) -> None:
    """Page by page, each change once, and it says how long it is kept."""
    seqs: list[int] = []
    following: str | None = f"/v1/people/{scene.ada}/history?limit=1"
    while following is not None:
        page = await scene.api.get(following)
        assert page["kept_days"] == 30
        seqs += [change["seq"] for change in page["changes"]]
        following = page["next"]
    whole = (await scene.api.get(f"/v1/people/{scene.ada}/history"))["changes"]
    assert seqs == [change["seq"] for change in whole] == sorted(seqs, reverse=True)
    assert whole[-1]["action"] == "created"
    assert whole[-1]["record_id"] == LEAD
    assert whole[0]["columns"] == ["first_name"]
    assert whole[0]["commit"] == datetime.fromtimestamp(at(5) / 1000, UTC).isoformat(timespec="seconds")


async def test_provenance_names_who_wrote_each_column(scene: Scene) -> None:
    """`why does it show this?` is asked when somebody is about to act."""
    told = await scene.api.get(f"/v1/people/{CONTACT2}/provenance")
    assert told["requested_id"] == CONTACT2
    assert told["id"] == scene.ada
    columns = {one["name"]: one for one in told["columns"]}
    assert columns["first_name"]["value"] == "Ada"
    assert columns["first_name"]["source"] == {"record_id": CONTACT, "field": "FirstName"}
    assert columns["first_name"]["written"]["record_id"] == CONTACT
    assert columns["first_name"]["written"]["origin"] == "event"
    assert columns["first_name"]["written"]["is_named"]
    assert columns["last_name"]["written"]["record_id"] == LEAD, "the conversion changed nothing of it"
    assert told["speaker"]["salesforce_id"] == CONTACT
    assert told["speaker"]["lead"] == LEAD
    assert "contact" in told["company"]["reason"] and ACCOUNT in told["company"]["reason"]
    assert told["dirty"] == told["dead_letters"] == told["decisions"] == []


async def test_certificates_go_back_from_the_newest(scene: Scene) -> None:
    """Of all entities or of one."""
    for entity in ("Lead", "Account", "Lead"):
        await scene.store.connection.execute(
            "INSERT INTO sfsync.sweep (org, sweep_id, entity, reason, window_from_ms, window_to_ms, records_read,"
            " equal, drift, ahead, deferred, api_calls, duration_ms, equal_as_of_ms)"
            " SELECT id, 'sweep', $1, 'interval', 1, 2, 1, 0, '{\"stale\": 1}', 0, 0, 1, 5, $2 FROM sfsync.org",
            entity,
            at(300),
        )
    page = await scene.api.get("/v1/certificates?limit=2")
    assert [one["entity"] for one in page["certificates"]] == ["Lead", "Account"]
    assert page["certificates"][0]["drift"] == {"stale": 1}
    [oldest] = (await scene.api.get(page["next"]))["certificates"]
    assert oldest["entity"] == "Lead"
    assert (await scene.api.get("/v1/certificates?entity=Account"))["certificates"] == page["certificates"][
        1:
    ]


async def test_provenance_says_what_is_not_kept(scene: Scene) -> None:
    """Better no answer than an invented one."""
    await scene.store.connection.execute("DELETE FROM sfsync.change WHERE subject_id = $1", scene.eve)
    told = await scene.api.get(f"/v1/people/{scene.eve}/provenance")
    assert {one["written"] is None for one in told["columns"]} == {True}
    await scene.store.connection.execute(
        "INSERT INTO sfsync.change (org, subject, subject_id, action, origin)"
        " SELECT org, 'person', id, 'changed', 'event' FROM crm.person WHERE id = $1",
        scene.eve,
    )
    told = await scene.api.get(f"/v1/people/{scene.eve}/provenance")
    assert {one["written"]["is_named"] for one in told["columns"]} == {False}


async def test_provenance_tells_what_waits(scene: Scene) -> None:
    """A dirty mark and a dead letter of any record of the person."""
    await scene.store.apply(gap(CONTACT, 50))
    await scene.store.connection.execute(
        "INSERT INTO sfsync.dead_letter (org, entity, record_id, reason) SELECT id, 'Lead', $1, 'too long' FROM sfsync.org",
        LEAD,
    )
    told = await scene.api.get(f"/v1/people/{scene.ada}/provenance")
    assert [(one["record_id"], one["causes"]) for one in told["dirty"]] == [(CONTACT, ["gap"])]
    assert [(one["record_id"], one["reason"]) for one in told["dead_letters"]] == [(LEAD, "too long")]


async def test_status_tells_what_the_command_line_tells(scene: Scene) -> None:
    """Both get it from one room."""
    told = await scene.api.get("/v1/status")
    assert told["leader"]["is_led"]
    assert (told["people"]["live"], told["people"]["deleted"], told["people"]["merged"]) == (2, 1, 1)


async def test_nothing_can_be_written_while_reading(scene: Scene) -> None:
    """No GET changes anything, whatever a statement of it would say."""
    async with open_reader(scene.store.database) as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader._connection.execute("UPDATE crm.person SET org = org")


async def test_answer_shows_one_moment(scene: Scene) -> None:
    """What is committed between two statements of an answer must not show in it."""
    async with open_reader(scene.store.database) as reader:
        before = await reader.fetch("list_history", reader.org, scene.eve, None, 9)
        await scene.store.apply(patch(LEAD2, 60, LastName="Later"))
        assert await reader.fetch("list_history", reader.org, scene.eve, None, 9) == before


# Refusals --------------------------------------------------------------------------------------------


UNFIT_PATHS: list[tuple[str, int, str]] = [
    ("/v1/people?colour=red", 400, "parameter colour is not known here; it takes sync, company_id"),
    ("/v1/status?limit=1", 400, "parameter limit is not known here; it takes none"),
    ("/v1/people?limit=-1", 400, "parameter limit must be 1 or more"),
    ("/v1/people?limit=0", 400, "parameter limit must be 1 or more"),
    ("/v1/people?limit=501", 400, "parameter limit must be 500 or less"),
    ("/v1/people?limit=ten", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=%D9%A1", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=1&limit=2", 400, "parameter limit is given more than once"),
    (f"/v1/people?after={2**63}", 400, "parameter after must be 9223372036854775807 or less"),
    ("/v1/people?sync=maybe", 400, "parameter sync must be one of: synced, pending, declined"),
    ("/v1/people?include=deleted,ghosts", 400, "parameter include must be one of: deleted, merged"),
    ("/v1/people?salesforce_id=%00", 400, "parameter salesforce_id must match"),
    (
        f"/v1/people?salesforce_id={CONTACT[:17]}z",
        400,
        "parameter salesforce_id: the record id's checksum",
    ),
    ("/v1/people?updated_since=yesterday", 400, "parameter updated_since must be an instant such as"),
    ("/v1/people?updated_since=2026-11-24T21:00:00", 400, "parameter updated_since needs an offset"),
    ("/v1/people?updated_since=2026-11-24T21:00:00+00:00", 400, "write + as %2B"),
    ("/v1/people?limit=0&colour=red", 400, "; and 1 more"),
    ("/v1/people/none", 400, "parameter id neither an id of ours nor the id of"),
    (f"/v1/people/{2**63}", 400, "parameter id neither an id of ours"),
    ("/v1/people/-1", 400, "parameter id neither an id of ours"),
    ("/v1/people/0", 400, "parameter id neither an id of ours"),
    (f"/v1/people/{CONTACT[:17]}z", 400, "checksum"),
    ("/v1/people/999999", 404, "this is no id of ours"),
    (f"/v1/people/{LEAD2[:13]}99", 404, "this is no record that is a person or company here"),
    (f"/v1/people/{ACCOUNT}", 404, "this is a company: see /v1/companies/"),
    (f"/v1/companies/{CONTACT}", 404, "this is a person: see /v1/people/"),
    (f"/v1/requests/{CONTACT}", 400, "a request's id is a number"),
    ("/v1/requests/999999", 404, "there is no such request"),
    ("/v1/nothing", 404, "Not Found"),
    ("/v1/", 404, "Not Found"),
    ("/v1/people/1/decision", 405, "Method Not Allowed"),
]


async def test_what_does_not_fit_is_refused_by_name(scene: Scene) -> None:
    """A misspelt filter that is ignored answers with everybody."""
    for path, status, said in UNFIT_PATHS:
        problem = await scene.api.get(path, status)
        assert said in problem["detail"], path
        assert problem["type"].startswith("urn:problem-type:sfsync:")


UNFIT_DECISIONS: list[tuple[Any, list[str]]] = [
    ({}, ["#/choice"]),
    ({"choice": "maybe"}, ["#/choice"]),
    ({"choice": 1}, ["#/choice"]),
    ({"choice": "sync", "why": CANARY}, ["#/why"]),
    ({"choice": "sync", "by": ""}, ["#/by"]),
    ({"choice": "sync", "by": "x" * 201}, ["#/by"]),
    ({"choice": "sync", "by": "a\x00b"}, ["#/by"]),
    ({"choice": "sync", "by": "a\n"}, ["#/by"]),
    ({"choice": "sync", "wait_s": -1}, ["#/wait_s"]),
    ({"choice": "sync", "wait_s": True}, ["#/wait_s"]),
    ({"choice": "sync", "wait_s": "1"}, ["#/wait_s"]),
    ({"choice": "no", "a/b~c": 1, "by": 7}, ["#/choice", "#/a~1b~0c", "#/by"]),
    ([], ["#"]),
    (None, ["#"]),
    ("sync", ["#"]),
]


async def test_body_that_does_not_fit_is_pointed_into(scene: Scene) -> None:
    """Every fault at once, each with the place, and nothing was asked of the daemon."""
    for body, pointers in UNFIT_DECISIONS:
        answer = await scene.api.post(f"/v1/people/{scene.ada}/decision", body, 400)
        assert [fault["pointer"] for fault in answer.body["errors"]] == pointers
        assert CANARY not in json.dumps(answer.body)
    assert await scene.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


UNFIT_PULLS: list[tuple[Any, list[str]]] = [
    ({"ids": []}, ["#/ids"]),
    ({"ids": CONTACT}, ["#/ids"]),
    ({"ids": [CONTACT] * 201}, ["#/ids"]),
    ({"ids": [CONTACT, 7, "x" * 19]}, ["#/ids/1", "#/ids/2"]),
    ({"ids": [CONTACT, "0055i00000User01", CONTACT.lower()]}, ["#/ids/1", "#/ids/2"]),
]


async def test_ids_that_cannot_be_pulled_are_pointed_to(scene: Scene) -> None:
    """Of two hundred, which one?"""
    for body, pointers in UNFIT_PULLS:
        answer = await scene.api.post("/v1/pull", body, 400)
        assert [fault["pointer"] for fault in answer.body["errors"]] == pointers
    assert await scene.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


UNREADABLE_BODIES: list[tuple[str | None, bytes, int]] = [
    ("text/plain", b'{"ids": []}', 415),
    ("application/x-www-form-urlencoded", b"ids=1", 415),
    (None, b'{"ids": []}', 415),
    ("application/json", b"", 400),
    ("application/json", b"{", 400),
    ("application/json", b"\xff\xfe", 400),
    ("application/json", b'{"ids": ["\\ud800"]}', 400),
    ("application/json", b"[" * 20_000, 400),
    ("application/json", b'{"ids": [' + b" " * 65_536 + b"]}", 413),
]


async def test_body_that_is_no_json_is_refused(scene: Scene) -> None:
    """Neither guessed at nor repeated."""
    for content_type, body, status in UNREADABLE_BODIES:
        headers = {"Content-Type": content_type} if content_type else {}
        await scene.api.call("POST", "/v1/pull", status, data=body, headers=headers)


async def test_endless_body_is_cut_off(scene: Scene) -> None:
    """One that does not say its length is measured while it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    await scene.api.call("POST", "/v1/pull", 413, data=pieces(), headers=headers)


async def test_body_where_none_is_taken_is_refused(scene: Scene) -> None:
    """A GET with a body is a mistake in a client."""
    await scene.api.call("GET", "/v1/people", 400, json={"limit": 1})


async def test_other_method_is_told_which_ones_there_are(scene: Scene) -> None:
    """As HTTP asks for."""
    answer = await scene.api.call("DELETE", f"/v1/people/{scene.ada}", 405)
    assert answer.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("given", [None, "wrong", TOKEN + "x"])
async def test_api_needs_the_token(given: str | None) -> None:
    """Also to learn which paths there are."""
    async with calling(NOWHERE, given=given) as api:
        for path in ("/v1/people", "/v1/openapi.json", "/v1/nothing"):
            answer = await api.call("GET", path, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.body["detail"].startswith("send the token")


async def test_api_is_closed_without_a_configured_token() -> None:
    """Every user of the machine can connect to loopback; what health tells is no secret, people are."""
    async with calling(NOWHERE, token=None) as api:
        answer = await api.call("GET", "/v1/people", 403)
        assert "set console.token_file" in answer.body["detail"]
        async with api.http.get(api.url + "/healthz") as health:
            assert health.status == 200


async def test_store_before_its_first_start_is_unavailable(pg_dsn: str, empty_dsn: str) -> None:
    """Clients come again; nothing is wrong with their request."""
    for dsn, said in ((pg_dsn, "bound to no org yet"), (empty_dsn, "not set up")):
        async with calling(dsn) as api:
            answer = await api.call("GET", "/v1/people", 503)
            assert said in answer.body["detail"]
            assert answer.headers["Retry-After"] == "5"
            await api.call("POST", "/v1/pull", 503, json={"ids": [CONTACT]})


async def test_api_is_back_when_the_store_is(scene: Scene, pg_dsn: str, fault_proxy: StartProxy) -> None:
    """It was away before the first request, and went away again between two: no restart mends it, time does."""
    there = urlsplit(pg_dsn)
    proxy = await fault_proxy(there.hostname or "", there.port or 5432)
    user, at_sign, _ = there.netloc.rpartition("@")
    way = there._replace(netloc=f"{user}{at_sign}127.0.0.1:{proxy.port}").geturl()
    proxy.refuse()
    async with calling(way) as api:
        for _ in range(2):
            answer = await api.call("GET", f"/v1/people/{scene.ada}", 503)
            assert answer.body["detail"] == "Postgres is away"
            proxy.heal()
            assert (await api.get(f"/v1/people/{scene.ada}"))["id"] == scene.ada
            proxy.refuse()


async def test_values_are_answered_and_not_logged(scene: Scene) -> None:
    """Showing people is what the API is for; a log is read by others."""
    await scene.store.apply(patch(LEAD2, 70, LastName=CANARY))
    with capture_logs() as logs:
        assert (await scene.api.get(f"/v1/people/{scene.eve}"))["columns"]["last_name"] == CANARY
        await scene.api.get(f"/v1/people?sync={CANARY}", 400)
        await scene.api.post(f"/v1/people/{scene.eve}/decision", {"choice": CANARY}, 400)
    assert CANARY not in repr(logs)


# Asking ----------------------------------------------------------------------------------------------


async def test_decision_that_nobody_serves_yet_is_a_request_to_come_back_to(scene: Scene) -> None:
    """A daemon may be down just now; what was decided must not be lost."""
    body = {"choice": "decline", "by": "Grace", "wait_s": 0}
    answer = await scene.api.post(f"/v1/people/{scene.merged}/decision", body, 202)
    assert answer.headers["Location"] == answer.body["url"]
    told = await scene.api.get(answer.body["url"])
    assert (told["kind"], told["outcome"]) == ("decide", None)
    decision = {"person_id": scene.ada, "choice": "decline", "via": "http", "by": "Grace"}
    assert json.loads(told["argument"]) == decision


async def test_questions_are_put_column_by_column(scene: Scene) -> None:
    """What is stored, what Salesforce says, and since when: enough to decide on."""
    api, store = scene.api, scene.store
    assert await api.get("/v1/pending") == {"pending": [], "next": None}
    unread = await imported(store, record_id("0035i00000Imp01"), last_name="Turing")
    known = await imported(store, record_id("0035i00000Imp02"), last_name="Hoper")
    await store.apply(image(record_id("0035i00000Imp02"), 400, LastName="Hopper"))
    first = await api.get("/v1/pending?limit=1")
    second = await api.get(first["next"])
    assert [(one["person_id"], one["reason"], one["columns"]) for one in first["pending"]] == [
        (unread, "unread", [])
    ]
    [question] = second["pending"]
    assert (question["person_id"], question["reason"]) == (known, "differs")
    assert question["columns"] == [
        {"column_name": "last_name", "stored_value": "Hoper", "salesforce_value": "Hopper"}
    ]
    person = await api.get(f"/v1/people/{known}")
    assert (person["sync"], person["sync_reason"], person["pending"]) == ("pending", "differs", question)
    assert (await api.get(f"/v1/people/{known}/provenance"))["pending"] == question
    assert ids(await api.get("/v1/people?sync=pending")) == sorted([unread, known])


async def test_decision_on_nobody_asks_nothing(scene: Scene) -> None:
    """The answer is 404, not a request that is refused later."""
    await scene.api.post("/v1/people/999999/decision", {"choice": "sync"}, 404)
    assert await scene.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


async def test_pull_and_decisions_are_done_by_the_daemon(pg_dsn: str) -> None:
    """The whole way: HTTP, request, Salesforce, store, answer."""
    async with furnished(pg_dsn) as room, calling(pg_dsn) as api:
        lead = await room.create("Lead", LastName="Pulled", Company="Now")
        async with room.doing(room.requests.run()):
            answer = await api.post("/v1/pull", {"ids": [lead, lead[:15]], "wait_s": 30})
            assert answer.body["is_done"]
            assert [one["argument"] for one in answer.body["requests"]] == [lead, lead]
            assert answer.body["requests"][0]["outcome"] in ("created", "equal")
            person = await api.get(f"/v1/people/{lead}")
            assert person["columns"]["last_name"] == "Pulled"

            decide = f"/v1/people/{person['id']}/decision"
            declined = await api.post(decide, {"choice": "decline", "by": "Grace"})
            assert declined.body["person"]["sync"] == "declined"
            assert (await api.get("/v1/people?sync=declined"))["people"] == [declined.body["person"]]
            synced = await api.post(decide, {"choice": "sync"})
            assert synced.body["person"]["sync"] == "synced"
            told = await api.get(f"/v1/people/{lead}/provenance")
            assert [(one["choice"], one["decided_by"], one["via"]) for one in told["decisions"]] == [
                ("sync", "holder of the API token", "http"),
                ("decline", "Grace", "http"),
            ]


async def test_provenance_names_the_sweep_and_its_certificate(pg_dsn: str) -> None:
    """A repaired value leads to the reading that proved it."""
    async with furnished(pg_dsn) as room, calling(pg_dsn) as api:
        lead = await room.create("Lead", LastName="Before", Company="Drift")
        await room.backfill()
        # Beyond the fuzz that whole seconds leave, before and after the change that no event tells.
        await advance(room, 600)
        await lose(room, lead, LastName="After")
        await advance(room, 600)
        async with room.doing():
            await room.sweeper.sweep("test")
        sweep_id = (await room.certificate("Lead"))["sweep_id"]
        told = await api.get(f"/v1/people/{lead}/provenance")
        columns = {one["name"]: one for one in told["columns"]}
        written = columns["last_name"]["written"]
        assert columns["last_name"]["value"] == "After"
        assert (written["origin"], written["source"]) == ("sweep", sweep_id)
        [certificate] = [
            one
            for one in (await api.get("/v1/certificates?entity=Lead"))["certificates"]
            if one["sweep_id"] == sweep_id
        ]
        assert written["certificate"]["id"] == certificate["id"]
        assert columns["status"]["written"]["origin"] == "backfill"


# The document ----------------------------------------------------------------------------------------


async def test_every_path_is_described_and_every_described_path_is_there(scene: Scene) -> None:
    """Each is called once with an id of every kind, and each answer fits what is declared of it."""
    api = scene.api
    await api.post("/v1/pull", {"ids": [CONTACT], "wait_s": 0}, 202)
    request = await scene.store.connection.fetchval("SELECT max(id) FROM sfsync.request")
    for route in ROUTES:
        kind = route.path.split("/")[2]
        chosen = {"people": scene.ada, "companies": scene.company, "requests": request}.get(kind)
        path = route.path.replace("{id}", str(chosen))
        if route.method == "GET":
            await api.get(path)
    await api.post(f"/v1/people/{scene.ada}/decision", {"choice": "sync", "wait_s": 0}, 202)
    described = {
        (method.upper(), path) for path, methods in api.document["paths"].items() for method in methods
    }
    assert api.walked == described == {(route.method, route.path) for route in ROUTES}


async def test_document_holds_together(scene: Scene) -> None:
    """Generators of clients stop at a reference that leads nowhere or at a name that is taken twice."""
    document = scene.api.document
    text = json.dumps(document)
    for kind, name in re.findall(r'"#/components/(\w+)/(\w+)"', text):
        assert name in document["components"][kind]
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for path, methods in document["paths"].items():
        for one in methods.values():
            declared = [parameter["name"] for parameter in one["parameters"]]
            assert len(set(declared)) == len(declared)
            assert ("{id}" in path) == ("id" in declared)
            assert {"400", "401", "403", "503"} <= one["responses"].keys()


async def test_slow_waiters_leave_room_for_readers(scene: Scene) -> None:
    """Whoever waits for the daemon holds no connection meanwhile; there are two."""
    waiting = [
        asyncio.create_task(scene.api.post("/v1/pull", {"ids": [CONTACT], "wait_s": 2}, 202))
        for _ in range(8)
    ]
    for _ in range(5):
        async with asyncio.timeout(1):
            await scene.api.get(f"/v1/people/{scene.ada}")
    assert not any(one.done() for one in waiting)
    await asyncio.gather(*waiting)

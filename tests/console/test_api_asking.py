"""What the API tells while the store changes, and what it asks of the daemon."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from sfsync.console.routes import ROUTES
from sfsync.core.ids import record_id
from sfsync.store.people import open_reader
from tests.console.caller import calling
from tests.console.scene import CANARY, Scene
from tests.fault_proxy import StartProxy
from tests.store.harness import (
    CONTACT,
    LEAD,
    LEAD2,
    at,
    gap,
    image,
    patch,
)
from tests.store.test_consent import imported
from tests.sync.room import furnished
from tests.sync.test_sweep import advance, lose


def ids(page: dict[str, Any]) -> list[int]:
    return [one["id"] for one in page["people"]]


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


async def test_answer_shows_one_moment(scene: Scene) -> None:
    """What is committed between two statements of an answer must not show in it."""
    async with open_reader(scene.store.database) as reader:
        before = await reader.fetch("list_history", reader.org, scene.eve, None, 9)
        await scene.store.apply(patch(LEAD2, 60, LastName="Later"))
        assert await reader.fetch("list_history", reader.org, scene.eve, None, 9) == before


async def test_values_are_answered_and_not_logged(scene: Scene) -> None:
    """Showing people is what the API is for; a log is read by others."""
    await scene.store.apply(patch(LEAD2, 70, LastName=CANARY))
    with capture_logs() as logs:
        assert (await scene.api.get(f"/v1/people/{scene.eve}"))["columns"]["last_name"] == CANARY
        await scene.api.get(f"/v1/people?sync={CANARY}", 400)
        await scene.api.post(f"/v1/people/{scene.eve}/decision", {"choice": CANARY}, 400)
    assert CANARY not in repr(logs)


async def test_questions_are_put_column_by_column(scene: Scene) -> None:
    """What is stored, what Salesforce says, and since when: enough to decide on."""
    api, store = scene.api, scene.store
    assert await api.get("/v1/pending") == {"pending": [], "next": None}
    # The import writes what belongs to sfsync alone.
    await store.connection.execute("SET sfsync.writer = 'on'")
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


async def test_decision_that_nobody_serves_yet_is_a_request_to_come_back_to(scene: Scene) -> None:
    """A daemon may be down just now; what was decided must not be lost."""
    body = {"choice": "decline", "by": "Grace", "wait_s": 0}
    answer = await scene.api.post(f"/v1/people/{scene.merged}/decision", body, 202)
    assert answer.headers["Location"] == answer.body["url"]
    told = await scene.api.get(answer.body["url"])
    assert (told["kind"], told["outcome"]) == ("decide", None)
    decision = {"person_id": scene.ada, "choice": "decline", "via": "http", "by": "Grace"}
    assert json.loads(told["argument"]) == decision


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
            again = await api.post("/v1/pull", {"ids": [str(person["id"])], "with_company": True})
            assert again.body["requests"][0]["outcome"] in ("equal", "unsettled")

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


async def test_waiters_leave_room_for_readers(scene: Scene) -> None:
    """Whoever waits for the daemon holds no connection meanwhile; there are two."""
    connection = scene.store.connection
    waiting = [
        asyncio.create_task(scene.api.post("/v1/pull", {"ids": [CONTACT], "wait_s": 60})) for _ in range(8)
    ]
    while await connection.fetchval("SELECT count(*) FROM sfsync.request") < len(waiting):
        await scene.api.get(f"/v1/people/{scene.ada}")
    await scene.api.get(f"/v1/people/{scene.ada}")
    assert not any(one.done() for one in waiting)
    await connection.execute("UPDATE sfsync.request SET outcome = 'equal', detail = '{}', done_at = now()")
    assert {(await one).body["requests"][0]["outcome"] for one in waiting} == {"equal"}


async def test_store_before_its_first_start_is_unavailable(pg_dsn: str, empty_dsn: str) -> None:
    """Clients come again; nothing is wrong with their request."""
    for dsn, said in ((pg_dsn, "bound to no org yet"), (empty_dsn, "not set up")):
        async with calling(dsn) as api:
            answer = await api.call("GET", "/v1/people", 503)
            assert said in answer.body["detail"]
            assert answer.headers["Retry-After"] == "5"
            await api.call("POST", "/v1/pull", 503, json={"ids": [CONTACT]})


async def test_reader_gives_up_on_a_locked_table(
    scene: Scene, pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration or an operator holds it; clients come again, and none waits for ever."""
    monkeypatch.setattr("sfsync.console.source._STATEMENT_TIMEOUT_S", 0.3)
    async with calling(pg_dsn) as api, scene.store.connection.transaction():
        await scene.store.connection.execute("LOCK TABLE crm.person IN ACCESS EXCLUSIVE MODE")
        answer = await api.call("GET", f"/v1/people/{scene.ada}", 503)
        assert answer.headers["Retry-After"] == "5"
        assert "just now" in answer.body["detail"] or "too long" in answer.body["detail"]


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

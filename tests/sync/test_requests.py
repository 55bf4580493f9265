"""Requests: durable, served once, and answered in words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sfsync.sync import requests
from sfsync.sync.answering import Answer, Request
from sfsync.sync.requests import Requests
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def pulled(room: Room, record: str) -> str:
    outcome, _ = await room.answered(await room.value("SELECT crm.request_sync($1)", record))
    return outcome


async def test_request_that_was_made_while_no_daemon_ran_is_served(room: Room) -> None:
    """It is a row, not a message."""
    [contact] = await room.contacts(1)
    request = await room.value("SELECT crm.request_sync($1)", contact)
    async with room.doing(room.requests.run()):
        assert (await room.answered(request))[0] == "created"


async def test_done_request_is_not_served_again_after_a_restart(room: Room) -> None:
    """A restart must not repeat what was answered."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        await pulled(room, contact)
    before = room.work.connection.calls["query"]
    async with room.doing(room.requests.run()):
        assert await pulled(room, contact) == "equal"
    assert room.work.connection.calls["query"] == before + 1


async def test_sweep_request_names_the_sweep_that_answered_it(room: Room) -> None:
    """`sfsync reconcile` shows that sweep's certificates."""
    await room.backfill()
    async with room.doing(room.requests.run(), room.sweeper.run()):
        request = await room.value("INSERT INTO sfsync.request (kind) VALUES ('sweep') RETURNING id")
        await room.connection.execute("NOTIFY sfsync_request")
        outcome, detail = await room.answered(request)
    assert outcome == "swept"
    assert (await room.certificate("Contact"))["sweep_id"] == detail["sweep_id"]


async def test_request_that_cannot_be_done_is_refused_with_a_reason(room: Room) -> None:
    """Left open, it would be tried for ever; ending the daemon, it would be a weapon."""
    insert = "INSERT INTO sfsync.request (kind, argument) VALUES ($1, $2) RETURNING id"
    async with room.doing(room.requests.run()):
        for kind, argument in (("dance", None), ("pull", "nonsense"), ("pull", "006000000000001")):
            request = await room.value(insert, kind, argument)
            await room.connection.execute("NOTIFY sfsync_request")
            outcome, detail = await room.answered(request)
            assert outcome == "refused"
            assert detail["error"]


async def put(room: Room, kind: str, count: int = 1) -> list[int]:
    """Ask for something in one transaction."""
    insert = (
        "WITH r AS (INSERT INTO sfsync.request (kind) SELECT $1 FROM generate_series(1, $2) RETURNING id)"
        " SELECT id, pg_notify('sfsync_request', '') FROM r"
    )
    return [row["id"] for row in await room.rows(insert, kind, count)]


async def nod(_request: Request) -> Answer:
    return Answer("done", {})


async def test_fault_of_ours_is_an_answer_and_stops_nobody(room: Room) -> None:
    """Left open, the request would end the daemon again at every start."""

    async def stumble(_request: Request) -> Answer:
        raise KeyError("a fault of ours")

    asking = Requests(room.work, {"bad": stumble, "good": nod})
    async with room.doing(asking.run()):
        [bad] = await put(room, "bad")
        outcome, detail = await room.answered(bad)
        assert (outcome, detail) == ("refused", {"error": "the daemon failed at it (KeyError)"})
        [good] = await put(room, "good")
        assert (await room.answered(good))[0] == "done"


async def test_listening_goes_on_after_its_connection_died(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull must not take the five seconds of a poll until the next restart."""
    monkeypatch.setattr(requests, "_POLL_S", 3_600)
    asking = Requests(room.work, {"good": nod})
    listening = (
        "SELECT pid FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' AND datname = current_database()"
    )
    async with room.doing(asking.run()):
        pid = await eventually(lambda: room.value(listening))
        assert await room.value("SELECT pg_terminate_backend($1)", pid)

        async def listens_again() -> bool:
            return await room.value(listening) not in (None, pid)

        await eventually(listens_again)
        [request] = await put(room, "good")
        assert (await room.answered(request))[0] == "done"


async def test_flood_waits_in_the_store_and_other_kinds_go_past_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application asks for all its people at once; a decision must not wait behind a million pulls."""
    monkeypatch.setattr(requests, "PULLS_MAX", 5)
    gate, most, serving = asyncio.Event(), 0, 0

    async def pull(_request: Request) -> Answer:
        nonlocal most, serving
        serving += 1
        most = max(most, serving)
        await gate.wait()
        serving -= 1
        return Answer("equal", {})

    pulls = await put(room, "pull", 20)
    async with room.doing(Requests(room.work, {"pull": pull, "decide": nod}).run()):

        async def is_full() -> bool:
            return serving == 5

        await eventually(is_full)
        [decision] = await put(room, "decide")
        assert (await room.answered(decision))[0] == "done"
        gate.set()
        for one in pulls:
            assert (await room.answered(one))[0] == "equal"
    assert most == 5


async def test_request_whose_serving_was_cut_off_is_served_by_the_next_run(room: Room) -> None:
    """What was begun is remembered in memory, and must be forgotten with the run that began it."""
    begun = asyncio.Event()

    async def hang(_request: Request) -> Answer:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    handlers = {"slow": hang}
    asking = Requests(room.work, handlers)
    [request] = await put(room, "slow")
    async with room.doing(asking.run()):
        await begun.wait()
    handlers["slow"] = nod
    async with room.doing(asking.run()):
        assert (await room.answered(request))[0] == "done"


# From SQL -----------------------------------------------------------------------------------------------


async def test_application_hears_the_verdict_by_sql(room: Room) -> None:
    """It has no right to read the schema sfsync; it commits what it asks, then waits."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        request = await room.value("SELECT crm.request_sync($1)", contact)
        [told] = await room.rows("SELECT outcome, detail, done_at FROM crm.await_sync($1, 10)", request)
    assert told["outcome"] == "created"
    assert json.loads(told["detail"])["salesforce_id"] == contact
    assert [told] == await room.rows("SELECT outcome, detail, done_at FROM crm.sync_verdict($1)", request)
    assert await room.value("SELECT asked_by FROM sfsync.request") == await room.value("SELECT session_user")


async def test_waiting_in_vain_says_who_should_have_served_it(room: Room) -> None:
    """It must be told apart from a record that is gone."""
    request = await room.value("SELECT crm.request_sync('0035i00000Nobdy')")
    ask = "SELECT outcome, detail ->> 'error' AS error FROM crm.await_sync($1, 0.05)"
    [told] = await room.rows(ask, request)
    assert told["outcome"] is None
    assert told["error"].startswith("not served within 0.05 s; the daemon at ")
    await room.connection.execute("UPDATE sfsync.org SET id = '00D5i000000DemoEAC'")
    [told] = await room.rows(ask, request)
    assert told["error"] == "not served within 0.05 s; no daemon leads org 00D5i000000DemoEAC"


async def test_waiting_where_no_answer_can_be_seen_is_refused(room: Room) -> None:
    """The transaction would wait for itself until its time is over."""
    with pytest.raises(asyncpg.PostgresError, match="no request 4711"):
        await room.value("SELECT crm.await_sync(4711)")
    await room.connection.execute("BEGIN")
    request = await room.value("SELECT crm.request_sync('0035i00000Nobdy')")
    with pytest.raises(asyncpg.PostgresError, match="not committed yet"):
        await room.value("SELECT crm.await_sync($1)", request)
    await room.connection.execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ")
    with pytest.raises(asyncpg.PostgresError, match="cannot see an answer"):
        await room.value("SELECT crm.await_sync(4711)")
    await room.connection.execute("ROLLBACK")


async def test_sql_refuses_what_is_no_id_before_it_is_asked(room: Room) -> None:
    """The caller learns it from the statement, not from a request it must look up."""
    for text in ("00q5i00000Nobdy", "0035i00000Nobd", "006000000000001", "", "0", "1 OR 1=1", None):
        with pytest.raises(asyncpg.PostgresError, match="request_sync: "):
            await room.value("SELECT crm.request_sync($1)", text)
    assert await room.value("SELECT count(*) FROM sfsync.request") == 0


async def test_nobody_but_who_was_granted_it_may_ask(room: Room) -> None:
    """A pull costs a call of the org, and its answer shows values."""
    calls = ("crm.request_sync('0035i00000Nobdy')", "crm.sync_verdict(1)", "crm.await_sync(1)")
    async with room.connection.transaction():
        await room.connection.execute("CREATE ROLE p_stranger; GRANT USAGE ON SCHEMA crm TO p_stranger")
        for call in calls:
            function = call.partition("(")[0]
            query = "SELECT has_function_privilege('p_stranger', p.oid, 'EXECUTE') FROM pg_proc AS p WHERE p.oid = $1::regproc"
            assert await room.value(query, function) is False
            await room.connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO p_stranger")
        await room.connection.execute("SET LOCAL ROLE p_stranger")
        request = await room.value(f"SELECT {calls[0]}")
        [told] = await room.rows("SELECT outcome FROM crm.sync_verdict($1)", request)
        assert told["outcome"] is None
        await room.connection.execute("RESET ROLE")
        await room.connection.execute("DROP OWNED BY p_stranger; DROP ROLE p_stranger")

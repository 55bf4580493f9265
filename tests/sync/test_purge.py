"""A purge through the queue of requests: what is answered, what stays of the request, and what comes after."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from sfsync.core.ids import RecordId
from sfsync.store.erased import find_erased
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def ask(room: Room, **wanted: Any) -> int:
    """Put a purge and return the request's id."""
    insert = "INSERT INTO sfsync.request (kind, argument) VALUES ('purge', $1) RETURNING id"
    request: int = await room.value(insert, json.dumps(wanted))
    await room.connection.execute("NOTIFY sfsync_request")
    return request


async def answer(room: Room, request: int) -> tuple[str, dict[str, Any], str | None]:
    """Wait for what became of a request: outcome, detail, and what its argument is now."""

    async def done() -> Any:
        return await room.rows("SELECT * FROM sfsync.request WHERE id = $1 AND done_at IS NOT NULL", request)

    [row] = await eventually(done)
    return row["outcome"], json.loads(row["detail"]), row["argument"]


async def purged(room: Room, **wanted: Any) -> tuple[str, dict[str, Any], str | None]:
    return await answer(room, await ask(room, **wanted))


async def read_everything(room: Room) -> None:
    """Let the sweeper read every record of the org again."""
    before = await room.value("SELECT count(*) FROM sfsync.sweep")

    async def swept() -> bool:
        return bool(await room.value("SELECT count(*) FROM sfsync.sweep") >= before + 3)

    async with room.doing(room.sweeper.run()):
        room.sweeper.ask_in_full("test")
        await eventually(swept)


async def known(room: Room, contact: RecordId) -> bool:
    return bool(await room.value("SELECT count(*) FROM sfsync.record WHERE id = $1", contact))


async def test_purged_person_stays_away_from_sweeps_and_pulls(room: Room) -> None:
    """Salesforce goes on having the record, and each reading shows it."""
    contact, other = await room.contacts(2)
    await room.backfill()
    person = await room.value("SELECT person_id FROM crm.person_record WHERE salesforce_id = $1", contact)
    with structlog.testing.capture_logs() as logs:
        async with room.doing(room.requests.run()):
            outcome, detail, argument = await purged(room, purge=contact, reason="letter of the 3rd")
            assert (outcome, detail["records"], detail["removed"]["person"]) == ("purged", 1, 1)
            assert (argument, len(argument or "")) == (detail["hash"], 64)
            assert contact[:15] not in json.dumps(detail)
            assert detail["reason"] == "letter of the 3rd"
            again = await room.value("SELECT crm.request_sync($1)", contact)
            assert await answer(room, again) == ("erased", {}, None)
        await read_everything(room)
    assert not await known(room, contact)
    assert await known(room, other)
    assert await room.value("SELECT crm.resolve_person($1)", person) is None
    [event] = [entry for entry in logs if entry["event"] == "erasure.completed"]
    assert event["hash"] == detail["hash"]
    about_purges = [entry for entry in logs if "purge" in json.dumps(entry) or entry is event]
    assert contact[:15] not in json.dumps(about_purges)


async def test_person_purged_twice_is_said_to_be_and_the_id_is_not_kept(room: Room) -> None:
    """The second request would otherwise be the one row that names whom we forgot."""
    [contact] = await room.contacts(1)
    await room.backfill()
    async with room.doing(room.requests.run()):
        _, _, alias = await purged(room, purge=contact)
        outcome, detail, argument = await purged(room, purge=contact[:15])
    assert (outcome, argument) == ("refused", alias)
    assert "erased before" in detail["error"]


async def test_request_that_a_crash_left_behind_is_not_served_twice(room: Room) -> None:
    """The answer is committed with the erasure, so no daemon finds the one without the other."""
    [contact] = await room.contacts(1)
    await room.backfill()
    request = await ask(room, purge=contact)
    await room.connection.execute(
        "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57P01'; END $$;"
        "CREATE TRIGGER fail BEFORE UPDATE ON sfsync.request FOR EACH ROW EXECUTE FUNCTION public.fail()"
    )
    with pytest.raises(BaseExceptionGroup, match="unhandled"):
        async with room.doing(room.requests.run()):
            await eventually(lambda: never(room, contact))
    assert await known(room, contact)
    await room.connection.execute("DROP TRIGGER fail ON sfsync.request")
    async with room.doing(room.requests.run()):
        assert (await answer(room, request))[0] == "purged"
    assert not await known(room, contact)


async def never(room: Room, contact: RecordId) -> bool:
    """Wait without end for what must not happen: half a purge."""
    return not await known(room, contact)


async def test_what_an_application_forbids_is_refused_and_nothing_stops(room: Room) -> None:
    """A foreign key two tables away, or a trigger, is found only by trying; the daemon goes on."""
    [contact] = await room.contacts(1)
    await room.backfill()
    await room.connection.execute(
        "CREATE TABLE public.letter (id int PRIMARY KEY, person_id bigint REFERENCES crm.person ON DELETE CASCADE);"
        "CREATE TABLE public.page (letter_id int CONSTRAINT page_of_letter REFERENCES public.letter);"
        "INSERT INTO public.letter SELECT 1, id FROM crm.person; INSERT INTO public.page VALUES (1)"
    )
    async with room.doing(room.requests.run()):
        outcome, detail, argument = await purged(room, purge=contact)
        assert (outcome, json.loads(argument or "")) == ("refused", {"purge": contact})
        assert "page_of_letter" in detail["error"]
        assert await known(room, contact)
        await room.connection.execute("DELETE FROM public.page")
        outcome, detail, _ = await purged(room, purge=contact)
    assert outcome == "purged"
    [reference] = detail["references"]
    assert (reference["table"], reference["on_delete"], reference["rows"]) == ("public.letter", "CASCADE", 1)


async def test_forgotten_hash_lets_the_record_in_again(room: Room) -> None:
    """Somebody may lawfully become a customer once more."""
    [contact] = await room.contacts(1)
    await room.backfill()
    async with room.doing(room.requests.run()):
        await purged(room, purge=contact)
        assert await find_erased(room.work.database, room.work.org, [contact]) == {contact}
        assert (await purged(room, forget=contact))[0] == "forgotten"
        assert (await purged(room, forget=contact))[0] == "refused"
    await read_everything(room)
    assert await known(room, contact)


async def test_purge_that_names_nobody_is_refused(room: Room) -> None:
    """A request may be written by hand, in SQL."""
    complaints: list[tuple[dict[str, Any], str]] = [
        ({}, "neither whom to purge"),
        ({"purge": "nobody"}, "give the id of"),
        ({"purge": "0035i00000Nobdy"}, "is unknown"),
        ({"purge": 3}, "must be JSON like"),
        ({"forget": "0035"}, "not a Salesforce record id"),
    ]
    async with room.doing(room.requests.run()):
        for argument, complaint in complaints:
            outcome, detail, _ = await purged(room, **argument)
            assert outcome == "refused"
            assert complaint in detail["error"]


async def test_reason_that_names_the_person_is_refused(room: Room) -> None:
    """What is kept with the request must not be the trace that stays."""
    [contact] = await room.contacts(1)
    await room.backfill()
    async with room.doing(room.requests.run()):
        outcome, detail, _ = await purged(room, purge=contact, reason=f"{contact[:15]} wrote to us")
    assert (outcome, detail["error"]) == (
        "refused",
        "the reason names whom it is about: it is kept, so leave the id out",
    )
    assert await known(room, contact)

"""Requests: durable, served once, and answered in words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.simorg.site import eventually
from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def answered(room: Room, request: int) -> tuple[str, dict[str, Any]]:
    """Wait for what became of a request."""

    async def outcome() -> Any:
        query = "SELECT outcome, detail FROM sfsync.request WHERE id = $1 AND done_at IS NOT NULL"
        return await room.rows(query, request)

    [row] = await eventually(outcome)
    return row["outcome"], json.loads(row["detail"])


async def pulled(room: Room, record: str) -> str:
    outcome, _ = await answered(room, await room.value("SELECT crm.request_sync($1)", record))
    return outcome


async def test_pull_says_what_it_found(room: Room) -> None:
    """The application asks because it is about to act on the answer."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        assert await pulled(room, contact[:15]) == "created"
        assert await pulled(room, contact) == "equal"
        await room.site.control("POST", "clock", {"advance_s": 10})
        await room.site.transact({"op": "update", "id": contact, "fields": {"LastName": "B"}}, silent=True)
        await room.site.control("POST", "clock", {"advance_s": 10})
        assert await pulled(room, contact) == "updated"
        assert await room.last_names() == {"B"}
        assert await pulled(room, "0035i00000Nobdy") == "absent"


async def test_request_that_was_made_while_no_daemon_ran_is_served(room: Room) -> None:
    """It is a row, not a message."""
    [contact] = await room.contacts(1)
    request = await room.value("SELECT crm.request_sync($1)", contact)
    async with room.doing(room.requests.run()):
        assert (await answered(room, request))[0] == "created"


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
        outcome, detail = await answered(room, request)
    assert outcome == "swept"
    assert (await room.certificate("Contact"))["sweep_id"] == detail["sweep_id"]


@pytest.mark.parametrize(
    ("kind", "argument"), [("dance", None), ("pull", "nonsense"), ("pull", "006000000000001")]
)
async def test_request_that_cannot_be_done_is_refused_with_a_reason(
    room: Room, kind: str, argument: str | None
) -> None:
    """Left open, it would be tried for ever; ending the daemon, it would be a weapon."""
    async with room.doing(room.requests.run()):
        insert = "INSERT INTO sfsync.request (kind, argument) VALUES ($1, $2) RETURNING id"
        request = await room.value(insert, kind, argument)
        await room.connection.execute("NOTIFY sfsync_request")
        outcome, detail = await answered(room, request)
    assert outcome == "refused"
    assert detail["error"]

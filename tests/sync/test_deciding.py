"""Decisions by request: one path, whichever way they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def asked(room: Room, argument: str) -> tuple[str, dict[str, Any]]:
    request = await room.value(
        "WITH a AS (INSERT INTO sfsync.request (kind, argument) VALUES ('decide', $1) RETURNING id)"
        " SELECT id FROM a CROSS JOIN LATERAL (SELECT pg_notify('sfsync_request', a.id::text)) AS n",
        argument,
    )
    return await room.answered(request)


async def test_declined_person_that_is_decided_to_sync_is_overwritten(room: Room) -> None:
    """With what Salesforce says today; who decided is written down."""
    [contact] = await room.contacts(1)
    await room.backfill()
    person, asker = await room.value("SELECT id FROM crm.person"), await room.value("SELECT session_user")
    async with room.doing(room.requests.run(), room.sweeper.run()):
        assert await room.value("SELECT crm.decide($1, 'decline')", person) is None
        await room.site.control("POST", "clock", {"advance_s": 10})
        await room.update(contact, LastName="Changed")
        await room.sweeper.ask("test")
        assert await room.last_names() == {"Person 0"}
        request = await room.value("SELECT crm.decide($1, 'sync')", person)
        assert await room.answered(request) == (
            "synced",
            {"person_id": person, "choice": "sync", "decided_by": asker},
        )
    assert await room.last_names() == {"Changed"}
    rows = await room.rows("SELECT choice, via FROM crm.decision ORDER BY decided_at")
    assert [tuple(row) for row in rows] == [("decline", "sql"), ("sync", "sql")]


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("", "it is not JSON"),
        ('{"person_id": 1, "choice": "perhaps"}', "Invalid enum value"),
        ('{"person_id": "x", "choice": "sync"}', "Expected `int`"),
        ('{"person_id": 0, "choice": "sync"}', "Expected `int` >= 1"),
        ('{"choice": "sync"}', "missing required field `person_id`"),
        ('{"person_id": 1, "choice": "sync", "who": 1}', "unknown field"),
        ('{"person_id": 4711, "choice": "sync"}', "no person of this id"),
        ('{"person_id": 4711, "choice": "decline"}', "no person of this id"),
    ],
)
async def test_what_is_no_decision_is_refused(room: Room, argument: str, error: str) -> None:
    """Clearly, and the next one is served."""
    async with room.doing(room.requests.run()):
        outcome, detail = await asked(room, argument)
    assert outcome == "refused"
    assert error in detail["error"]


async def test_person_declined_after_sync_was_asked_stays_declined(room: Room) -> None:
    """The later word holds, though the earlier one is served after it."""
    await room.contacts(1)
    await room.backfill()
    person = await room.value("SELECT id FROM crm.person")
    request = await room.value("SELECT crm.decide($1, 'sync')", person)
    await room.value("SELECT crm.decide($1, 'decline')", person)
    async with room.doing(room.requests.run()):
        outcome, detail = await room.answered(request)
        assert (outcome, await room.value("SELECT sync FROM crm.person")) == ("refused", "declined")
        assert "declined after this was asked" in detail["error"]
        again = await room.value("SELECT crm.decide($1, 'sync')", person)
        assert (await room.answered(again))[0] == "synced"


@pytest.mark.parametrize("reason", ["absent", "unread"])
async def test_record_that_nobody_read_cannot_be_followed(room: Room, reason: str) -> None:
    """To sync from nothing would empty the row, or leave it as if Salesforce had said so."""
    await room.connection.execute("SET sfsync.writer = 'on'")
    await room.connection.execute(
        "INSERT INTO crm.person (id, org, salesforce_id, sync) VALUES (9, $1, '0035i00000Nobdy', 'pending')",
        room.work.org,
    )
    await room.connection.execute(
        "INSERT INTO sfsync.pending (subject_id, org, speaker, reason) VALUES (9, $1, '0035i00000Nobdy', $2)",
        room.work.org,
        reason,
    )
    async with room.doing(room.requests.run()):
        outcome, detail = await asked(room, '{"person_id": 9, "choice": "sync"}')
    assert outcome == "refused"
    assert "nothing to sync from" in detail["error"]


@pytest.mark.parametrize(("unseen_since_ms", "reason"), [(None, "not read yet"), (1, "no such record")])
async def test_somebody_declined_who_was_never_read_cannot_be_followed_either(
    room: Room, unseen_since_ms: int | None, reason: str
) -> None:
    """Who was declined waits for nothing, and yet there is nothing to follow: the row would lie."""
    await room.connection.execute("SET sfsync.writer = 'on'")
    await room.connection.execute(
        "INSERT INTO crm.person (id, org, salesforce_id, sync) VALUES (9, $1, '0035i00000Nobdy', 'declined')",
        room.work.org,
    )
    await room.connection.execute(
        """
        INSERT INTO sfsync.record (
            org, id, entity, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms, own_id, subject_id, decision,
            unseen_since_ms
        )
        VALUES ($1, '0035i00000Nobdy', 'Contact', false, false, false, 0, 0, 9, 9, 'declined', $2)
        """,
        room.work.org,
        unseen_since_ms,
    )
    async with room.doing(room.requests.run()):
        outcome, detail = await asked(room, '{"person_id": 9, "choice": "sync"}')
    assert outcome == "refused"
    assert reason in detail["error"]
    assert await room.value("SELECT sync FROM crm.person") == "declined"

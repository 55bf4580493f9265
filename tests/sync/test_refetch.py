"""Dirty records: read when a read proves something, in bounded calls, and nobody waits for another's fault."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sfsync.core.commands import Cause, Refetch
from sfsync.core.ids import Entity, record_id
from sfsync.core.order import Clocks
from sfsync.store.batch import Batch
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished, levelled

NOBODY = record_id("0035i00000Nobdy")


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def mark(room: Room, *records: str) -> None:
    """Make records dirty since the beginning of time, so that a read is due."""
    batch = Batch([Refetch(Entity.CONTACT, record_id(one), 1, Cause.GAP) for one in records], "event", 1)
    await room.writer.submit(batch)


async def queries(room: Room) -> int:
    return room.work.connection.calls["query"]


async def test_hundred_dirty_records_cost_one_call(room: Room) -> None:
    """A merge of a big account marks thousands; one call each would spend the org's day."""
    ids = await room.contacts(100)
    async with room.doing(room.refetcher.run()):
        before = await queries(room)
        await mark(room, *ids)
        await eventually(lambda: is_clean(room))
    assert await queries(room) == before + 1
    assert len(await room.last_names()) == 100


async def is_clean(room: Room) -> bool:
    return bool(await room.value("SELECT count(*) = 0 FROM sfsync.dirty"))


async def test_absent_record_ends_its_mark_and_deletes_nobody(room: Room) -> None:
    """Absence proves no deletion: the record may be hidden from this user."""
    [contact] = await room.contacts(1)
    await room.backfill()
    await room.site.transact({"op": "delete", "id": contact}, silent=True)
    await room.site.transact({"op": "purge", "id": contact}, silent=True)
    async with room.doing(room.refetcher.run()):
        await mark(room, contact, NOBODY)
        await eventually(lambda: is_clean(room))
    [row] = await room.rows("SELECT unseen_since_ms FROM sfsync.record WHERE id = $1", contact)
    assert row["unseen_since_ms"]
    assert await room.last_names() == {"Person 0"}


async def test_row_that_cannot_be_read_is_parked_and_read_later(pg_dsn: str) -> None:
    """An administrator retyped a field: asking four times a second would spend the org's calls in an hour."""
    async with levelled(pg_dsn, clocks=Clocks(settle_ms=60_000)) as room:
        [bad, good] = await room.contacts(2)
        await room.field("Contact", "retype", name="Level__c", type="string")
        await room.update(bad, Level__c="high")
        async with room.doing(room.refetcher.run()):
            before = await queries(room)
            await mark(room, bad, good)
            await eventually(lambda: room.value("SELECT attempts > 0 FROM sfsync.dirty"))
            await eventually(lambda: waits(room, bad))
        assert await queries(room) == before + 1
        assert await room.last_names() == {"Person 1"}
        [letter] = await room.rows("SELECT record_id, reason FROM sfsync.dead_letter")
        assert letter["record_id"] == bad
        assert "Level__c" in letter["reason"]
        assert "high" not in letter["reason"]


async def waits(room: Room, record: str) -> bool:
    """Whether a record's next read lies in the future of the org's clock."""
    now_ms = await room.work.org_time_ms()
    return bool(
        await room.value("SELECT next_try_ms > $2 FROM sfsync.dirty WHERE record_id = $1", record, now_ms)
    )


async def test_entity_that_cannot_be_read_starves_no_other(pg_dsn: str) -> None:
    """What refuses contacts is nothing to leads and accounts."""
    async with furnished(pg_dsn) as room:
        [contact] = await room.contacts(1)
        account = await room.create("Account", Name="Acme")
        body = [{"errorCode": "INVALID_FIELD", "message": "No such column"}]
        await room.plant("status", match="queryAll.*FROM Contact", times=None, code=400, body=body)
        async with room.doing(room.refetcher.run()):
            await mark(room, contact)
            batch = Batch([Refetch(Entity.ACCOUNT, account, 2, Cause.GAP)], "event", 2)
            await room.writer.submit(batch)
            await eventually(lambda: room.value("SELECT true FROM crm.company"))
        assert await room.value("SELECT record_id FROM sfsync.dirty") == contact

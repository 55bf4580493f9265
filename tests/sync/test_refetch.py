"""Dirty records: read when a read proves something, in bounded calls, and nobody waits for another's fault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from sfsync.core.commands import Cause, Refetch
from sfsync.core.ids import Entity, record_id
from sfsync.core.order import Clocks
from sfsync.salesforce.budget import Lane
from sfsync.store.batch import Batch
from sfsync.sync.refetch import saves_calls
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


@pytest.mark.parametrize(
    ("live", "others", "size", "expected"),
    [
        (400, 0, 2_000, False),
        (800, 0, 2_000, False),
        (801, 0, 2_000, True),
        (2_000, 0, 2_000, True),
        (801, 399, 2_000, False),
        (801, 400, 2_000, True),
        (0, 2_000, 2_000, False),
        (5_000, 0, 400, False),
        (5_000, 0, 1_000, True),
    ],
)
def test_collections_are_used_where_they_save_a_call(
    live: int, others: int, size: int, expected: bool
) -> None:
    """Nulls may cost one call more, so a tie goes to queryAll, which tells everything at once."""
    assert saves_calls(live, others, size) is expected


async def test_two_thousand_live_records_cost_one_call_and_one_for_what_is_null(pg_dsn: str) -> None:
    """A deleted, a purged and a live record answer alike to whoever asks for the live ones only."""
    async with furnished(pg_dsn, refetch_batch=2_000) as room:
        ids = await room.contacts(1_200)
        gone, deleted = ids[7], ids[8]
        await room.backfill()
        await room.site.transact({"op": "delete", "id": deleted}, silent=True)
        await room.site.transact({"op": "delete", "id": gone}, silent=True)
        await room.site.transact({"op": "purge", "id": gone}, silent=True)
        async with room.doing():
            await mark(room, *ids)
        before = dict(room.work.connection.calls)
        async with room.doing(room.refetcher.run()):
            await eventually(lambda: is_clean(room))
        calls = room.work.connection.calls
        assert calls["collections"] == 1
        assert calls["query"] - before["query"] == 1
        assert await room.value("SELECT is_deleted FROM sfsync.record WHERE id = $1", deleted)
        assert await room.value("SELECT unseen_since_ms FROM sfsync.record WHERE id = $1", gone)
        assert room.work.connection.budget.calls[Lane.REFETCH] == 2
        assert await room.value("SELECT count(*) FROM crm.active_person") == 1_199


async def test_field_that_only_collections_refuse_is_read_by_query(pg_dsn: str) -> None:
    """One unreadable field never fails a batch for good."""
    async with furnished(pg_dsn) as room:
        ids = await room.contacts(801)
        body = [{"errorCode": "INVALID_FIELD", "message": "No such column"}]
        await room.plant("status", match="composite/sobjects", times=None, code=400, body=body)
        async with room.doing():
            await mark(room, *ids)
        async with room.doing(room.refetcher.run()):
            await eventually(lambda: is_clean(room))
        assert len(await room.last_names()) == 801


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MALFORMED_ID"), (400, "NEVER_HEARD_OF"), (500, "UNKNOWN_EXCEPTION")]
)
async def test_record_that_cannot_be_read_is_found_and_waits_alone(
    pg_dsn: str, status: int, code: str
) -> None:
    """Or thirty-nine people stay wrong because of one."""
    async with furnished(pg_dsn, clocks=Clocks(settle_ms=60_000)) as room:
        ids = await room.contacts(40)
        body = [{"errorCode": code, "message": "somebody's own words"}]
        await room.plant("status", match=f"queryAll.*{ids[23]}", times=None, code=status, body=body)
        async with room.doing():
            await mark(room, *ids)
        async with room.doing(room.refetcher.run()):
            await eventually(lambda: room.value("SELECT count(*) = 1 FROM sfsync.dirty"), 20)
            await eventually(lambda: waits(room, ids[23]))
        assert len(await room.last_names()) == 39
        [letter] = await room.rows("SELECT record_id, reason FROM sfsync.dead_letter")
        assert letter["record_id"] == ids[23]
        assert code in letter["reason"]
        assert "own words" not in letter["reason"]
        # Six halvings of two calls each, the first call with its repetitions, and the question whether it is an outage.
        assert room.work.connection.budget.calls[Lane.REFETCH] <= 3 + 2 * 6 + 1


async def test_outage_is_no_fault_of_its_records(pg_dsn: str) -> None:
    """Five hundred dead letters for nothing would bury the one that matters."""
    async with furnished(pg_dsn) as room:
        ids = await room.contacts(40)
        body = [{"errorCode": "UNKNOWN_EXCEPTION", "message": "Please include this ErrorId"}]
        await room.plant("status", match="queryAll", times=None, code=500, body=body)
        async with room.doing():
            await mark(room, *ids)
        with capture_logs() as entries:
            async with room.doing(room.refetcher.run()):
                await eventually(lambda: told(entries, "outage.began"))
                spent = room.work.connection.budget.calls[Lane.REFETCH]
                await room.heal()
                await eventually(lambda: is_clean(room))
        assert spent <= 3 + 1
        assert await room.value("SELECT count(*) FROM sfsync.dead_letter") == 0


async def told(entries: Sequence[Mapping[str, object]], event: str) -> bool:
    return any(entry["event"] == event for entry in entries)

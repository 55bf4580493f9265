"""The sweep: what it certifies, when its watermark moves, and what it owes until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sfsync.core.commands import Cause, Refetch, Resweep
from sfsync.core.ids import Entity, RecordId
from sfsync.errors import MappingChangedError, QueryError, UnavailableError
from sfsync.store.batch import Batch
from sfsync.store.readings import load_owed
from sfsync.sync.starvation import Starvation
from sfsync.sync.sweep import Sweeper
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished, levelled


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn, sweep_page=5) as opened:
        yield opened


async def advance(room: Room, seconds: float) -> None:
    """Move the org's clock on, beyond the fuzz that whole seconds leave; a fresh `Date` tells us."""
    await room.site.control("POST", "clock", {"advance_s": seconds})
    await room.work.connection.clock_ms()


async def lose(room: Room, record: RecordId, **fields: object) -> None:
    """Change a record without any event."""
    await room.site.transact({"op": "update", "id": record, "fields": fields}, silent=True)


async def test_certificate_counts_every_page(room: Room) -> None:
    """It is the proof that the store equalled the org: a page left out of it would prove nothing."""
    ids = await room.contacts(12)
    await room.backfill()
    await advance(room, 600)
    await lose(room, ids[0], LastName="Changed")
    await advance(room, 600)
    async with room.doing():
        room.sweeper.ask_in_full("test")
        sweep_id = await room.sweeper.sweep("test")
    row = await room.certificate("Contact")
    assert (row["sweep_id"], row["records_read"], row["equal"], row["api_calls"]) == (sweep_id, 12, 11, 3)
    assert row["drift"] == '{"stale": 1}'
    assert row["window_to_ms"] == row["equal_as_of_ms"]
    assert "Changed" in await room.last_names()


async def test_certificate_accounts_for_every_record_that_was_read(room: Room) -> None:
    """A record that was dirty and is certain now is neither equal nor drift; uncounted it would look lost."""
    ids = await room.contacts(3)
    await room.backfill()
    await advance(room, 600)
    now_ms = await room.work.connection.clock_ms()
    async with room.doing():
        await room.writer.submit(
            Batch([Refetch(Entity.CONTACT, ids[0], now_ms - 300_000, Cause.GAP)], "event", now_ms)
        )
        await lose(room, ids[1], LastName="Changed")
        await advance(room, 5)
        room.sweeper.ask_in_full("test")
        await room.sweeper.sweep("test")
    row = await room.certificate("Contact")
    assert (row["settled"], row["equal"], row["ahead"], row["records_read"]) == (1, 1, 1, 3)


async def test_certificate_counts_what_could_not_be_stored_as_deferred(room: Room) -> None:
    """Calling a parked record repaired would certify what is not so."""
    [contact] = await room.contacts(1)
    await room.backfill()
    await room.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_bob CHECK (last_name <> 'Bob')")
    await advance(room, 600)
    await lose(room, contact, LastName="Bob")
    await advance(room, 600)
    async with room.doing():
        await room.sweeper.sweep("test")
    row = await room.certificate("Contact")
    assert (row["records_read"], row["drift"], row["ahead"], row["deferred"]) == (1, "{}", 0, 1)


async def test_certificate_counts_what_could_not_be_read_as_deferred(pg_dsn: str) -> None:
    """It was seen and is not known: the next proof must be waited for."""
    async with levelled(pg_dsn) as room:
        [contact] = await room.contacts(1)
        await room.backfill()
        await room.field("Contact", "retype", name="Level__c", type="string")
        await advance(room, 600)
        await room.update(contact, Level__c="high")
        await advance(room, 5)
        async with room.doing():
            with pytest.raises(MappingChangedError):
                await room.sweeper.sweep("test")
        row = await room.certificate("Contact")
        assert (row["records_read"], row["equal"], row["deferred"]) == (1, 0, 1)


async def test_late_change_is_ahead_of_the_stream_and_no_drift(room: Room) -> None:
    """The stream has had no time to bring it: calling that an incident would cry wolf."""
    [contact] = await room.contacts(1)
    await room.backfill()
    await advance(room, 600)
    await lose(room, contact, LastName="Fresh")
    await advance(room, 5)
    async with room.doing():
        await room.sweeper.sweep("test")
    row = await room.certificate("Contact")
    assert (row["drift"], row["ahead"]) == ("{}", 1)


async def test_records_of_one_stamp_fill_more_pages_than_one(room: Room) -> None:
    """Paging by the stamp alone would lose them or never end."""
    await room.backfill()
    await room.contacts(23)
    await advance(room, 5)
    async with room.doing():
        async with asyncio.timeout(5):
            await room.sweeper.sweep("test")
    assert len(await room.last_names()) == 23
    assert (await room.certificate("Contact"))["records_read"] == 23


async def test_watermark_moves_with_the_last_page_only(room: Room) -> None:
    """An incomplete sweep is a failed one: what its lost pages held would never be read again."""
    await room.contacts(12)
    await room.backfill()
    await advance(room, 600)
    before = await room.watermark(Entity.CONTACT)
    await room.plant("status", match="queryAll.*FROM Contact .*Id >", times=None, code=400)
    room.sweeper.ask_in_full("test")
    async with room.doing():
        with pytest.raises(Exception, match="400"):
            await room.sweeper.sweep("test")
        assert await room.watermark(Entity.CONTACT) == before
        assert await room.value("SELECT max(window_from_ms) FROM sfsync.sweep WHERE entity='Contact'") != 0
        await room.heal()
        await room.sweeper.sweep("test")
    after = await room.watermark(Entity.CONTACT)
    assert after is not None
    assert before is not None
    assert after > before
    assert (await room.certificate("Contact"))["window_from_ms"] == 0, "what was asked in full is still owed"


async def test_crash_before_the_certificate_sweeps_the_same_window_again(room: Room) -> None:
    """The last page and its certificate are two transactions: dying between them must lose nothing."""
    await room.contacts(3)
    await room.backfill()
    before = await room.watermark(Entity.CONTACT)
    await advance(room, 600)
    await room.connection.execute(
        "ALTER TABLE sfsync.sweep ADD CONSTRAINT crash CHECK (drift IS NULL) NOT VALID"
    )
    with pytest.raises(BaseExceptionGroup):
        async with room.doing():
            await room.sweeper.sweep("test")
    assert await room.watermark(Entity.CONTACT) == before


async def test_hidden_field_fails_the_sweep_of_its_entity_only_and_nulls_nothing(pg_dsn: str) -> None:
    """Its null would look like an empty field; the other entities' proof must not wait for an administrator."""
    async with levelled(pg_dsn) as room:
        [contact] = await room.contacts(1, Level__c=7)
        await room.backfill()
        before = {entity: await room.watermark(entity) for entity in Entity}
        await room.field("Contact", "hide", name="Level__c")
        await advance(room, 600)
        await room.create("Lead", LastName="Later", Company="Acme")
        await advance(room, 5)
        async with room.doing():
            with pytest.raises(QueryError, match="no field Level__c on Contact"):
                await room.sweeper.sweep("test")
        after = {entity: await room.watermark(entity) for entity in Entity}
        assert after[Entity.CONTACT] == before[Entity.CONTACT]
        assert after[Entity.LEAD] != before[Entity.LEAD]
        assert await room.last_names() == {"Person 0", "Later"}
        assert await room.value("SELECT level FROM crm.person WHERE salesforce_id = $1", contact) == 7


async def owe(room: Room, reason: str, *, in_full: bool = False, commit_ms: int = 1) -> None:
    command = Resweep(Entity.CONTACT, commit_ms, reason, in_full=in_full)
    await room.writer.submit(Batch([command], "event", commit_ms))


async def test_owed_reading_makes_unready_until_its_last_page(room: Room) -> None:
    """After an overflow the store is known to be behind; green would be a lie."""
    await room.backfill()
    soon = await room.work.connection.clock_ms() + 3_000
    async with room.doing(room.sweeper.run()):
        await owe(room, "overflow", commit_ms=soon)
        await room.until_claimed("sweep", ok=False)
        await advance(room, 10)
        await room.until_claimed("sweep")
    assert await load_owed(room.work.database, room.work.org) == []
    assert (await room.certificate("Contact"))["reason"] == "overflow"


async def test_owed_reading_survives_a_restart(room: Room) -> None:
    """It is a row in the store, not a memory of the process."""
    await room.backfill()
    async with room.doing():
        await owe(room, "wildcard", in_full=True)
    again = Sweeper(room.work, Starvation(room.work, room.subscription))
    room.writer.stream.confirmed.set()
    async with room.doing(again.run()):
        await eventually(lambda: is_settled(room))
    assert (await room.certificate("Contact"))["window_from_ms"] == 0


async def is_settled(room: Room) -> bool:
    return await load_owed(room.work.database, room.work.org) == []


async def test_full_reading_waits_until_it_can_satisfy(room: Room) -> None:
    """Reading a million records twice because the first time was a minute early is a day's API calls."""
    await room.backfill()
    await advance(room, 600)
    now = await room.work.connection.clock_ms()
    async with room.doing():
        await owe(room, "wildcard", in_full=True, commit_ms=now + 30_000)
        await room.sweeper.sweep("schedule")
        assert (await room.certificate("Contact"))["window_from_ms"] != 0
        await advance(room, 60)
        await room.sweeper.sweep("wildcard")
        assert (await room.certificate("Contact"))["window_from_ms"] == 0


async def test_look_back_catches_a_transaction_that_commits_after_the_sweep(room: Room) -> None:
    """Its stamps lie before the sweep began: a watermark without look-back would never see them."""
    await room.backfill()
    await advance(room, 600)
    step = {"op": "create", "entity": "Contact", "fields": {"LastName": "Late"}}
    await room.site.transact(step, duration_s=1, silent=True)
    async with room.doing():
        await room.sweeper.sweep("test")
        assert await room.last_names() == set()
        await eventually(lambda: late_is_committed(room))
        await room.sweeper.sweep("test")
    assert await room.last_names() == {"Late"}


async def late_is_committed(room: Room) -> bool:
    return bool(await room.site.soql("SELECT Id FROM Contact"))


async def test_page_that_does_not_advance_fails_the_sweep(room: Room) -> None:
    """An endless loop would spend the org's API calls while looking busy."""
    await room.contacts(5)
    await room.backfill()
    rows = await room.site.get(
        "queryAll", q="SELECT FIELDS(ALL) FROM Contact ORDER BY SystemModstamp, Id LIMIT 5"
    )
    await room.plant("status", match="queryAll.*FROM Contact", times=None, code=200, body=rows)
    async with room.doing():
        async with asyncio.timeout(5):
            with pytest.raises(UnavailableError, match="advance"):
                await room.sweeper.sweep("test")


async def test_storm_of_askings_is_one_sweep_and_one_reason(room: Room) -> None:
    """SIGUSR1 a thousand times while Salesforce is away must not grow anything."""
    await room.backfill()
    async with room.doing():
        asked = [room.sweeper.ask("signal") for _ in range(3)]
        await room.plant("status", match="queryAll", times=None, code=400)
        for _ in range(3):
            with pytest.raises(Exception, match="400"):
                await room.sweeper.sweep(room.sweeper.reason or "")
            asked.append(room.sweeper.ask("signal"))
        assert room.sweeper.reason == "signal"
        await room.heal()
        sweep_id = await room.sweeper.sweep("signal")
        assert {await one for one in asked} == {sweep_id}
    assert await room.value("SELECT count(DISTINCT sweep_id) FROM sfsync.sweep WHERE reason = 'signal'") == 1


async def test_empty_org_is_swept_and_certified(room: Room) -> None:
    """No record is no error."""
    await room.backfill()
    async with room.doing():
        await room.sweeper.sweep("test")
    assert (await room.certificate("Account"))["records_read"] == 0


async def test_org_whose_clock_is_hours_away_is_swept_alike(room: Room) -> None:
    """Only the org's own instants count: this machine's clock may be anything."""
    await advance(room, 9 * 3600)
    await room.contacts(2)
    await room.backfill()
    await advance(room, 60)
    await room.contacts(2, FirstName="New")
    await advance(room, 5)
    async with room.doing():
        await room.sweeper.sweep("test")
    assert await room.value("SELECT count(*) FROM crm.active_person") == 4
    now_ms = await room.work.connection.clock_ms()
    assert now_ms - 20_000 < (await room.watermark(Entity.CONTACT) or 0) <= now_ms

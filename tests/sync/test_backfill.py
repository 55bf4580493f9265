"""The first load: after the subscription, page by page, and through crashes and changes of mind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from sfsync.core.ids import Entity, RecordId
from sfsync.core.mapping import EntityPlan
from sfsync.core.mapping_file import MappingFile, default_mapping
from sfsync.errors import SalesforceError
from sfsync.store.readings import load_owed, load_readings
from sfsync.sync.backfill import Backfill
from sfsync.sync.starvation import Starvation
from tests.simorg.site import eventually, serving
from tests.sync.room import Room, furnished, open_room


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn, sweep_page=5) as opened:
        yield opened


async def load(room: Room, entity: Entity = Entity.CONTACT) -> None:
    """Load one entity from where it stands."""
    readings = await load_readings(room.work.database, room.work.org)
    async with room.doing():
        await Backfill(room.work).run(readings[entity])


async def fail_after(room: Room, contacts: Sequence[RecordId], pages: int) -> None:
    """Let the org answer *pages* pages of five contacts and refuse the next."""
    asked = f"WHERE Id > '{sorted(contacts)[5 * pages - 1]}'" if pages else "FROM Contact ORDER BY Id"
    await room.plant("status", match=f"queryAll.*{asked}", code=400)


async def test_nothing_is_read_before_the_subscription_stands(room: Room) -> None:
    """Whatever changes during the load must also come as an event."""
    await room.contacts(3)
    async with room.doing(room.sweeper.run()):
        await room.until_claimed("backfill", ok=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(room.until_claimed("backfill"), 0.3)
        assert await room.last_names() == set()
        room.writer.stream.confirmed.set()
        await room.until_claimed("backfill")
    assert len(await room.last_names()) == 3


@pytest.mark.parametrize("pages", [0, 1, 2, 3])
async def test_load_goes_on_after_a_failure_at_any_page(room: Room, pages: int) -> None:
    """A load of an hour must not begin anew because of its last minute."""
    await fail_after(room, await room.contacts(18), pages)
    with pytest.raises(BaseExceptionGroup) as failure:
        await load(room)
    assert failure.group_contains(SalesforceError)
    reading = (await load_readings(room.work.database, room.work.org))[Entity.CONTACT]
    assert reading.backfill_records == 5 * pages
    assert not reading.is_backfilled
    before = room.work.connection.calls["query"]
    await room.heal()
    await load(room)
    assert room.work.connection.calls["query"] - before == 1 + 4 - pages, "a count, and what was missing"
    reading = (await load_readings(room.work.database, room.work.org))[Entity.CONTACT]
    assert (reading.backfill_records, reading.is_backfilled) == (18, True)
    assert len(await room.last_names()) == 18


async def test_watermark_is_left_where_the_load_began(room: Room) -> None:
    """The first sweep must cover the whole time of the load, also after a crash in its middle."""
    contacts = await room.contacts(8)
    began_ms = await room.work.connection.clock_ms()
    await fail_after(room, contacts, 1)
    with pytest.raises(BaseExceptionGroup):
        await load(room)
    await room.heal()
    await room.site.control("POST", "clock", {"advance_s": 3_600})
    await load(room)
    assert (await room.watermark(Entity.CONTACT) or 0) <= began_ms


async def test_load_that_goes_on_under_another_mapping_begins_anew(pg_dsn: str) -> None:
    """The pages of before lack the new columns, and nothing else would ever read them again."""
    whole = default_mapping()
    lesser = MappingFile(tuple(column for column in whole.columns if column.name != "title"))
    async with serving() as site:
        async with open_room(pg_dsn, site, chosen=lesser, sweep_page=5) as room:
            await fail_after(room, await room.contacts(8, Title="Chief"), 1)
            with pytest.raises(BaseExceptionGroup):
                await load(room)
        await site.control("DELETE", "faults")
        await site.control("POST", "clock", {"advance_s": 10})
        async with open_room(pg_dsn, site, chosen=whole, sweep_page=5) as room:
            await load(room)
            titles = await room.rows("SELECT title, count(*) FROM crm.active_person GROUP BY 1")
            assert [tuple(row) for row in titles] == [("Chief", 8)]
            reading = (await load_readings(room.work.database, room.work.org))[Entity.CONTACT]
            assert reading.backfill_records == 8


async def test_loaded_entity_is_owed_a_reading_when_the_mapping_changed_before_the_rest(pg_dsn: str) -> None:
    """A crash between two entities must not hide that the first was loaded under another mapping."""
    async with furnished(pg_dsn) as room:
        await load(room, Entity.ACCOUNT)
        before = room.work.mapping.plans
        fields = {k: v for k, v in before[Entity.ACCOUNT].fields.items() if k != "Industry"}
        plans = {**before, Entity.ACCOUNT: EntityPlan(Entity.ACCOUNT, fields)}
        changed = replace(room.work, mapping=replace(room.work.mapping, plans=plans))
        sweeper = type(room.sweeper)(changed, Starvation(changed, room.subscription))
        async with room.doing(sweeper.run()):
            owed = await eventually(lambda: load_owed(room.work.database, room.work.org))
        assert [(reading.entity, reading.reason) for reading in owed] == [(Entity.ACCOUNT, "mapping")]


async def test_page_without_readable_ids_is_an_outage_and_no_end_of_the_process(room: Room) -> None:
    """A proxy that answers nonsense is away, like one that answers nothing."""
    await room.contacts(5)
    body = {"records": [{"Id": "nonsense"}] * 5, "done": True, "totalSize": 5}
    await room.plant("status", match="queryAll.*FROM Contact", code=200, body=body)
    with pytest.raises(BaseExceptionGroup) as failure:
        await load(room)
    assert failure.group_contains(SalesforceError)

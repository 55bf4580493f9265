"""A mapping that changes under the daemon: by an administrator who hides a field, or by an operator who maps another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sfsync.core.commands import Cause, Refetch
from sfsync.core.ids import Entity, RecordId
from sfsync.core.mapping_file import MappedColumn, MappingFile, default_mapping
from sfsync.errors import ConfigError, MappingChangedError
from sfsync.store.batch import Batch
from tests.simorg.site import Site, serving
from tests.sync.room import Room, open_room

LEVEL = MappedColumn("person", "level", "plain", {Entity.CONTACT: "Level__c"})
LEVELLED = MappingFile((*default_mapping().columns, LEVEL))
LATER_S = 600


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """An org whose contacts have a number `Level__c`."""
    async with serving() as served:
        await served.control("POST", "settings", {"long_poll_s": 1})
        await change(served, "add", type="double")
        yield served


async def change(site: Site, action: str, **field: str) -> None:
    """Let an administrator change the field `Level__c` of contacts."""
    body = {"entity": "Contact", "action": action, "field": {"name": "Level__c", **field}}
    await site.control("POST", "fields", body)


async def until_the_mapping_changes(room: Room) -> None:
    """Run the sweeper until a new pipeline must be begun."""
    room.writer.stream.confirmed.set()
    with pytest.raises(BaseExceptionGroup) as ended:
        async with room.doing():
            await room.sweeper.run()
    assert ended.group_contains(MappingChangedError)


async def level(room: Room, contact: RecordId) -> float | None:
    found = await room.value("SELECT level FROM crm.person WHERE salesforce_id = $1", contact)
    return None if found is None else float(found)


async def pauses(room: Room) -> dict[str, str]:
    return {one.column.name: one.reason for one in room.work.mapping.paused}


@asynccontextmanager
async def later(dsn: str, site: Site, chosen: MappingFile = LEVELLED) -> AsyncIterator[Room]:
    """Begin the next pipeline, ten minutes later."""
    await site.control("POST", "clock", {"advance_s": LATER_S})
    async with open_room(dsn, site, chosen=chosen, sweep_page=50) as room:
        yield room


async def loaded(dsn: str, site: Site, chosen: MappingFile = LEVELLED) -> RecordId:
    """Load the org with one contact of level 7 under this mapping; return the contact."""
    async with open_room(dsn, site, chosen=chosen) as room:
        [contact] = await room.contacts(1, Level__c=7, Title="Chief", MobilePhone="090")
        await room.backfill()
        return contact


async def hidden(dsn: str, site: Site) -> RecordId:
    """Load the org, then hide the field; return the contact. The sweep that notices has ended its pipeline."""
    contact = await loaded(dsn, site)
    async with later(dsn, site) as room:
        await change(site, "hide")
        room.sweeper.ask("test")
        await until_the_mapping_changes(room)
    return contact


async def test_hidden_field_suspends_its_column_only(pg_dsn: str, site: Site) -> None:
    """An administrator's click must cost one column its freshness, never its values, and nobody else anything."""
    contact = await hidden(pg_dsn, site)
    with capture_logs() as logs:
        async with later(pg_dsn, site) as room:
            assert await pauses(room) == {"level": "gone"}
            await room.update(contact, LastName="Renamed", Level__c=8)
            other = await room.create("Contact", LastName="New")
            await site.control("POST", "clock", {"advance_s": LATER_S})
            async with room.doing():
                await room.sweeper.sweep("test")
            assert await room.last_names() == {"Renamed", "New"}
            assert (await level(room, contact), await level(room, other)) == (7, None)
    suspended = [entry for entry in logs if entry["event"] == "mapping.column.suspended"]
    assert [(e["column"], e["field"], e["reason"]) for e in suspended] == [
        ("level", "Contact.Level__c", "gone")
    ]


async def test_field_that_is_back_is_read_before_it_is_shown(pg_dsn: str, site: Site) -> None:
    """Nobody should have to do anything; and a column that empties first would be worse than a stale one."""
    contact = await hidden(pg_dsn, site)
    since = "SELECT count(*) FROM sfsync.mapped_column WHERE suspended_since IS NOT NULL"
    async with later(pg_dsn, site) as room:
        assert await room.value(since) == 1
        await room.update(contact, Level__c=8)
        await change(site, "show")
        room.sweeper.ask("test")
        await until_the_mapping_changes(room)
    async with later(pg_dsn, site) as room:
        assert await pauses(room) == {"level": "unread"}
        assert await level(room, contact) == 7
        await until_the_mapping_changes(room)
    async with later(pg_dsn, site) as room:
        assert await pauses(room) == {}
        await room.backfill()
        assert await level(room, contact) == 8
        assert await room.value(since) == 0


async def test_refetch_notices_a_hidden_field(pg_dsn: str, site: Site) -> None:
    """Fifteen minutes until the next sweep would be fifteen minutes of failing refetches."""
    contact = await loaded(pg_dsn, site)
    async with later(pg_dsn, site) as room:
        await change(site, "hide")
        batch = Batch([Refetch(Entity.CONTACT, contact, 1, Cause.GAP)], "event", 1)

        async def mark_and_refetch() -> None:
            await room.writer.submit(batch)
            await room.refetcher.run()

        with pytest.raises(BaseExceptionGroup) as ended:
            async with room.doing():
                await mark_and_refetch()
        assert ended.group_contains(MappingChangedError)


async def test_retyped_field_suspends_its_column(pg_dsn: str, site: Site) -> None:
    """A text cannot be written into a numeric column; its last number is better than none."""
    contact = await loaded(pg_dsn, site)
    async with later(pg_dsn, site) as room:
        await change(site, "retype", type="string")
        await room.update(contact, Level__c="high", LastName="Renamed")
        await site.control("POST", "clock", {"advance_s": LATER_S})
        await until_the_mapping_changes(room)
    async with later(pg_dsn, site) as room:
        assert await pauses(room) == {"level": "retyped"}
        await room.backfill()
        assert await room.last_names() == {"Renamed"}
        assert await level(room, contact) == 7

    # The way on: another column name. The old one stays with its values, and the application may have it.
    column = MappedColumn("person", "level_text", "plain", {Entity.CONTACT: "Level__c"})
    renamed = MappingFile((*default_mapping().columns, column))
    async with later(pg_dsn, site, renamed) as room:
        if await pauses(room):
            await until_the_mapping_changes(room)
    async with later(pg_dsn, site, renamed) as room:
        await room.backfill()
        assert await room.value("SELECT level_text FROM crm.person") == "high"
        assert await level(room, contact) == 7
        assert await room.value("SELECT column_name FROM sfsync.released_column") == "level"


async def test_field_that_never_was_there_is_a_fault(pg_dsn: str, site: Site) -> None:
    """Suspending what was misspelt would hide the mistake for ever."""
    await loaded(pg_dsn, site)
    typo = MappedColumn("person", "rank", "plain", {Entity.CONTACT: "Rank__c"})
    with pytest.raises(ConfigError, match=r"person\.rank: Contact\.Rank__c is not there"):
        async with later(pg_dsn, site, MappingFile((*LEVELLED.columns, typo))):
            pass


async def test_newly_mapped_field_is_read_from_its_entity_only_and_shown_when_it_is_read(
    pg_dsn: str, site: Site
) -> None:
    """Reading a million accounts for a column of contacts would waste a day's calls."""
    contact = await loaded(pg_dsn, site, default_mapping())
    async with later(pg_dsn, site) as room:
        assert await pauses(room) == {"level": "unread"}
        await until_the_mapping_changes(room)
        assert (await room.certificate("Contact"))["window_from_ms"] == 0
        assert (await room.certificate("Contact"))["drift"] == "{}"
        assert (await room.certificate("Account"))["window_from_ms"] != 0
    async with later(pg_dsn, site) as room:
        await room.backfill()
        assert await level(room, contact) == 7
        assert (await room.certificate("Contact"))["window_from_ms"] != 0


async def test_column_of_a_field_that_the_mirror_has_is_shown_without_reading(
    pg_dsn: str, site: Site
) -> None:
    """What is known need not be asked for again."""
    await loaded(pg_dsn, site, default_mapping())
    twice = MappedColumn("person", "handy", "plain", {Entity.CONTACT: "MobilePhone"})
    async with later(pg_dsn, site, MappingFile((*default_mapping().columns, twice))) as room:
        assert await pauses(room) == {}
        await room.backfill()
        assert await room.value("SELECT handy FROM crm.person") == "090"
        assert (await room.certificate("Contact"))["window_from_ms"] != 0


async def test_changed_source_keeps_the_old_values_until_the_new_ones_are_read(
    pg_dsn: str, site: Site
) -> None:
    """An application that finds a column empty for an hour writes wrong letters for an hour."""
    contact = await loaded(pg_dsn, site)
    moved = MappedColumn("person", "title", "plain", {Entity.CONTACT: "Department"})
    others = tuple(c for c in LEVELLED.columns if c.name not in ("title", "department"))
    await site.transact({"op": "update", "id": contact, "fields": {"Department": "Sales"}})
    unmapped = MappingFile(others)
    async with later(pg_dsn, site, unmapped) as room:
        await room.backfill()
        assert await room.value("SELECT title FROM crm.person") == "Chief"
    async with later(pg_dsn, site, MappingFile((*others, moved))) as room:
        assert await pauses(room) == {"title": "unread"}
        assert await room.value("SELECT title FROM crm.person") == "Chief"
        await until_the_mapping_changes(room)
        assert await room.value("SELECT title FROM crm.person") == "Chief"
    async with later(pg_dsn, site, MappingFile((*others, moved))) as room:
        await room.backfill()
        assert await room.value("SELECT title FROM crm.person") == "Sales"

"""Who becomes a person: everybody, or only whom somebody asked for; and going over from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sfsync.store.adoption import Adoption
from sfsync.sync.adopting import follow_adoption
from tests.simorg.site import Site, eventually, serving
from tests.sync.room import Room, open_room

ALL, ON_REQUEST, MINIMAL = Adoption(), Adoption(on_request=True), Adoption(on_request=True, minimal=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as served:
        await served.control("POST", "settings", {"long_poll_s": 1})
        yield served


async def populated(site: Site) -> dict[str, Any]:
    """Two companies with a contact each, and a lead."""
    companies = [
        {"op": "create", "entity": "Account", "fields": {"Name": name}, "as": name} for name in ("A", "B")
    ]
    accounts = await site.transact(*companies)
    people = [
        {
            "op": "create",
            "entity": "Contact",
            "fields": {"LastName": "In", "AccountId": accounts["A"]},
            "as": "in",
        },
        {
            "op": "create",
            "entity": "Contact",
            "fields": {"LastName": "Out", "AccountId": accounts["B"]},
            "as": "out",
        },
        {"op": "create", "entity": "Lead", "fields": {"LastName": "L", "Company": "C"}, "as": "lead"},
    ]
    ids: dict[str, Any] = await site.transact(*people)
    return ids


async def counted(room: Room) -> tuple[int, int, int]:
    """People, companies and records of the mirror."""
    [row] = await room.rows(
        "SELECT (SELECT count(*) FROM crm.person), (SELECT count(*) FROM crm.company),"
        " (SELECT count(*) FROM sfsync.record)"
    )
    return row[0], row[1], row[2]


async def pulled(room: Room, record: str) -> None:
    """Ask for one record and wait for the verdict."""
    request = await room.value("SELECT crm.request_sync($1)", record)

    async def is_done() -> bool:
        query = "SELECT done_at IS NOT NULL FROM sfsync.request WHERE id = $1"
        return bool(await room.value(query, request))

    async with room.doing(room.requests.run(), room.refetcher.run()):
        await eventually(is_done)

        async def has_company() -> bool:
            return (await counted(room))[1] > 0

        await eventually(has_company)


async def test_only_who_is_asked_for_becomes_a_person_and_brings_the_company(pg_dsn: str, site: Site) -> None:
    """The mirror knows the rest, so that nobody need be read when everybody is wanted."""
    ids = await populated(site)
    async with open_room(pg_dsn, site, adoption=ON_REQUEST) as room:
        await follow_adoption(room.work)
        await room.backfill()
        assert await counted(room) == (0, 0, 5)
        await pulled(room, ids["in"])
        assert await counted(room) == (1, 1, 5)
        assert await room.last_names() == {"In"}
    async with open_room(pg_dsn, site, adoption=ALL) as room:
        calls = room.work.connection.calls["query"]
        await follow_adoption(room.work)
        assert await counted(room) == (3, 2, 5)
        assert room.work.connection.calls["query"] == calls
    async with open_room(pg_dsn, site, adoption=ON_REQUEST) as room:
        await follow_adoption(room.work)
        assert await counted(room) == (3, 2, 5)


async def test_minimal_mirror_holds_only_who_is_asked_for_and_is_filled_when_all_are_wanted(
    pg_dsn: str, site: Site
) -> None:
    """What is not needed is not kept; going over reads it."""
    ids = await populated(site)
    async with open_room(pg_dsn, site, adoption=MINIMAL) as room:
        await follow_adoption(room.work)
        await room.backfill()
        assert await counted(room) == (0, 0, 0)
        await pulled(room, ids["in"])
        assert await counted(room) == (1, 1, 2)
    async with open_room(pg_dsn, site, adoption=ALL) as room:
        await follow_adoption(room.work)
        await room.backfill()
        assert await counted(room) == (3, 2, 5)


async def test_going_over_to_a_minimal_mirror_forgets_only_who_was_never_wanted(
    pg_dsn: str, site: Site
) -> None:
    """Whoever has become a person stays one."""
    ids = await populated(site)
    async with open_room(pg_dsn, site, adoption=ON_REQUEST) as room:
        await follow_adoption(room.work)
        await room.backfill()
        await pulled(room, ids["in"])
    async with open_room(pg_dsn, site, adoption=MINIMAL) as room:
        await follow_adoption(room.work)
        assert await counted(room) == (1, 1, 2)
        await room.connection.execute("UPDATE sfsync.setting SET value = 'all' WHERE name = 'mirror'")
        await follow_adoption(room.work)
        assert await counted(room) == (1, 1, 2), "a crash on the way begins again"

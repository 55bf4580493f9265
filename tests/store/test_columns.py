"""Mapped columns beside an application's own: who made what is remembered, and nobody's column is taken."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import parse_mapping
from sfsync.core.mapping_plan import column_changes, full_readings
from sfsync.core.standard_fields import standard_describe
from sfsync.errors import SchemaError
from sfsync.store.binding import bind_org
from sfsync.store.columns import (
    ensure_columns,
    load_known,
    load_memory,
    note_projected,
    owes_projection,
    refuse_foreign_columns,
    take_over,
)
from sfsync.store.database import Database, StoreOptions, open_database
from sfsync.store.preview import preview
from tests.store.harness import CONTACT, CONTACT2, LEAD, ORG, image, open_store, patch, read

BASE = 'last_name = { contact = "LastName", lead = "LastName" }\n'
TITLE = 'title = { contact = "Title", lead = "Title" }\n'


def mapped(*lines: str) -> BoundMapping:
    """These columns of person, bound to what every org describes."""
    described = {entity: standard_describe(entity) for entity in Entity}
    return bind(parse_mapping(tomllib.loads("[person]\n" + BASE + "".join(lines))), described)


@pytest.fixture
async def database(pg_dsn: str) -> AsyncIterator[Database]:
    """A store that is bound to an org and was set up with one column."""
    async with open_database(StoreOptions(pg_dsn)) as opened:
        await bind_org(opened, ORG)
        await ensure_columns(opened, mapped())
        yield opened


@pytest.fixture
async def application(pg_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(pg_dsn)
    yield connection
    await connection.close()


async def test_column_of_the_application_is_not_taken(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Writing Salesforce's titles over what an application keeps there would lose what nobody else has."""
    await application.execute("ALTER TABLE crm.person ADD COLUMN title text")
    for attempt in (ensure_columns, refuse_foreign_columns):
        with pytest.raises(
            SchemaError, match=r"person\.title is the application's own.*--take-over person\.title"
        ):
            await attempt(database, mapped(TITLE))
    assert ("person", "title") not in (await load_memory(database, ORG)).columns


async def test_column_of_the_application_is_taken_when_it_is_given(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """A column that was filled by hand until Salesforce had a field for it is a common story."""
    await application.execute("ALTER TABLE crm.person ADD COLUMN title text")
    await refuse_foreign_columns(database, mapped(TITLE), [("person", "title")])
    await take_over(database, [("person", "title")])
    await ensure_columns(database, mapped(TITLE))
    assert ("person", "title") in (await load_memory(database, ORG)).columns


async def test_column_that_was_mapped_before_is_taken_back(database: Database) -> None:
    """Taking a line out of the mapping and putting it back must not need anybody's consent."""
    await ensure_columns(database, mapped(TITLE))
    await ensure_columns(database, mapped())
    assert (await load_known(database)).released == {("person", "title")}
    await ensure_columns(database, mapped(TITLE))
    assert (await load_known(database)).released == set()


async def test_store_of_an_older_version_keeps_its_columns(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """It made them without remembering it; refusing its own columns would stop every upgrade."""
    await ensure_columns(database, mapped(TITLE))
    await application.execute("DELETE FROM sfsync.mapped_column")
    await ensure_columns(database, mapped(TITLE))
    assert ("person", "title") in (await load_memory(database, ORG)).columns


async def test_column_of_another_type_is_refused(database: Database) -> None:
    """A column is never retyped: an application may depend on it."""
    await ensure_columns(database, mapped('born = { contact = "Birthdate" }\n'))
    with pytest.raises(SchemaError, match=r"person\.born is date, the mapping needs text"):
        await ensure_columns(database, mapped('born = { contact = "Title" }\n'))


async def test_column_of_a_domain_can_be_taken(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """A domain narrows what a column takes, and keeps its type."""
    await application.execute("CREATE DOMAIN public.heading AS text CHECK (VALUE <> 'none')")
    await application.execute("ALTER TABLE crm.person ADD COLUMN title public.heading")
    await take_over(database, [("person", "title")])
    await ensure_columns(database, mapped(TITLE))
    assert ("person", "title") in (await load_memory(database, ORG)).columns


async def test_person_of_very_many_columns_is_merged(pg_dsn: str) -> None:
    """Postgres gives a function a hundred arguments and no more."""
    many = mapped(*(f'c{number} = {{ contact = "Title" }}\n' for number in range(120)))
    async with open_store(pg_dsn, mapping=many) as store:
        await store.apply(image(CONTACT, 0, LastName="A"), image(CONTACT2, 0, LastName="B", Title="T"))
        await store.apply(read(CONTACT2, 10, begun=100, deleted=True, master=CONTACT, LastName="B"))
        rows = await store.connection.fetch("SELECT merged_into, c7 FROM crm.person ORDER BY id")
    assert [(row["merged_into"] is None, row["c7"]) for row in rows] == [(True, None), (False, None)]


async def test_same_mapping_writes_nothing(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Every start binds the mapping; a start that changes nothing must not look like a change."""
    await note_projected(database, mapped())
    before = await application.fetch("SELECT xmin::text, m.* FROM sfsync.mapped_column AS m")
    await ensure_columns(database, mapped())
    assert await application.fetch("SELECT xmin::text, m.* FROM sfsync.mapped_column AS m") == before
    assert not await owes_projection(database, mapped())


async def test_projection_is_owed_until_it_is_done(database: Database) -> None:
    """A crash between adding a column and filling it must not leave it empty for ever."""
    await note_projected(database, mapped())
    await ensure_columns(database, mapped(TITLE))
    assert await owes_projection(database, mapped(TITLE))
    await note_projected(database, mapped(TITLE))
    assert not await owes_projection(database, mapped(TITLE))
    moved = mapped('title = { contact = "Department" }\n')
    await ensure_columns(database, moved)
    assert await owes_projection(database, moved)


async def test_fields_that_are_read_no_longer_are_forgotten_at_once(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """When they are back before the next reading in full, what changed meanwhile would be missed."""
    both = mapped(TITLE)
    await application.execute(
        "INSERT INTO sfsync.watermark (org, entity, backfilled_at, mapping) VALUES ($1, 'Contact', now(), $2)",
        ORG,
        both.plans[Entity.CONTACT].coverage,
    )
    await ensure_columns(database, mapped())
    await ensure_columns(database, both)
    memory = await load_memory(database, ORG)
    assert "Title:text" not in memory.covered[Entity.CONTACT]
    assert "LastName:text" in memory.covered[Entity.CONTACT]
    readings = {reading.entity: reading for reading in full_readings(both, memory)}
    assert (readings[Entity.CONTACT].gained, readings[Entity.CONTACT].dropped) == (("Title",), ())
    assert (readings[Entity.LEAD].gained, readings[Entity.LEAD].dropped) == ((), ())


async def test_fingerprint_of_an_older_version_holds_no_column(
    database: Database, application: asyncpg.Connection[asyncpg.Record]
) -> None:
    """An upgrade must not stop every column until everything was read again."""
    await application.execute(
        "INSERT INTO sfsync.watermark (org, entity, backfilled_at, mapping) VALUES ($1, 'Contact', now(), $2)",
        ORG,
        "a" * 64,
    )
    await ensure_columns(database, mapped())
    assert (await load_memory(database, ORG)).covered == {}


async def test_plan_names_what_becomes_of_each_column(database: Database) -> None:
    """An operator decides by it."""
    department = 'department = { contact = "Department" }\n'
    await ensure_columns(database, mapped(TITLE, department))
    changed = mapped('title = { contact = "Department" }\n', 'phone = { contact = "Phone" }\n')
    changes = column_changes(changed, await load_memory(database, ORG), await load_known(database))
    assert {change.name: change.kind for change in changes} == {
        "department": "no longer fed",
        "phone": "added",
        "title": "fed otherwise",
    }


async def test_preview_counts_and_shows_the_rows_that_would_change(pg_dsn: str) -> None:
    """The mirror knows the fields, so the answer is exact, for the lead's lasting values too."""
    async with open_store(pg_dsn) as store:
        await store.apply(
            image(CONTACT, 0, LastName="A", Title="Chief", Department="Sales"),
            image(CONTACT2, 0, LastName="B", Title="Same", Department="Same"),
            image(LEAD, 0, LastName="A", Company="X", Status="Hot"),
            patch(LEAD, 5, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
        )
        [title] = [c for c in mapped('title = { contact = "Department" }\n').person if c.name == "title"]
        found = await preview(store.database, ORG, "person", title, exists=True)
        assert (found.looked_at, found.changing) == (2, 1)
        assert [(e.before, e.after) for e in found.examples] == [("Chief", "Sales")]
        [heat] = [c for c in mapped('heat = { lead = "Status" }\n').person if c.name == "heat"]
        found = await preview(store.database, ORG, "person", heat, exists=False)
        assert (found.looked_at, found.changing) == (2, 1)
        assert [(e.before, e.after) for e in found.examples] == [(None, "Hot")]

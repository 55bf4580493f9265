"""What Salesforce owns is written by sfsync only; what is the application's stays free and is never touched."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sfsync.core.commands import Command
from sfsync.core.ids import Entity
from sfsync.core.mapping import bind
from sfsync.core.mapping_file import default_mapping_text, parse_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.errors import ConfigError, SchemaError
from sfsync.store.columns import ensure_columns
from sfsync.store.database import StoreOptions, open_database
from sfsync.store.grants import let_in, shut_out
from sfsync.store.migrate import migrate
from sfsync.store.protection import _OWN
from sfsync.store.sql import Schemas
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    CONTACT3,
    LEAD,
    MAPPING,
    Store,
    image,
    open_store,
    patch,
    read,
)
from tests.store.roles import Roles, open_roles

OWN = [name for name in _OWN["person"] if name != "id"]
STATES = {CONTACT: "synced", CONTACT2: "pending", CONTACT3: "declined"}


@pytest.fixture
async def roles(empty_dsn: str) -> AsyncIterator[Roles]:
    """One person of each state and a company, an application and a reader that were let in."""
    async with open_roles(empty_dsn) as opened:
        store = opened.store
        await store.apply(
            image(ACCOUNT, 0, Name="A"),
            *[image(contact, 0, LastName="L", AccountId=ACCOUNT) for contact in STATES],
        )
        async with opened.session(opened.owner, switch=True) as sfsync:
            await sfsync.execute("ALTER TABLE crm.person ADD COLUMN greeting text")
            for contact, sync in STATES.items():
                await sfsync.execute(
                    "UPDATE crm.person SET sync = $2 WHERE salesforce_id = $1", contact, sync
                )
        await let_in(store.database, opened.letters, "application")
        await let_in(store.database, opened.reports, "reader")
        yield opened


async def test_mapped_column_of_a_synced_person_is_refused_to_everybody_by_name(roles: Roles) -> None:
    """The error says which columns, whose they are, and where to edit; an ORM that writes back equal values passes."""
    for session in (
        roles.session(roles.letters), roles.session(roles.letters, switch=True),
        roles.session(roles.owner), roles.session(),
    ):  # fmt: skip
        async with session as connection:
            with pytest.raises(
                asyncpg.InsufficientPrivilegeError, match=r"Salesforce owns city, last_name\n"
            ) as caught:
                await connection.execute(
                    "UPDATE crm.person SET last_name = 'X', city = 'Y', greeting = 'Z', title = title"
                    f" WHERE salesforce_id = '{CONTACT}'"
                )
            assert (caught.value.table_name, caught.value.column_name) == ("person", "city")
            assert caught.value.hint == f"Edit record {CONTACT} in Salesforce; sfsync brings the change here."
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"Salesforce owns name\n"):
                await connection.execute("UPDATE crm.company SET name = 'X'")
            done = await connection.execute(
                "UPDATE crm.person SET greeting = 'Z', last_name = last_name, sync = sync, address_preference = 'person'"
            )
            assert done == "UPDATE 3"
    [person] = [row for row in await roles.store.people() if row["salesforce_id"] == CONTACT]
    assert (person["last_name"], person["city"], person["greeting"]) == ("L", None, "Z")


async def test_switch_lets_owner_and_superuser_write(roles: Roles) -> None:
    """Repair by hand stays possible, and says so in the session."""
    for session in (roles.session(roles.owner, switch=True), roles.session(switch=True)):
        async with session as connection:
            assert (
                await connection.execute("UPDATE crm.person SET last_name = 'X', sync = sync") == "UPDATE 3"
            )
            assert await connection.execute("UPDATE crm.company SET deleted_at = now()") == "UPDATE 1"
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(
                "INSERT INTO crm.person (id, org) VALUES (999, 'o'); DELETE FROM crm.person; TRUNCATE crm.person"
            )
            await transaction.rollback()


async def test_undecided_person_is_the_applications_but_for_sfsyncs_own_columns(roles: Roles) -> None:
    """Pending and declined people are edited here; whom they are and whether they follow is kept."""
    async with roles.session(roles.letters) as letters:
        for contact, sync in STATES.items():
            person = f"WHERE salesforce_id = '{contact}'"
            if sync != "synced":
                assert (
                    await letters.execute(f"UPDATE crm.person SET last_name = 'Mine' {person}") == "UPDATE 1"
                )
            for column in OWN:
                value = {"sync": "'pending'" if sync != "pending" else "'synced'", "company_id": "999",
                    "merged_into": "999", "deleted_at": "now()", "synced_at": "now()"}.get(column, "'x'")  # fmt: skip
                with pytest.raises(
                    asyncpg.InsufficientPrivilegeError, match=rf"sfsync itself keeps {column}\n"
                ):
                    await letters.execute(f"UPDATE crm.person SET {column} = {value} {person}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"sfsync itself keeps id\n"):
            await letters.execute("UPDATE crm.person SET id = -id")


async def test_rows_are_made_and_removed_by_sfsync_only(roles: Roles) -> None:
    """A superuser is told what to do instead; who was let in lacks even the privilege."""
    async with roles.session() as superuser, roles.session(roles.letters) as letters:
        for table in ("person", "company"):
            for statement, said, hint in (
                (
                    f"INSERT INTO crm.{table} (id, org) VALUES (999, 'o')",
                    "insert",
                    "Create the record in Salesforce",
                ),
                (f"DELETE FROM crm.{table}", "delete", "sfsync purge"),
                (f"TRUNCATE crm.{table}", "truncate", "sfsync purge"),
            ):
                with pytest.raises(
                    asyncpg.InsufficientPrivilegeError, match=f"{table}: only sfsync may {said} rows"
                ) as caught:
                    await superuser.execute(statement)
                assert hint in (caught.value.hint or "")
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                    await letters.execute(statement)


async def test_operators_of_the_caller_do_not_talk_the_guard_out_of_it(roles: Roles) -> None:
    """An application may make operators; the comparison must not find them."""
    async with roles.session(roles.letters) as letters:
        await letters.execute(
            "CREATE FUNCTION crm.always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR crm.= (FUNCTION = crm.always, LEFTARG = text, RIGHTARG = text);"
            "SET search_path = crm, pg_catalog"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="Salesforce owns last_name"):
            await letters.execute(
                f"UPDATE crm.person SET last_name = 'X' WHERE salesforce_id LIKE '{CONTACT}'"
            )


async def test_suspended_or_disabled_protection_is_restored_by_a_start(roles: Roles) -> None:
    """Whoever disables a trigger for a night's repair must not have to remember it."""
    async with roles.session() as superuser:
        await superuser.execute(
            "ALTER TABLE crm.person DISABLE TRIGGER ALL; DROP TRIGGER sfsync_update ON crm.company"
        )
        assert await superuser.execute("UPDATE crm.person SET last_name = 'L'") == "UPDATE 3"
        await ensure_columns(roles.store.database, roles.store.term.mapping)
        for table in ("person", "company"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="sfsync itself keeps org"):
                await superuser.execute(f"UPDATE crm.{table} SET org = 'x'")


# ---------------------------------------------------------------- roles


async def test_reader_reads_all_of_crm_and_nothing_else(roles: Roles) -> None:
    """The views reach into schema sfsync for it; the tables there stay closed."""
    async with roles.session(roles.reports) as reports:
        views = await reports.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind IN ('r', 'v')"
        )
        assert {"person", "company", "person_address", "pending_decision", "decision"} <= {
            v["relname"] for v in views
        }
        for view in views:
            await reports.fetch(f"SELECT * FROM crm.{view['relname']}")
        [person] = await reports.fetch("SELECT crm.resolve_person(id) FROM crm.active_person LIMIT 1")
        assert person["resolve_person"] is not None
        for statement in (
            "SELECT * FROM sfsync.record", "UPDATE crm.person SET greeting = 'x'", "CREATE TABLE crm.own (id int)",
            "SELECT crm.request_sync('0035i00000Con01AAB')", "SELECT crm.set_address_preference(1, NULL)",
        ):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reports.execute(statement)


async def test_application_works_beside_sfsync(roles: Roles) -> None:
    """Own tables with foreign keys, own columns, addresses, requests; who asked is on record."""
    async with roles.session(roles.letters) as letters:
        await letters.execute(
            "CREATE TABLE crm.letter (person_id bigint REFERENCES crm.person (id) ON DELETE RESTRICT);"
            "INSERT INTO crm.letter SELECT id FROM crm.person"
        )
        await letters.execute("SELECT crm.add_application_column('person', 'gift_sent_on', 'date')")
        assert await letters.execute("UPDATE crm.person SET gift_sent_on = now()") == "UPDATE 3"
        assert (await letters.fetch("SELECT gift_sent_on, greeting FROM crm.active_person"))[0][
            "gift_sent_on"
        ]
        await letters.execute("SELECT crm.set_address_preference(id, 'person') FROM crm.person")
        await letters.execute("SELECT crm.request_sync($1)", str(LEAD))
        for statement in (
            "SELECT * FROM sfsync.request",
            "SELECT sfsync.shut_out('x')",
            "DROP VIEW crm.active_person",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await letters.execute(statement)
        await letters.execute("SELECT crm.decide(id, 'decline') FROM crm.person WHERE sync <> 'declined'")
        assert await letters.fetchval("SELECT count(*) FROM crm.person WHERE sync = 'declined'") == 3
        assert await letters.fetchval("SELECT array_agg(DISTINCT decided_by) FROM crm.decision") == [
            roles.letters
        ]
    asked = await roles.store.connection.fetchval("SELECT asked_by FROM sfsync.request WHERE kind = 'pull'")
    assert asked == roles.letters
    async with roles.session(roles.reports) as reports:
        await reports.fetch("SELECT gift_sent_on FROM crm.active_person")


async def test_own_column_is_of_a_plain_kind(store: Store) -> None:
    """The function alters the table as its owner, so nothing else may slip through it."""
    await store.connection.execute("CREATE DOMAIN crm.own AS text CHECK (crm.resolve_person(1) IS NULL)")
    for *arguments, said in (
        ("pets", "a", "text", '"pets" is no table'),
        ("person", 'a" text, b', "text", "is no column name"),
        ("person", "a", "text; DROP TABLE crm.person", "is no built-in type"),
        ("person", "a", "varchar(20)", "is no built-in type"),
        ("person", "a", "crm.own", "is no built-in type"),
        ("person", "last_name", "text", "already exists"),
    ):
        with pytest.raises(asyncpg.PostgresError, match=said):
            await store.connection.execute("SELECT crm.add_application_column($1, $2, $3)", *arguments)


async def test_grant_again_gives_nothing_and_another_kind_takes_the_rest(roles: Roles) -> None:
    """A deployment says it every time; an application that becomes a reader keeps no right to write."""
    database, letters = roles.store.database, roles.letters
    again = await let_in(database, letters, "application")
    assert (again.was, again.given) == ("application", ())
    less = await let_in(database, letters, "reader")
    assert less.was == "application" and less.given
    async with roles.session(letters) as connection:
        await connection.fetch("SELECT * FROM crm.person_address")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE crm.person SET greeting = 'x'")
        assert await shut_out(database, letters) == "reader"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM crm.person")
    assert await shut_out(database, letters) is None


async def test_start_gives_what_is_new_and_forgets_roles_that_are_gone(roles: Roles) -> None:
    """A view that is made anew has no privileges: readers must not notice."""
    store = roles.store
    async with roles.session() as superuser:
        await superuser.execute("CREATE ROLE sfsync_test_gone")
        await let_in(store.database, "sfsync_test_gone", "reader")
        await superuser.execute("DROP OWNED BY sfsync_test_gone; DROP ROLE sfsync_test_gone")
    async with roles.session(roles.owner) as owner:
        await owner.execute("DROP VIEW crm.person_address CASCADE; DROP VIEW crm.active_person")
        await owner.execute("CREATE FUNCTION crm.later() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        await owner.execute("REVOKE EXECUTE ON FUNCTION crm.later() FROM PUBLIC")
    await ensure_columns(store.database, store.term.mapping)
    async with roles.session(roles.letters) as letters:
        for query in ("crm.person_address", "crm.address_suggestion", "crm.active_person", "crm.later()"):
            await letters.fetch(f"SELECT * FROM {query}")


async def test_unknown_role_is_refused_unless_it_is_to_be_created(roles: Roles) -> None:
    """A typing error must not end as a role; sfsync's own role may lack the right to create one."""
    with pytest.raises(ConfigError, match="there is no role nobody: CREATE ROLE it first, or add --create"):
        await let_in(roles.store.database, "nobody", "reader")
    with pytest.raises(SchemaError, match="may not create roles: have an administrator CREATE ROLE nobody"):
        await let_in(roles.store.database, "nobody", "reader", create=True)
    with pytest.raises(ConfigError, match="there is no role nobody"):
        await shut_out(roles.store.database, "nobody")


# ---------------------------------------------------------------- the application's own, and what does not change


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


ROWS = """
SELECT 'person', id, xmin::text, ctid::text, t::text FROM crm.person AS t
UNION ALL SELECT 'company', id, xmin::text, ctid::text, t::text FROM crm.company AS t
UNION ALL SELECT 'gift', id, xmin::text, ctid::text, t::text FROM crm.gift AS t
ORDER BY 1, 2
"""


async def test_same_state_again_touches_no_row(store: Store) -> None:
    """Replayed events, an equal sweep, a reprojection and a restart: not even xmin changes."""
    history: list[Command] = [
        image(ACCOUNT, 0, Name="A"),
        image(CONTACT, 1, LastName="山田", AccountId=ACCOUNT),
        patch(CONTACT, 2, Title="部長"),
        image(LEAD, 3, LastName="L", Website="w", IsConverted=True, ConvertedContactId=CONTACT2),
        image(CONTACT2, 3, LastName="L"),
    ]
    await store.apply(*history)
    await store.connection.execute(
        "CREATE TABLE crm.gift (id bigint REFERENCES crm.person (id)); INSERT INTO crm.gift SELECT id FROM crm.person;"
        "SELECT crm.add_application_column('person', 'greeting', 'text'); UPDATE crm.person SET greeting = '様'"
    )
    before = await store.connection.fetch(ROWS)
    assert len(before) == 5
    await store.apply(*history)
    assert await store.connection.fetch(ROWS) == before
    await store.apply(
        read(ACCOUNT, 0, begun=500, Name="A"),
        read(CONTACT, 2, begun=500, LastName="山田", AccountId=ACCOUNT, Title="部長"),
    )
    await store.succeed()
    await ensure_columns(store.database, store.term.mapping)
    after: str | None = ""
    while after is not None:
        after = await store.applier.reproject(after)
    assert await migrate(store.database) == []
    assert await store.connection.fetch(ROWS) == before


async def test_changed_mapping_touches_no_row_to_which_it_brings_nothing(store: Store) -> None:
    """A column more, another one less: where nothing of ours changes, the row stays the very same version."""
    await store.apply(image(ACCOUNT, 0, Name="A"), image(CONTACT, 1, LastName="山田", AccountId=ACCOUNT))
    await store.connection.execute(
        "SELECT crm.add_application_column('person', 'greeting', 'text'); UPDATE crm.person SET greeting = '様'"
    )
    versions = "SELECT id, xmin::text, ctid::text FROM crm.person UNION ALL SELECT id, xmin::text, ctid::text FROM crm.company"
    before = await store.connection.fetch(versions)
    document = tomllib.loads(default_mapping_text())
    document["person"]["birth_date"] = {"contact": "Birthdate"}
    document["company"]["ticker"] = "TickerSymbol"
    del document["person"]["website"]
    describes = {entity: standard_describe(entity) for entity in Entity}
    changed = bind(parse_mapping(document), describes)
    await ensure_columns(store.database, changed)
    store.term.mapping = changed
    await store.succeed()
    after: str | None = ""
    while after is not None:
        after = await store.applier.reproject(after)
    assert await store.connection.fetch(versions) == before
    [person] = await store.live()
    assert (person["greeting"], person["birth_date"], person["last_name"]) == ("様", None, "山田")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="Salesforce owns birth_date"):
        await store.connection.execute("UPDATE crm.person SET birth_date = '2000-01-01'")
    assert await store.connection.execute("UPDATE crm.person SET website = 'mine'") == "UPDATE 1"


async def test_protection_and_views_go_by_the_names_of_the_schemas(empty_dsn: str) -> None:
    """An installation may call its schemas otherwise; the switch keeps its name."""
    options = StoreOptions(empty_dsn, schemas=Schemas("people", "machinery"))
    async with open_database(options) as database:
        await migrate(database)
        await ensure_columns(database, MAPPING)
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO people.person (id, org, last_name) VALUES (1, 'o', 'A')")
        assert (await let_in(database, "pg_monitor", "reader")).given
        assert await shut_out(database, "pg_monitor") == "reader"
    other = await asyncpg.connect(empty_dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="Salesforce owns last_name"):
            await other.execute("UPDATE people.person SET last_name = 'B'")
        await other.execute("SELECT people.set_address_preference(1, 'person')")
        await other.execute("SELECT people.add_application_column('person', 'own', 'text')")
        await other.execute("SET sfsync.writer = on; UPDATE people.person SET last_name = 'B'")
        await other.fetch(
            "SELECT own FROM people.active_person, people.person_address, people.address_suggestion"
        )
    finally:
        await other.close()


async def test_change_by_sfsync_keeps_what_is_the_applications(store: Store) -> None:
    """Its columns keep their values in every row that sfsync writes, merged-away ones too."""
    await store.apply(
        image(LEAD, 0, LastName="L"), image(CONTACT, 0, LastName="C"), image(CONTACT2, 0, LastName="D")
    )
    await store.connection.execute(
        "CREATE TABLE crm.gift (id bigint REFERENCES crm.person (id)); INSERT INTO crm.gift SELECT id FROM crm.person;"
        "SELECT crm.add_application_column('person', 'greeting', 'text');"
        "UPDATE crm.person SET greeting = 'g' || id, address_preference = 'person'"
    )
    untouched = await store.connection.fetch(ROWS + " LIMIT 3")
    await store.apply(
        patch(LEAD, 1, IsConverted=True, ConvertedContactId=CONTACT), patch(CONTACT, 1, LastName="New")
    )
    people = await store.people()
    assert {row["greeting"] for row in people} == {f"g{row['id']}" for row in people}
    assert {row["address_preference"] for row in people} == {"person"}
    assert sum(row["merged_into"] is not None for row in people) == 1
    kept = await store.connection.fetch(ROWS + " LIMIT 3")
    assert kept == untouched

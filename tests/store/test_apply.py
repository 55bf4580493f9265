"""What a batch leaves in the store: mirror, people, companies, marks, feed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.store.harness import (
    ACCOUNT,
    ACCOUNT2,
    CONTACT,
    CONTACT2,
    LEAD,
    Store,
    absent,
    gap,
    image,
    open_store,
    patch,
    read,
    tombstone,
)


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


async def test_created_contact_becomes_a_person_of_its_company(store: Store) -> None:
    """The parent-child relation is the point of the store."""
    await store.apply(
        image(ACCOUNT, 0, Name="株式会社サンプル"),
        image(CONTACT, 0, LastName="山田", AccountId=ACCOUNT, MailingPostalCode="100-0005"),
    )
    [person], [company] = await store.people(), await store.companies()
    assert (person["last_name"], person["postal_code"], person["source"]) == ("山田", "100-0005", "contact")
    assert person["company_id"] == company["id"]
    assert company["name"] == "株式会社サンプル"


async def test_company_that_arrives_late_links_its_people(store: Store) -> None:
    """A contact may be heard of before its account."""
    await store.apply(image(CONTACT, 0, LastName="山田", AccountId=ACCOUNT))
    assert (await store.people())[0]["company_id"] is None
    await store.apply(image(ACCOUNT, 1, Name="Sample"))
    [person], [company] = await store.people(), await store.companies()
    assert person["company_id"] == company["id"]


async def test_patch_changes_only_the_fields_it_names_and_can_null_them(store: Store) -> None:
    """Absent means unchanged, null means set to null."""
    await store.apply(image(CONTACT, 0, LastName="山田", Phone="1", Fax="2"))
    await store.apply(patch(CONTACT, 5, Fax=None, Title="部長"))
    [person] = await store.people()
    assert (person["phone"], person["fax"], person["title"]) == ("1", None, "部長")


async def test_patch_of_an_unknown_record_makes_no_person_until_it_is_read(store: Store) -> None:
    """A person with half its fields would be a lie."""
    await store.apply(patch(CONTACT, 0, Title="CEO"))
    assert await store.people() == []
    assert await store.dirty() == {CONTACT: {"unknown_record"}}
    await store.apply(read(CONTACT, -100, begun=61, LastName="Doe", Title="CEO"), heard=61)
    [person] = await store.people()
    assert (person["last_name"], person["title"]) == ("Doe", "CEO")
    assert await store.dirty() == {}


async def test_reparenting_follows_at_once(store: Store) -> None:
    """Re-parenting is one update."""
    await store.apply(image(ACCOUNT, 0, Name="A"), image(ACCOUNT2, 0, Name="B"))
    await store.apply(image(CONTACT, 1, LastName="X", AccountId=ACCOUNT))
    await store.apply(patch(CONTACT, 2, AccountId=ACCOUNT2))
    [person] = await store.people()
    names = {row["id"]: row["name"] for row in await store.companies()}
    assert names[person["company_id"]] == "B"


async def test_converted_lead_keeps_its_person_id(store: Store) -> None:
    """A lead that is converted stays the same person."""
    await store.apply(image(LEAD, 0, LastName="Doe", Company="Acme", Status="Open", Website="x.test"))
    [before] = await store.people()
    await store.apply(
        image(ACCOUNT, 5, Name="Acme"),
        image(CONTACT, 5, LastName="Doe", AccountId=ACCOUNT),
        patch(
            LEAD, 6, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate="2026-11-24", Status="Closed"
        ),
    )
    [after] = await store.people()
    assert after["id"] == before["id"]
    assert (after["source"], after["salesforce_id"], after["company_name"]) == ("contact", CONTACT, None)
    assert (after["website"], after["status"]) == ("x.test", "Closed")
    assert after["company_id"] == (await store.companies())[0]["id"]
    assert await store.person_of(CONTACT) == await store.person_of(LEAD) == before["id"]


async def test_conversion_into_an_existing_contact_leaves_an_alias(store: Store) -> None:
    """Both ids were handed out, so both must lead to the one person."""
    await store.apply(image(CONTACT, 0, LastName="Doe", Phone="1"))
    await store.apply(image(LEAD, 1, LastName="Doe"))
    old, lead_person = [row["id"] for row in await store.people()]
    await store.apply(patch(LEAD, 9, IsConverted=True, ConvertedContactId=CONTACT))
    [person] = await store.live()
    assert person["id"] == old
    merged = {row["id"]: row for row in await store.people()}[lead_person]
    assert (merged["merged_into"], merged["last_name"]) == (old, None)
    resolve = "SELECT crm.resolve_person($1)"
    assert await store.connection.fetchval(resolve, lead_person) == old
    assert await store.connection.fetchval(resolve, old) == old
    assert await store.connection.fetchval(resolve, 999_999) is None


async def test_converted_lead_speaks_until_its_contact_arrives(store: Store) -> None:
    """With a lost contact event the person must not vanish."""
    await store.apply(image(LEAD, 0, LastName="Doe", Status="Open"))
    await store.apply(patch(LEAD, 5, IsConverted=True, ConvertedContactId=CONTACT, Status="Closed"))
    [waiting] = await store.people()
    assert waiting["status"] == "Open", "the projection waits for its other half"
    await store.connection.execute("UPDATE sfsync.record SET hold_until = now() - interval '1 s'")
    assert await store.applier.release_held() == 1
    [released] = await store.people()
    assert (released["status"], released["source"]) == ("Closed", "lead")
    await store.apply(image(CONTACT, 5, LastName="Doe"))
    [person] = await store.live()
    assert (person["id"], person["source"]) == (released["id"], "contact")


async def test_merge_does_not_look_like_a_deletion(store: Store) -> None:
    """A delete event never says that it is a merge; only a read does."""
    await store.apply(image(CONTACT, 0, LastName="A"), image(CONTACT2, 0, LastName="B"))
    winner, loser = [row["id"] for row in await store.people()]
    await store.apply(tombstone(CONTACT2, 9), gap(CONTACT2, 9), heard=9)
    assert [row["deleted_at"] for row in await store.people()] == [None, None]
    await store.apply(read(CONTACT2, 9, begun=10, deleted=True, master=CONTACT, LastName="B"), refetched=True)
    [person] = await store.live()
    assert (person["id"], person["last_name"]) == (winner, "A")
    assert await store.connection.fetchval("SELECT crm.resolve_person($1)", loser) == winner


async def test_undelete_of_a_merge_loser_gives_it_its_old_id_back(store: Store) -> None:
    """So an id never changes its meaning."""
    await test_merge_does_not_look_like_a_deletion(store)
    await store.apply(image(CONTACT2, 200, LastName="B"))
    assert [row["last_name"] for row in await store.live()] == ["A", "B"]
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.identity") == 0


async def test_deleted_person_is_marked_once_its_other_half_did_not_come(store: Store) -> None:
    """Five seconds are enough for a merge to show."""
    await store.apply(image(CONTACT, 0, LastName="A"))
    await store.apply(tombstone(CONTACT, 9), gap(CONTACT, 9))
    await store.connection.execute("UPDATE sfsync.record SET hold_until = now() - interval '1 s'")
    await store.applier.release_held()
    [person] = await store.people()
    assert person["deleted_at"] is not None
    await store.apply(image(CONTACT, 90, LastName="A"))
    [person] = await store.people()
    assert person["deleted_at"] is None


async def test_merged_companies_bring_their_people_along(store: Store) -> None:
    """Companies are merged like people, and their people follow."""
    await store.apply(
        image(ACCOUNT, 0, Name="A"),
        image(ACCOUNT2, 0, Name="B"),
        image(CONTACT, 0, LastName="X", AccountId=ACCOUNT2),
    )
    first, _ = [row["id"] for row in await store.companies()]
    await store.apply(read(ACCOUNT2, 9, begun=100, deleted=True, master=ACCOUNT, Name="B"))
    [person] = await store.people()
    assert person["company_id"] == first
    assert await store.dirty() == {CONTACT: {"parent_changed"}}


async def test_equal_read_writes_nothing_at_all(store: Store) -> None:
    """A sweep over an unchanged store must not even touch xmin."""
    await store.apply(image(CONTACT, 0, LastName="A", Phone="1"))
    versions = "SELECT xmin::text, ctid::text FROM sfsync.record UNION ALL SELECT xmin::text, ctid::text FROM crm.person"
    before = await store.connection.fetch(versions)
    outcome = await store.apply(read(CONTACT, 0, begun=500, LastName="A", Phone="1"))
    assert outcome.verdicts == {"equal": 1}
    assert await store.connection.fetch(versions) == before


async def test_absence_ends_a_mark_and_deletes_nothing(store: Store) -> None:
    """Salesforce does not tell purged from hidden."""
    await store.apply(image(CONTACT, 0, LastName="A"))
    await store.apply(gap(CONTACT, 5))
    await store.apply(absent(CONTACT, begun=66), refetched=True, heard=66)
    assert await store.dirty() == {}
    assert len(await store.live()) == 1
    assert await store.connection.fetchval("SELECT unseen_since_ms FROM sfsync.record") is not None


async def test_large_batches_go_through_copy_and_mean_the_same(store: Store) -> None:
    """There are two ways into Postgres and only one meaning."""
    ids = [type(CONTACT)(f"0035i{n:010d}AAA") for n in range(250)]
    await store.apply(*(image(i, 0, LastName=f"N{n}", Phone="1") for n, i in enumerate(ids)))
    await store.apply(*(patch(i, 5, Phone=None) for i in ids[:150]))
    people = await store.people()
    assert len(people) == 250
    assert sum(row["phone"] is None for row in people) == 150


async def test_poison_record_is_parked_and_stops_nobody_else(store: Store) -> None:
    """One bad row must not hold up an org."""
    await store.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_bob CHECK (last_name <> 'Bob')")
    outcome = await store.apply(image(CONTACT, 0, LastName="Bob"), image(CONTACT2, 0, LastName="Ann"))
    assert outcome.parked == 1
    assert [row["last_name"] for row in await store.people()] == ["Ann"]
    assert await store.dirty() == {CONTACT: {"poison"}}
    letters = await store.connection.fetch("SELECT record_id, reason FROM sfsync.dead_letter")
    assert [row["record_id"] for row in letters] == [CONTACT]
    assert "Bob" not in letters[0]["reason"] and "no_bob" in letters[0]["reason"]


async def test_new_mapping_empties_a_column_of_rows_that_were_merged_away_without_it(store: Store) -> None:
    """What a row kept while nobody fed the column is nobody's value any more."""
    await store.apply(image(ACCOUNT, 0, Name="A"), image(ACCOUNT2, 0, Name="B"))
    await store.apply(read(ACCOUNT2, 10, begun=100, deleted=True, master=ACCOUNT, Name="B"))
    await store.connection.execute(
        "SET sfsync.writer = on; UPDATE crm.company SET name = 'B' WHERE merged_into IS NOT NULL"
    )
    assert await store.applier.reproject("") is not None
    rows = await store.connection.fetch("SELECT name FROM crm.company ORDER BY id")
    assert [row["name"] for row in rows] == ["A", None]


async def test_new_mapping_projects_what_the_mirror_has_long_known(store: Store) -> None:
    """A column added for a field that was read all along must not stay empty until the record changes."""
    await store.apply(image(ACCOUNT, 0, Name="A"), image(CONTACT, 0, LastName="山田", AccountId=ACCOUNT))
    await store.connection.execute(
        "SET sfsync.writer = on; UPDATE crm.person SET last_name = NULL; UPDATE crm.company SET name = NULL"
    )
    after: str | None = ""
    while after is not None:
        after = await store.applier.reproject(after)
    assert [row["last_name"] for row in await store.people()] == ["山田"]
    assert [row["name"] for row in await store.companies()] == ["A"]
    origins = await store.connection.fetch("SELECT origin FROM sfsync.change ORDER BY seq")
    assert [row["origin"] for row in origins][-2:] == ["mapping", "mapping"]

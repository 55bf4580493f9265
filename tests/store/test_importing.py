"""What an import makes of the store, before anything is read from Salesforce."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sfsync.core.ids import RecordId
from sfsync.core.importing import Fate, Tally
from sfsync.core.people_cells import ImportRow
from sfsync.store.adoption import Adoption
from sfsync.store.database import Connection
from sfsync.store.erased import Erased
from sfsync.store.import_files import Feeds, Waiting, forget_file, next_rows, rehearse_file, stage_file
from sfsync.store.import_statements import FedColumn, compose_import
from sfsync.store.importing import ImportFile, plan_part, take_part
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    CONTACT3,
    LEAD,
    ORG,
    Store,
    absent,
    image,
    open_store,
    read,
    tombstone,
)
from tests.store.test_consent import decided

PEOPLE = [FedColumn("last_name", "text"), FedColumn("email", "text"), FedColumn("created_at", "timestamptz")]
COMPANIES = [FedColumn("name", "text"), FedColumn("number_of_employees", "integer")]


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


def row(line: int, of: RecordId, company: str | None = None, **cells: str | None) -> ImportRow:
    """A row of a file; values of the company are named `company_...`."""
    theirs = {
        name.removeprefix("company_"): text for name, text in cells.items() if name.startswith("company_")
    }
    own = {name: text for name, text in cells.items() if not name.startswith("company_")}
    return ImportRow(line, of, company, own, theirs)


async def taken(store: Store, *rows: ImportRow, side: str | None = None) -> Tally:
    """Import rows as the leader does, in one part."""
    staged = await stage_file(store.database, ORG, Feeds(PEOPLE, COMPANIES, side), rows)
    tally = staged.tally
    file = ImportFile(compose_import(PEOPLE, COMPANIES, store.database.schemas), "request 7", side)

    async def work(connection: Connection) -> Sequence[RecordId]:
        nonlocal tally
        waiting = await next_rows(connection, store.database, Waiting(staged.import_id), 0)
        part = await plan_part(connection, store.database, ORG, waiting, tally)
        ids = await take_part(connection, store.database, ORG, file, part)
        tally = part.tally
        return ids

    await store.applier.change("import", work)
    await forget_file(store.database, staged.import_id)
    return tally


async def rehearsed(store: Store, *rows: ImportRow) -> Tally:
    return await rehearse_file(store.database, ORG, Feeds(PEOPLE, COMPANIES, None), rows, lambda *_: None)


async def snapshot(store: Store) -> dict[str, list[str]]:
    """All rows that matter, with the versions of their rows."""
    tables = "crm.person crm.company sfsync.record sfsync.dirty sfsync.pending sfsync.change sfsync.identity".split()
    found = {}
    for table in tables:
        rows = await store.connection.fetch(
            f"SELECT xmin::text, t::text AS row FROM {table} AS t ORDER BY t::text"
        )
        found[table] = [f"{one['xmin']} {one['row']}" for one in rows]
    return found


def fates(tally: Tally) -> dict[str, int]:
    return {str(fate): count for fate, count in tally.counts.items() if count}


async def person(store: Store, of: RecordId) -> Any:
    return await store.connection.fetchrow("SELECT * FROM crm.person WHERE salesforce_id = $1", of)


async def test_unknown_record_becomes_a_person_who_waits_to_be_read(store: Store) -> None:
    """Nothing of the application's people is lost, and nothing passes for Salesforce's word before it was read."""
    tally = await taken(
        store, row(2, CONTACT, ACCOUNT, last_name="山田", email="=a@b.example", company_name="丸井")
    )
    assert fates(tally) == {"created": 1}
    one = await person(store, CONTACT)
    assert (one["last_name"], one["email"], one["source"]) == ("山田", "=a@b.example", "contact")
    assert (one["sync"], one["sync_reason"], one["org"]) == ("pending", "unread", ORG)
    [company] = await store.companies()
    assert (company["id"], company["name"], company["salesforce_id"]) == (one["company_id"], "丸井", ACCOUNT)
    [asked] = await store.connection.fetch("SELECT * FROM sfsync.pending")
    assert (asked["subject_id"], asked["speaker"], asked["reason"]) == (one["id"], CONTACT, "unread")
    assert await store.dirty() == {CONTACT: {"requested"}, ACCOUNT: {"requested"}}
    assert await store.person_of(CONTACT) == one["id"]
    fed = await store.connection.fetch(
        "SELECT subject, action, origin, source, record_id FROM sfsync.change ORDER BY subject"
    )
    assert [tuple(change) for change in fed] == [
        ("company", "created", "import", "request 7", ACCOUNT),
        ("person", "created", "import", "request 7", CONTACT),
    ]


async def test_importing_the_same_file_again_changes_no_row(store: Store) -> None:
    """An operator whose terminal died runs it again."""
    rows = [
        row(2, CONTACT, ACCOUNT, last_name="A", email=None, company_name="B"),
        row(3, LEAD, None, last_name="C", created_at="2026-11-24T01:02:03.000Z"),
    ]
    assert fates(await taken(store, *rows, side="company")) == {"created": 2}
    before = await snapshot(store)
    assert fates(await taken(store, *rows, side="company")) == {"unchanged": 2}
    assert await snapshot(store) == before


async def test_changed_file_changes_who_is_not_decided_on(store: Store) -> None:
    """Until somebody decides, the file is all there is; what it does not say stays."""
    await taken(store, row(2, CONTACT, ACCOUNT, last_name="A", email="a@a.example", company_name="B"))
    tally = await taken(store, row(2, CONTACT, ACCOUNT, email=None, company_name="C"), side="person")
    assert fates(tally) == {"updated": 1}
    assert tally.examples[Fate.UPDATED] == [(2, CONTACT, "email, address_preference")]
    one = await person(store, CONTACT)
    assert (one["last_name"], one["email"], one["address_preference"]) == ("A", None, "person")
    assert (await store.companies())[0]["name"] == "C"
    [change] = await store.connection.fetch(
        "SELECT action, columns FROM sfsync.change WHERE subject = 'person' ORDER BY seq DESC LIMIT 1"
    )
    assert tuple(change) == ("changed", ["email", "address_preference"])
    assert fates(await taken(store, row(2, CONTACT, "-"), side="company")) == {"updated": 1}
    one = await person(store, CONTACT)
    assert (one["company_id"], one["address_preference"]) == (None, "person"), "a choice that was made stays"


async def test_person_who_follows_salesforce_is_not_overwritten(store: Store) -> None:
    """Salesforce is the only truth about them."""
    await store.apply(image(CONTACT, 1, LastName="Real"))
    before = await snapshot(store)
    tally = await taken(store, row(2, CONTACT, ACCOUNT, last_name="Old"), side="person")
    assert fates(tally) == {"owned": 1}
    assert await snapshot(store) == before


async def test_contact_that_is_known_by_its_lead_only_is_read_and_not_made_anew(store: Store) -> None:
    """The person is there already, under the lead; only the news of its conversion is incomplete."""
    await store.apply(image(LEAD, 1, LastName="Real", IsConverted=True, ConvertedContactId=CONTACT))
    assert fates(await taken(store, row(2, CONTACT, last_name="Old"))) == {"owned": 1}
    assert await store.people() == []
    assert (await store.dirty())[CONTACT] == {"requested"}


async def test_declined_person_is_not_touched(store: Store) -> None:
    """Declined means: byte for byte, until decided anew."""
    await taken(store, row(2, CONTACT, last_name="A"))
    one = await person(store, CONTACT)
    await store.connection.execute("SELECT crm.decide($1, 'decline')", one["id"])
    before = await snapshot(store)
    assert fates(await taken(store, row(2, CONTACT, last_name="B"), side="person")) == {"declined": 1}
    assert await snapshot(store) == before


async def test_last_of_duplicate_rows_wins(store: Store) -> None:
    """Whoever appends to a list means the last line."""
    tally = await taken(
        store, row(2, CONTACT, last_name="A", email="a@a.example"), row(5, CONTACT, last_name="B")
    )
    assert fates(tally) == {"created": 1, "duplicate": 1}
    assert tally.examples[Fate.DUPLICATE] == [(2, CONTACT, "line 5 counts")]
    one = await person(store, CONTACT)
    assert (one["last_name"], one["email"]) == ("B", None)


async def test_read_that_agrees_makes_the_person_synced(store: Store) -> None:
    """Who does not differ is no question."""
    await taken(store, row(2, CONTACT, ACCOUNT, last_name="A ", company_name="Old"))
    before = (await person(store, CONTACT))["id"]
    await store.apply(
        read(ACCOUNT, 1, begun=100, Name="New"),
        read(CONTACT, 1, begun=100, LastName="A", AccountId=ACCOUNT),
        refetched=True,
    )
    one = await person(store, CONTACT)
    assert (one["id"], one["sync"], one["sync_reason"]) == (before, "synced", None)
    [company] = await store.companies()
    assert (company["name"], one["company_id"]) == ("New", company["id"]), (
        "companies always follow Salesforce"
    )
    assert await store.dirty() == {}
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.pending") == 0


async def test_read_that_differs_asks_column_by_column(store: Store) -> None:
    """That is the question to decide on."""
    await taken(store, row(2, CONTACT, last_name="A", email="a@a.example"))
    await store.apply(read(CONTACT, 1, begun=100, LastName="B", Title="Chief"), refetched=True)
    one = await person(store, CONTACT)
    assert (one["last_name"], one["sync"], one["sync_reason"]) == ("A", "pending", "differs")
    asked = await store.connection.fetch(
        "SELECT column_name, stored_value, salesforce_value FROM crm.pending_decision ORDER BY column_name"
    )
    assert [tuple(one) for one in asked] == [
        ("email", "a@a.example", None),
        ("last_name", "A", "B"),
        ("title", None, "Chief"),
    ]


async def test_file_that_says_what_salesforce_says_settles_the_question(store: Store) -> None:
    """The record is known: it is compared at once."""
    await taken(store, row(2, CONTACT, last_name="A"))
    await store.apply(read(CONTACT, 1, begun=100, LastName="B"), refetched=True)
    assert (await person(store, CONTACT))["sync_reason"] == "differs"
    assert fates(await taken(store, row(2, CONTACT, last_name="B"))) == {"updated": 1}
    assert (await person(store, CONTACT))["sync"] == "synced"


async def test_record_that_is_absent_leaves_the_person_pending(store: Store) -> None:
    """Purged or hidden: Salesforce does not tell, so nobody is deleted."""
    await taken(store, row(2, CONTACT, ACCOUNT, last_name="A", company_name="B"))
    await store.apply(absent(CONTACT, begun=100), absent(ACCOUNT, begun=100), refetched=True)
    one = await person(store, CONTACT)
    assert (one["last_name"], one["sync"], one["sync_reason"]) == ("A", "pending", "absent")
    assert [company["name"] for company in await store.companies()] == ["B"]
    before = await snapshot(store)
    assert fates(await taken(store, row(2, CONTACT, ACCOUNT, last_name="A", company_name="B"))) == {
        "unchanged": 1
    }
    assert await snapshot(store) == before, "it was asked for already"


async def test_person_who_waits_for_the_other_half_is_not_made_pending(store: Store) -> None:
    """A lead that was converted a second ago has no row yet, but Salesforce has told of it."""
    await store.apply(image(LEAD, 1, LastName="Real", IsConverted=True, ConvertedContactId=CONTACT))
    assert fates(await taken(store, row(2, LEAD, last_name="Old"))) == {"owned": 1}


async def test_record_first_seen_deleted_becomes_a_person_with_a_question(store: Store) -> None:
    """The application has this person; that Salesforce deleted the record is for somebody to judge."""
    await store.apply(tombstone(CONTACT, 1))
    assert fates(await taken(store, row(2, CONTACT, last_name="A"))) == {"created": 1}
    one = await person(store, CONTACT)
    assert (one["last_name"], one["sync"], one["deleted_at"]) == ("A", "pending", None)


async def test_two_records_of_one_person_are_one_row(store: Store) -> None:
    """A list may name a lead and the contact that it became."""
    await taken(store, row(2, LEAD, last_name="A"), row(3, CONTACT, last_name="A"))
    await store.apply(
        read(
            LEAD,
            1,
            begun=100,
            LastName="B",
            IsConverted=True,
            ConvertedContactId=CONTACT,
            ConvertedDate="2026-01-01",
        ),
        read(CONTACT, 1, begun=100, LastName="B"),
        refetched=True,
    )
    tally = await taken(store, row(2, LEAD, last_name="B"), row(3, CONTACT, email=None))
    assert sum(fates(tally).values()) == 2
    # The contact's own row still says something else, and nobody said that it may be lost.
    [question] = await store.connection.fetch(
        "SELECT person_id, row_id, stored_value FROM crm.pending_decision"
    )
    assert question["row_id"] != question["person_id"]
    assert question["stored_value"] == "A"
    await decided(store, question["person_id"], "sync")
    assert [(one["last_name"], one["sync"]) for one in await store.live()] == [("B", "synced")]


async def test_known_company_is_not_overwritten_and_links_its_people(store: Store) -> None:
    """Companies always follow Salesforce."""
    await store.apply(image(ACCOUNT, 1, Name="Real"))
    assert fates(await taken(store, row(2, CONTACT, ACCOUNT, last_name="A", company_name="Old"))) == {
        "created": 1
    }
    [company] = await store.companies()
    assert (company["name"], (await person(store, CONTACT))["company_id"]) == ("Real", company["id"])
    assert await store.dirty() == {CONTACT: {"requested"}}


async def test_rehearsal_counts_what_the_import_then_does_and_writes_nothing(store: Store) -> None:
    """What --dry-run says must be what happens."""
    await store.apply(image(CONTACT2, 1, LastName="Real"))
    await taken(
        store, row(2, CONTACT3, ACCOUNT, last_name="A", company_name="B"), row(3, LEAD, last_name="C")
    )
    rows = [
        row(2, CONTACT, ACCOUNT, last_name="New"),
        row(3, CONTACT2, last_name="Old"),
        row(4, CONTACT3, ACCOUNT, last_name="A", company_name="D"),
        row(5, LEAD, last_name="Z"),
        row(6, LEAD, ACCOUNT, last_name="C"),
    ]
    before = await snapshot(store)
    planned = await rehearsed(store, *rows)
    assert await snapshot(store) == before
    assert fates(planned) == {"created": 1, "owned": 1, "updated": 2, "duplicate": 1}
    assert (await taken(store, *rows)).as_json() == planned.as_json()
    assert set(fates(await rehearsed(store, *rows))) == {"unchanged", "owned", "duplicate"}


async def test_erased_record_is_rejected(store: Store) -> None:
    """Somebody had to be forgotten; an old file must not bring them back."""
    await erase(store, CONTACT)
    await erase(store, ACCOUNT)
    rows = [
        row(2, CONTACT, last_name="A"),
        row(3, CONTACT2, ACCOUNT, last_name="B"),
        row(4, LEAD, last_name="C"),
    ]
    planned = await rehearsed(store, *rows)
    tally = await taken(store, *rows)
    assert fates(tally) == fates(planned) == {"rejected": 2, "created": 1}
    assert [why.partition(":")[0] for _, _, why in tally.examples[Fate.REJECTED]] == ["erased", "erased"]
    assert [one["salesforce_id"] for one in await store.people()] == [LEAD]


async def erase(store: Store, of: RecordId) -> None:
    key = await store.connection.fetchval("SELECT erasure_key FROM sfsync.org WHERE id = $1", ORG)
    insert = "INSERT INTO sfsync.erased (org, hash) VALUES ($1, $2)"
    await store.connection.execute(insert, ORG, Erased(key).hash(of))


async def test_import_adopts_who_is_only_in_the_mirror(store: Store) -> None:
    """With adopt = on_request that is how an application says whom it wants; a contact brings its account."""
    store.term.adoption = Adoption(on_request=True)
    await store.succeed()
    await store.apply(image(ACCOUNT, 1, Name="Real"), image(CONTACT, 1, LastName="A", AccountId=ACCOUNT))
    await store.apply(image(CONTACT2, 1, LastName="B"), image(CONTACT3, 1, LastName="C"))
    assert await store.people() == [] and await store.companies() == []
    rows = [row(2, CONTACT, last_name="A"), row(3, CONTACT2, last_name="Other", email="b@b.example")]
    assert fates(await rehearsed(store, *rows)) == {"created": 2}
    assert fates(await taken(store, *rows)) == {"created": 2}
    states = {
        one["salesforce_id"]: (one["last_name"], one["sync"], one["sync_reason"])
        for one in await store.people()
    }
    assert states == {CONTACT: ("A", "synced", None), CONTACT2: ("Other", "pending", "differs")}
    [company] = await store.companies()
    assert (company["name"], (await person(store, CONTACT))["company_id"]) == ("Real", company["id"])
    assert await store.dirty() == {}

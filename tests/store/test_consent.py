"""Consent: who is undecided or declined is not written, and decisions belong to records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from sfsync.core.address import BLANKS
from sfsync.core.consent import Decision, combine
from sfsync.core.ids import RecordId
from sfsync.store.adoption import Adoption
from sfsync.store.apply import Applier
from sfsync.store.batch import Batch, DeadLetter
from tests.simorg.site import eventually
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    LEAD,
    LEAD2,
    LEAD3,
    Store,
    absent,
    at,
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
        # These tests play the application before protection and sfsync itself; the switch lets them.
        await opened.connection.execute("SET sfsync.writer = 'on'")
        yield opened


async def row_text(store: Store, person: int) -> tuple[str, int]:
    """The whole row, and which transaction wrote it."""
    row = await store.connection.fetchrow(
        "SELECT p::text AS text, xmin FROM crm.person AS p WHERE id = $1", person
    )
    assert row is not None
    return row["text"], row["xmin"]


async def imported(store: Store, record: RecordId, **values: Any) -> int:
    """Put somebody into the store as an import does, before the record was read."""
    person: int = await store.connection.fetchval("SELECT nextval('sfsync.own_id')")
    await store.connection.execute(
        "INSERT INTO sfsync.record (org, id, entity, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms,"
        " own_id, subject_id, decision) VALUES ($1, $2, $3, false, false, false, 0, 0, $4, $4, 'pending')",
        store.applier.org,
        record,
        "Lead" if record.startswith("00Q") else "Contact",
        person,
    )
    columns = "".join(f", {name}" for name in values)
    places = "".join(f", ${n}" for n in range(4, 4 + len(values)))
    await store.connection.execute(
        f"INSERT INTO crm.person (id, org, salesforce_id, sync, sync_reason{columns})"
        f" VALUES ($1, $2, $3, 'pending', 'unread'{places})",
        person,
        store.applier.org,
        record,
        *values.values(),
    )
    await store.applier.change("import", lambda _connection: _ready([record]))
    return person


async def _ready(records: list[RecordId]) -> list[RecordId]:
    return records


async def pending(store: Store) -> list[tuple[Any, ...]]:
    rows = await store.connection.fetch(
        "SELECT person_id, reason, column_name, stored_value, salesforce_value FROM crm.pending_decision"
        " ORDER BY person_id, column_name"
    )
    return [tuple(row) for row in rows]


async def decided(store: Store, person: int, choice: str) -> None:
    """Decide as the applier does when it is asked to."""

    async def take(connection: Any) -> list[RecordId]:
        members: list[RecordId] = await connection.fetchval(
            "SELECT sfsync.take_decision($1, $2, 'me', 'cli')", person, choice
        )
        return members

    await store.applier.change("decision", take)


async def state(store: Store, person: int) -> tuple[str, str | None]:
    row = await store.connection.fetchrow("SELECT sync, sync_reason FROM crm.person WHERE id = $1", person)
    assert row is not None
    return row["sync"], row["sync_reason"]


@pytest.mark.parametrize(
    ("decisions", "state", "is_merger"),
    [
        (["synced"], "synced", False),
        (["synced", "synced"], "synced", False),
        (["declined", "declined"], "declined", False),
        (["pending", "pending"], "pending", False),
        (["pending", "synced"], "pending", False),
        (["declined", "synced"], "pending", True),
        (["declined", "pending"], "pending", True),
        (["declined", "pending", "synced"], "pending", True),
    ],
)
def test_state_is_the_combination_of_the_records(decisions: list[str], state: str, is_merger: bool) -> None:
    """All equal: that one; any declined with any other: a question."""
    assert combine(map(Decision, decisions)) == (state, is_merger)


async def test_imported_person_is_compared_when_its_record_is_read(store: Store) -> None:
    """Until then nobody can say whether it differs."""
    person = await imported(store, CONTACT, last_name="Yamada", city="Osaka")
    assert await pending(store) == [(person, "unread", None, None, None)]
    before = await row_text(store, person)
    await store.apply(read(CONTACT, 0, begun=100, LastName="Yamada", MailingCity="Kyoto", Phone="1"))
    assert await state(store, person) == ("pending", "differs")
    assert await pending(store) == [
        (person, "differs", "city", "Osaka", "Kyoto"),
        (person, "differs", "phone", None, "1"),
    ]
    values = dict((await store.people())[0])
    assert (values["last_name"], values["city"], values["phone"]) == ("Yamada", "Osaka", None)
    assert before[0].replace("unread", "differs") == (await row_text(store, person))[0]


async def test_equal_person_is_synced_at_once(store: Store) -> None:
    """Blank is null, and white space around a value and the kind of line ends are no difference."""
    person = await imported(store, CONTACT, last_name="Yamada\u3000", street=" 1-2-3\nBuilding", phone="  ")
    await store.apply(
        read(
            CONTACT,
            0,
            begun=100,
            LastName="Yamada",
            MailingStreet="1-2-3\r\nBuilding",
            HasOptedOutOfEmail=False,
        )
    )
    assert await state(store, person) == ("synced", None)
    assert await pending(store) == []
    [row] = await store.people()
    assert (row["last_name"], row["street"], row["phone"]) == ("Yamada", "1-2-3\r\nBuilding", None)
    await store.apply(patch(CONTACT, 200, LastName="Sato"))
    assert (await store.people())[0]["last_name"] == "Sato"


async def test_blank_does_not_disagree_with_what_salesforce_fills_by_itself(store: Store) -> None:
    """No application keeps the owner of a record; another value than Salesforce's is a difference all the same."""
    person = await imported(store, CONTACT, last_name="Yamada")
    await store.apply(read(CONTACT, 0, begun=100, LastName="Yamada", OwnerId="0055i00000Usr01AAA"))
    assert await state(store, person) == ("synced", None)
    other = await imported(store, LEAD, last_name="Sato", status="Open")
    await store.apply(read(LEAD, 0, begun=100, LastName="Sato", Status="Closed"))
    assert [row[2:] for row in await pending(store)] == [("status", "Open", "Closed")]
    assert await state(store, other) == ("pending", "differs")


async def test_absent_person_stays_pending(store: Store) -> None:
    """Nobody can tell a purged record from a hidden one."""
    person = await imported(store, CONTACT, last_name="Yamada")
    await store.apply(absent(CONTACT, begun=100))
    assert await state(store, person) == ("pending", "absent")
    assert [row[1] for row in await pending(store)] == ["absent"]


async def test_pending_person_is_touched_by_nothing(store: Store) -> None:
    """Not by events, reads, deletion or undeletion; the question follows what Salesforce says."""
    person = await imported(store, CONTACT, last_name="Yamada")
    await store.apply(read(CONTACT, 0, begun=100, LastName="Sato"))
    before = await row_text(store, person)
    await store.apply(patch(CONTACT, 200, LastName="Suzuki"))
    assert [row[2:] for row in await pending(store)] == [("last_name", "Yamada", "Suzuki")]
    await store.apply(tombstone(CONTACT, 300))
    await store.apply(image(CONTACT, 400, LastName="Kato"))
    await store.apply(read(CONTACT, 500, begun=700, LastName="Ito"))
    assert await row_text(store, person) == before


async def test_deciding_to_sync_overwrites_and_keeps_in_sync(store: Store) -> None:
    """That is what was decided."""
    person = await imported(store, CONTACT, last_name="Yamada", city="Osaka")
    await store.apply(read(CONTACT, 0, begun=100, LastName="Sato", MailingCity="Kyoto"))
    await decided(store, person, "sync")
    [row] = await store.people()
    assert (row["sync"], row["sync_reason"], row["last_name"], row["city"]) == (
        "synced",
        None,
        "Sato",
        "Kyoto",
    )
    assert await pending(store) == []
    await store.apply(patch(CONTACT, 200, LastName="Suzuki"))
    assert (await store.people())[0]["last_name"] == "Suzuki"
    [log] = await store.connection.fetch("SELECT * FROM crm.decision")
    assert (log["person_id"], log["choice"], log["decided_by"], log["via"]) == (person, "sync", "me", "cli")


async def test_declined_person_is_never_touched_and_its_deletion_is_visible(store: Store) -> None:
    """Byte for byte, whatever happens to the record, until it is decided anew."""
    await store.apply(image(CONTACT, 0, LastName="Yamada"))
    [row] = await store.people()
    await store.connection.execute("SELECT crm.decide($1, 'decline')", row["id"])
    before = await row_text(store, row["id"])
    await store.apply(patch(CONTACT, 100, LastName="Sato"), tombstone(CONTACT, 200))
    await store.applier.reproject("")
    await store.applier.release_held()
    assert await row_text(store, row["id"]) == before
    assert await store.connection.fetchval(
        "SELECT is_deleted FROM crm.person_record WHERE person_id = $1 AND decision = 'declined'", row["id"]
    )
    await store.apply(image(CONTACT, 300, LastName="Suzuki"))
    assert await row_text(store, row["id"]) == before
    await decided(store, row["id"], "sync")
    [row] = await store.people()
    assert (row["sync"], row["last_name"], row["deleted_at"]) == ("synced", "Suzuki", None)


async def test_decision_taken_between_our_reading_and_writing_holds(store: Store) -> None:
    """`decline` acts in the application's own transaction, whatever the applier is doing."""
    await store.apply(image(CONTACT, 0, LastName="Yamada"))
    [row] = await store.people()
    other = await asyncpg.connect(store.dsn)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT crm.decide($1, 'decline')", row["id"])
        applying = asyncio.create_task(store.apply(patch(CONTACT, 100, LastName="Sato")))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        await eventually(lambda: store.connection.fetchval(waits))
        await transaction.commit()
        await applying
    finally:
        await other.close()
    [row] = await store.people()
    assert (row["sync"], row["last_name"]) == ("declined", "Yamada")


async def test_declined_lead_that_converts_is_a_question(store: Store) -> None:
    """Whether the contact is the one who was declined, a person must say; until then nothing is written."""
    await store.apply(image(LEAD, 0, LastName="Yamada"))
    [row] = await store.people()
    await store.connection.execute("SELECT crm.decide($1, 'decline')", row["id"])
    before = await row_text(store, row["id"])
    await store.apply(
        image(ACCOUNT, 100, Name="A"),
        image(CONTACT, 100, LastName="Sato", AccountId=ACCOUNT),
        patch(LEAD, 100, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
    )
    assert await row_text(store, row["id"]) == before
    assert {(r[0], r[1]) for r in await pending(store)} == {(row["id"], "merged")}
    await decided(store, row["id"], "sync")
    people = [p for p in await store.people() if p["merged_into"] is None]
    assert [(p["id"], p["last_name"], p["sync"], p["salesforce_id"]) for p in people] == [
        (row["id"], "Sato", "synced", CONTACT)
    ]


async def test_decisions_survive_a_merger_and_a_split(store: Store) -> None:
    """A declined loser: the winner waits; after the undelete both are what they were."""
    await store.apply(image(LEAD, 0, LastName="Loser"), image(LEAD2, 0, LastName="Winner"))
    loser, winner = [await store.person_of(LEAD), await store.person_of(LEAD2)]
    assert loser is not None and winner is not None
    await store.connection.execute("SELECT crm.decide($1, 'decline')", loser)
    frozen = await row_text(store, loser)
    await store.apply(read(LEAD, 100, begun=300, deleted=True, master=LEAD2, LastName="Loser"))
    assert await state(store, winner) == ("pending", "merged")
    assert await row_text(store, loser) == frozen
    assert await store.connection.fetchval("SELECT crm.resolve_person($1)", loser) == winner
    await store.apply(patch(LEAD2, 400, LastName="Changed"))
    assert [row[2:] for row in await pending(store)] == [("last_name", "Winner", "Changed")]
    await store.apply(read(LEAD, 500, begun=700, LastName="Back"))
    assert await state(store, winner) == ("synced", None)
    assert await row_text(store, loser) == frozen
    assert await pending(store) == []
    values = {row["id"]: row["last_name"] for row in await store.people()}
    assert values == {loser: "Loser", winner: "Changed"}


async def test_declining_both_settles_a_merger(store: Store) -> None:
    """All equal again, and asked for by any id that was ever handed out."""
    await store.apply(image(LEAD, 0, LastName="Loser"), image(LEAD2, 0, LastName="Winner"))
    loser, winner = [await store.person_of(LEAD), await store.person_of(LEAD2)]
    assert loser is not None and winner is not None
    await store.connection.execute("SELECT crm.decide($1, 'decline')", loser)
    await store.apply(read(LEAD, 100, begun=300, deleted=True, master=LEAD2, LastName="Loser"))
    await store.connection.execute("SELECT crm.decide($1, 'decline')", loser)
    assert (await state(store, winner), await state(store, loser)) == (("declined", None), ("declined", None))
    frozen = [await row_text(store, one) for one in (winner, loser)]
    await store.apply(patch(LEAD2, 400, LastName="Changed"))
    assert [await row_text(store, one) for one in (winner, loser)] == frozen
    assert await pending(store) == []


async def test_question_follows_the_person_through_a_second_merger(store: Store) -> None:
    """There is one question for one person, under the id it has today."""
    await store.apply(*(image(one, 0, LastName=one) for one in (LEAD, LEAD2, LEAD3)))
    first, second, third = [await store.person_of(one) for one in (LEAD, LEAD2, LEAD3)]
    await store.connection.execute("SELECT crm.decide($1, 'decline')", first)
    await store.apply(read(LEAD, 100, begun=300, deleted=True, master=LEAD2, LastName=LEAD))
    assert {row[0] for row in await pending(store)} == {second}
    await store.apply(read(LEAD2, 100, begun=400, deleted=True, master=LEAD3, LastName=LEAD2))
    assert {row[0] for row in await pending(store)} == {third}
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.pending") == 1
    assert third is not None
    await decided(store, third, "sync")
    rows = {row["id"]: (row["sync"], row["merged_into"]) for row in await store.people()}
    assert rows == {first: ("synced", third), second: ("synced", third), third: ("synced", None)}


async def test_record_that_is_parted_from_a_declined_person_stays_declined(store: Store) -> None:
    """The decision was taken on each record."""
    await store.apply(image(LEAD, 0, LastName="Loser"), image(LEAD2, 0, LastName="Winner"))
    loser, winner = await store.person_of(LEAD), await store.person_of(LEAD2)
    await store.apply(read(LEAD, 100, begun=300, deleted=True, master=LEAD2, LastName="Loser"))
    await store.connection.execute("SELECT crm.decide($1, 'decline')", winner)
    await store.apply(read(LEAD, 500, begun=700, LastName="Back"))
    assert loser is not None and winner is not None
    assert [await state(store, one) for one in (loser, winner)] == [("declined", None)] * 2
    await decided(store, loser, "sync")
    rows = {row["id"]: (row["sync"], row["merged_into"], row["last_name"]) for row in await store.people()}
    assert rows == {loser: ("synced", None, "Back"), winner: ("declined", None, "Winner")}


async def test_unknown_person_or_choice_is_refused_clearly(store: Store) -> None:
    """An application must not believe that it decided."""
    await store.apply(image(CONTACT, 0, LastName="Yamada"))
    [row] = await store.people()
    with pytest.raises(asyncpg.NoDataFoundError, match="no person 4711"):
        await store.connection.execute("SELECT crm.decide(4711, 'decline')")
    with pytest.raises(asyncpg.NoDataFoundError, match="no person 4711"):
        await store.connection.execute("SELECT crm.decide(4711, 'sync')")
    with pytest.raises(asyncpg.InvalidParameterValueError, match='"maybe" is no choice'):
        await store.connection.execute("SELECT crm.decide($1, 'maybe')", row["id"])


async def test_sync_is_asked_of_the_daemon(store: Store) -> None:
    """Only the applier overwrites a person."""
    await store.apply(image(CONTACT, 0, LastName="Yamada"))
    [row] = await store.people()
    request = await store.connection.fetchval("SELECT crm.decide($1, 'sync')", row["id"])
    [asked] = await store.connection.fetch("SELECT kind, argument FROM sfsync.request WHERE id = $1", request)
    assert asked["kind"] == "decide"
    assert json.loads(asked["argument"]) == {"person_id": row["id"], "choice": "sync", "via": "sql"}


def on_request(store: Store, *, minimal: bool = False) -> Applier:
    """Let only adopted records become people from now on."""
    term = store.term
    rules = replace(store.applier.rules, adoption=Adoption(on_request=True, minimal=minimal))
    return Applier(store.database, store.applier.leadership, term.mapping, rules)


async def test_only_adopted_records_become_people(store: Store) -> None:
    """The rest stays in the mirror, so that it can be adopted without a reading."""
    applier = on_request(store)
    await applier.apply(
        Batch(
            [
                image(ACCOUNT, 0, Name="A"),
                image(CONTACT, 0, LastName="Y", AccountId=ACCOUNT),
                image(LEAD, 0, LastName="L"),
            ],
            "event",
            at(0),
        )
    )
    assert await store.people() == [] and await store.companies() == []

    async def adopt(connection: Any) -> list[RecordId]:
        await connection.execute("UPDATE sfsync.record SET adopted = true WHERE id = $1", CONTACT)
        return [CONTACT]

    await applier.change("pull", adopt)
    [person], [company] = await store.people(), await store.companies()
    assert (person["last_name"], person["company_id"], company["name"]) == ("Y", company["id"], "A")
    await applier.apply(Batch([patch(ACCOUNT, 10, Name="B"), patch(LEAD, 10, LastName="M")], "event", at(10)))
    assert [row["name"] for row in await store.companies()] == ["B"]
    assert len(await store.people()) == 1


async def test_late_account_of_an_adopted_contact_becomes_a_company(store: Store) -> None:
    """A contact brings its account, whenever that arrives."""
    applier = on_request(store)
    await applier.apply(
        Batch([image(CONTACT, 0, LastName="Y", AccountId=ACCOUNT)], "pull", at(0), adopts=True)
    )
    await applier.apply(Batch([image(ACCOUNT, 10, Name="A")], "event", at(10)))
    [person], [company] = await store.people(), await store.companies()
    assert person["company_id"] == company["id"]


async def test_contact_brings_its_known_account_although_its_own_row_is_not_written(store: Store) -> None:
    """Else the company would be there or not by the order in which the two became known."""
    applier = on_request(store)
    await applier.apply(Batch([image(ACCOUNT, 0, Name="A")], "event", at(0)))
    await applier.apply(Batch([image(CONTACT, 10, LastName="Y")], "pull", at(10), adopts=True))
    [person] = await store.people()
    await store.connection.execute("SELECT crm.decide($1, 'decline')", person["id"])
    await applier.apply(Batch([patch(CONTACT, 20, AccountId=ACCOUNT)], "event", at(20)))
    assert [row["name"] for row in await store.companies()] == ["A"]
    assert [row["company_id"] for row in await store.people()] == [None]


async def test_adopted_lead_brings_the_contact_it_becomes(store: Store) -> None:
    """It is the same person, and stays it when the two are looked at one by one."""
    applier = on_request(store)
    await applier.apply(Batch([image(LEAD, 0, LastName="L")], "pull", at(0), adopts=True))
    await applier.apply(
        Batch(
            [
                image(ACCOUNT, 10, Name="A"),
                image(CONTACT, 10, LastName="C", AccountId=ACCOUNT),
                patch(LEAD, 10, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
            ],
            "event",
            at(10),
        )
    )
    [person], [company] = await store.people(), await store.companies()
    assert (person["last_name"], person["company_id"]) == ("C", company["id"])
    await applier.apply(Batch([patch(CONTACT, 20, LastName="D")], "event", at(20)))
    assert (await store.people())[0]["last_name"] == "D"


async def test_minimal_mirror_keeps_only_what_adopted_records_lead_to(store: Store) -> None:
    """Data that nobody asked for is not kept; what an adopted record points to is asked for."""
    applier = on_request(store, minimal=True)
    outcome = await applier.apply(
        Batch([image(LEAD2, 0, LastName="Nobody"), image(ACCOUNT, 0, Name="A")], "event", at(0))
    )
    assert outcome.unwanted == 2
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.record") == 0
    await applier.apply(Batch([read(LEAD, 0, begun=100, LastName="L")], "pull", at(0), adopts=True))
    await applier.apply(
        Batch(
            [
                image(CONTACT, 200, LastName="C", AccountId=ACCOUNT),
                patch(LEAD, 200, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
            ],
            "event",
            at(200),
        )
    )
    assert set(await store.dirty()) == {CONTACT}
    await applier.apply(
        Batch([read(CONTACT, 200, begun=300, LastName="C", AccountId=ACCOUNT)], "refetch", at(300))
    )
    assert set(await store.dirty()) == {ACCOUNT}
    await applier.apply(Batch([read(ACCOUNT, 0, begun=400, Name="A")], "refetch", at(400)))
    [person], [company] = await store.people(), await store.companies()
    assert (person["last_name"], person["company_id"], company["name"]) == ("C", company["id"], "A")


async def test_minimal_mirror_keeps_no_dead_letter_of_a_record_that_nobody_wants(store: Store) -> None:
    """No reading would ever cure it, and it names somebody of whom nothing is kept."""
    letters = [DeadLetter("odd", "Lead", LEAD2), DeadLetter("odd", "Contact", CONTACT), DeadLetter("odd")]
    batch = Batch([gap(LEAD2, 5), gap(CONTACT, 5)], "event", at(5), dead_letters=letters)
    applier = on_request(store, minimal=True)
    await applier.apply(Batch([read(CONTACT, 0, begun=1, LastName="C")], "pull", at(1), adopts=True))
    await applier.apply(batch)
    kept = await store.connection.fetch("SELECT record_id FROM sfsync.dead_letter ORDER BY id")
    assert [row["record_id"] for row in kept] == [CONTACT, None]


async def test_feed_says_which_record_and_columns_were_written(store: Store) -> None:
    """`sfsync explain` reads it."""
    await store.applier.apply(Batch([image(CONTACT, 0, LastName="A")], "event", at(0), source="7"))
    await store.applier.apply(
        Batch([patch(CONTACT, 10, LastName="B", Phone="1")], "event", at(10), source="8")
    )
    await store.applier.apply(
        Batch([read(CONTACT, 20, begun=100, LastName="B", Title="T")], "sweep", at(100), source="s1")
    )
    rows = await store.connection.fetch(
        "SELECT action, origin, source, record_id, columns, commit_ms FROM sfsync.change ORDER BY seq"
    )
    assert [tuple(row) for row in rows] == [
        ("created", "event", "7", CONTACT, None, at(0)),
        ("changed", "event", "8", CONTACT, ["last_name", "phone"], at(10)),
        ("changed", "sweep", "s1", CONTACT, ["title", "phone"], at(20)),
    ]


async def test_what_fills_nothing_is_no_difference(store: Store) -> None:
    """The same characters as in an address, so that one person is not blank here and filled there."""
    text = await store.connection.fetchval("SELECT sfsync.plain_text($1)", f"{BLANKS}a b\r\nc\rd{BLANKS}")
    assert text == "a b\nc\nd"
    assert await store.connection.fetchval("SELECT sfsync.plain_text($1)", BLANKS) is None

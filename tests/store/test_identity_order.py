"""The same facts in any order make the same people, and what an account's turn means for its contacts.

Why: push, sweep and refetch bring the parts of a conversion or a merge in whatever order they like, each in a
transaction of its own. Whoever reads the store afterwards must not be able to tell which it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
from structlog.testing import capture_logs

from sfsync.core.commands import Cause, Command
from sfsync.core.ids import RecordId, record_id
from sfsync.store.batch import Batch
from sfsync.store.database import Connection
from tests.store.harness import (
    ACCOUNT,
    ACCOUNT2,
    CONTACT,
    CONTACT2,
    LEAD,
    LEAD2,
    ORG,
    Store,
    at,
    gap,
    image,
    open_store,
    patch,
    read,
    tombstone,
)

Fact = tuple[Command, ...]


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Cast:
    """The records of one telling of a story, so that many tellings fit into one database."""

    number: int

    def named(self, prefix: str, name: str) -> RecordId:
        return record_id(f"{prefix}5i{self.number:05d}{name}")

    @property
    def lead(self) -> RecordId:
        return self.named("00Q", "Lea01")

    @property
    def a(self) -> RecordId:
        return self.named("003", "Con0A")

    @property
    def b(self) -> RecordId:
        return self.named("003", "Con0B")

    @property
    def account(self) -> RecordId:
        return self.named("001", "Acc01")


@dataclass(frozen=True, slots=True)
class Story:
    """Facts that may come in any order, what a read says at the end, and who is one person then."""

    facts: Callable[[Cast], Sequence[Fact]]
    truth: Callable[[Cast], Mapping[RecordId, Mapping[str, Any]]]
    people: Callable[[Cast], set[tuple[frozenset[RecordId], RecordId, str | None]]]


def conversion(c: Cast) -> Sequence[Fact]:
    return [
        (image(c.account, 5, Name="Acme"),),
        (image(c.a, 5, LastName="Doe", AccountId=c.account),),
        (image(c.lead, 0, LastName="Doe", Company="Acme", Website="x.test"),),
        (patch(c.lead, 6, IsConverted=True, ConvertedContactId=c.a, ConvertedDate="2026-11-24"),),
    ]


def conversion_truth(c: Cast) -> Mapping[RecordId, Mapping[str, Any]]:
    return {
        c.account: {"Name": "Acme"},
        c.a: {"LastName": "Doe", "AccountId": c.account},
        c.lead: {
            "LastName": "Doe",
            "Company": "Acme",
            "Website": "x.test",
            "IsConverted": True,
            "ConvertedContactId": c.a,
            "ConvertedDate": "2026-11-24",
        },
    }


def merge(c: Cast) -> Sequence[Fact]:
    return [
        (image(c.a, 0, LastName="A"),),
        (image(c.b, 0, LastName="B"),),
        (tombstone(c.b, 9), gap(c.b, 9, Cause.DELETE)),
        (read(c.b, 9, begun=10, deleted=True, master=c.a, LastName="B"),),
    ]


def merge_truth(c: Cast) -> Mapping[RecordId, Mapping[str, Any]]:
    return {c.a: {"LastName": "A"}, c.b: {"LastName": "B", "deleted": True, "master": c.a}}


def undelete(c: Cast) -> Sequence[Fact]:
    return [
        (image(c.a, 0, LastName="A"),),
        (image(c.b, 0, LastName="B"),),
        (read(c.b, 9, begun=10, deleted=True, master=c.a, LastName="B"),),
        (image(c.b, 20, LastName="B"),),
    ]


def undelete_truth(c: Cast) -> Mapping[RecordId, Mapping[str, Any]]:
    return {c.a: {"LastName": "A"}, c.b: {"LastName": "B"}}


def all_of_it(c: Cast) -> Sequence[Fact]:
    """A lead is converted into B, and B merged into A, which has a company."""
    return [
        (image(c.a, 0, LastName="A", AccountId=c.account), image(c.account, 0, Name="Acme")),
        (image(c.b, 5, LastName="B"),),
        (image(c.lead, 0, LastName="L", Website="x.test"), patch(c.lead, 5, ConvertedContactId=c.b)),
        (read(c.b, 9, begun=10, deleted=True, master=c.a, LastName="B"),),
    ]


def all_of_it_truth(c: Cast) -> Mapping[RecordId, Mapping[str, Any]]:
    return {
        c.account: {"Name": "Acme"},
        c.a: {"LastName": "A", "AccountId": c.account},
        c.b: {"LastName": "B", "deleted": True, "master": c.a},
        c.lead: {"LastName": "L", "Website": "x.test", "ConvertedContactId": c.b},
    }


STORIES = {
    "conversion": Story(conversion, conversion_truth, lambda c: {(frozenset({c.lead, c.a}), c.a, "Acme")}),
    "merge": Story(merge, merge_truth, lambda c: {(frozenset({c.a, c.b}), c.a, None)}),
    "undelete": Story(
        undelete, undelete_truth, lambda c: {(frozenset({c.a}), c.a, None), (frozenset({c.b}), c.b, None)}
    ),
    "conversion, merge, company": Story(
        all_of_it, all_of_it_truth, lambda c: {(frozenset({c.lead, c.a, c.b}), c.a, "Acme")}
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_facts_in_any_order_make_the_same_people(store: Store, story: Story) -> None:
    """Which part of a conversion or merge was heard first must not show in the store."""
    handed_out: dict[int, set[int]] = {}
    orders = list(permutations(range(len(story.facts(Cast(0))))))
    for number, order in enumerate(orders):
        cast = Cast(number)
        facts = story.facts(cast)
        for place in order:
            await store.apply(*facts[place], heard=20)
            handed_out.setdefault(number, set()).update(await own_ids(store, cast))
    await settle(
        store, {key: value for n in range(len(orders)) for key, value in story.truth(Cast(n)).items()}
    )
    for number, order in enumerate(orders):
        cast = Cast(number)
        assert await people_of(store, cast) == story.people(cast), order
        for own_id in handed_out[number]:
            resolved = await store.connection.fetchval("SELECT crm.resolve_person($1)", own_id)
            assert resolved in {row["id"] for row in await persons(store, cast)}, (order, own_id)


async def settle(store: Store, truth: Mapping[RecordId, Mapping[str, Any]]) -> None:
    """Let waiting projections go, and give every dirty record the read that proves."""
    await store.connection.execute(
        "UPDATE sfsync.record SET hold_until = now() - interval '1 s' WHERE hold_until IS NOT NULL"
    )
    await store.applier.release_held()
    for begun in (200, 400):
        reads = [read_of(record, truth[RecordId(record)], begun) for record in await store.dirty()]
        await store.apply(*reads, heard=begun, refetched=True)
    assert await store.dirty() == {}


def read_of(record: str, truth: Mapping[str, Any], begun: float) -> Command:
    fields = {name: value for name, value in truth.items() if name not in ("deleted", "master")}
    return read(
        RecordId(record),
        20,
        begun=begun,
        deleted=bool(truth.get("deleted")),
        master=truth.get("master"),
        **fields,
    )


async def own_ids(store: Store, cast: Cast) -> set[int]:
    rows = await store.connection.fetch(
        "SELECT id FROM crm.person WHERE salesforce_id = ANY ($1)", [cast.lead, cast.a, cast.b]
    )
    return {row["id"] for row in rows}


async def persons(store: Store, cast: Cast) -> list[Any]:
    return await store.connection.fetch(
        """
        SELECT p.id, p.salesforce_id, c.name,
            array(SELECT r.salesforce_id FROM crm.person_record AS r WHERE r.person_id = p.id) AS records
        FROM crm.active_person AS p LEFT JOIN crm.company AS c ON c.id = p.company_id
        WHERE p.salesforce_id = ANY ($1)
        """,
        [cast.lead, cast.a, cast.b],
    )


async def people_of(store: Store, cast: Cast) -> set[tuple[frozenset[RecordId], RecordId, str | None]]:
    return {
        (frozenset(row["records"]), row["salesforce_id"], row["name"]) for row in await persons(store, cast)
    }


# Accounts and their contacts


async def family(store: Store) -> None:
    """A company with one contact, both clean."""
    await store.apply(image(ACCOUNT, 0, Name="A"), image(CONTACT, 0, LastName="X", AccountId=ACCOUNT))
    assert await store.dirty() == {}


async def clean(store: Store, begun: float, account: str | None = ACCOUNT) -> None:
    """Prove the contact, as the refetch would."""
    await store.apply(read(CONTACT, 0, begun=begun, LastName="X", AccountId=account), refetched=True)
    assert CONTACT not in await store.dirty()


LEARNED = {
    "deletion by event": ([], tombstone(ACCOUNT, 9)),
    "deletion by read": ([], read(ACCOUNT, 9, begun=10, deleted=True, Name="A")),
    "merge by read": ([], read(ACCOUNT, 9, begun=10, deleted=True, master=ACCOUNT2, Name="A")),
    "merge after deletion": (
        [tombstone(ACCOUNT, 9)],
        read(ACCOUNT, 9, begun=100, deleted=True, master=ACCOUNT2, Name="A"),
    ),
    "undelete by event": ([tombstone(ACCOUNT, 9)], image(ACCOUNT, 100, Name="A")),
    "undelete by read": ([tombstone(ACCOUNT, 9)], read(ACCOUNT, 99, begun=100, Name="A")),
}


@pytest.mark.parametrize(("before", "turn"), LEARNED.values(), ids=LEARNED)
async def test_turn_of_an_account_marks_its_contacts(
    store: Store, before: list[Command], turn: Command
) -> None:
    """Contacts of a deleted, merged or restored account may change without any event of their own."""
    await family(store)
    if before:
        await store.apply(*before)
        await clean(store, 75)
    await store.apply(turn)
    assert (await store.dirty())[CONTACT] == {"parent_changed"}


async def test_turn_learned_after_a_gap_marks_contacts(store: Store) -> None:
    """A gap event says that something happened; the read behind it says that it was a deletion."""
    await family(store)
    await store.apply(gap(ACCOUNT, 9))
    assert set(await store.dirty()) == {ACCOUNT}
    await store.apply(read(ACCOUNT, 9, begun=75, deleted=True, Name="A"), refetched=True)
    assert await store.dirty() == {CONTACT: {"parent_changed"}}


async def test_account_first_seen_deleted_marks_contacts_that_name_it(store: Store) -> None:
    """The contact came before its account, and the account came dead."""
    await store.apply(image(CONTACT, 0, LastName="X", AccountId=ACCOUNT))
    await store.apply(tombstone(ACCOUNT, 9))
    assert await store.dirty() == {CONTACT: {"parent_changed"}}


async def test_contact_under_a_deleted_account_is_marked_once_per_turn(store: Store) -> None:
    """A record that is written every few seconds under a deleted account must not be read every time."""
    await store.apply(image(ACCOUNT, 0, Name="A"), tombstone(ACCOUNT, 1))
    await store.apply(image(CONTACT, 5, LastName="X", AccountId=ACCOUNT))
    assert await store.dirty() == {CONTACT: {"parent_changed"}}
    await clean(store, 75)
    await store.apply(patch(CONTACT, 80, AccountId=ACCOUNT))
    await store.apply(read(CONTACT, 80, begun=200, LastName="Y", AccountId=ACCOUNT))
    assert await store.dirty() == {}
    await store.apply(image(ACCOUNT, 300, Name="A"))
    await clean(store, 400)
    await store.apply(tombstone(ACCOUNT, 500))
    assert await store.dirty() == {CONTACT: {"parent_changed"}}


async def test_reparenting_to_a_deleted_account_marks(store: Store) -> None:
    """The two events crossed: nobody knows which is the newer word on this contact."""
    await store.apply(image(ACCOUNT2, 0, Name="B"), tombstone(ACCOUNT2, 1))
    await family(store)
    await store.apply(patch(CONTACT, 10, AccountId=ACCOUNT2))
    assert await store.dirty() == {CONTACT: {"parent_changed"}}


async def test_turn_outlives_what_the_same_batch_says_of_the_contact(store: Store) -> None:
    """A sweep's page proves the contact and shows its account deleted: the proof is older than the turn."""
    await family(store)
    await store.apply(gap(CONTACT, 5))
    await store.apply(
        read(CONTACT, 0, begun=75, LastName="X", AccountId=ACCOUNT),
        read(ACCOUNT, 74, begun=75, ended=76, deleted=True, Name="A"),
    )
    assert await store.dirty() == {CONTACT: {"parent_changed"}}
    await store.apply(gap(CONTACT, 80), image(ACCOUNT, 90, Name="A"))
    assert (await store.dirty())[CONTACT] == {"parent_changed", "gap"}
    assert await store.connection.fetchval("SELECT since_ms FROM sfsync.dirty") == at(90)


async def test_company_that_arrives_with_an_edge_links_its_people(store: Store) -> None:
    """The loser of an account merge was known before its winner; the winner's contacts waited for it."""
    await store.apply(image(ACCOUNT2, 0, Name="Old"), image(CONTACT, 0, LastName="X", AccountId=ACCOUNT))
    await store.apply(read(ACCOUNT2, 9, begun=100, deleted=True, master=ACCOUNT, Name="Old"))
    assert (await store.people())[0]["company_id"] is None
    await store.apply(image(ACCOUNT, 10, Name="New"))
    [person] = await store.people()
    names = {row["id"]: row["name"] for row in await store.companies()}
    assert names[person["company_id"]] == "New"


async def test_company_first_seen_deleted_links_its_people_when_it_lives(store: Store) -> None:
    """It has no id before it is first live, so nobody could be linked to it."""
    await store.apply(image(CONTACT, 0, LastName="X", AccountId=ACCOUNT))
    await store.apply(read(ACCOUNT, 1, begun=100, deleted=True, Name="A"))
    await store.apply(image(ACCOUNT, 200, Name="A"))
    [person], [company] = await store.people(), await store.companies()
    assert person["company_id"] == company["id"]


async def test_held_contact_waits_even_if_its_company_moves(store: Store) -> None:
    """Two merges in one go: the account's must not show the contact's as a deletion."""
    await store.apply(image(ACCOUNT2, 0, Name="B"), image(ACCOUNT, 0, Name="A"))
    await store.apply(image(CONTACT, 0, LastName="X", AccountId=ACCOUNT2))
    await store.apply(tombstone(CONTACT, 9), gap(CONTACT, 9, Cause.DELETE))
    await store.apply(read(ACCOUNT2, 9, begun=100, deleted=True, master=ACCOUNT, Name="B"))
    assert [row["deleted_at"] for row in await store.people()] == [None]


async def test_second_conversion_target_is_logged_and_changes_nothing(store: Store) -> None:
    """The first value is the edge for ever; who sees another has two orgs' data or a bug before them."""
    await store.apply(image(CONTACT, 0, LastName="A"), image(CONTACT2, 0, LastName="B"))
    await store.apply(image(LEAD, 0, LastName="L"), patch(LEAD, 5, ConvertedContactId=CONTACT))
    before = await store.person_of(LEAD)
    with capture_logs() as logs:
        await store.apply(patch(LEAD, 50, ConvertedContactId=CONTACT2))
    assert await store.person_of(LEAD) == before == await store.person_of(CONTACT)
    assert [(entry["event"], entry["record_id"]) for entry in logs] == [
        ("store.conversion.contradicted", LEAD)
    ]


async def test_record_first_seen_deleted_is_nobody_until_it_lives(store: Store) -> None:
    """The application never knew it; but its Salesforce id is remembered, or a late event would revive it."""
    await store.apply(read(CONTACT, 0, begun=10, deleted=True, LastName="X"))
    assert await store.people() == []
    await store.apply(image(CONTACT, 100, LastName="X"))
    assert len(await store.live()) == 1


async def test_record_first_seen_merged_leads_to_its_winner(store: Store) -> None:
    """Somebody may still hold the loser's Salesforce id."""
    await store.apply(image(CONTACT, 0, LastName="A"))
    await store.apply(read(CONTACT2, 0, begun=10, deleted=True, master=CONTACT, LastName="B"))
    assert await store.person_of(CONTACT2) == await store.person_of(CONTACT)
    await store.apply(image(CONTACT2, 100, LastName="B"))
    assert await store.person_of(CONTACT2) != await store.person_of(CONTACT)


async def test_first_of_two_converted_leads_keeps_the_lead_columns(store: Store) -> None:
    """A second lead converted into the contact must not change where the first came from."""
    await store.apply(image(CONTACT, 0, LastName="A"))
    for lead, date, site in ((LEAD2, "2026-02-02", "second.test"), (LEAD, "2026-01-01", "first.test")):
        await store.apply(
            image(lead, 1, LastName="L", Website=site),
            patch(lead, 2, IsConverted=True, ConvertedContactId=CONTACT, ConvertedDate=date),
        )
    [person] = await store.live()
    assert person["website"] == "first.test"
    await store.apply(tombstone(LEAD, 50), gap(LEAD, 50, Cause.DELETE))
    [person] = await store.live()
    assert person["website"] == "first.test"


# Work is proportional to the batch

ROWS, BATCH, ROWS_READ_MAX = 200_000, 1_000, 20_000

_CONTACTS = f"""
INSERT INTO sfsync.record (org, id, entity, fields, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms,
    own_id, subject_id, account_id)
SELECT '{ORG}', '0035i' || lpad(n::text, 10, '0') || 'AAA', 'Contact', '{{"LastName": "N"}}', true, false, true,
    0, 0, n, n, '0015i' || lpad((n % 100000)::text, 10, '0') || 'AAA'
FROM generate_series(1, {ROWS}) AS n
"""
_PEOPLE = (
    f"INSERT INTO crm.person (id, org, last_name) SELECT n, '{ORG}', 'N' FROM generate_series(1, {ROWS}) AS n"
)


BATCH_CONTACTS = [RecordId(f"0035i{n:010d}AAA") for n in range(1, BATCH + 1)]
BATCH_ACCOUNTS = [RecordId(f"0015i{n:010d}AAA") for n in range(1, BATCH + 1)]
BATCH_LEADS = [RecordId(f"00Q5i{n:010d}AAA") for n in range(1, BATCH + 1)]


def _mixed() -> list[Command]:
    """Updates, merges, re-parentings and conversions."""
    merged = zip(BATCH_CONTACTS[600:800], BATCH_CONTACTS[:200], strict=True)
    converted = zip(BATCH_LEADS[:100], BATCH_CONTACTS[900:], strict=True)
    return [
        *(patch(contact, 10, Title="T") for contact in BATCH_CONTACTS[:600]),
        *(read(loser, 9, begun=100, deleted=True, master=winner, LastName="N") for loser, winner in merged),
        *(image(contact, 10, LastName="M", AccountId=ACCOUNT) for contact in BATCH_CONTACTS[800:900]),
        *(image(lead, 5, LastName="L", ConvertedContactId=contact) for lead, contact in converted),
    ]


BATCHES: dict[str, list[Command]] = {
    "mixed": _mixed(),
    "new leads": [image(lead, 10, LastName="L") for lead in BATCH_LEADS],
    "new companies": [image(account, 20, Name="A") for account in BATCH_ACCOUNTS],
    "re-parenting": [patch(contact, 30, AccountId=BATCH_ACCOUNTS[0]) for contact in BATCH_CONTACTS],
    "reads": [read(contact, 30, begun=300, LastName="R") for contact in BATCH_CONTACTS],
    "deletions": [tombstone(contact, 400) for contact in BATCH_CONTACTS],
    "deletions of companies": [tombstone(account, 400) for account in BATCH_ACCOUNTS],
}


async def _flush(connection: Connection) -> None:
    await connection.execute("SELECT pg_stat_force_next_flush()")


async def _rows_read(store: Store) -> int:
    found: int = await store.connection.fetchval(
        "SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables"
        " WHERE schemaname IN ('crm', 'sfsync')"
    )
    return found


async def test_batch_reads_rows_by_its_own_size_not_by_the_stores(store: Store) -> None:
    """An org of a million people must not make each batch slower, whatever the batch is made of."""
    for statement in (
        "SET sfsync.writer = on",
        _CONTACTS,
        _PEOPLE,
        "SELECT setval('sfsync.own_id', 1000000)",
        "ANALYZE",
    ):
        await store.connection.execute(statement)
    await store.connection.execute("SELECT pg_stat_force_next_flush()")
    read_by = {}
    for name, commands in BATCHES.items():
        before = await _rows_read(store)
        await store.applier.apply(Batch(commands, "event", at(10), progress=_flush))
        read_by[name] = await _rows_read(store) - before
    assert min(read_by.values()) > BATCH, read_by
    assert {name: rows for name, rows in read_by.items() if rows >= ROWS_READ_MAX} == {}

"""Whoever was not decided on, or was declined, keeps the row that the application had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sfsync.core.ids import RecordId
from sfsync.store.adoption import Adoption
from sfsync.store.apply import Applier
from tests.store.harness import CONTACT, CONTACT2, LEAD, Store, open_store, read
from tests.store.test_consent import imported, state
from tests.sync.room import Room, furnished


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        await opened.connection.execute("SET sfsync.writer = 'on'")
        yield opened


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def differing(store: Store, record: RecordId) -> int:
    """Import somebody whose record was read since, and differs."""
    person = await imported(store, record, last_name="Yamada", city="Osaka")
    if record == LEAD:
        await store.apply(read(record, 0, begun=100, LastName="Yamada", City="Kyoto"))
    else:
        await store.apply(read(record, 0, begun=100, LastName="Yamada", MailingCity="Kyoto"))
    assert await state(store, person) == ("pending", "differs")
    return person


async def values(store: Store, person: int) -> tuple[object, ...]:
    row = await store.connection.fetchrow(
        "SELECT last_name, city, merged_into FROM crm.person WHERE id = $1", person
    )
    assert row is not None
    return tuple(row)


async def convert_lead(store: Store) -> None:
    said = read(
        LEAD, 200, begun=300, LastName="Yamada", City="Kyoto", IsConverted=True,
        ConvertedContactId=CONTACT, ConvertedDate="2026-11-24",
    )  # fmt: skip
    await store.apply(said)


async def test_merging_into_one_who_follows_is_no_decision(store: Store) -> None:
    """The winner's row equals Salesforce, which says nothing of the row of the other."""
    await store.apply(read(CONTACT2, 0, begun=100, LastName="Tanaka"))
    person = await differing(store, CONTACT)
    await store.apply(read(CONTACT, 200, begun=300, deleted=True, LastName="Yamada", master=CONTACT2))
    assert await values(store, person) == ("Yamada", "Osaka", None)


async def test_merging_into_an_undecided_equal_one_is_no_decision(store: Store) -> None:
    """Each row that waits has a question of its own."""
    person = await differing(store, CONTACT)
    await imported(store, CONTACT2, last_name="Tanaka")
    await store.apply(read(CONTACT, 200, begun=300, deleted=True, LastName="Yamada", master=CONTACT2))
    await store.apply(read(CONTACT2, 200, begun=300, LastName="Tanaka"))
    assert await values(store, person) == ("Yamada", "Osaka", None)


async def test_conversion_into_a_contact_that_follows_is_no_decision(store: Store) -> None:
    """A user converts an imported lead into a contact that was there."""
    await store.apply(read(CONTACT, 0, begun=100, LastName="Tanaka"))
    person = await differing(store, LEAD)
    await convert_lead(store)
    assert await values(store, person) == ("Yamada", "Osaka", None)


async def test_conversion_into_a_contact_that_is_nobody_yet_is_no_decision(store: Store) -> None:
    """Under `on_request` there is no row to compare with, which is not the same as no difference."""
    rules = replace(store.applier.rules, adoption=Adoption(on_request=True))
    store.applier = Applier(store.database, store.applier.leadership, store.term.mapping, rules)
    await store.apply(read(CONTACT, 0, begun=100, LastName="Tanaka"))
    person = await differing(store, LEAD)
    await convert_lead(store)
    assert await values(store, person) == ("Yamada", "Osaka", None)


async def test_later_refusal_outlives_an_earlier_wish_to_follow(room: Room) -> None:
    """The wish waits for a daemon, the refusal acts at once: the last word is the refusal."""
    await room.contacts(1)
    await room.backfill()
    person = await room.value("SELECT id FROM crm.person")
    request = await room.value("SELECT crm.decide($1, 'sync')", person)
    await room.value("SELECT crm.decide($1, 'decline')", person)
    async with room.doing(room.requests.run()):
        await room.answered(request)
    assert await room.value("SELECT sync FROM crm.person WHERE id = $1", person) == "declined"


async def test_later_wish_to_follow_outlives_an_earlier_refusal_that_had_to_wait(room: Room) -> None:
    """Both were asked of a daemon that was down; the last word counts, not the last to be served."""
    await room.contacts(1)
    await room.backfill()
    person = await room.value("SELECT id FROM crm.person")
    put = "INSERT INTO sfsync.request (kind, argument) VALUES ('decide', $1) RETURNING id"
    await room.value(put, f'{{"person_id": {person}, "choice": "decline", "via": "http"}}')
    request = await room.value(put, f'{{"person_id": {person}, "choice": "sync", "via": "http"}}')
    async with room.doing(room.requests.run()):
        outcome, _ = await room.answered(request)
    assert (outcome, await room.value("SELECT sync FROM crm.person")) == ("synced", "synced")


async def test_refusal_in_a_transaction_that_began_before_the_wish_holds(room: Room) -> None:
    """What counts is when it was said, not when its transaction began."""
    await room.contacts(1)
    await room.backfill()
    person = await room.value("SELECT id FROM crm.person")
    other = await room.work.database.connect_alone()
    try:
        async with room.connection.transaction():
            await room.value("SELECT now()")
            request = await other.fetchval("SELECT crm.decide($1, 'sync')", person)
            await room.value("SELECT crm.decide($1, 'decline')", person)
    finally:
        await other.close()
    async with room.doing(room.requests.run()):
        await room.answered(request)
    assert await room.value("SELECT sync FROM crm.person") == "declined"

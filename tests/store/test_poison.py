"""A row that cannot be stored waits alone, whatever brought it here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from sfsync.core.commands import Cause
from sfsync.core.ids import RecordId
from sfsync.errors import PoisonError
from tests.store.harness import CONTACT, CONTACT2, LEAD, LEAD2, Store, at, gap, image, open_store, patch, read


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


async def forbid(store: Store, title: str) -> None:
    """Let an application add a rule that a row breaks."""
    await store.connection.execute(
        f"ALTER TABLE crm.person ADD CONSTRAINT no_such_title CHECK (title <> '{title}')"
    )


async def test_held_record_that_cannot_be_stored_is_parked_and_releases_the_others(store: Store) -> None:
    """Else the daemon would end, start, find it due again, and end for ever."""
    await forbid(store, "Closed")
    for lead, contact, status in ((LEAD, CONTACT, "Closed"), (LEAD2, CONTACT2, "Done")):
        await store.apply(image(lead, 0, LastName="Doe", Title="Open"))
        await store.apply(patch(lead, 5, IsConverted=True, ConvertedContactId=contact, Title=status))
    await store.connection.execute("UPDATE sfsync.record SET hold_until = now() - interval '1 s'")
    assert await store.applier.release_held() == 2
    assert {row["title"] for row in await store.people()} == {"Open", "Done"}
    assert await store.dirty() == {LEAD: {Cause.POISON}}
    [letter] = await store.connection.fetch("SELECT record_id, reason FROM sfsync.dead_letter")
    assert letter["record_id"] == LEAD
    assert "no_such_title" in letter["reason"]
    assert await store.applier.release_held() == 0


async def test_many_held_records_that_cannot_be_stored_stop_the_applier(store: Store) -> None:
    """It is no record's fault any more; a dead letter and a read for each would hide whose it is."""
    await forbid(store, "Closed")
    ids = [RecordId(f"00Q5i0000{number:06d}AAA") for number in range(40)]
    await store.apply(*(image(one, 0, LastName="Doe", Title="Open") for one in ids))
    converted = {"IsConverted": True, "ConvertedContactId": CONTACT, "Title": "Closed"}
    await store.apply(*(patch(one, 5, **converted) for one in ids))
    await store.connection.execute("UPDATE sfsync.record SET hold_until = now() - interval '1 s'")
    with pytest.raises(PoisonError, match=r"of 40 records"):
        await store.applier.release_held()
    assert len(await store.dirty()) == 20


async def test_row_that_a_new_mapping_cannot_write_is_parked_and_stops_nobody_else(store: Store) -> None:
    """Else the daemon would end at it, and at it again after every start."""
    await store.apply(image(CONTACT, 0, LastName="Doe"), image(CONTACT2, 0, LastName="Roe"))
    await store.connection.execute("SET sfsync.writer = on; UPDATE crm.person SET last_name = 'old'")
    await store.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_doe CHECK (last_name <> 'Doe')")
    after: str | None = ""
    while after is not None:
        after = await store.applier.reproject(after)
    assert {row["last_name"] for row in await store.people()} == {"old", "Roe"}
    assert await store.dirty() == {CONTACT: {Cause.POISON}}


async def test_mapping_that_hardly_any_row_can_take_stops_and_parks_few(store: Store) -> None:
    """It is the mapping's fault or the constraint's; a dead letter and a read for each record would help nobody."""
    await store.apply(
        *(image(RecordId(f"0035i0000{number:06d}AAA"), 0, LastName="Doe") for number in range(40))
    )
    await store.connection.execute("SET sfsync.writer = on; UPDATE crm.person SET last_name = 'old'")
    await store.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_doe CHECK (last_name <> 'Doe')")
    with pytest.raises(PoisonError, match=r"21 of 40 records"):
        await store.applier.reproject("")
    assert len(await store.dirty()) == 20


async def test_poison_is_read_again_with_growing_waits(store: Store) -> None:
    """A rule that nobody lifts must not cost a call every two minutes for ever."""
    await forbid(store, "Bad")
    await store.apply(image(CONTACT, 0, LastName="Doe"))
    await store.apply(gap(CONTACT, 5))
    waits = []
    now = 0.0
    for _ in range(6):
        now = (await next_try_ms(store) - at(0)) / 1000 if now else 100
        await store.apply(
            read(CONTACT, 90, begun=now, LastName="Doe", Title="Bad"), heard=now, refetched=True
        )
        waits.append(await next_try_ms(store) - at(0) - now * 1000)
    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]


async def test_too_much_poison_stops_the_applier_and_commits_nothing(store: Store) -> None:
    """When every tenth record cannot be stored the fault is ours, and the position must not run over it."""
    await forbid(store, "Bad")
    ids = [type(CONTACT)(f"0035i{n:010d}AAA") for n in range(40)]
    with pytest.raises(PoisonError, match="21 of 40"):
        await store.apply(*(image(i, 0, LastName="Doe", Title="Bad") for i in ids))
    assert await store.people() == []
    assert await store.dirty() == {}
    outcome = await store.apply(*(image(i, 0, LastName="Doe", Title="Bad") for i in ids[:20]))
    assert outcome.parked == 20


async def next_try_ms(store: Store) -> int:
    found: int = await store.connection.fetchval("SELECT next_try_ms FROM sfsync.dirty")
    return found


async def test_row_that_an_application_keeps_locked_stops_nobody_else(pg_dsn: str) -> None:
    """An open transaction that was forgotten must not hold up everybody's changes."""
    async with open_store(pg_dsn, lock_timeout_s=0.3) as store:
        await store.apply(image(CONTACT, 0, LastName="A"), image(CONTACT2, 0, LastName="A"))
        await store.connection.execute("ALTER TABLE crm.person ADD COLUMN note text")
        other = await asyncpg.connect(store.dsn)
        try:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("UPDATE crm.person SET note = 'x' WHERE salesforce_id = $1", CONTACT)
            outcome = await store.apply(patch(CONTACT, 10, LastName="B"), patch(CONTACT2, 10, LastName="B"))
            assert outcome.parked == 1
            names = {row["salesforce_id"]: row["last_name"] for row in await store.people()}
            assert names == {CONTACT: "A", CONTACT2: "B"}
            assert set(await store.dirty()) == {CONTACT}
            await transaction.commit()
        finally:
            await other.close()
        await store.apply(read(CONTACT, 10, begun=200, LastName="B"), refetched=True)
        assert await store.dirty() == {}
        assert {row["last_name"] for row in await store.people()} == {"B"}

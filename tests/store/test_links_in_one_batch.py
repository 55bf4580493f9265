"""A record changes in the very batch that makes another one part of it.

Why: whether a record stands alone is known from before the batch. A winner that was also touched by itself was
projected twice, once with its group and once alone, and lost what only its lead had to say. A random history
found it; the mirror was right, so no later read would have repaired it.
"""

from __future__ import annotations

import pytest

from sfsync.core.ids import RecordId
from tests.store.harness import CONTACT, CONTACT2, CONTACT3, LEAD, Store, image, open_store, patch, read

ORDERS = [
    pytest.param(CONTACT, CONTACT2, id="winner first"),
    pytest.param(CONTACT2, CONTACT, id="loser first"),
]


async def become_three(store: Store, winner: RecordId, loser: RecordId) -> None:
    """A winner on its own, and a loser that was a lead of some industry."""
    await store.apply(image(winner, 0, LastName="Before"))
    await store.apply(image(LEAD, 0, LastName="Lead", Company="X", Industry="Retail"))
    converted = patch(LEAD, 1, IsConverted=True, ConvertedContactId=loser, ConvertedDate="2026-11-24")
    await store.apply(image(loser, 1, LastName="Loser"), converted)


async def must_be_one(store: Store, winner: RecordId) -> None:
    """The winner speaks with its new name, and the lead's industry is kept."""
    [row] = [row for row in await store.people() if row["salesforce_id"] == winner]
    assert (row["last_name"], row["industry"], row["merged_into"]) == ("After", "Retail", None)


@pytest.mark.parametrize(("winner", "loser"), ORDERS)
async def test_winner_read_with_its_loser_keeps_what_the_lead_said(
    pg_dsn: str, winner: RecordId, loser: RecordId
) -> None:
    """A sweep reads both sides of a merge on one page."""
    async with open_store(pg_dsn) as store:
        await become_three(store, winner, loser)
        gone = read(loser, 100, begun=200, deleted=True, master=winner, LastName="Loser")
        await store.apply(gone, read(winner, 100, begun=200, LastName="After"), heard=200)
        await must_be_one(store, winner)


@pytest.mark.parametrize(("winner", "loser"), ORDERS)
async def test_winner_patched_with_its_loser_keeps_what_the_lead_said(
    pg_dsn: str, winner: RecordId, loser: RecordId
) -> None:
    """A patch of a record on its own is written in place; in a group it is not on its own."""
    async with open_store(pg_dsn) as store:
        await become_three(store, winner, loser)
        gone = read(loser, 100, begun=200, deleted=True, master=winner, LastName="Loser")
        await store.apply(gone, patch(winner, 200, LastName="After"), heard=200)
        await must_be_one(store, winner)


@pytest.mark.parametrize(("winner", "loser"), ORDERS)
async def test_poison_beside_a_merge_does_not_split_it(
    pg_dsn: str, winner: RecordId, loser: RecordId
) -> None:
    """A batch with a poisonous record is written in parts; what one part links, another must know."""
    async with open_store(pg_dsn) as store:
        await become_three(store, winner, loser)
        await store.connection.execute("ALTER TABLE crm.person ADD CHECK (last_name <> 'poison')")
        gone = read(loser, 100, begun=200, deleted=True, master=winner, LastName="Loser")
        changed = read(winner, 100, begun=200, LastName="After")
        outcome = await store.apply(gone, changed, image(CONTACT3, 200, LastName="poison"), heard=200)
        assert outcome.parked == 1
        await must_be_one(store, winner)

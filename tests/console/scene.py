"""A store with a history, and a client of its API: what the tests of the API look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.console.caller import Caller, calling
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    CONTACT3,
    LEAD,
    LEAD2,
    Store,
    image,
    open_store,
    patch,
    read,
    tombstone,
)

CANARY = "c4n4ry"


@dataclass(slots=True)
class Scene:
    """A store with a history, and a client of its API.

    Person `ada` was a lead, was converted to `CONTACT` of `ACCOUNT` and took in `CONTACT2` by a merge; `bob` was
    deleted; `eve` is a lead of her own.
    """

    store: Store
    api: Caller
    ada: int
    merged: int
    bob: int
    eve: int
    company: int


@asynccontextmanager
async def staged(dsn: str) -> AsyncIterator[Scene]:
    """Tell the history to a fresh store and serve it."""
    async with open_store(dsn, other_half_wait_s=0) as store, calling(dsn) as api:
        await store.apply(image(LEAD, 0, LastName="Lovelace", Company="Analytical", LeadSource="Web"))
        await store.apply(image(LEAD2, 1, LastName="Eve", Company="Mallory"))
        ada = await store.person_of(LEAD)
        await store.apply(
            image(ACCOUNT, 2, Name="Analytical Engines"),
            image(CONTACT, 2, LastName="Lovelace", AccountId=ACCOUNT),
            patch(LEAD, 2, IsConverted="true", ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
        )
        await store.apply(image(CONTACT2, 3, LastName="Byron"), image(CONTACT3, 3, LastName="Bob"))
        merged, bob = await store.person_of(CONTACT2), await store.person_of(CONTACT3)
        await store.apply(read(CONTACT2, 4, begun=200, deleted=True, master=CONTACT, LastName="Byron"))
        await store.apply(patch(CONTACT, 5, FirstName="Ada"))
        await store.apply(tombstone(CONTACT3, 6))
        await store.applier.release_held()
        company = await store.connection.fetchval("SELECT id FROM crm.company")
        eve = await store.person_of(LEAD2)
        assert None not in (ada, merged, bob, eve)
        yield Scene(store, api, ada or 0, merged or 0, bob or 0, eve or 0, company)

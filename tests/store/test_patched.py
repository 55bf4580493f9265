"""New values are put into rows as they are; that must be what projecting the records anew would make of them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from sfsync.core.ids import Entity, RecordId
from sfsync.core.mapping import bind
from sfsync.core.mapping_file import parse_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.store.projection import compose
from sfsync.store.staging import COPY_ROWS_MIN
from tests.bench.workload import new_id, value_of
from tests.store.harness import ACCOUNT, CONTACT, LEAD, MAPPING, ORG, Store, image, open_store, patch

RELATING = {"AccountId", "ConvertedContactId", "ConvertedAccountId", "ConvertedDate", "IsConverted"}
ENTITIES = (Entity.ACCOUNT, Entity.CONTACT, Entity.LEAD)


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


async def projected_anew(store: Store) -> int:
    """Project every record anew and return how many rows that changes."""
    projection = compose(MAPPING, store.database.schemas)
    rows = await store.connection.fetch("SELECT id, entity, subject_id FROM sfsync.record ORDER BY id")
    await store.connection.execute("SET sfsync.writer = on")
    companies = [row for row in rows if row["entity"] == "Account"]
    people = [row for row in rows if row["entity"] != "Account"]
    changed: int = await store.connection.fetchval(
        projection.companies,
        ORG,
        ("event", ""),
        [r["subject_id"] for r in companies],
        [r["id"] for r in companies],
    )
    changed += await store.connection.fetchval(
        projection.people,
        ORG,
        ("event", ""),
        [r["subject_id"] for r in people],
        [r["id"] for r in people],
        [None] * len(people),
    )
    return changed


@pytest.mark.parametrize("records", [9, COPY_ROWS_MIN + 20])
async def test_patching_equals_projecting_anew(store: Store, records: int) -> None:
    """Whatever fields of whatever records change, to a value or to null, by arrays or by COPY."""
    rng = random.Random(records)
    ids: list[tuple[Entity, RecordId]] = [
        (ENTITIES[number % 3], new_id(ENTITIES[number % 3], number)) for number in range(records)
    ]
    await store.apply(*(image(one, 0, LastName="A", Name="A", Company="A") for _, one in ids))
    for second in range(2, 12, 2):
        patches = []
        for entity, one in ids:
            names = rng.sample(sorted(MAPPING.plans[entity].fields.keys() - RELATING), 6)
            values = {name: None if rng.random() < 0.3 else value_of(entity, name, rng) for name in names}
            patches.append(patch(one, second, **values))
        outcome = await store.apply(*patches)
        assert outcome.people_changed + outcome.companies_changed > 0
        assert await projected_anew(store) == 0


async def test_patch_without_a_new_value_changes_nothing_and_tells_nobody(store: Store) -> None:
    """`synced_at` is the instant at which a mapped column last changed."""
    await store.apply(image(CONTACT, 0, LastName="A", Phone="1"))
    [before] = await store.people()
    outcome = await store.apply(patch(CONTACT, 5, Phone="1"))
    assert outcome.people_changed == 0
    assert (await store.people()) == [before]
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.change") == 1


async def test_field_that_feeds_another_column_per_entity_reaches_that_column_only(pg_dsn: str) -> None:
    """A lead's and a contact's field of one name may mean two things to a mapping."""
    stated = {
        "person": {
            "last_name": {"contact": "LastName", "lead": "LastName"},
            "work_phone": {"contact": "Phone"},
            "lead_phone": {"lead": "Phone"},
        },
        "company": {"name": "Name"},
    }
    mapping = bind(parse_mapping(stated), {entity: standard_describe(entity) for entity in Entity})
    async with open_store(pg_dsn, mapping=mapping) as store:
        await store.apply(
            image(CONTACT, 0, LastName="C"), image(LEAD, 0, LastName="L"), image(ACCOUNT, 0, Name="A")
        )
        await store.apply(
            patch(CONTACT, 5, Phone="1"), patch(LEAD, 5, Phone="2"), patch(ACCOUNT, 5, Name="B")
        )
        phones = {row["source"]: (row["work_phone"], row["lead_phone"]) for row in await store.people()}
        assert phones == {"contact": ("1", None), "lead": (None, "2")}

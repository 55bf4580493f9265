"""The address views on a real database: the same as the rule in Python, and live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfsync.core.address import (
    BLANKS,
    FILLING_PARTS,
    HYPHENS,
    Parts,
    Side,
    choose,
    displayed_postal_code,
    is_filled,
    missing,
)
from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import parse_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.store.columns import ensure_columns
from sfsync.store.settings import put_setting
from tests.store.harness import ACCOUNT, ACCOUNT2, CONTACT, LEAD, ORG, Store, image, open_store, patch

BILLING = {
    "BillingPostalCode": "1000005",
    "BillingState": "東京都",
    "BillingCity": "千代田区",
    "BillingStreet": "丸の内1",
}
PARTS = {
    part: f"Mailing{name}"
    for part, name in [
        ("postal_code", "PostalCode"),
        ("prefecture", "State"),
        ("city", "City"),
        ("street", "Street"),
        ("country", "Country"),
    ]
}


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


async def address_of(store: Store, person_id: int | None) -> asyncpg.Record:
    row = await store.connection.fetchrow("SELECT * FROM crm.person_address WHERE person_id = $1", person_id)
    assert row is not None
    return row


async def test_company_moves_and_all_its_people_with_it(store: Store) -> None:
    """An account's new address is every person's at the next read, with nothing written to the person."""
    await store.apply(
        image(ACCOUNT, 0, **BILLING),
        image(CONTACT, 0, LastName="山田", AccountId=ACCOUNT, MailingCity="横浜市"),
        image(LEAD, 0, LastName="鈴木", City="大阪市"),
    )
    person = await store.person_of(CONTACT)
    found = await address_of(store, person)
    assert (found["side"], found["reason"], found["needs_address_entry"]) == ("company", "default", False)
    assert (found["postal_code"], found["postal_code_original"]) == ("100-0005", "1000005")
    before = await store.connection.fetchval("SELECT xmin FROM crm.person WHERE id = $1", person)
    await store.apply(patch(ACCOUNT, 1, BillingCity="京都市", BillingStreet=None))
    found = await address_of(store, person)
    assert (found["city"], found["missing"], found["needs_address_entry"]) == ("京都市", ["street"], True)
    assert await store.connection.fetchval("SELECT xmin FROM crm.person WHERE id = $1", person) == before
    lead = await address_of(store, await store.person_of(LEAD))
    assert (lead["side"], lead["reason"], lead["city"]) == ("person", "default_is_empty", "大阪市")


async def test_preference_is_set_in_the_callers_transaction_by_any_id(store: Store) -> None:
    """An application holds old ids; what it rolls back never was."""
    await store.apply(
        image(ACCOUNT, 0, **BILLING),
        image(LEAD, 0, LastName="L", IsConverted=True, ConvertedContactId=CONTACT),
        image(CONTACT, 0, LastName="L", AccountId=ACCOUNT, MailingCity="横浜市"),
    )
    person = await store.person_of(CONTACT)
    ids = [
        row["own_id"]
        for row in await store.connection.fetch("SELECT own_id FROM crm.person_record ORDER BY 1")
    ]
    assert len(ids) == 2
    for own_id in ids:
        set_to = await store.connection.fetchval("SELECT crm.set_address_preference($1, 'person')", own_id)
        assert set_to == person
        found = await address_of(store, person)
        assert (found["side"], found["reason"], found["city"]) == ("person", "chosen", "横浜市")
        await store.connection.execute("SELECT crm.set_address_preference($1, NULL)", own_id)
    transaction = store.connection.transaction()
    await transaction.start()
    await store.connection.execute("SELECT crm.set_address_preference($1, 'person')", person)
    assert (await address_of(store, person))["side"] == "person"
    await transaction.rollback()
    assert (await address_of(store, person))["side"] == "company"
    with pytest.raises(asyncpg.NoDataFoundError, match="no person 999"):
        await store.connection.execute("SELECT crm.set_address_preference(999, 'person')")
    with pytest.raises(asyncpg.InvalidParameterValueError, match='"home" is no side'):
        await store.connection.execute("SELECT crm.set_address_preference($1, 'home')", person)


async def test_default_side_is_a_setting(store: Store) -> None:
    """Company unless configured; whoever chose is asked for nothing."""
    await store.apply(
        image(ACCOUNT, 0, **BILLING), image(CONTACT, 0, LastName="A", AccountId=ACCOUNT, MailingCity="横浜市")
    )
    person = await store.person_of(CONTACT)
    await put_setting(store.database, "default_address_side", "person")
    assert (await address_of(store, person))["side"] == "person"
    await store.connection.execute("SELECT crm.set_address_preference($1, 'company')", person)
    assert (await address_of(store, person))["reason"] == "chosen"


async def test_undecided_person_is_written_to_at_the_company_that_took_over(store: Store) -> None:
    """Its row may not be touched, so its company is followed through a merge."""
    await store.apply(
        image(ACCOUNT, 0, **BILLING), image(ACCOUNT2, 0, **(BILLING | {"BillingCity": "港区"})),
        image(CONTACT, 0, LastName="A", AccountId=ACCOUNT),
    )  # fmt: skip
    await store.connection.execute(
        "SET sfsync.writer = on; UPDATE crm.person SET sync = 'declined';"
        " UPDATE crm.company SET merged_into = (SELECT company_id FROM crm.company_record"
        f" WHERE salesforce_id = '{ACCOUNT2}'), city = NULL WHERE salesforce_id = '{ACCOUNT}'"
    )
    assert (await address_of(store, await store.person_of(CONTACT)))["city"] == "港区"


async def test_candidates_are_both_there_even_when_empty(store: Store) -> None:
    """A screen lets people choose between both, so both are listed."""
    await store.apply(image(LEAD, 0, LastName="L", PostalCode="１００−０００５"), image(ACCOUNT, 0, Name="A"))
    rows = await store.connection.fetch("SELECT * FROM crm.address_candidate ORDER BY side")
    assert [(row["side"], row["is_chosen"], row["is_filled"]) for row in rows] == [
        ("company", False, False), ("person", True, True)]  # fmt: skip
    assert (rows[1]["postal_code"], rows[1]["postal_code_original"]) == ("100-0005", "１００−０００５")
    assert rows[1]["missing"] == ["prefecture", "city", "street"]


async def test_postal_code_proposes_what_is_missing_and_writes_nothing(store: Store) -> None:
    """One code may lie in several cities; the proposal that contradicts what is filled says so."""
    await store.apply(
        image(LEAD, 0, LastName="L", PostalCode="9070000", City="石垣市"),
        image(CONTACT, 0, LastName="C", MailingPostalCode="9070000", MailingCountry="Israel"),
    )
    await store.connection.execute(
        "INSERT INTO sfsync.postal_code VALUES ('9070000', '沖縄県', '石垣市', NULL), ('9070000', '沖縄県', '八重山郡竹富町', '竹富')"
    )
    rows = await store.connection.fetch("SELECT * FROM crm.address_suggestion ORDER BY agrees")
    person = await store.person_of(LEAD)
    assert [tuple(row) for row in rows] == [
        (person, "person", "907-0000", "沖縄県", "八重山郡竹富町", "竹富", False),
        (person, "person", "907-0000", "沖縄県", "石垣市", None, True),
    ]
    [lead] = [row for row in await store.people() if row["id"] == person]
    assert lead["prefecture"] is None


def _mapping(company: dict[str, Any]) -> BoundMapping:
    document = {
        "person": {"last_name": {"contact": "LastName"},
            "address": {part: {"contact": field} for part, field in PARTS.items()}},
        "company": {"name": "Name", "address": company},
    }  # fmt: skip
    return bind(parse_mapping(document), {entity: standard_describe(entity) for entity in Entity})


async def test_views_have_the_same_columns_for_every_mapping(store: Store) -> None:
    """What an application built on them stays; a part that is not mapped is null and not asked for."""
    await store.apply(image(ACCOUNT, 0, **BILLING), image(CONTACT, 0, LastName="A", AccountId=ACCOUNT))
    await store.connection.execute("CREATE VIEW public.label AS SELECT * FROM crm.person_address")
    columns = "SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'crm.person_address'::regclass"
    before = await store.connection.fetchval(columns)
    for company in ({"postal_code": "BillingPostalCode", "latitude": "BillingLatitude"}, {}):
        await ensure_columns(store.database, _mapping(company))
        assert await store.connection.fetchval(columns) == before
        row = await store.connection.fetchrow("SELECT * FROM public.label")
        assert row is not None and row["prefecture"] is None
        assert (row["side"], row["missing"]) == (
            ("company", []) if company else ("company", ["postal_code", "prefecture", "city", "street"])
        )


async def test_same_mapping_again_makes_nothing_anew(store: Store) -> None:
    """A start must not wait for every reader of a view, and lets what stands be."""
    made = "SELECT oid, xmin FROM pg_class WHERE relnamespace = 'crm'::regnamespace ORDER BY oid"
    functions = "SELECT oid, xmin FROM pg_proc WHERE pronamespace = 'sfsync'::regnamespace ORDER BY oid"
    before = [await store.connection.fetch(query) for query in (made, functions)]
    await ensure_columns(store.database, store.term.mapping)
    assert [await store.connection.fetch(query) for query in (made, functions)] == before


_text = st.one_of(
    st.none(),
    st.sampled_from(["", "東京都", "1", "x y"]),
    st.text(st.sampled_from(BLANKS), max_size=3),
)
_code = st.one_of(_text, st.text(st.sampled_from("0159０１" + HYPHENS + "-〒 \u3000A①²"), max_size=9))
_codes = st.builds(lambda a, h, b: a + h + b, *[
    st.text(st.sampled_from("0123456789０１９"), min_size=3, max_size=3),
    st.sampled_from(["", "-", *HYPHENS]),
    st.text(st.sampled_from("0123456789０１９"), min_size=4, max_size=4),
])  # fmt: skip
_country = st.one_of(_text, st.sampled_from(["Japan", "JAPAN ", "日本", "jp", "ISRAEL", "\u3000日本国"]))
_parts = st.fixed_dictionaries(
    {part: _code | _codes if part == "postal_code" else _text for part in FILLING_PARTS if part != "building"}
    | {"country": _country}
)
Row = tuple[Parts, Parts, Side | None]
_rows = st.lists(st.tuples(_parts, _parts, st.sampled_from([None, *Side])), min_size=1, max_size=30)
_COLUMNS = ["postal_code", "prefecture", "city", "street", "country"]


@pytest.fixture
async def plain(pg_dsn: str) -> AsyncIterator[Store]:
    """A store to which the test writes rows by hand."""
    async with open_store(pg_dsn) as opened:
        await opened.connection.execute("SET sfsync.writer = on")
        yield opened


async def test_views_say_what_the_rule_says(plain: Store) -> None:
    """Two writings of one rule stay one rule only while they are compared, over all that a row may hold."""
    loop = asyncio.get_running_loop()

    @given(_rows, st.sampled_from(Side))
    @settings(max_examples=60)
    def examine(rows: list[Row], default: Side) -> None:
        asyncio.run_coroutine_threadsafe(_write(plain.connection, rows, default), loop).result(60)
        asyncio.run_coroutine_threadsafe(_compare(plain.connection, rows, default), loop).result(60)

    await asyncio.to_thread(examine)


async def _write(connection: asyncpg.Connection, rows: list[Row], default: Side) -> None:
    await connection.execute("DELETE FROM crm.person; DELETE FROM crm.company")
    await connection.execute(
        "INSERT INTO sfsync.setting VALUES ('default_address_side', $1) ON CONFLICT (name) DO UPDATE SET value = $1",
        default,
    )
    for table, parts in (("company", [row[0] for row in rows]), ("person", [row[1] for row in rows])):
        await connection.execute(
            f"INSERT INTO crm.{table} (id, org, {', '.join(_COLUMNS)})"
            f" SELECT n - 1, '{ORG}', {', '.join(_COLUMNS)} FROM unnest($1::text[], $2::text[], $3::text[],"
            f" $4::text[], $5::text[]) WITH ORDINALITY AS r ({', '.join(_COLUMNS)}, n)",
            *[[one[part] for one in parts] for part in _COLUMNS],
        )
    await connection.execute(
        "UPDATE crm.person SET company_id = id, address_preference = ($1::text[])[id + 1]",
        [row[2] for row in rows],
    )


async def _compare(connection: asyncpg.Connection, rows: list[Row], default: Side) -> None:
    mapped = dict.fromkeys(Side, _COLUMNS)
    found = {row["person_id"]: row for row in await connection.fetch("SELECT * FROM crm.person_address")}
    listed_sides = {
        (row["person_id"], row["side"]): row
        for row in await connection.fetch("SELECT * FROM crm.address_candidate")
    }
    for place, (company, person, preference) in enumerate(rows):
        sides = {Side.COMPANY: company, Side.PERSON: person}
        choice = choose(sides, preference, default, mapped)
        row, parts = found[place], sides[choice.side]
        assert (row["side"], row["reason"], tuple(row["missing"])) == (
            choice.side,
            choice.reason,
            choice.missing,
        )
        assert row["needs_address_entry"] == choice.needs_entry
        assert row["postal_code"] == displayed_postal_code(parts)
        assert [row[part] for part in _COLUMNS[1:]] == [parts[part] for part in _COLUMNS[1:]]
        assert row["postal_code_original"] == parts["postal_code"]
        for side in Side:
            candidate = listed_sides[place, side]
            assert candidate["is_filled"] == is_filled(sides[side])
            assert candidate["is_chosen"] == (side is choice.side)
            assert tuple(candidate["missing"]) == missing(sides[side], mapped[side])

"""Pages know between which instants they are true; queries are built from checked parts only."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.ids import RecordId, record_id
from sfsync.errors import QueryError, SalesforceError, UnavailableError
from sfsync.salesforce import connection as connection_module
from sfsync.salesforce import soql
from sfsync.salesforce.connection import Connection
from sfsync.salesforce.rest import URL_BYTES_MAX, Rest
from sfsync.salesforce.soql import Keyset, Selection
from tests.salesforce.stub_org import DATE_MS, Respond, StubOrg, answer, errors, result

QUERY = "/services/data/v66.0/query"
COLLECTIONS = "/services/data/v66.0/composite/sobjects/Lead"
QUERY_ALL = "/services/data/v66.0/queryAll"
NEXT = "/services/data/v66.0/query/01g5i00000Qry01AAB-2000"
LEAD = record_id("00Q5i00000Lea01")
SELECTION = Selection("Lead", ("LastName", "Company"))


def ids(count: int) -> list[RecordId]:
    return [record_id(f"00Q5i{number:010d}") for number in range(count)]


def asked(stub: StubOrg, place: int = -1) -> str:
    return parse_qs(urlsplit(stub.seen[place].path).query)["q"][0]


def at(second: int) -> str:
    return f"Tue, 24 Nov 2026 03:04:{second:02d} GMT"


async def test_page_is_true_between_the_answer_before_and_its_own(
    stub: StubOrg, connection: Connection
) -> None:
    """T_lo from an answer completed before the request was sent, less a second; T_hi from its own, plus one."""
    stub.then("/services/data/", answer(b"[]", headers={"Date": at(5)}))
    stub.then(QUERY, result([], date=at(9)), result([], date=at(11)))
    first = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert (first.read_from_ms, first.read_to_ms) == (DATE_MS - 1000, DATE_MS + 5000)
    second = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert (second.read_from_ms, second.read_to_ms) == (DATE_MS + 3000, DATE_MS + 7000)
    assert stub.count("/services/data/?") + sum(one.path == "/services/data/" for one in stub.seen) == 1


async def test_own_date_never_serves_as_the_earlier_instant(stub: StubOrg, connection: Connection) -> None:
    """The content of an answer may be older than its Date by all the time the query ran."""
    stub.then("/services/data/", answer(b"[]", headers={"Date": at(5)}))
    stub.then(QUERY, result([], date=at(50)))
    page = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert page.read_from_ms == DATE_MS - 1000


async def test_old_clock_is_asked_again(
    stub: StubOrg, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instant of an hour ago is true but useless: nothing read would ever settle a dirty record."""
    stub.then("/services/data/", *[answer(b"[]", headers={"Date": at(second)}) for second in (5, 30)])
    stub.then(QUERY, result([], date=at(6)), result([], date=at(31)))
    await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    monkeypatch.setattr(connection_module, "CLOCK_AGE_S_MAX", 0.0)
    page = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert page.read_from_ms == DATE_MS + 24_000


async def test_next_page_keeps_the_first_ones_earlier_instant(stub: StubOrg, connection: Connection) -> None:
    """A locator's later pages may show what was true when the query began."""
    stub.then("/services/data/", answer(b"[]", headers={"Date": at(5)}))
    stub.then(QUERY, result([{"Id": "1"}], date=at(6), done=False, nextRecordsUrl=NEXT))
    stub.then(NEXT, result([{"Id": "2"}], date=at(40)))
    rest = Rest(connection)
    first = await rest.query_page("SELECT Id FROM Lead", include_deleted=False)
    second = await rest.next_page(first)
    assert (second.read_from_ms, second.read_to_ms) == (DATE_MS - 1000, DATE_MS + 36_000)
    assert (first.done, first.next_path, second.done, second.next_path) == (False, NEXT, True, None)


async def test_answer_without_date_is_no_read(stub: StubOrg, connection: Connection) -> None:
    """Without an instant nothing can be said about what an event after it means."""
    stub.then(QUERY, result([], date=""))
    with pytest.raises(UnavailableError, match="Date"):
        await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/services/data",
        "//evil.example/services/",
        "/other",
        "/services/../x",
        "/services/a b",
        "/services/\\evil",
        "/services/x?y",
        "/services/x#y",
        "/services/x@y",
        "",
        None,
        7,
    ],
)
async def test_hostile_locator_is_not_followed(stub: StubOrg, connection: Connection, path: object) -> None:
    """The next page's address is an answer, and the token goes with the request."""
    stub.then(QUERY, result([{"Id": "1"}], done=False, nextRecordsUrl=path))
    with pytest.raises(SalesforceError, match="nextRecordsUrl"):
        await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)


async def test_numbers_are_exact_and_attributes_are_dropped(stub: StubOrg, connection: Connection) -> None:
    """A float would turn 1.10 into 1.1 and 0.1 + 0.2 into drift."""
    body = b'{"totalSize":1,"done":true,"records":[{"attributes":{"type":"Lead"},"Id":"x","A":1.10,"B":12345678901234567.89,"C":7}]}'
    stub.then(QUERY, answer(body))
    page = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert page.records == [{"Id": "x", "A": Decimal("1.10"), "B": Decimal("12345678901234567.89"), "C": 7}]
    assert str(page.records[0]["A"]) == "1.10"


async def test_half_an_emoji_does_not_fail_the_page(stub: StubOrg, connection: Connection) -> None:
    """Salesforce stores lone surrogates; one record must not stop the sweep of all others."""
    stub.then(QUERY, result([{"Id": "1", "Name": "\ud83d"}, {"Id": "2", "Name": "山"}]))
    page = await Rest(connection).query_page("SELECT Id FROM Lead", include_deleted=False)
    assert [one["Name"] for one in page.records] == ["\ufffd", "山"]
    assert page.cleaned == 1


@pytest.mark.parametrize(
    "reply",
    [
        answer(b'{"totalSize":1,"done":true,"rec'),
        answer(b"[]"),
        answer(b"{}"),
        answer(b"<html>"),
        answer(b""),
        answer(b'{"totalSize":1,"done":true,"records":[1]}'),
        answer(b'{"totalSize":"1","done":true,"records":[]}'),
    ],
    ids=range(7),
)
async def test_what_is_no_query_result_is_an_outage(
    stub: StubOrg, connection: Connection, reply: Respond
) -> None:
    """Half a page, or a proxy's page, must not pass for "nothing changed"."""
    stub.then(QUERY, reply)
    with pytest.raises(UnavailableError):
        await Rest(connection, tries=1).query_page("SELECT Id FROM Lead", include_deleted=False)


async def test_sweep_pages_follow_the_keyset(stub: StubOrg, connection: Connection) -> None:
    """(SystemModstamp, Id) passes over equal stamps without loss and without OFFSET."""
    stamp = "2026-11-24T03:00:00.000+0000"
    rows = [{"Id": one, "SystemModstamp": stamp} for one in ids(3)]
    stub.then(QUERY_ALL, result(rows[:2]), result(rows[2:]))
    rest = Rest(connection)
    first = await rest.sweep_page(SELECTION, DATE_MS, limit=2)
    assert asked(stub) == (
        "SELECT LastName, Company, Id, SystemModstamp FROM Lead "
        "WHERE SystemModstamp >= 2026-11-24T03:04:05.000Z ORDER BY SystemModstamp, Id LIMIT 2"
    )
    assert not first.done
    second = await rest.sweep_page(SELECTION, DATE_MS, after=Keyset.of(first.records[-1]), limit=2)
    literal = "2026-11-24T03:00:00.000Z"
    assert asked(stub) == (
        "SELECT LastName, Company, Id, SystemModstamp FROM Lead "
        f"WHERE (SystemModstamp > {literal} OR (SystemModstamp = {literal} AND Id > '{ids(2)[1]}')) "
        "ORDER BY SystemModstamp, Id LIMIT 2"
    )
    assert second.done


async def test_backfill_pages_follow_the_id(stub: StubOrg, connection: Connection) -> None:
    """An id is a place one can come back to after a crash."""
    stub.then(QUERY_ALL, result([{"Id": LEAD}]), result([]))
    rest = Rest(connection)
    assert not (await rest.backfill_page(SELECTION, limit=1)).done
    assert asked(stub) == "SELECT LastName, Company, Id, SystemModstamp FROM Lead ORDER BY Id LIMIT 1"
    assert (await rest.backfill_page(SELECTION, after=LEAD, limit=1)).done
    assert f"WHERE Id > '{LEAD}' ORDER BY Id" in asked(stub)


async def test_shortened_page_is_not_the_last(stub: StubOrg, connection: Connection) -> None:
    """Wide rows make the server send fewer than asked; taking that for the end loses the rest."""
    stub.then(
        QUERY_ALL,
        result([{"Id": LEAD}], done=False, nextRecordsUrl=NEXT),
        result([], done=False, nextRecordsUrl=NEXT),
    )
    assert not (await Rest(connection).backfill_page(SELECTION, limit=10)).done
    with pytest.raises(UnavailableError, match="empty page"):
        await Rest(connection, tries=1).backfill_page(SELECTION, limit=10)


async def test_read_by_ids_is_one_read_however_many_requests(stub: StubOrg, connection: Connection) -> None:
    """The whole is no younger than its first request and no older than its last answer; URLs stay short."""
    wide = Selection("Lead", tuple(f"Field_{number}__c" for number in range(600)))
    rows = [{"Id": one} for one in ids(400)]
    stub.then("/services/data/", answer(b"[]", headers={"Date": at(5)}))
    stub.then(
        QUERY_ALL,
        *[result(rows[place : place + 100], date=at(10 + place // 100)) for place in range(0, 400, 100)],
    )
    page = await Rest(connection).read_by_ids(wide, ids(400))
    assert [one["Id"] for one in page.records] == ids(400)
    assert (page.done, page.total_size) == (True, 400)
    assert (page.read_from_ms, page.read_to_ms) == (DATE_MS - 1000, DATE_MS + 8000 + 1000)
    queries = [one.path for one in stub.seen if one.path.startswith(QUERY_ALL)]
    assert len(queries) == 4
    assert max(map(len, queries)) <= URL_BYTES_MAX


async def test_read_by_ids_takes_400_in_one_request_when_they_fit(
    stub: StubOrg, connection: Connection
) -> None:
    """Each request costs an API call of the day's allocation."""
    stub.then(QUERY_ALL, result([{"Id": LEAD}]))
    page = await Rest(connection).read_by_ids(SELECTION, ids(400))
    assert (len(page.records), stub.count(QUERY_ALL), connection.calls["query"]) == (1, 1, 1)


async def test_retrieve_is_one_read_of_live_records(stub: StubOrg, connection: Connection) -> None:
    """2,000 records in one call; what is null was not found here, and is nobody's deletion yet."""
    asked = ids(3)
    found = [{"attributes": {}, "Id": asked[0]}, None, {"Id": asked[2], "IsDeleted": False}]
    stub.then("/services/data/", answer(b"[]", headers={"Date": at(5)}))
    stub.then(COLLECTIONS, answer(json.dumps(found).encode(), headers={"Date": at(9)}))
    page = await Rest(connection).retrieve(SELECTION, asked)
    assert page.records == [{"Id": asked[0], "IsDeleted": False}, {"Id": asked[2], "IsDeleted": False}]
    assert (page.read_from_ms, page.read_to_ms) == (DATE_MS - 1000, DATE_MS + 4000 + 1000)
    [sent] = [one for one in stub.seen if one.path == COLLECTIONS]
    assert (sent.method, json.loads(sent.body)["ids"]) == ("POST", asked)
    assert {"Id", "SystemModstamp"} <= set(json.loads(sent.body)["fields"])


@pytest.mark.parametrize(
    "found", [[None], [None, None, None], {}, [None, {"Id": LEAD}], [None, "x"], [None, {}]]
)
async def test_collection_of_other_records_is_not_taken(
    stub: StubOrg, connection: Connection, found: Any
) -> None:
    """An answer out of step would give one person another's name."""
    stub.then(COLLECTIONS, answer(json.dumps(found).encode(), headers={"Date": at(9)}))
    with pytest.raises(UnavailableError, match="records"):
        await Rest(connection, tries=1).retrieve(SELECTION, ids(2))


async def test_query_longer_than_a_url_says_what_to_do(stub: StubOrg, connection: Connection) -> None:
    """Salesforce would answer 414, after the request has been paid for."""
    too_wide = Selection("Lead", tuple(f"A_very_long_field_name_{number}__c" for number in range(700)))
    with pytest.raises(QueryError, match="map fewer fields"):
        await Rest(connection).read_by_ids(too_wide, [LEAD])
    assert stub.count(QUERY_ALL) == 0


async def test_lost_locator_is_not_repeated(stub: StubOrg, connection: Connection) -> None:
    """A locator that is gone stays gone; the caller starts again at its keyset."""
    stub.then(QUERY, result([{"Id": "1"}], done=False, nextRecordsUrl=NEXT))
    stub.then(NEXT, *[errors(400, "INVALID_QUERY_LOCATOR")] * 3)
    rest = Rest(connection)
    with pytest.raises(UnavailableError):
        await rest.query_all("SELECT Id FROM Lead", include_deleted=False)
    assert stub.count(NEXT) == 1


async def test_versions_limits_describe_and_count(stub: StubOrg, connection: Connection) -> None:
    """The small calls that check and start-up are made of."""
    stub.then("/services/data/v66.0/limits/", answer(b'{"DailyApiRequests":{"Max":5000,"Remaining":4982}}'))
    stub.then("/services/data/v66.0/sobjects/Lead/describe", answer(b'{"name":"Lead","fields":[]}'))
    stub.then(QUERY, result([], totalSize=3222))
    rest = Rest(connection)
    assert await rest.versions() == ["65.0", "66.0"]
    assert (await rest.limits())["DailyApiRequests"]["Remaining"] == 4982
    assert (await rest.describe("Lead"))["name"] == "Lead"
    assert await rest.count("Lead") == 3222
    assert asked(stub) == "SELECT COUNT() FROM Lead"
    assert connection.calls == {"limits": 1, "describe": 1, "query": 1}


HOSTILE = [
    "",
    "a b",
    "Id, Name",
    "Id--",
    "Id'",
    'Id"',
    "Id\n",
    "1Id",
    "Id;",
    "Id FROM User",
    "名前",
    "a." * 9 + "a",
    ".a",
    "a.",
    "x" * 81,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_name_that_is_no_identifier_never_enters_a_query(name: str) -> None:
    """SOQL has no parameters, so what cannot be checked cannot be used."""
    with pytest.raises(QueryError):
        Selection("Lead", (name,))
    with pytest.raises(QueryError):
        Selection(name, ())
    with pytest.raises(QueryError):
        soql.count(name)


@given(st.text())
def test_any_accepted_name_is_made_of_word_characters(name: str) -> None:
    """No text gets past the check that could end the identifier."""
    try:
        Selection("Lead", (name,))
    except QueryError:
        return
    assert name.isascii()
    assert all(part and (part.replace("_", "a")).isalnum() for part in name.split("."))


@given(st.text() | st.sampled_from([LEAD[:15], LEAD, LEAD.lower(), LEAD + "'", "' OR Id != '"]))
def test_only_record_ids_are_quoted(text: str) -> None:
    """An id comes from an event, that is, from outside."""
    try:
        quoted = soql.quoted(text)
    except QueryError:
        return
    assert len(quoted) == 20
    assert quoted[1:-1].isalnum()


@given(st.integers(0, 253_402_300_799_999))
def test_keyset_of_a_record_is_its_own_literal(instant_ms: int) -> None:
    """A millisecond lost on the way would skip, or repeat for ever, the last record of a page."""
    literal = soql.literal(instant_ms)
    for spelling in (literal, literal.replace("Z", "+0000"), literal.replace("Z", "+00:00")):
        assert Keyset.of({"Id": LEAD, "SystemModstamp": spelling}) == Keyset(instant_ms, LEAD)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"Id": LEAD},
        {"Id": LEAD, "SystemModstamp": None},
        {"Id": "x", "SystemModstamp": "2026-11-24T03:04:05Z"},
        {"Id": LEAD, "SystemModstamp": "2026-11-24T03:04:05"},
    ],
)
def test_record_without_keyset_stops_the_paging(record: dict[str, object]) -> None:
    """Guessing the place of the next page would skip records."""
    with pytest.raises(SalesforceError):
        Keyset.of(record)


def test_selected_field_appears_once() -> None:
    """Salesforce refuses a field that is selected twice, whatever its case."""
    assert (
        Selection("Lead", ("id", "LastName", "lastname", "SystemModstamp")).columns()
        == "Id, lastname, SystemModstamp"
    )
    assert json.dumps(soql.by_ids(SELECTION, [LEAD])).count(LEAD) == 1

"""The REST API over HTTP: versions, limits, pages, rows, collections, replication, composites and their errors."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from tests.simorg.site import Site

LEAD = {"LastName": "山田", "Company": "株式会社サンプル"}


async def make(site: Site, entity: str, **values: Any) -> str:
    answer = await site.ask("POST", f"sobjects/{entity}", values)
    assert answer.status == 201, answer.body
    assert answer.body["success"] is True
    record_id: str = answer.body["id"]
    return record_id


async def accounts(site: Site, count: int) -> list[str]:
    steps = [
        {"op": "create", "entity": "Account", "fields": {"Name": f"A{n:04d}"}, "as": f"a{n}"}
        for n in range(count)
    ]
    ids = await site.transact(*steps)
    return [ids[f"a{n}"] for n in range(count)]


def code_of(answer: Any) -> tuple[int, str]:
    """The status and errorCode of an error reply, which is always an array."""
    assert isinstance(answer.body, list), answer.raw
    return answer.status, answer.body[0]["errorCode"]


async def test_versions_need_no_login_and_carry_their_season(site: Site) -> None:
    """Clients choose their version before they have a token."""
    async with site.http.get(site.url + "/services/data/") as response:
        versions = await response.json()
    by_version = {entry["version"]: entry for entry in versions}
    assert by_version["66.0"] == {"label": "Spring '26", "url": "/services/data/v66.0", "version": "66.0"}
    assert by_version["62.0"]["label"] == "Winter '25"
    assert by_version["64.0"]["label"] == "Summer '25"
    assert "30.0" not in by_version


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("limits", {"Authorization": "Bearer nonsense"}, 401, "INVALID_SESSION_ID"),
        ("limits", {"Authorization": "Basic abc"}, 400, "INVALID_AUTH_HEADER"),
        ("/services/data/v30.0/limits", {}, 410, "UNSUPPORTED_API_VERSION"),
        ("/services/data/v99.0/limits", {}, 404, "NOT_FOUND"),
        ("nothing/here", {}, 404, "NOT_FOUND"),
        ("sobjects/Foo", {}, 404, "NOT_FOUND"),
        ("sobjects/Foo/describe", {}, 404, "NOT_FOUND"),
        ("sobjects/Lead/nonsense", {}, 404, "NOT_FOUND"),
        ("sobjects/Lead/0015i00000AAAAA", {}, 400, "MALFORMED_ID"),
        ("sobjects/Lead/00Q5i0000099999", {}, 404, "NOT_FOUND"),
        ("query/01g000000000000-2000", {}, 400, "INVALID_QUERY_LOCATOR"),
        ("query", {}, 400, "MALFORMED_QUERY"),
    ],
)
async def test_errors_are_arrays_with_salesforces_codes(
    site: Site, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    """A client branches on status and errorCode, and parses an array."""
    assert code_of(await site.ask("GET", path, headers=headers)) == (status, code)


async def test_a_wrong_method_is_refused(site: Site) -> None:
    """405 names what would be allowed."""
    answer = await site.ask("POST", "query", {})
    assert code_of(answer) == (405, "METHOD_NOT_ALLOWED")
    assert "GET" in answer.body[0]["message"]


async def test_both_authorization_schemes_are_accepted(site: Site) -> None:
    """Older clients say OAuth instead of Bearer."""
    answer = await site.ask("GET", "limits", headers={"Authorization": f"OAuth {site.token}"})
    assert answer.status == 200


async def test_every_reply_carries_usage_and_the_orgs_date(site: Site) -> None:
    """The budget of a client and the instant of its reads come from these headers, on errors too."""
    await site.control("POST", "clock", {"advance_s": 86_400 * 3})
    for path in ("limits", "nothing"):
        answer = await site.ask("GET", path)
        used = site.org.stats.api.today(site.org.clock.now_ms())
        assert answer.headers["Sforce-Limit-Info"] == f"api-usage={used}/115000"
        age = site.org.clock.now() - parsedate_to_datetime(answer.headers["Date"])
        assert abs(age) < timedelta(seconds=5)


async def test_the_daily_limit_refuses_calls_and_shows_in_limits(site: Site) -> None:
    """REQUEST_LIMIT_EXCEEDED is a 403, not a 429."""
    left = (await site.get("limits"))["DailyApiRequests"]
    assert left["Max"] - left["Remaining"] == site.org.stats.api.total
    await site.control("POST", "settings", {"api_limit": 1})
    assert code_of(await site.ask("GET", "limits")) == (403, "REQUEST_LIMIT_EXCEEDED")
    await site.control("POST", "clock", {"advance_s": 86_400})
    assert (await site.ask("GET", "limits")).status == 200


async def test_an_address_that_is_too_long_is_refused(site: Site) -> None:
    """An IN list of a thousand ids does not fit a GET."""
    ids = ",".join(f"'00Q5i00000A{n:04d}'" for n in range(1_000))
    answer = await site.ask("GET", "query", params={"q": f"SELECT Id FROM Lead WHERE Id IN ({ids})"})
    assert code_of(answer) == (414, "URI_TOO_LONG")


async def test_pages_follow_the_locator_and_keep_the_total(site: Site) -> None:
    """Each page names the next one; the hint about its size is taken."""
    await accounts(site, 450)
    options = {"headers": {"Sforce-Query-Options": "batchSize=200"}}
    page = (
        await site.ask("GET", "query", params={"q": "SELECT Id FROM Account ORDER BY Name"}, **options)
    ).body
    seen, sizes = [row["Id"] for row in page["records"]], [len(page["records"])]
    while not page["done"]:
        page = (await site.ask("GET", page["nextRecordsUrl"], **options)).body
        seen += [row["Id"] for row in page["records"]]
        sizes.append(len(page["records"]))
        assert page["totalSize"] == 450
    assert sizes == [200, 200, 50]
    assert len(set(seen)) == 450
    assert "nextRecordsUrl" not in page


async def test_keyset_paging_under_concurrent_change_misses_nothing(site: Site) -> None:
    """The sweep reads pages while records move to the end of the order: each must be met at least once."""
    ids = await accounts(site, 60)
    await site.control("POST", "clock", {"advance_s": 10})
    seen: set[str] = set()
    stamp, last = "2000-01-01T00:00:00Z", ""
    for turn in range(40):
        where = (
            f"(SystemModstamp = {stamp} AND Id > '{last}') OR SystemModstamp > {stamp}"
            if last
            else "Id != null"
        )
        soql = f"SELECT Id, SystemModstamp FROM Account WHERE {where} ORDER BY SystemModstamp, Id LIMIT 7"
        rows = await site.soql(soql)
        if not rows:
            break
        seen |= {row["Id"] for row in rows}
        stamp, last = rows[-1]["SystemModstamp"].replace("+0000", "Z"), rows[-1]["Id"]
        moved = ids[(turn * 17) % 60]
        await site.transact({"op": "update", "id": moved, "fields": {"Phone": str(turn)}})
        await site.control("POST", "clock", {"advance_s": 1})
        if turn > 20:
            break
    assert seen == set(ids)


async def test_rows_are_created_read_changed_and_deleted(site: Site) -> None:
    """The life of one record through the row resources."""
    lead = await make(site, "Lead", **LEAD)
    read = await site.get(f"sobjects/Lead/{lead[:15]}")
    assert read["attributes"] == {"type": "Lead", "url": f"/services/data/v66.0/sobjects/Lead/{lead}"}
    assert (read["LastName"], read["Status"], read["IsConverted"]) == ("山田", "Open - Not Contacted", False)
    assert read["Address"] is None
    assert "DoNotCall" not in read
    changed = await site.ask("PATCH", f"sobjects/Lead/{lead}", {"City": "横浜市", "Title": "  "})
    assert (changed.status, changed.raw) == (204, b"")
    part = await site.get(f"sobjects/Lead/{lead}", fields="City,Title,Address")
    assert (part["City"], part["Title"], part["Address"]["city"]) == ("横浜市", None, "横浜市")
    assert (await site.ask("DELETE", f"sobjects/Lead/{lead}")).status == 204
    assert code_of(await site.ask("GET", f"sobjects/Lead/{lead}")) == (404, "ENTITY_IS_DELETED")
    assert code_of(await site.ask("PATCH", f"sobjects/Lead/{lead}", {"City": "x"})) == (
        404,
        "ENTITY_IS_DELETED",
    )
    assert await site.soql("SELECT Id FROM Lead") == []
    assert await site.soql("SELECT Id FROM Lead", deleted=True) == [{"Id": lead}]


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({"LastName": "x"}, "REQUIRED_FIELD_MISSING", ["Company"]),
        ({"LastName": "x" * 81, "Company": "c"}, "STRING_TOO_LONG", ["LastName"]),
        ({**LEAD, "Foo": 1}, "INVALID_FIELD", []),
        ({**LEAD, "IsConverted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsConverted"]),
        ({**LEAD, "Id": "00Q5i00000AAAAA"}, "INVALID_FIELD", ["Id"]),
        ({**LEAD, "Email": "nobody"}, "INVALID_EMAIL_ADDRESS", ["Email"]),
    ],
)
async def test_a_bad_row_is_refused_with_its_fields(
    site: Site, body: dict[str, Any], code: str, fields: list[str]
) -> None:
    """The fields of an error tell a user where to look."""
    answer = await site.ask("POST", "sobjects/Lead", body)
    assert (answer.status, answer.body[0]["errorCode"], answer.body[0]["fields"]) == (400, code, fields)


async def test_a_body_that_is_no_json_object_is_refused(site: Site) -> None:
    """Wrong bodies are the client's mistake, not an internal error."""
    assert code_of(await site.ask("POST", "sobjects/Lead", ["x"])) == (400, "JSON_PARSER_ERROR")
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
    url = f"{site.url}/services/data/v66.0/sobjects/Lead"
    async with site.http.post(url, data=b"{", headers=headers) as response:
        assert (await response.json())[0]["errorCode"] == "JSON_PARSER_ERROR"
    async with site.http.post(
        url, data=b"<x/>", headers={**headers, "Content-Type": "application/xml"}
    ) as response:
        assert response.status == 415


async def test_upsert_by_external_id_creates_then_changes(site: Site) -> None:
    """201 with created, then 200 without; an ambiguous key is 300."""
    path = "sobjects/Contact/External_Key__c/k%201"
    first = await site.ask("PATCH", path, {"LastName": "One"})
    second = await site.ask("PATCH", path, {"LastName": "Two"})
    assert (first.status, first.body["created"], second.status, second.body["created"]) == (
        201,
        True,
        200,
        False,
    )
    assert first.body["id"] == second.body["id"]
    assert (await site.get(path))["LastName"] == "Two"
    await make(site, "Contact", LastName="Twin", External_Key__c="K 1")
    ambiguous = await site.ask("PATCH", path, {"LastName": "Three"})
    assert (ambiguous.status, len(ambiguous.body)) == (300, 2)
    assert code_of(await site.ask("GET", "sobjects/Contact/Loyalty__c/x")) == (404, "NOT_FOUND")


async def test_a_collection_answers_in_request_order_with_nulls(site: Site) -> None:
    """Deleted, purged and unknown ids are null: a collection cannot tell them apart."""
    first, second, gone = await accounts(site, 3)
    await site.transact({"op": "delete", "id": gone})
    body = {"ids": [gone, second, "0015i0000099999", first[:15]], "fields": ["Name", "Id"]}
    answer = await site.ask("POST", "composite/sobjects/Account", body)
    assert [row and row["Name"] for row in answer.body] == [None, "A0001", None, "A0000"]
    by_get = await site.ask(
        "GET", "composite/sobjects/Account", params={"ids": f"{first},{gone}", "fields": "Id"}
    )
    assert [row and row["Id"] for row in by_get.body] == [first, None]


async def test_a_collection_refuses_bad_fields_ids_and_sizes(site: Site) -> None:
    """One unreadable field name refuses the whole call."""
    (account,) = await accounts(site, 1)
    for body, code in (
        ({"ids": [account], "fields": ["Name", "Nope"]}, "INVALID_FIELD"),
        ({"ids": ["0035i0000099999"], "fields": ["Name"]}, "MALFORMED_ID"),
        ({"ids": ["x"], "fields": ["Name"]}, "MALFORMED_ID"),
        ({"ids": [account] * 2_001, "fields": ["Name"]}, "EXCEEDED_ID_LIMIT"),
        ({"ids": account, "fields": ["Name"]}, "JSON_PARSER_ERROR"),
    ):
        assert code_of(await site.ask("POST", "composite/sobjects/Account", body)) == (400, code)


async def test_two_thousand_records_are_read_in_one_call(site: Site) -> None:
    """The limit itself is allowed."""
    ids = await accounts(site, 2_000)
    answer = await site.ask("POST", "composite/sobjects/Account", {"ids": ids, "fields": ["Id"]})
    assert [row["Id"] for row in answer.body] == ids


async def test_all_or_none_rolls_back_the_whole_collection(site: Site) -> None:
    """Without it each record stands for itself; with it one failure undoes the others."""
    good = {"attributes": {"type": "Account"}, "Name": "good"}
    bad = {"attributes": {"type": "Account"}}
    partly = (await site.ask("POST", "composite/sobjects", {"records": [good, bad]})).body
    assert [result["success"] for result in partly] == [True, False]
    assert partly[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    nothing = (await site.ask("POST", "composite/sobjects", {"allOrNone": True, "records": [good, bad]})).body
    assert [result["errors"][0]["statusCode"] for result in nothing] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
    ]
    assert len(await site.soql("SELECT Id FROM Account")) == 1
    changed = await site.ask(
        "PATCH", "composite/sobjects", {"records": [{"id": partly[0]["id"], "Phone": "1"}]}
    )
    assert changed.body[0]["success"] is True
    removed = await site.ask("DELETE", "composite/sobjects", params={"ids": partly[0]["id"]})
    assert removed.body == [{"id": partly[0]["id"], "success": True, "errors": []}]
    many = {"records": [good] * 201}
    assert code_of(await site.ask("POST", "composite/sobjects", many)) == (400, "LIMIT_EXCEEDED")


async def test_describe_shows_what_the_user_may_see(site: Site) -> None:
    """The mapping is checked against describe: types, lengths, compounds, formulas and absent fields."""
    described = await site.get("sobjects/Contact/describe")
    fields = {field["name"]: field for field in described["fields"]}
    assert (fields["MailingCity"]["length"], fields["MailingCity"]["compoundFieldName"]) == (
        40,
        "MailingAddress",
    )
    assert fields["MailingAddress"]["type"] == "address"
    assert (fields["LastName"]["nillable"], fields["LastName"]["byteLength"]) == (False, 240)
    assert fields["Account_Tier__c"]["calculated"] is True
    assert fields["AccountId"]["referenceTo"] == ["Account"]
    assert not {"DoNotCall", "Private_Note__c"} & set(fields)
    names = {entry["name"] for entry in (await site.get("sobjects"))["sobjects"]}
    assert {"Lead", "Contact", "Account", "User"} <= names


async def test_describe_is_not_sent_again_while_nothing_changed(site: Site) -> None:
    """If-Modified-Since answers 304 until a field changes."""
    first = await site.ask("GET", "sobjects/Lead/describe")
    headers = {"If-Modified-Since": first.headers["Last-Modified"]}
    assert (await site.ask("GET", "sobjects/Lead/describe", headers=headers)).status == 304
    await site.control("POST", "clock", {"advance_s": 5})
    field = {"entity": "Lead", "action": "add", "field": {"name": "New__c", "type": "string"}}
    await site.control("POST", "fields", field)
    assert (await site.ask("GET", "sobjects/Lead/describe", headers=headers)).status == 200


async def test_updated_and_deleted_cut_to_the_minute_and_tell_how_far_they_reach(site: Site) -> None:
    """The next span starts at latestDateCovered, not at the end asked for, and nothing is listed behind it."""
    await site.control("POST", "clock", {"advance_s": 61 - site.org.clock.now().second})  # a minute begins
    first, second = await accounts(site, 2)
    await site.transact({"op": "delete", "id": second})
    await site.control("POST", "clock", {"advance_s": 60})
    third, fourth = await accounts(site, 2)
    await site.transact({"op": "delete", "id": fourth})
    now = site.org.clock.now()
    span = {"start": f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S+00:00}"}
    span["end"] = f"{now + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S+00:00}"
    updated = await site.get("sobjects/Account/updated/", **span)
    deleted = await site.get("sobjects/Account/deleted/", **span)
    assert updated["ids"] == [first]
    assert [row["id"] for row in deleted["deletedRecords"]] == [second]
    covered = datetime.fromisoformat(updated["latestDateCovered"])
    assert covered.second == 0
    assert covered <= site.org.clock.now()
    stamp = (await site.get(f"sobjects/Account/{third}"))["SystemModstamp"]
    assert covered <= datetime.fromisoformat(stamp)
    await site.control("POST", "clock", {"advance_s": 60})
    span["start"] = f"{covered:%Y-%m-%dT%H:%M:%SZ}"
    assert (await site.get("sobjects/Account/updated/", **span))["ids"] == [third]
    later = (await site.get("sobjects/Account/deleted/", **span))["deletedRecords"]
    assert [row["id"] for row in later] == [fourth]
    await site.transact({"op": "undelete", "id": fourth})
    assert (await site.get("sobjects/Account/deleted/", **span))["deletedRecords"] == []


async def test_an_open_transaction_holds_latest_date_covered_back(site: Site) -> None:
    """Its records will appear with stamps inside a span already asked for."""
    await site.control(
        "POST",
        "transaction",
        {"duration_s": 3_600, "steps": [{"op": "create", "entity": "Account", "fields": {"Name": "slow"}}]},
    )
    started = site.org.world.oldest_open()
    assert started is not None
    await site.control("POST", "clock", {"advance_s": 300})
    await make(site, "Account", Name="stamped after it began")
    await site.control("POST", "clock", {"advance_s": 300})
    now = site.org.clock.now()
    span = {"start": f"{now - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}", "end": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    updated = await site.get("sobjects/Account/updated/", **span)
    assert updated["ids"] == []
    covered = updated["latestDateCovered"]
    assert covered == f"{started:%Y-%m-%dT%H:%M}:00.000+0000"


@pytest.mark.parametrize(
    ("which", "start_days", "length"),
    [
        ("updated", 31, timedelta(days=1)),
        ("deleted", 16, timedelta(days=1)),
        ("updated", 1, timedelta(seconds=30)),
    ],
)
async def test_a_span_too_old_or_too_short_is_refused(
    site: Site, which: str, start_days: int, length: timedelta
) -> None:
    """INVALID_REPLICATION_DATE means: read everything anew."""
    start = site.org.clock.now().replace(second=0) - timedelta(days=start_days)
    span = {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{start + length:%Y-%m-%dT%H:%M:%SZ}"}
    answer = await site.ask("GET", f"sobjects/Lead/{which}/", params=span)
    assert code_of(answer) == (400, "INVALID_REPLICATION_DATE")


async def test_a_composite_uses_the_results_of_earlier_calls(site: Site) -> None:
    """`@{reference.id}` is replaced; errors stay inside a reply that is 200 outside."""
    base = "/services/data/v66.0"
    calls = [
        {"method": "POST", "url": f"{base}/sobjects/Account", "referenceId": "acc", "body": {"Name": "A"}},
        {
            "method": "POST",
            "url": f"{base}/sobjects/Contact",
            "referenceId": "con",
            "body": {"LastName": "C", "AccountId": "@{acc.id}"},
        },
        {
            "method": "GET",
            "url": f"{base}/query?q=SELECT+Account.Name+FROM+Contact+WHERE+Id='@{{con.id}}'",
            "referenceId": "q",
        },
        {"method": "GET", "url": f"{base}/query?q=SELECT+Foo+FROM+Contact", "referenceId": "bad"},
        {"method": "GET", "url": f"{base}/query?q=SELECT+Id+FROM+Contact", "referenceId": "ids"},
        {"method": "GET", "url": f"{base}/sobjects/Contact/@{{ids.records[0].Id}}", "referenceId": "row"},
    ]
    answer = (await site.ask("POST", "composite", {"compositeRequest": calls})).body["compositeResponse"]
    assert [part["httpStatusCode"] for part in answer] == [201, 201, 200, 400, 200, 200]
    assert answer[2]["body"]["records"][0]["Account"]["Name"] == "A"
    assert answer[3]["body"][0]["errorCode"] == "INVALID_FIELD"
    requests = [{"method": "GET", "url": "v66.0/limits"}, {"method": "GET", "url": "v66.0/sobjects/Lead/x"}]
    batch = (await site.ask("POST", "composite/batch", {"batchRequests": requests})).body
    assert (batch["hasErrors"], [part["statusCode"] for part in batch["results"]]) == (True, [200, 404])


async def test_reads_lag_behind_commits_and_never_tear_a_transaction(site: Site) -> None:
    """A lagged read shows an earlier commit whole, not a mixture."""
    account, contact = (
        await site.transact(
            {"op": "create", "entity": "Account", "fields": {"Name": "v0"}, "as": "a"},
            {"op": "create", "entity": "Contact", "fields": {"LastName": "v0", "AccountId": "$a"}, "as": "c"},
        )
    ).values()
    await site.control("POST", "clock", {"advance_s": 60})
    await site.control("POST", "settings", {"read_lag_s": 5.0})
    seen = set()
    for turn in range(1, 30):
        steps = [
            {"op": "update", "id": i, "fields": {f: f"v{turn}"}}
            for i, f in ((account, "Name"), (contact, "LastName"))
        ]
        await site.transact(*steps)
        (row,) = await site.soql("SELECT LastName, Account.Name FROM Contact")
        assert row["LastName"] == row["Account"]["Name"]
        seen.add(turn - int(row["LastName"][1:]))
        await site.control("POST", "clock", {"advance_s": 1})
    assert max(seen) >= 3
    assert min(seen) <= 1


async def test_large_replies_are_compressed_when_asked(site: Site) -> None:
    """Real replies come as gzip."""
    await accounts(site, 200)
    headers = {"Accept-Encoding": "gzip"}
    async with aiohttp.ClientSession(auto_decompress=False) as plain:
        url = f"{site.url}/services/data/v66.0/query"
        authorization = {"Authorization": f"Bearer {site.token}"}
        async with plain.get(
            url, params={"q": "SELECT Id FROM Account"}, headers=headers | authorization
        ) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()).startswith(b"{")


async def test_a_change_says_which_api_and_client_made_it(site: Site) -> None:
    """The field changeOrigin is how a client recognises its own echo."""
    await site.ask("POST", "sobjects/Lead", LEAD, headers={"Sforce-Call-Options": "client=MyDaemon"})
    assert site.org.world.log[-1].origin == "com/salesforce/api/rest/66.0;client=MyDaemon"


async def test_event_schema_is_the_one_that_events_name(site: Site) -> None:
    """A client that meets a new schema id asks for it; both forms tell the same fields."""
    compact = await site.get("sobjects/LeadChangeEvent/eventSchema", payloadFormat="COMPACT")
    assert (compact["type"], compact["name"], compact["namespace"]) == (
        "record",
        "LeadChangeEvent",
        "com.sforce.eventbus",
    )
    fields = {field["name"]: field["type"] for field in compact["fields"]}
    assert [member["name"] for member in fields["Address"][1]["fields"]][:2] == ["Street", "City"]
    assert fields["AnnualRevenue"] == ["null", "double"]
    assert fields["CreatedDate"] == ["null", "long"]
    assert not {"Id", "SystemModstamp", "IsDeleted"} & set(fields)
    assert await site.get(f"event/eventSchema/{compact['uuid']}", payloadFormat="COMPACT") == compact
    expanded = await site.get(f"event/eventSchema/{compact['uuid']}")
    payload = expanded["fields"][0]["type"]["fields"][1]["type"]
    assert payload["fields"] == compact["fields"]

    field = {"name": "New__c", "type": "double"}
    await site.control("POST", "fields", {"entity": "Lead", "action": "add", "field": field})
    changed = await site.get("sobjects/LeadChangeEvent/eventSchema", payloadFormat="COMPACT")
    assert changed["uuid"] != compact["uuid"]
    assert changed["fields"][-1]["name"] == "New__c"
    for path in (f"event/eventSchema/{compact['uuid']}", "sobjects/Lead/eventSchema"):
        assert (await site.ask("GET", path)).status == 404


async def test_row_is_sent_only_if_it_changed(site: Site) -> None:
    """Conditional requests on a row go by its SystemModstamp."""
    lead = await make(site, "Lead", **LEAD)
    first = await site.ask("GET", f"sobjects/Lead/{lead}")
    again = await site.ask(
        "GET", f"sobjects/Lead/{lead}", headers={"If-Modified-Since": first.headers["Last-Modified"]}
    )
    assert (again.status, again.raw) == (304, b"")
    long_ago = "Mon, 01 Jan 2024 00:00:00 GMT"
    stale = await site.ask("GET", f"sobjects/Lead/{lead}", headers={"If-Unmodified-Since": long_ago})
    assert stale.status == 412
    newer = await site.ask("GET", f"sobjects/Lead/{lead}", headers={"If-Modified-Since": long_ago})
    assert newer.body["Id"] == lead


@pytest.mark.parametrize(
    "path", ["", "limits", "limits/", "sobjects", "sobjects/Lead/describe", "query?q=SELECT+Id+FROM+Lead"]
)
async def test_head_is_get_without_a_body(site: Site, path: str) -> None:
    """Proxies and probes ask so."""
    asked = await site.ask("HEAD", path)
    assert (asked.status, asked.raw) == (200, b"")


async def test_small_print_of_the_query_resource(site: Site) -> None:
    """POST is refused, a plan is refused by name, PATCH may come as POST."""
    assert code_of(await site.ask("POST", "query?q=SELECT+Id+FROM+Lead")) == (405, "METHOD_NOT_ALLOWED")
    plan = await site.ask("GET", "query", params={"explain": "SELECT Id FROM Lead"})
    assert plan.status == 400
    assert "explain" in plan.body[0]["message"]
    lead = await make(site, "Lead", **LEAD)
    assert (await site.ask("POST", f"sobjects/Lead/{lead}?_HttpMethod=PATCH", {"City": "x"})).status == 204


@pytest.mark.parametrize(
    ("having", "names"),
    [
        ("COUNT(Id) > 1", ["a"]),
        ("COUNT(Id) = 1 AND Company != 'b'", ["c"]),
        ("NOT MAX(NumberOfEmployees) < 5", ["a", "c"]),
        ("SUM(NumberOfEmployees) IN (9, 1)", ["b", "c"]),
        ("MIN(City) LIKE 'k%'", ["a"]),
    ],
)
async def test_having_chooses_among_groups(site: Site, having: str, names: list[str]) -> None:
    """Duplicate hunting is what people use it for."""
    for company, employees, city in (("a", 3, "Kyoto"), ("a", 7, "Nara"), ("b", 1, None), ("c", 9, "Osaka")):
        await make(site, "Lead", LastName="x", Company=company, NumberOfEmployees=employees, City=city)
    soql = f"SELECT Company FROM Lead GROUP BY Company HAVING {having} ORDER BY Company"
    assert [row["Company"] for row in await site.soql(soql)] == names

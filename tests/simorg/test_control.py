"""The control API: what it does to the org, and how it refuses what it cannot do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from sfsync.simorg.faults import KINDS
from sfsync.simorg.population import populate
from tests.simorg.site import Site, eventually

ACCOUNT = {"op": "create", "entity": "Account", "fields": {"Name": "A"}, "as": "a"}


async def test_it_documents_every_route(site: Site) -> None:
    """A stranger finds what there is without reading the source."""
    told = await site.control("GET", "")
    reads = [route.split()[1] for route in told["routes"] if route.startswith("GET ")]
    assert len(reads) >= 8
    for path in reads:
        assert (await site.ask("GET", path)).status == 200, path
    assert set(told["fault_kinds"]) == KINDS


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "transaction", {}, "steps is missing"),
        ("POST", "transaction", {"steps": [], "foo": 1}, "unknown key 'foo'"),
        ("POST", "transaction", {"steps": {}}, "steps must be a list"),
        ("POST", "transaction", {"steps": ["x"]}, "steps[0] must be an object"),
        ("POST", "transaction", {"steps": [{"op": "explode"}]}, "op must be one of convert, create"),
        (
            "POST",
            "transaction",
            {"steps": [{"op": "create", "entity": "Foo", "fields": {}}]},
            "entity must be one of",
        ),
        (
            "POST",
            "transaction",
            {"steps": [{"op": "create", "entity": "Account", "fields": {}}]},
            "REQUIRED_FIELD_MISSING",
        ),
        ("POST", "transaction", {"steps": [{"op": "delete", "id": "$x"}]}, "nothing was named 'x'"),
        ("POST", "transaction", {"steps": [{"op": "delete", "id": "12"}]}, "'12' is no record id"),
        ("POST", "transaction", {"steps": [{"op": "delete", "id": "0015i0000099999"}]}, "ENTITY_IS_DELETED"),
        ("POST", "transaction", {"steps": [ACCOUNT], "duration_s": "long"}, "duration_s must be a number"),
        ("POST", "transaction", {"steps": [ACCOUNT], "silent": 1}, "silent must be true or false"),
        ("POST", "faults", {"kind": "earthquake"}, "kind must be one of"),
        ("POST", "faults", {"kind": "cut", "times": 0}, "times must be at least 1"),
        ("POST", "faults", {"kind": "cut", "times": "2"}, "times must be a whole number"),
        ("POST", "faults", {"kind": "delay", "seconds": 1}, "unknown key 'seconds'"),
        ("POST", "faults", {"kind": "delay", "s": "1"}, "s must be a number"),
        ("POST", "faults", {"kind": "status", "code": 99}, "code must be an HTTP status"),
        ("POST", "faults", {"kind": "limit_reached", "which": "hourly"}, "which must be one of"),
        ("POST", "faults", {"kind": "cut", "match": "("}, "no regular expression"),
        ("DELETE", "faults?number=x", None, "number must be a whole number"),
        ("POST", "settings", {"long_pol_s": 1}, "unknown key 'long_pol_s'"),
        ("POST", "settings", {"shuffle": "yes"}, "shuffle must be true or false"),
        ("POST", "settings", {"read_lag_s": -1}, "read_lag_s must not be negative"),
        ("POST", "settings", {"cdc_entities": "Lead"}, "cdc_entities must be a list"),
        ("POST", "clock", {}, "advance_s is missing"),
        ("POST", "fields", {"entity": "Lead", "action": "paint", "field": {}}, "action must be one of"),
        (
            "POST",
            "fields",
            {"entity": "Lead", "action": "add", "field": {"name": "X", "type": "string"}},
            "must end in __c",
        ),
        (
            "POST",
            "fields",
            {"entity": "Lead", "action": "add", "field": {"name": "X__c", "type": "blob"}},
            "type must be one of",
        ),
        (
            "POST",
            "fields",
            {"entity": "Lead", "action": "remove", "field": {"name": "City"}},
            "standard field",
        ),
        ("POST", "fields", {"entity": "Lead", "action": "hide", "field": {"name": "Id"}}, "cannot hide it"),
        ("POST", "life", {"rate": 0}, "rate must lie above 0"),
        ("POST", "life", {"rate": 5, "mix": {"dance": 1}}, "unknown key 'dance'"),
        ("GET", "state?entity=Foo", None, "entity must be one of"),
        ("GET", "log?after=x", None, "after must be a whole number"),
    ],
)
async def test_bad_input_is_refused_saying_what_where_and_what_to_do(
    site: Site, method: str, path: str, body: Any, says: str
) -> None:
    """A test that drives the org wrongly must not pass by accident."""
    before = site.org.world.number
    answer = await site.ask(method, f"/control/{path}", body)
    assert answer.status == 400, answer.body
    assert says in answer.body["error"]
    assert answer.body["error"].startswith(f"{method} /control/")
    assert site.org.world.number == before
    assert site.org.world.oldest_open() is None


async def test_a_body_that_is_no_json_is_refused(site: Site) -> None:
    """The parser's words are passed on."""
    async with site.http.post(f"{site.url}/control/faults", data=b"{") as response:
        assert response.status == 400
        assert "no JSON" in (await response.json())["error"]


async def test_state_tells_every_record_that_ever_was(site: Site) -> None:
    """The oracle needs deleted, merged and purged records too, and hidden fields."""
    ids = await site.transact(
        ACCOUNT,
        {"op": "create", "entity": "Account", "fields": {"Name": "B"}, "as": "b"},
        {"op": "create", "entity": "Contact", "fields": {"LastName": "c", "Private_Note__c": "n"}, "as": "c"},
    )
    await site.transact({"op": "merge", "winner": ids["a"], "losers": [ids["b"]]})
    await site.transact({"op": "purge", "id": ids["c"]})
    told = await site.control("GET", "state")
    by_id = {record["id"]: record for record in told["records"]}
    assert told["org_id"] == site.org.world.org_id
    assert by_id[ids["b"]]["deleted"] is True
    assert by_id[ids["b"]]["master"] == ids["a"]
    assert by_id[ids["c"]]["purged"] is True
    assert by_id[ids["c"]]["fields"]["Private_Note__c"] == "n"
    assert by_id[ids["a"]]["fields"]["Phone"] is None
    pages, after = [], ""
    while page := (await site.control("GET", f"state?limit=3&after={after}"))["records"]:
        pages += page
        after = page[-1]["id"]
    assert pages == told["records"]


async def test_the_log_tells_what_each_commit_changed(site: Site) -> None:
    """A failing history is read from the log."""
    ids = await site.transact(ACCOUNT)
    number = site.org.world.number
    await site.transact(
        {"op": "update", "id": ids["a"], "fields": {"Phone": "1", "Fax": None}}, silent=True, origin="x"
    )
    (commit,) = (await site.control("GET", f"log?after={number}"))["commits"]
    assert (commit["silent"], commit["origin"], commit["number"]) == (True, "x", number + 1)
    (change,) = commit["changes"]
    assert (change["kind"], change["fields"]["Phone"]) == ("UPDATE", "1")
    assert "Name" not in change["fields"]


async def test_steps_may_name_and_use_each_others_records(site: Site) -> None:
    """One transaction says a whole story: a lead converted into a new account's contact."""
    ids = await site.transact(
        ACCOUNT,
        {"op": "create", "entity": "Lead", "fields": {"LastName": "L", "Company": "C"}, "as": "l"},
        {"op": "convert", "lead": "$l", "account": "$a", "opportunity": False, "as": "c"},
        {"op": "update", "id": "$c", "fields": {"Title": "CEO"}},
    )
    (row,) = await site.soql(f"SELECT Title, Account.Name FROM Contact WHERE Id = '{ids['c']}'")
    assert (row["Title"], row["Account"]["Name"]) == ("CEO", "A")
    commit = site.org.world.log[-1]
    assert sorted(change.entity for change in commit.changes) == ["Account", "Contact", "Lead"]


async def test_a_conversion_goes_into_what_exists_and_to_whom_is_told(site: Site) -> None:
    """Whoever converts chooses the account, the contact and the owner; what is made anew belongs to the owner."""
    *_, owner = await site.soql("SELECT Id FROM User ORDER BY Id")
    lead = {"op": "create", "entity": "Lead", "fields": {"LastName": "L", "Company": "C"}}
    contact = {"op": "create", "entity": "Contact", "fields": {"LastName": "K", "AccountId": "$a"}, "as": "k"}
    ids = await site.transact(
        ACCOUNT,
        contact,
        {**lead, "as": "l"},
        {**lead, "as": "m"},
        {"op": "convert", "lead": "$l", "contact": "$k", "opportunity": False, "as": "into"},
        {"op": "convert", "lead": "$m", "account": "$a", "owner": owner["Id"], "as": "made"},
    )
    assert ids["into"] == ids["k"]
    rows = await site.soql("SELECT OwnerId, AccountId FROM Contact ORDER BY Id")
    assert [row["OwnerId"] == owner["Id"] for row in rows] == [False, True]
    assert {row["AccountId"] for row in rows} == {ids["a"]}
    rows = await site.soql("SELECT ConvertedContactId, ConvertedAccountId FROM Lead ORDER BY Id")
    assert [(r["ConvertedContactId"], r["ConvertedAccountId"]) for r in rows] == [
        (ids["k"], ids["a"]),
        (ids["made"], ids["a"]),
    ]


async def test_a_long_transaction_stays_unseen_until_its_time_is_over(site: Site) -> None:
    """duration_s is org time: moving the clock ends it; its stamps are of the beginning."""
    before = site.org.clock.now()
    order = {"steps": [ACCOUNT], "duration_s": 600}
    handle = await site.control("POST", "transaction", order)
    assert handle["commit"] is None
    assert await site.soql("SELECT Id FROM Account") == []
    await site.control("POST", "clock", {"advance_s": 601})

    async def committed() -> Any:
        return await site.soql("SELECT Id, SystemModstamp FROM Account")

    (row,) = await eventually(committed)
    stamp = datetime.strptime(row["SystemModstamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs(stamp - before) < timedelta(seconds=3)
    commit = site.org.world.log[-1]
    assert commit.transaction_key == handle["transaction_key"]
    assert commit.committed_at - stamp > timedelta(seconds=590)


async def test_a_transaction_may_be_stamped_in_the_past_and_committed_now(site: Site) -> None:
    """The late commit behind a watermark, without waiting for it."""
    await site.transact(ACCOUNT, age_s=300)
    commit = site.org.world.log[-1]
    after = commit.changes[0].after
    assert after is not None
    assert commit.committed_at - after["SystemModstamp"] > timedelta(seconds=298)


async def test_custom_fields_come_change_and_go_while_the_org_runs(site: Site) -> None:
    """Administrators do this on a working day."""
    shoe = {"name": "Shoe__c", "type": "string", "length": 5}
    await site.control("POST", "fields", {"entity": "Contact", "action": "add", "field": shoe})
    ids = await site.transact(
        {"op": "create", "entity": "Contact", "fields": {"LastName": "c", "Shoe__c": "42"}, "as": "c"}
    )
    assert await site.soql("SELECT Shoe__c FROM Contact") == [{"Shoe__c": "42"}]
    too_long = await site.ask("PATCH", f"sobjects/Contact/{ids['c']}", {"Shoe__c": "123456"})
    assert too_long.body[0]["errorCode"] == "STRING_TOO_LONG"
    retype = {"name": "Shoe__c", "type": "double", "precision": 4, "scale": 1}
    await site.control("POST", "fields", {"entity": "Contact", "action": "retype", "field": retype})
    assert await site.soql("SELECT Shoe__c FROM Contact WHERE Shoe__c > 41") == [{"Shoe__c": 42.0}]
    await site.control(
        "POST", "fields", {"entity": "Contact", "action": "hide", "field": {"name": "Shoe__c"}}
    )
    hidden = await site.ask("GET", "query", params={"q": "SELECT Shoe__c FROM Contact"})
    assert hidden.body[0]["errorCode"] == "INVALID_FIELD"
    await site.control(
        "POST", "fields", {"entity": "Contact", "action": "show", "field": {"name": "Shoe__c"}}
    )
    await site.control(
        "POST", "fields", {"entity": "Contact", "action": "remove", "field": {"name": "Shoe__c"}}
    )
    await site.control("POST", "fields", {"entity": "Contact", "action": "add", "field": shoe})
    assert await site.soql("SELECT Shoe__c FROM Contact") == [{"Shoe__c": None}]


async def test_standard_field_that_the_org_lacks_can_be_added(site: Site) -> None:
    """A mapping may name one; without the word it is refused, since administrators make custom fields only."""
    field = {"name": "Pronouns", "type": "picklist"}
    refused = await site.ask("POST", "/control/fields", {"entity": "Lead", "action": "add", "field": field})
    assert refused.status == 400 and "must end in __c" in refused.body["error"]
    await site.control(
        "POST", "fields", {"entity": "Lead", "action": "add", "field": field | {"standard": True}}
    )
    fields = {"LastName": "p", "Company": "p", "Pronouns": "they"}
    await site.transact({"op": "create", "entity": "Lead", "fields": fields})
    assert await site.soql("SELECT Pronouns FROM Lead") == [{"Pronouns": "they"}]


async def test_settings_change_all_or_nothing(site: Site) -> None:
    """A half-applied setting would make a test lie."""
    refused = await site.ask("POST", "/control/settings", {"read_lag_s": 2, "shuffle": 3})
    assert refused.status == 400
    assert (await site.control("GET", "settings"))["read_lag_s"] == 0
    changed = await site.control("POST", "settings", {"read_lag_s": 2, "cdc_entities": ["Lead"]})
    assert (changed["read_lag_s"], changed["cdc_entities"]) == (2.0, ["Lead"])


async def test_revoking_and_refreshing_void_all_tokens(site: Site) -> None:
    """A sandbox refresh gives another org behind the same login."""
    await site.control("POST", "revoke", {})
    assert (await site.ask("GET", "limits")).status == 401
    old = site.org.world.org_id
    assert (await site.control("POST", "org_id", {}))["org_id"] != old


async def test_life_does_everything_and_stays_consistent(site: Site) -> None:
    """Background life must never make a state that Salesforce could not show."""
    populate(site.org.world, 400, 2)
    await site.control("POST", "life", {"rate": 400, "seed": 7})

    async def busy() -> bool:
        done = (await site.control("GET", "life"))["done"]
        return int(sum(done.values())) > 600

    await eventually(busy, 20)
    done = (await site.control("DELETE", "life"))["done"]
    assert {"create", "update", "reparent", "convert", "merge", "delete", "undelete"} <= set(done)
    assert done.get("refused", 0) < 10
    number = site.org.world.number
    assert (await site.control("GET", "life"))["running"] is False
    records = (await site.control("GET", "state"))["records"]
    by_id = {record["id"]: record for record in records}
    converted = [record for record in records if record["fields"].get("IsConverted")]
    contacts = [record["fields"]["ConvertedContactId"] for record in converted]
    assert any(record["deleted"] for record in converted)
    assert any(
        by_id[contact]["fields"]["CreatedDate"] < by_id[lead["id"]]["fields"]["CreatedDate"]
        for contact, lead in zip(contacts, converted, strict=True)
    )
    for record in records:
        account = record["fields"].get("AccountId")
        if record["entity"] == "Contact" and account and not record["deleted"]:
            assert by_id[account]["deleted"] is False
        if record["master"]:
            assert record["deleted"]
        if record["fields"].get("IsConverted"):
            assert record["fields"]["ConvertedContactId"] in by_id
    assert site.org.world.number == number


async def test_stats_count_calls_by_kind(site: Site) -> None:
    """Tests bound the API calls of the daemon with these numbers."""
    await site.soql("SELECT Id FROM Lead")
    stats = await site.control("GET", "stats")
    assert stats["calls"]["query"] == 1
    assert stats["details"]["query"] == ["SELECT Id FROM Lead"]
    assert stats["api_requests"] == 1

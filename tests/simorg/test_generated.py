"""A generated population: whatever reads it, by whichever way, sees one and the same org."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sfsync.simorg.generated import Ids
from sfsync.simorg.generated_people import generate
from sfsync.simorg.ids import IdSource, normalize
from sfsync.simorg.life import MIX, Life, Pace
from sfsync.simorg.org import Org
from sfsync.simorg.population import populate
from sfsync.simorg.soql_run import Result, run
from sfsync.simorg.world import Snapshot
from tests.simorg.site import Site, serving
from tests.simorg.test_bulk import finished, page, rows

PEOPLE, COMPANIES = 4_000, 400
ENTITIES = ("Lead", "Contact", "Account")
SEEN = "Id, Name, SystemModstamp, IsDeleted"


@pytest.fixture
async def big() -> AsyncIterator[Site]:
    """An org with records of both kinds: some written, most generated."""
    async with serving() as site:
        populate(site.org.world, 40, 1)
        generate(site.org.world, PEOPLE, COMPANIES, 1)
        yield site


def every(org: Org, entity: str) -> list[tuple[str, dict[str, Any]]]:
    """Return all present records, read one after the other by their ids."""
    base = org.world.generated.entities[entity]
    ids = [base.ids.one(place) for place in range(base.count)]
    ids += [record.id for record in org.world.records.values() if record.entity == entity]
    found = ((record_id, org.world.get(record_id)) for record_id in sorted(set(ids)))
    return [(record_id, dict(fields)) for record_id, fields in found if fields is not None]


def asked(org: Org, soql: str, *, deleted: bool = True) -> Result:
    return run(soql, org.world.snapshot(), deleted=deleted)


def ids_of(result: Result) -> list[str]:
    return [row["Id"] for row in result.json(0, len(result), "66.0")]


def disturb(org: Org, seed: int, steps: int = 300) -> None:
    """Let users create, change, convert, merge, delete and restore records of both kinds."""
    life = Life(org, Pace(1.0, seed, {**MIX, "purge": 3.0}))
    for _ in range(steps):
        life.step()
    assert sum(life.done.values()) == steps


def test_ids_ascend_and_precede_all_others() -> None:
    """Place and id lead to each other, across the borders of blocks; the checksum is right."""
    ids = Ids("Contact")
    places = [0, 1, 3_842, 3_843, 3_844, 238_326, 238_327, 238_328, 9_999_999, 14_776_333]
    made = [ids.one(place) for place in places]
    assert made == sorted(made)
    assert [normalize(record_id[:15]) for record_id in made] == made
    assert [ids.before(record_id) for record_id in made] == places
    assert ids.many(3_800, 12_000) == [ids.one(place) for place in range(3_800, 12_000)]
    assert all(made[-1] < IdSource(seed).next("Contact") for seed in range(50))


def test_the_same_seed_makes_the_same_people(big_org: Callable[[int], Org]) -> None:
    """Another seed makes others."""
    one, same, other = (every(big_org(seed), "Lead")[:50] for seed in (1, 1, 2))
    assert one == same
    assert [fields["LastName"] for _, fields in one] != [fields["LastName"] for _, fields in other]


@pytest.fixture
def big_org() -> Callable[[int], Org]:
    """Make an org with generated records only."""
    from sfsync.simorg.app import make_org  # noqa: PLC0415 - only these tests found orgs by hand

    def make(seed: int) -> Org:
        org = make_org(seed)
        generate(org.world, 500, 100, seed)
        return org

    return make


def test_references_lead_somewhere(big_org: Callable[[int], Org]) -> None:
    """Contacts have companies, companies parents, and one lead in fifty became a contact with its e-mail address."""
    org = big_org(1)
    contacts, leads = dict(every(org, "Contact")), dict(every(org, "Lead"))
    accounts = dict(every(org, "Account"))
    assert {f["AccountId"] for f in contacts.values() if "AccountId" in f} <= accounts.keys()
    assert 0.9 < sum("AccountId" in f for f in contacts.values()) / len(contacts) < 1
    assert {f["ParentId"] for f in accounts.values() if "ParentId" in f} <= accounts.keys()
    converted = [f for f in leads.values() if f.get("IsConverted")]
    assert len(converted) == len(leads) // 50
    for lead in converted:
        contact = contacts[lead["ConvertedContactId"]]
        assert (contact["Email"], contact["AccountId"]) == (lead["Email"], lead["ConvertedAccountId"])
    cities = [f.get("City") for f in leads.values() if f.get("Street")]
    assert 0 < cities.count(None) < len(cities) / 5


@pytest.mark.parametrize("seed", range(3))
async def test_every_way_of_reading_sees_the_same(big: Site, seed: int) -> None:
    """By id, by stamp, backwards, filtered, counted: what one read after the other says is what each query says."""
    org = big.org
    disturb(org, seed)
    for entity in ENTITIES:
        truth = every(org, entity)
        by_stamp = sorted((fields["SystemModstamp"], record_id) for record_id, fields in truth)
        middle = by_stamp[len(by_stamp) // 3][0]
        some = truth[len(truth) // 2][0]
        literal = f"{middle:%Y-%m-%dT%H:%M:%SZ}"
        live = [i for i, f in truth if not f["IsDeleted"]]
        assert ids_of(asked(org, f"SELECT Id FROM {entity} ORDER BY Id")) == [i for i, _ in truth]
        assert ids_of(asked(org, f"SELECT Id FROM {entity}", deleted=False)) == live
        assert ids_of(asked(org, f"SELECT Id FROM {entity} ORDER BY SystemModstamp, Id")) == [
            i for _, i in by_stamp
        ]
        backwards = asked(org, f"SELECT Id FROM {entity} ORDER BY SystemModstamp DESC, Id DESC LIMIT 777")
        assert ids_of(backwards) == [i for _, i in by_stamp[::-1]][:777]
        since = asked(
            org, f"SELECT Id FROM {entity} WHERE SystemModstamp >= {literal} ORDER BY SystemModstamp, Id"
        )
        assert ids_of(since) == [i for stamp, i in by_stamp if stamp >= middle]
        after = asked(org, f"SELECT Id FROM {entity} WHERE Id > '{some}' ORDER BY Id LIMIT 300 OFFSET 20")
        assert ids_of(after) == [i for i, _ in truth if i > some][20:320]
        mixed = f"SystemModstamp < {literal} AND Id <= '{some}' AND Name LIKE '%a%'"
        names = {
            r["Id"]: r["Name"] for r in asked(org, f"SELECT {SEEN} FROM {entity}").json(0, len(truth), "66.0")
        }
        expected = {
            i for i, f in truth if f["SystemModstamp"] < middle and i <= some and "a" in names[i].lower()
        }
        assert set(ids_of(asked(org, f"SELECT Id FROM {entity} WHERE {mixed}"))) == expected
        assert asked(org, f"SELECT COUNT() FROM {entity}", deleted=False).total == len(live)
        assert asked(org, f"SELECT COUNT() FROM {entity} WHERE SystemModstamp > {literal}").total == sum(
            f["SystemModstamp"] > middle for _, f in truth
        )
        assert org.world.snapshot().count_live(entity) == len(live)


async def test_an_older_state_is_read_as_it_was(big: Site) -> None:
    """A generated record that was changed, deleted or destroyed since is there as before."""
    before = {entity: [i for i, _ in every(big.org, entity)] for entity in ENTITIES}
    stamps = {e: ids_of(asked(big.org, f"SELECT Id FROM {e} ORDER BY SystemModstamp, Id")) for e in ENTITIES}
    number, fields = big.org.world.number, dict(every(big.org, "Lead"))
    disturb(big.org, 9)
    snapshot = Snapshot(big.org.world, number)
    assert all(dict(snapshot.get(i) or {}) == f for i, f in fields.items())
    for entity in ENTITIES:
        assert [i for i, _ in snapshot.by_id(entity)] == before[entity]
        found = run(f"SELECT Id FROM {entity} ORDER BY SystemModstamp, Id", snapshot, deleted=True)
        assert ids_of(found) == stamps[entity]


@pytest.mark.parametrize("entity", ENTITIES)
async def test_lines_by_column_are_the_lines_by_record(big: Site, entity: str) -> None:
    """Every field that Bulk may select, and what lies behind lookups, over many records of both kinds."""
    disturb(big.org, 4)
    definition = big.org.world.schema.entities[entity]
    names = [field.name for field in definition if not field.hidden and not field.is_address]
    behind = {"Contact": "Account.Name", "Lead": "ConvertedContact.Email", "Account": "Parent.Name"}
    names = [*names, "Owner.Name", behind[entity]]
    soql = f"SELECT {', '.join(names)} FROM {entity} ORDER BY Id"
    result = asked(big.org, soql)
    lines = [line for part in result.csv_slices(",", "\n", 700) for line in part]
    assert result.renderer is not None
    assert lines == result.renderer.csv(result.rows[:], ",", "\n")
    assert len(lines) == len(every(big.org, entity))


async def test_a_changed_record_is_one_like_any_other(big: Site) -> None:
    """It makes events, moves its stamp, is deleted with its company's, restored and destroyed."""
    org = big.org
    account = org.world.generated.entities["Account"].ids.one(3)
    children = ids_of(asked(org, f"SELECT Id FROM Contact WHERE AccountId = '{account}'"))
    assert len(children) == len([place for place in range(3, PEOPLE * 3 // 5, COMPANIES) if place % 14 != 13])
    await big.transact({"op": "update", "id": children[0], "fields": {"Title": "Changed"}})
    change = org.world.log[-1].changes[0]
    assert (change.kind, (change.before or {}).get("Id")) == ("UPDATE", children[0])
    assert (await big.soql(f"SELECT Title FROM Contact WHERE Id = '{children[0]}'"))[0]["Title"] == "Changed"
    await big.transact({"op": "delete", "id": account})
    assert {c.record_id for c in org.world.log[-1].changes} == {account, *children}
    assert asked(org, f"SELECT COUNT() FROM Contact WHERE AccountId = '{account}'", deleted=False).total == 0
    await big.transact({"op": "undelete", "id": account})
    assert (
        ids_of(asked(org, f"SELECT Id FROM Contact WHERE AccountId = '{account}'", deleted=False)) == children
    )
    await big.transact({"op": "purge", "id": children[1]})
    assert (await big.ask("GET", f"sobjects/Contact/{children[1]}")).status == 404
    body = {"ids": children, "fields": ["Id"]}
    read = (await big.ask("POST", "composite/sobjects/Contact", body)).body
    assert [row and row["Id"] for row in read] == [children[0], None, *children[2:]]
    assert len(org.world.records) < 200


async def test_pages_of_a_query_follow_each_other(big: Site) -> None:
    """A locator leads through generated records, too."""
    first = await big.get("query", q=f"SELECT {SEEN} FROM Contact")
    found, answer = list(first["records"]), first
    while not answer["done"]:
        answer = (await big.ask("GET", answer["nextRecordsUrl"])).body
        found += answer["records"]
    assert [row["Id"] for row in found] == [i for i, _ in every(big.org, "Contact")]
    assert first["totalSize"] == len(found)


async def test_a_job_reads_what_was_there_when_it_ran(big: Site) -> None:
    """Rows in pages, from records of both kinds; what is changed afterwards is not in them."""
    disturb(big.org, 6)
    job = await finished(big, "SELECT Id, Email FROM Lead", operation="queryAll")
    truth = [{"Id": i, "Email": f.get("Email", "")} for i, f in every(big.org, "Lead")]
    disturb(big.org, 7)
    found, locator = [], None
    while locator != "null":
        answer = await page(big, job, maxRecords=1_000, **({"locator": locator} if locator else {}))
        found += rows(answer)
        locator = answer.headers["Sforce-Locator"]
    assert found == truth


async def test_others_records_vanish_from_generated_ones(big: Site) -> None:
    """Without View All only those that the user owns are read, counted and loaded."""
    user = big.org.world.user_id
    await big.control("POST", "settings", {"denied_entities": ["Lead"]})
    own = [i for i, f in every(big.org, "Lead") if f["OwnerId"] == user]
    assert 0 < len(own) < PEOPLE * 0.2
    assert (await big.get("query", q="SELECT COUNT() FROM Lead"))["totalSize"] == len(own)
    job = await finished(big, "SELECT Id FROM Lead")
    assert [row["Id"] for row in rows(await page(big, job))] == own


async def test_a_removed_field_is_gone_from_all(big: Site) -> None:
    """Its values do not come back with a new field of the same name."""
    soql = "SELECT COUNT() FROM Lead WHERE Score__c != null"
    assert (await big.get("query", q=soql))["totalSize"] > 0
    await big.control("POST", "fields", {"entity": "Lead", "action": "remove", "field": {"name": "Score__c"}})
    field = {"name": "Score__c", "type": "double", "precision": 5, "scale": 1}
    await big.control("POST", "fields", {"entity": "Lead", "action": "add", "field": field})
    assert (await big.get("query", q=soql))["totalSize"] == 0


async def test_all_records_of_a_large_org_are_told_in_pages(big: Site) -> None:
    """The control API's truth would not fit into one answer; page after page it is whole."""
    listed, after = [], ""
    while True:
        body = await big.control("GET", f"state?entity=Account&limit=500&after={after}")
        listed += [record["id"] for record in body["records"]]
        if len(body["records"]) < 500:
            break
        after = listed[-1]
    assert listed == [i for i, _ in every(big.org, "Account")]
    generate(big.org.world, 200_000, 0, 1)
    refused = await big.ask("GET", "/control/state")
    assert refused.status == 400
    assert "limit" in refused.body["error"]


async def test_what_cannot_be_sorted_in_time_is_refused(big: Site) -> None:
    """As the real org does, instead of filling the memory with a million records."""
    generate(big.org.world, 600_000, 0, 1)
    answer = await big.ask("GET", "query", params={"q": "SELECT Id FROM Contact ORDER BY LastName"})
    assert (answer.status, answer.body[0]["errorCode"]) == (400, "QUERY_TIMEOUT")
    assert (await big.get("query", q="SELECT COUNT() FROM Contact"))["totalSize"] > 300_000


async def test_burst_updates_generated_records(big: Site) -> None:
    """Load for measurements finds records to update in an org that was only generated."""
    told = await big.control("POST", "burst", {"events": 50, "entity": "Contact", "release": False})
    assert told["prepared"] == 50
    changed = {c.record_id for commit in big.org.world.log[-50:] for c in commit.changes}
    generated = big.org.world.generated
    assert sum(generated.find(record_id) is not None for record_id in changed) > 30

"""What the API tells of a store that nobody changes meanwhile, over real sockets."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from sfsync.store.people import open_reader
from tests.console.scene import Scene
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    LEAD,
    at,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ids(page: dict[str, Any]) -> list[int]:
    return [one["id"] for one in page["people"]]


async def test_people_are_listed_without_those_that_are_gone(still: Scene) -> None:
    """A mailing list must not hold the deleted and the merged unless it is asked to."""
    api = still.api
    assert ids(await api.get("/v1/people")) == sorted([still.ada, still.eve])
    assert still.bob in ids(await api.get("/v1/people?include=deleted"))
    everybody = await api.get("/v1/people?include=deleted,merged")
    assert set(ids(everybody)) == {still.ada, still.merged, still.bob, still.eve}
    assert everybody["next"] is None
    [merged] = [one for one in everybody["people"] if one["id"] == still.merged]
    assert merged["merged_into"] == still.ada


async def test_pages_by_key_show_each_person_once(still: Scene) -> None:
    """Somebody who is made or deleted while a list is read must not shift it."""
    found: list[int] = []
    following: str | None = "/v1/people?include=deleted,merged&limit=1"
    while following is not None:
        page = await still.api.get(following)
        assert len(page["people"]) <= 1
        found += ids(page)
        following = page["next"]
    assert found == sorted({still.ada, still.merged, still.bob, still.eve})


async def test_filters_choose_people(still: Scene) -> None:
    """Each filter alone, and two together."""
    api = still.api
    assert ids(await api.get(f"/v1/people?company_id={still.company}")) == [still.ada]
    assert ids(await api.get(f"/v1/people?salesforce_id={LEAD[:15]}")) == [still.ada]
    assert ids(await api.get(f"/v1/people?salesforce_id={ACCOUNT}")) == []
    assert ids(await api.get("/v1/people?salesforce_id=0035i00000Nobdy")) == []
    assert ids(await api.get(f"/v1/people?company_id={still.ada}")) == []
    assert ids(await api.get("/v1/people?sync=synced")) == sorted([still.ada, still.eve])
    assert ids(await api.get("/v1/people?sync=declined")) == []
    later = quote((datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert ids(await api.get(f"/v1/people?updated_since={later}")) == []
    assert ids(await api.get("/v1/people?updated_since=2020-01-01T00:00:00Z&limit=500")) == sorted(
        [still.ada, still.eve]
    )


async def test_any_id_ever_handed_out_leads_to_the_person_of_today(still: Scene) -> None:
    """An application stored one of them years ago."""
    for asked in (still.ada, still.merged, LEAD, CONTACT2, CONTACT[:15]):
        person = await still.api.get(f"/v1/people/{asked}")
        assert person["id"] == still.ada
        assert person["requested_id"] == (CONTACT if asked == CONTACT[:15] else asked)
    person = await still.api.get(f"/v1/people/{still.ada}")
    assert person["columns"]["first_name"] == "Ada"
    assert person["company"]["id"] == person["company_id"] == still.company
    assert person["company"]["columns"]["name"] == "Analytical Engines"
    assert {one["salesforce_id"] for one in person["records"]} == {LEAD, CONTACT, CONTACT2}
    assert still.merged in person["aliases"]


async def test_company_is_told_like_a_person(still: Scene) -> None:
    """By our id and by its account's."""
    for asked in (still.company, ACCOUNT):
        company = await still.api.get(f"/v1/companies/{asked}")
        assert (company["id"], company["salesforce_id"]) == (still.company, ACCOUNT)
    [listed] = (await still.api.get("/v1/companies"))["companies"]
    assert listed["id"] == still.company
    told = await still.api.get(f"/v1/companies/{still.company}/provenance")
    assert told["speaker"]["reason"] == "it is the only record"
    assert (await still.api.get(f"/v1/companies/{still.company}/history"))["changes"][-1][
        "action"
    ] == "created"


async def test_history_goes_back_from_the_newest(still: Scene) -> None:
    """Page by page, each change once, and it says how long it is kept."""
    seqs: list[int] = []
    following: str | None = f"/v1/people/{still.ada}/history?limit=1"
    while following is not None:
        page = await still.api.get(following)
        assert page["kept_days"] == 30
        seqs += [change["seq"] for change in page["changes"]]
        following = page["next"]
    whole = (await still.api.get(f"/v1/people/{still.ada}/history"))["changes"]
    assert seqs == [change["seq"] for change in whole] == sorted(seqs, reverse=True)
    assert whole[-1]["action"] == "created"
    assert whole[-1]["record_id"] == LEAD
    assert whole[0]["columns"] == ["first_name"]
    assert whole[0]["commit"] == datetime.fromtimestamp(at(5) / 1000, UTC).isoformat(timespec="seconds")


async def test_provenance_names_who_wrote_each_column(still: Scene) -> None:
    """`why does it show this?` is asked when somebody is about to act."""
    told = await still.api.get(f"/v1/people/{CONTACT2}/provenance")
    assert told["requested_id"] == CONTACT2
    assert told["id"] == still.ada
    columns = {one["name"]: one for one in told["columns"]}
    assert columns["first_name"]["value"] == "Ada"
    assert columns["first_name"]["source"] == {"record_id": CONTACT, "field": "FirstName"}
    assert columns["first_name"]["written"]["record_id"] == CONTACT
    assert columns["first_name"]["written"]["origin"] == "event"
    assert columns["first_name"]["written"]["is_named"]
    assert columns["last_name"]["written"]["record_id"] == LEAD, "the conversion changed nothing of it"
    assert told["speaker"]["salesforce_id"] == CONTACT
    assert told["speaker"]["lead"] == LEAD
    assert "contact" in told["company"]["reason"] and ACCOUNT in told["company"]["reason"]
    assert told["dirty"] == told["dead_letters"] == told["decisions"] == []


async def test_status_tells_what_the_command_line_tells(still: Scene) -> None:
    """Both get it from one room."""
    told = await still.api.get("/v1/status")
    assert told["leader"]["is_led"]
    assert (told["people"]["live"], told["people"]["deleted"], told["people"]["merged"]) == (2, 1, 1)


async def test_nothing_can_be_written_while_reading(still: Scene) -> None:
    """No GET changes anything, whatever a statement of it would say."""
    async with open_reader(still.store.database) as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader._connection.execute("UPDATE crm.person SET org = org")


async def test_document_holds_together(still: Scene) -> None:
    """Generators of clients stop at a reference that leads nowhere or at a name that is taken twice."""
    document = still.api.document
    text = json.dumps(document)
    for kind, name in re.findall(r'"#/components/(\w+)/(\w+)"', text):
        assert name in document["components"][kind]
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for path, methods in document["paths"].items():
        for one in methods.values():
            declared = [parameter["name"] for parameter in one["parameters"]]
            assert len(set(declared)) == len(declared)
            assert ("{id}" in path) == ("id" in declared)
            assert {"400", "401", "403", "503"} <= one["responses"].keys()

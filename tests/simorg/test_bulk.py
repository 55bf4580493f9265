"""Bulk API 2.0 over HTTP: states, pages behind locators, the CSV itself, and what is refused."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.simorg.site import Answer, Site, eventually


async def finished(site: Site, soql: str, **body: Any) -> str:
    """Run a query job to its end and return its id."""
    order = {"operation": "query", "query": soql, **body}
    created = await site.ask("POST", "jobs/query", order)
    assert (created.status, created.body["state"]) == (200, "UploadComplete")
    job: str = created.body["id"]

    async def is_complete() -> bool:
        return bool((await site.get(f"jobs/query/{job}"))["state"] == "JobComplete")

    await eventually(is_complete)
    return job


async def page(site: Site, job: str, **params: Any) -> Answer:
    answer = await site.ask("GET", f"jobs/query/{job}/results", params=params, headers={"Accept": "text/csv"})
    assert answer.status == 200, answer.raw
    return answer


def rows(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.raw.decode(), newline="")))


async def contacts(site: Site, count: int) -> None:
    steps = [
        {"op": "create", "entity": "Contact", "fields": {"LastName": f"C{n:03d}", "Title": 'say "hi", 部長'}}
        for n in range(count)
    ]
    await site.transact(*steps)


async def test_a_job_passes_through_its_states(site: Site) -> None:
    """UploadComplete, InProgress, JobComplete; apiVersion is a number."""
    await site.control("POST", "settings", {"bulk_delay_s": 0.4})
    created = await site.ask("POST", "jobs/query", {"operation": "queryAll", "query": "SELECT Id FROM Lead"})
    path = f"jobs/query/{created.body['id']}"
    early = await site.ask("GET", f"{path}/results")
    assert (early.status, early.body[0]["errorCode"]) == (400, "INVALIDJOBSTATE")
    states = []

    async def is_complete() -> bool:
        states.append((await site.get(path))["state"])
        return bool(states[-1] == "JobComplete")

    await eventually(is_complete)
    assert [state for place, state in enumerate(states) if state not in states[:place]] == [
        "UploadComplete",
        "InProgress",
        "JobComplete",
    ]
    told = await site.get(path)
    assert (told["apiVersion"], told["jobType"], told["object"]) == (66.0, "V2Query", "Lead")


async def test_pages_end_with_the_locator_null(site: Site) -> None:
    """The literal text `null` ends the pages; each page can be fetched again."""
    await contacts(site, 25)
    job = await finished(site, "SELECT Id, LastName FROM Contact ORDER BY LastName")
    names, locator, sizes = [], None, []
    while locator != "null":
        params = {"maxRecords": 10, **({"locator": locator} if locator else {})}
        answer = await page(site, job, **params)
        assert rows(answer) == rows(await page(site, job, **params))
        names += [row["LastName"] for row in rows(answer)]
        sizes.append(int(answer.headers["Sforce-NumberOfRecords"]))
        locator = answer.headers["Sforce-Locator"]
    assert sizes == [10, 10, 5]
    assert names == [f"C{n:03d}" for n in range(25)]


async def test_every_value_is_quoted_and_null_is_empty(site: Site) -> None:
    """Header in SELECT order, Z on instants, raw newlines, doubled quotes."""
    await site.transact(
        {
            "op": "create",
            "entity": "Lead",
            "fields": {
                "LastName": 'a"b',
                "Company": "c,d",
                "Street": "1\r\n2",
                "Score__c": 3,
                "Title": "０１",
            },
        }
    )
    job = await finished(
        site, "select lastname, Company, Street, Score__c, City, IsDeleted, CreatedDate, Owner.Name from Lead"
    )
    text = (await page(site, job)).raw.decode()
    header, _, body = text.partition("\n")
    assert header == '"LastName","Company","Street","Score__c","City","IsDeleted","CreatedDate","Owner.Name"'
    created = site.org.world.log[-1].changes[0].after
    assert created is not None
    stamp = f"{created['CreatedDate']:%Y-%m-%dT%H:%M:%S}.000Z"
    assert body == f'"a""b","c,d","1\r\n2","3.0","","false","{stamp}","Integration Sync"\n'


async def test_delimiter_and_line_end_are_as_ordered(site: Site) -> None:
    """Both are optional members of the order."""
    await contacts(site, 1)
    job = await finished(
        site, "SELECT LastName, Title FROM Contact", columnDelimiter="TAB", lineEnding="CRLF"
    )
    assert (await page(site, job)).raw.decode() == '"LastName"\t"Title"\r\n"C000"\t"say ""hi"", 部長"\r\n'


async def test_zero_rows_are_a_header(site: Site) -> None:
    """An empty result is no error."""
    job = await finished(site, "SELECT Id FROM Contact")
    answer = await page(site, job)
    assert (answer.raw, answer.headers["Sforce-NumberOfRecords"], answer.headers["Sforce-Locator"]) == (
        b'"Id"\n',
        "0",
        "null",
    )


async def test_result_pages_name_several_pages_at_once(site: Site) -> None:
    """Up to five addresses, then the next five."""
    await contacts(site, 13)
    job = await finished(site, "SELECT LastName FROM Contact")
    first = await site.get(f"jobs/query/{job}/resultPages", maxRecords=2)
    assert (len(first["resultPages"]), first["done"]) == (5, False)
    second = (await site.ask("GET", first["nextRecordsUrl"])).body
    assert (len(second["resultPages"]), second["done"]) == (2, True)
    urls = [entry["resultUrl"] for entry in first["resultPages"] + second["resultPages"]]
    found = [row["LastName"] for url in urls for row in rows(await site.ask("GET", url))]
    assert sorted(found) == [f"C{n:03d}" for n in range(13)]


async def test_another_version_is_a_conflict(site: Site) -> None:
    """Results want the version of the create call."""
    job = await finished(site, "SELECT Id FROM Contact")
    assert (await site.ask("GET", f"/services/data/v65.0/jobs/query/{job}/results")).status == 409


@pytest.mark.parametrize(
    ("soql", "says"),
    [
        ("SELECT MailingAddress FROM Contact", "Selecting compound data not supported in Bulk Query"),
        ("SELECT COUNT(Id) FROM Contact", "not supported in Bulk Query"),
        ("SELECT Id FROM Contact OFFSET 5", "not supported in Bulk Query"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "not supported in Bulk Query"),
        ("SELECT Foo FROM Contact", "No such column 'Foo'"),
        ("SELECT Id FROM Nope", "sObject type 'Nope' is not supported"),
    ],
)
async def test_what_bulk_cannot_do_is_refused_at_creation(site: Site, soql: str, says: str) -> None:
    """A client learns it before it waits for a job."""
    answer = await site.ask("POST", "jobs/query", {"operation": "query", "query": soql})
    assert answer.status == 400
    assert says in answer.body[0]["message"]


async def test_a_job_can_be_aborted_and_deleted(site: Site) -> None:
    """Deleting needs an end; an aborted job never completes."""
    await site.control("POST", "settings", {"bulk_delay_s": 60.0})
    created = await site.ask("POST", "jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead"})
    path = f"jobs/query/{created.body['id']}"
    assert (await site.ask("DELETE", path)).status == 400
    assert (await site.ask("PATCH", path, {"state": "Aborted"})).body["state"] == "Aborted"
    assert (await site.ask("DELETE", path)).status == 204
    assert (await site.ask("GET", path)).status == 404


async def test_query_all_sees_the_recycle_bin(site: Site) -> None:
    """Backfill needs deleted records with their master."""
    await contacts(site, 2)
    record_id = (await site.soql("SELECT Id FROM Contact LIMIT 1"))[0]["Id"]
    await site.transact({"op": "delete", "id": record_id})
    job = await finished(site, "SELECT Id FROM Contact WHERE IsDeleted = true", operation="queryAll")
    assert rows(await page(site, job)) == [{"Id": record_id}]


async def test_ingest_writes_each_record_by_itself(site: Site) -> None:
    """A bulk load arrives in transactions of two hundred; failures stand beside successes."""
    job = (
        await site.ask("POST", "jobs/ingest", {"object": "Lead", "operation": "insert", "contentType": "CSV"})
    ).body
    before = site.org.world.number
    lines = ["LastName,Company,Title", *(f"L{n},C,#N/A" for n in range(450)), ",C,"]
    url = f"{site.url}/{job['contentUrl']}"
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "text/csv"}
    async with site.http.put(url, data="\n".join(lines).encode(), headers=headers) as response:
        assert response.status == 201
    await site.ask("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"})
    told = await site.get(f"jobs/ingest/{job['id']}")
    assert (told["state"], told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (
        "JobComplete",
        451,
        1,
    )
    assert site.org.world.number - before == 3
    failed = rows(await site.ask("GET", f"jobs/ingest/{job['id']}/failedResults"))
    assert failed[0]["sf__Error"].startswith("REQUIRED_FIELD_MISSING:")
    done = rows(await site.ask("GET", f"jobs/ingest/{job['id']}/successfulResults"))
    assert len(done) == 450
    assert done[0]["sf__Created"] == "true"

"""A query job is created, waited for and fetched page by page; whatever breaks off can be fetched again."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from sfsync.errors import BulkFailedError, LimitError, QueryError, SalesforceError, UnavailableError
from sfsync.salesforce.bulk import BulkJob, BulkQuery
from sfsync.salesforce.connection import Connection
from tests.salesforce.stub_org import DATE, DATE_MS, Respond, StubOrg, answer, cut_after, errors

JOBS = "/services/data/v66.0/jobs/query"
JOB = BulkJob("7505i00000Job01AAB", DATE_MS)
SHOW = f"{JOBS}/{JOB.id}"
RESULTS = f"{SHOW}/results"
CSV = b'"Id","LastName"\n"00Q5i00000Lea01EAB","\xe5\xb1\xb1"\n'
QUICK = (0.001, 0.002)


def info(state: str, **more: Any) -> Respond:
    body = {"id": JOB.id, "state": state, "createdDate": "2026-11-24T03:04:05.600+0000", "apiVersion": 66.0}
    return answer(json.dumps(body | more).encode())


def page(body: bytes = CSV, *, locator: str = "null", records: str = "1", **headers: str) -> Respond:
    told = {"Sforce-Locator": locator, "Sforce-NumberOfRecords": records, "Content-Type": "text/csv"}
    return answer(body, headers={"Date": DATE, **told, **headers})


def query(connection: Connection, deadline_s: float = 5.0) -> BulkQuery:
    return BulkQuery(connection, poll_s=QUICK, deadline_s=deadline_s)


async def fetched(connection: Connection, locator: str | None = None) -> tuple[bytes, str | None, int]:
    async with query(connection).page(JOB, locator, 50_000) as one:
        return b"".join([piece async for piece in one.chunks]), one.next_locator, one.records


async def test_job_is_asked_for_with_the_recycle_bin(stub: StubOrg, connection: Connection) -> None:
    """A backfill must see what was deleted, and its content is not older than the job's creation."""
    stub.then(JOBS, info("UploadComplete"))
    job = await query(connection).create("SELECT Id FROM Lead")
    assert (job.id, job.created_ms) == (JOB.id, DATE_MS + 600)
    assert job.read_from_ms == DATE_MS - 1000
    assert json.loads(stub.seen[-1].body) == {
        "operation": "queryAll",
        "query": "SELECT Id FROM Lead",
        "contentType": "CSV",
    }


async def test_job_is_waited_for_and_dated_by_its_completion(stub: StubOrg, connection: Connection) -> None:
    """T_hi is the Date of the answer that said JobComplete, plus a second; progress is told meanwhile."""
    stub.then(
        SHOW,
        info("UploadComplete"),
        info("InProgress", numberRecordsProcessed=3),
        info("JobComplete", numberRecordsProcessed=7),
    )
    told: list[int] = []
    result = await query(connection).finished(JOB, told.append)
    assert (result.records, result.read_to_ms, told) == (7, DATE_MS + 1000, [0, 3, 7])


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
async def test_job_that_ends_without_result_says_its_code_only(
    stub: StubOrg, connection: Connection, state: str
) -> None:
    """An errorMessage may quote a record."""
    stub.then(SHOW, info(state, errorMessage="QUERY_TIMEOUT : near 'Yamada Taro'"))
    with pytest.raises(BulkFailedError) as caught:
        await query(connection).finished(JOB)
    assert caught.value.state == state
    assert str(caught.value) == f"the job is {state}: QUERY_TIMEOUT"


async def test_job_that_never_ends_is_given_up(stub: StubOrg, connection: Connection) -> None:
    """A job that hangs in Salesforce must not keep the first load waiting for ever."""
    stub.then(SHOW, *[info("InProgress")] * 50)
    with pytest.raises(BulkFailedError) as caught:
        await query(connection, deadline_s=0.02).finished(JOB)
    assert caught.value.state == "Late"


async def test_job_that_is_gone_is_a_refusal(stub: StubOrg, connection: Connection) -> None:
    """After seven days Salesforce has forgotten it: asking again is no cure."""
    stub.then(SHOW, errors(404, "NOT_FOUND"))
    with pytest.raises(QueryError):
        await query(connection).finished(JOB)


async def test_page_streams_and_names_the_next(stub: StubOrg, connection: Connection) -> None:
    """The locator goes out as it came in, escaped; the literal text null ends it."""
    stub.then(RESULTS, page(locator="MTAw+M/DA="), page())
    assert await fetched(connection) == (CSV, "MTAw+M/DA=", 1)
    assert await fetched(connection, "MTAw+M/DA=") == (CSV, None, 1)
    assert stub.seen[-1].path == f"{RESULTS}?maxRecords=50000&locator=MTAw%2BM%2FDA%3D"
    assert stub.seen[-1].headers["Accept"] == "text/csv"
    assert stub.seen[-1].headers["Accept-Encoding"] == "gzip"


async def test_page_is_inflated(stub: StubOrg, connection: Connection) -> None:
    """Results are asked for compressed, since they are as big as the org."""
    stub.then(RESULTS, page(gzip.compress(CSV), **{"Content-Encoding": "gzip"}))
    assert (await fetched(connection))[0] == CSV


async def test_page_that_breaks_off_is_an_outage(stub: StubOrg, connection: Connection) -> None:
    """A cut page must never pass as a short one."""
    stub.then(RESULTS, page(gzip.compress(CSV)[:-9], **{"Content-Encoding": "gzip"}))
    with pytest.raises(UnavailableError):
        await fetched(connection)
    stub.then(RESULTS, cut_after(CSV, announced=1000))
    with pytest.raises(UnavailableError):
        await fetched(connection)


@pytest.mark.parametrize(
    ("locator", "records"), [("", "1"), ("null", ""), ("null", "many"), ("null", "-1"), ("same", "1")]
)
async def test_page_must_say_what_it_holds(
    stub: StubOrg, connection: Connection, locator: str, records: str
) -> None:
    """Without both headers nobody knows whether it is whole; a locator that leads to itself never ends."""
    stub.then(RESULTS, page(locator=locator, records=records))
    with pytest.raises(UnavailableError):
        await fetched(connection, "same")


async def test_expired_token_is_renewed_for_a_download(stub: StubOrg, connection: Connection) -> None:
    """A session ends after hours, in the midst of a first load."""
    stub.then(RESULTS, errors(401, "INVALID_SESSION_ID"), page())
    assert (await fetched(connection))[0] == CSV
    assert stub.logins == 2


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "API_VERSION_MISMATCH", SalesforceError),
        (400, "INVALIDJOBSTATE", SalesforceError),
        (404, "NOT_FOUND", QueryError),
        (403, "REQUEST_LIMIT_EXCEEDED", LimitError),
        (503, "SERVER_UNAVAILABLE", UnavailableError),
    ],
)
async def test_refused_download_is_what_any_refusal_is(
    stub: StubOrg, connection: Connection, status: int, code: str, kind: type[SalesforceError]
) -> None:
    """The reaction follows from the class, whichever call was refused."""
    stub.then(RESULTS, errors(status, code))
    with pytest.raises(kind) as caught:
        await fetched(connection)
    assert (type(caught.value), caught.value.code) == (kind, code)


async def test_job_is_aborted_and_deleted(stub: StubOrg, connection: Connection) -> None:
    """What nobody will fetch should not work on, nor lie there for a week."""
    stub.then(SHOW, info("Aborted"), answer(b"", status=204))
    await query(connection).abort(JOB)
    await query(connection).delete(JOB)
    assert [(one.method, one.body) for one in stub.seen[-2:]] == [
        ("PATCH", b'{"state":"Aborted"}'),
        ("DELETE", b""),
    ]


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"<html>", b'{"id":"x","state":"InProgress","createdDate":"soon"}']
)
async def test_answer_that_is_no_job_is_an_outage(stub: StubOrg, connection: Connection, body: bytes) -> None:
    """A proxy's page must not be taken for a job."""
    stub.then(JOBS, *[answer(body)] * 3)
    with pytest.raises(UnavailableError):
        await BulkQuery(connection).create("SELECT Id FROM Lead")

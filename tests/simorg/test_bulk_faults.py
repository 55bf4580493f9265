"""What can go wrong with a Bulk job: refusals, failures, lines that break, pages that lie, allowances used up."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import Any

import aiohttp
import pytest

from tests.simorg.site import Answer, Site, eventually
from tests.simorg.test_bulk import contacts, finished, page, rows

SOQL = "SELECT Id, LastName FROM Contact"


async def created(site: Site, soql: str = SOQL) -> Answer:
    return await site.ask("POST", "jobs/query", {"operation": "query", "query": soql})


async def ended(site: Site, job: str) -> dict[str, Any]:
    """Wait for any end of a job and return what it tells of itself."""

    async def is_over() -> Any:
        told = await site.get(f"jobs/query/{job}")
        return told if told["state"] in ("JobComplete", "Failed", "Aborted") else None

    found: dict[str, Any] = await eventually(is_over)
    return found


async def plant(site: Site, kind: str, **parameters: Any) -> None:
    await site.control("POST", "faults", {"kind": kind, **parameters})


@pytest.mark.parametrize("message", [None, "InternalServerError : Retried more than fifteen times"])
async def test_a_job_fails_with_or_without_a_reason(site: Site, message: str | None) -> None:
    """Query jobs often say nothing of why they failed."""
    await plant(site, "bulk_fail", match="FROM Contact", **({"message": message} if message else {}))
    told = await ended(site, (await created(site)).body["id"])
    assert (told["state"], told.get("errorMessage")) == ("Failed", message)


async def test_an_administrator_aborts_a_job(site: Site) -> None:
    """Its rows were read, and nobody gets them."""
    await contacts(site, 3)
    await plant(site, "bulk_abort")
    told = await ended(site, (await created(site)).body["id"])
    assert (told["state"], told["numberRecordsProcessed"]) == ("Aborted", 3)
    assert (await site.ask("GET", f"jobs/query/{told['id']}/results")).status == 400


async def test_a_stuck_job_shows_the_org_as_it_ran(site: Site) -> None:
    """What changes while the job is stuck is not in its rows; what changed before it ran is."""
    await site.control("POST", "settings", {"bulk_delay_s": 0.2})
    await plant(site, "bulk_stuck", s=0.3)
    job = (await created(site)).body["id"]
    await contacts(site, 2)

    async def is_read() -> bool:
        return bool((await site.get(f"jobs/query/{job}"))["numberRecordsProcessed"])

    await eventually(is_read)
    assert (await site.get(f"jobs/query/{job}"))["state"] == "InProgress"
    await contacts(site, 2)
    await ended(site, job)
    assert len(rows(await page(site, job))) == 2


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_page_is_cut_and_fetched_again(site: Site, encoding: str) -> None:
    """The line breaks in the middle of a body, plain or compressed, once; the same page is whole afterwards."""
    await contacts(site, 100)
    job = await finished(site, SOQL)
    await plant(site, "truncate", bytes=300, match="/results")
    headers = {"Accept-Encoding": encoding}
    with pytest.raises(aiohttp.ClientPayloadError):
        await site.ask("GET", f"jobs/query/{job}/results", headers=headers)
    answer = await site.ask("GET", f"jobs/query/{job}/results", headers=headers)
    assert len(rows(answer)) == 100


async def test_a_page_is_compressed_only_if_both_sides_want_it(site: Site) -> None:
    """Asked for and not switched off; the announced length is that of what is sent."""
    await contacts(site, 50)
    job = await finished(site, SOQL)
    url = f"{site.url}/services/data/v66.0/jobs/query/{job}/results"
    headers = {"Authorization": f"Bearer {site.token}", "Accept-Encoding": "gzip"}

    async def raw() -> tuple[str | None, bytes]:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.get(url, headers=headers) as answer,
        ):
            return answer.headers.get("Content-Encoding"), await answer.read()

    encoding, packed = await raw()
    await site.control("POST", "settings", {"bulk_gzip": False})
    assert (encoding, await raw()) == ("gzip", (None, gzip.decompress(packed)))


async def test_a_slow_page_takes_its_time(site: Site) -> None:
    """So many bytes a second, while other requests are answered."""
    await contacts(site, 100)
    await site.control("POST", "settings", {"bulk_gzip": False})
    job = await finished(site, SOQL)
    length = len((await page(site, job)).raw)
    await plant(site, "bulk_slow", bytes_s=length * 4, match="/results")
    began = time.monotonic()
    fetching = asyncio.create_task(page(site, job))
    await site.get("limits")
    asked_s = time.monotonic() - began
    await fetching
    assert asked_s < 0.2 <= time.monotonic() - began


async def test_a_page_may_lie_about_its_count(site: Site) -> None:
    """The header says one more than the body holds."""
    await contacts(site, 3)
    job = await finished(site, SOQL)
    await plant(site, "bulk_miscount", by=1)
    answer = await page(site, job)
    assert (answer.headers["Sforce-NumberOfRecords"], len(rows(answer))) == ("4", 3)


async def test_a_job_is_forgotten(site: Site) -> None:
    """From one request on it is not there, whatever is asked."""
    job = await finished(site, SOQL)
    await plant(site, "bulk_forget", match="/results")
    assert (await site.get(f"jobs/query/{job}"))["state"] == "JobComplete"
    assert (await site.ask("GET", f"jobs/query/{job}/results")).status == 404
    assert (await site.ask("GET", f"jobs/query/{job}")).body[0]["errorCode"] == "NOT_FOUND"


async def test_a_job_lives_seven_days(site: Site) -> None:
    """Org time decides."""
    job = await finished(site, SOQL)
    await site.control("POST", "settings", {"session_timeout_s": 10_000_000.0})
    await site.control("POST", "clock", {"advance_s": 6.9 * 86_400})
    assert (await site.ask("GET", f"jobs/query/{job}")).status == 200
    await site.control("POST", "clock", {"advance_s": 0.2 * 86_400})
    assert (await site.ask("GET", f"jobs/query/{job}")).status == 404


@pytest.mark.parametrize(
    ("code", "says"),
    [("LIMIT_EXCEEDED", "query jobs"), ("INVALIDENTITY", "is not supported by the Bulk API")],
)
async def test_a_job_is_refused_at_creation(site: Site, code: str, says: str) -> None:
    """A 400 that names the code, once; the next job is taken."""
    await plant(site, "bulk_refuse", code=code)
    answer = await created(site)
    assert (answer.status, answer.body[0]["errorCode"]) == (400, code)
    assert says in answer.body[0]["message"]
    assert (await created(site)).status == 200


async def test_the_jobs_of_a_day_are_limited(site: Site) -> None:
    """The allowance shows in the limits, can be set, and comes back with the next day."""
    await site.control("POST", "usage", {"bulk_jobs": 9_999})
    assert (await site.get("limits"))["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 1}
    assert (await created(site)).status == 200
    refused = await created(site)
    assert (refused.status, refused.body[0]["errorCode"]) == (400, "LIMIT_EXCEEDED")
    await site.control("POST", "settings", {"session_timeout_s": 10_000_000.0})
    await site.control("POST", "clock", {"advance_s": 86_400})
    assert (await created(site)).status == 200


async def test_usage_of_the_day_can_be_set(site: Site) -> None:
    """A Bulk call counts like any other, and the last one allowed is the last one answered."""
    job = await finished(site, SOQL)
    await site.control("POST", "usage", {"api_requests": 114_998})
    answer = await page(site, job)
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=114999/115000"
    await site.get("limits")
    refused = await site.ask("GET", f"jobs/query/{job}")
    assert (refused.status, refused.body[0]["message"]) == (403, "TotalRequests Limit exceeded.")
    assert (await site.control("GET", "usage"))["api_requests"] == 115_000


async def test_kept_results_are_those_of_an_unchanged_org(site: Site) -> None:
    """The same question is answered from the same file until something changes."""
    await site.control("POST", "settings", {"bulk_keep_results": True})
    await contacts(site, 2)
    first = await page(site, await finished(site, SOQL))
    assert (await page(site, await finished(site, SOQL))).raw == first.raw
    await contacts(site, 1)
    assert len(rows(await page(site, await finished(site, SOQL)))) == 3


@pytest.mark.parametrize("locator", ["null", "LTU", "OTk", "%%"])
async def test_a_locator_of_no_page_is_refused(site: Site, locator: str) -> None:
    """The word null, a negative row, a row behind the end, nonsense."""
    job = await finished(site, SOQL)
    answer = await site.ask("GET", f"jobs/query/{job}/results", params={"locator": locator})
    assert (answer.status, answer.body[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")

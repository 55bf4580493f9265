"""Faults act where they are named: in the answer, in the connection, in the age of what is read."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from sfsync.simorg.faults import Faults
from tests.simorg.site import Site, eventually

ACCOUNT = {"op": "create", "entity": "Account", "fields": {"Name": "A"}, "as": "a"}


async def plant(site: Site, kind: str, **params: Any) -> int:
    number: int = (await site.control("POST", "faults", {"kind": kind, **params}))["number"]
    return number


async def retrieve(site: Site) -> int:
    """Send a POST: a GET whose connection breaks is quietly sent a second time by aiohttp's client."""
    return (await site.ask("POST", "composite/sobjects/Account", {"ids": [], "fields": ["Id"]})).status


def test_a_fault_is_taken_as_often_as_planted_and_only_where_it_matches() -> None:
    """`times` and `match` are the whole language of faults."""
    faults = Faults()
    faults.add("gap", times=2, match="Lead")
    assert faults.take("gap", "Contact 003") is None
    assert faults.take("delay", "Lead 00Q") is None
    assert faults.peek("gap", "Lead 00Q") is not None
    assert [faults.take("gap", "Lead 00Q") is not None for _ in range(3)] == [True, True, False]
    lasting = faults.add("withhold", times=None)
    assert all(faults.take("withhold", "x") for _ in range(5))
    assert faults.clear(lasting.number) == 1
    assert faults.take("withhold", "x") is None
    with pytest.raises(ValueError, match="unknown fault kind"):
        faults.add("flood")


async def test_cut_drops_the_connection_without_an_answer(site: Site) -> None:
    """The client sees a broken connection, not an HTTP error; the next call works."""
    await plant(site, "cut", match="composite")
    with pytest.raises(aiohttp.ClientError):
        await retrieve(site)
    assert await retrieve(site) == 200


async def test_truncate_promises_the_whole_body_and_breaks_off(site: Site) -> None:
    """Content-Length is right, the body is not: only a client that checks will notice."""
    await site.transact(*[{**ACCOUNT, "as": f"a{n}"} for n in range(30)])
    await plant(site, "truncate", match=r"query\?q=SELECT Id", bytes=100)
    headers = {"Accept-Encoding": "identity", "Authorization": f"Bearer {site.token}"}
    url = f"{site.url}/services/data/v66.0/query"
    async with site.http.get(url, params={"q": "SELECT Id FROM Account"}, headers=headers) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 1_000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_hang_answers_nothing_until_it_is_cleared(site: Site) -> None:
    """A client without a timeout waits for ever."""
    number = await plant(site, "hang", match="composite")
    waiting = asyncio.create_task(retrieve(site))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    await site.control("DELETE", f"faults?number={number}")
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(waiting, 5)


async def test_delay_is_served_late_but_right(site: Site) -> None:
    """A slow answer is an answer."""
    await plant(site, "delay", s=0.25, match="limits")
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await site.ask("GET", "limits")).status == 200
    assert loop.time() - started >= 0.25


async def test_status_answers_with_any_code_body_and_headers(site: Site) -> None:
    """HTML from a gateway, JSON from the platform, with whatever headers."""
    await plant(site, "status", code=503, body="<html>maintenance</html>", headers={"Retry-After": "7"})
    answer = await site.ask("GET", "limits")
    assert (answer.status, answer.raw, answer.headers["Retry-After"]) == (
        503,
        b"<html>maintenance</html>",
        "7",
    )
    assert answer.headers["Content-Type"].startswith("text/html")
    await plant(site, "status", code=500, body=[{"errorCode": "UNKNOWN_EXCEPTION", "message": "m"}])
    answer = await site.ask("GET", "limits")
    assert (answer.status, answer.body[0]["errorCode"]) == (500, "UNKNOWN_EXCEPTION")


@pytest.mark.parametrize(
    ("which", "message"),
    [("daily", "TotalRequests Limit exceeded."), ("concurrent", "ConcurrentPerOrgLongTxn Limit exceeded.")],
)
async def test_limit_reached_tells_both_limits_apart_by_message_only(
    site: Site, which: str, message: str
) -> None:
    """The same code asks for a long wait or a short one."""
    await plant(site, "limit_reached", which=which)
    answer = await site.ask("GET", "limits")
    assert (answer.status, answer.body) == (
        403,
        [{"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}],
    )


async def test_a_stale_read_shows_the_org_as_it_was(site: Site) -> None:
    """The state comes from the log: neither later records nor later values nor later deletions are in it."""
    ids = await site.transact(ACCOUNT, {**ACCOUNT, "as": "b"})
    await site.control("POST", "clock", {"advance_s": 10})
    await site.transact(
        {"op": "update", "id": ids["a"], "fields": {"Name": "new"}}, {"op": "delete", "id": ids["b"]}, ACCOUNT
    )
    soql = "SELECT Id, Name FROM Account ORDER BY Id"
    await plant(site, "stale_read", s=5, match="query")
    assert await site.soql(soql) == [{"Id": ids["a"], "Name": "A"}, {"Id": ids["b"], "Name": "A"}]
    assert [row["Name"] for row in await site.soql(soql)] == ["new", "A"]


async def test_a_fault_leaves_other_addresses_alone(site: Site) -> None:
    """A fault on Lead must not disturb Contact."""
    await plant(site, "status", code=500, match="FROM Lead", times=None)
    assert await site.soql("SELECT Id FROM Contact") == []
    refused = await site.ask("GET", "query", params={"q": "SELECT Id FROM Lead"})
    assert refused.status == 500
    listed = (await site.control("GET", "faults"))["faults"]
    assert [(fault["kind"], fault["taken"]) for fault in listed] == [("status", 1)]
    assert (await site.control("DELETE", "faults"))["cleared"] == 1
    assert await site.soql("SELECT Id FROM Lead") == []


async def test_a_locked_record_refuses_writers_until_the_long_transaction_ends(site: Site) -> None:
    """UNABLE_TO_LOCK_ROW is what a busy org says to writers."""
    ids = await site.transact(ACCOUNT)
    update = {"op": "update", "id": ids["a"], "fields": {"Phone": "1"}}
    await site.control("POST", "transaction", {"steps": [update], "duration_s": 900})
    refused = await site.ask("PATCH", f"sobjects/Account/{ids['a']}", {"Phone": "2"})
    assert refused.body[0]["errorCode"] == "UNABLE_TO_LOCK_ROW"
    await site.control("POST", "clock", {"advance_s": 901})

    async def free() -> bool:
        return (await site.ask("PATCH", f"sobjects/Account/{ids['a']}", {"Phone": "3"})).status == 204

    await eventually(free)

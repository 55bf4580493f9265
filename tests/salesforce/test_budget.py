"""API calls are counted by what they are for, and what matters less waits for what matters more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from sfsync.errors import LimitError
from sfsync.salesforce.budget import (
    SLOT_S,
    SLOTS,
    ApiUsage,
    Budget,
    CallLog,
    Lane,
    Listeners,
    Shares,
    in_lane,
    lane_in_use,
)
from sfsync.salesforce.connection import Connection
from tests.salesforce.stub_org import Respond, StubOrg, answer, errors

PATH = "/services/data/v66.0/sobjects/Lead/describe"
LIMITS = "/services/data/v66.0/limits/"
DAILY, CONCURRENT = "TotalRequests Limit exceeded.", "ConcurrentPerOrgLongTxn Limit exceeded."
OK = answer(b"{}")


def told(used: int, allowed: int = 1_000) -> Respond:
    """Answer well, and say how the org's day stands."""
    return answer(b"{}", headers={"Sforce-Limit-Info": f"api-usage={used}/{allowed}"})


def no_look() -> Callable[[], asyncio.Future[None]]:
    """Return a look that says nothing new."""

    def look() -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    return look


async def waits(budget: Budget, lane: Lane) -> bool:
    """Tell whether a call in *lane* would have to wait now."""

    async def call() -> None:
        with in_lane(lane):
            await budget.admit(no_look())

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    if task.done():
        return False
    task.cancel()
    await asyncio.wait({task})
    return True


async def waiting_lanes(budget: Budget) -> list[Lane]:
    return [lane for lane in Lane if await waits(budget, lane)]


async def test_calls_are_counted_in_the_lane_of_their_job(stub: StubOrg, connection: Connection) -> None:
    """Tasks that a job begins work for it; what no job asked for is nobody's."""
    stub.then(PATH, OK, OK, OK)
    with in_lane(Lane.VERIFY):
        await asyncio.create_task(connection.request("GET", PATH))
        with in_lane(Lane.PULL):
            await connection.request("GET", PATH)
        assert lane_in_use() is Lane.VERIFY
    await connection.request("GET", PATH)
    assert connection.budget.calls == {Lane.VERIFY: 1, Lane.PULL: 1, Lane.OTHER: 1}


async def test_download_is_counted_and_waits_like_any_call(stub: StubOrg, connection: Connection) -> None:
    """A first load downloads for an hour; it must not be outside the budget."""
    connection.budget = Budget(Shares(), Listeners(refused=lambda _: 0.05))
    stub.then(PATH, errors(403, "REQUEST_LIMIT_EXCEEDED", CONCURRENT), OK)
    with in_lane(Lane.BACKFILL):
        async with connection.download(PATH, kind="bulk", accept="text/csv") as download:
            assert await download.body.read_all() == b"{}"
    assert connection.budget.calls == {Lane.BACKFILL: 2}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (699, []),
        (700, [Lane.VERIFY]),
        (850, [Lane.BACKFILL, Lane.VERIFY]),
        (950, [Lane.SWEEP, Lane.BACKFILL, Lane.VERIFY]),
        (1_000, [Lane.REFETCH, Lane.SWEEP, Lane.BACKFILL, Lane.VERIFY]),
        (9_000, [Lane.REFETCH, Lane.SWEEP, Lane.BACKFILL, Lane.VERIFY]),
    ],
)
async def test_near_our_share_lanes_wait_the_least_important_first(own: int, expected: list[Lane]) -> None:
    """A verify must never cost somebody their pull, and a pull never waits here."""
    budget = Budget(Shares(share=0.5, reserve=0.1), usage=ApiUsage(100, 2_000))
    for _ in range(own):
        budget.sent()
    assert await waiting_lanes(budget) == expected


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (799, []),
        (800, [Lane.VERIFY]),
        (850, [Lane.BACKFILL, Lane.VERIFY]),
        (900, [Lane.SWEEP, Lane.BACKFILL, Lane.VERIFY]),
        (950, [Lane.REFETCH, Lane.SWEEP, Lane.BACKFILL, Lane.VERIFY]),
    ],
)
async def test_a_reserve_is_left_to_other_systems_whoever_spent_the_rest(
    used: int, expected: list[Lane]
) -> None:
    """The org's last calls belong to its owner's other systems."""
    budget = Budget(Shares(share=1.0, reserve=0.1), usage=ApiUsage(used, 1_000))
    budget.told(ApiUsage(used, 1_000))
    assert await waiting_lanes(budget) == expected


async def test_budget_without_shares_only_counts() -> None:
    """`sfsync check` is watched by somebody and must not hang."""
    budget = Budget(usage=ApiUsage(1_000, 1_000))
    assert await waiting_lanes(budget) == []


async def test_waiting_lane_asks_and_goes_on_when_calls_are_left(
    stub: StubOrg, connection: Connection
) -> None:
    """While all lanes wait nothing else would tell that the org's day goes better."""
    connection.budget = Budget(Shares(look_s=0.05))
    stub.then(PATH, told(990), OK)
    stub.then(LIMITS, told(985), told(895), told(880))
    await connection.request("GET", PATH)
    with capture_logs() as entries, in_lane(Lane.SWEEP):
        await connection.request("GET", PATH)
    assert stub.count(LIMITS) == 3, "895 leaves the reserve, but not for long"
    assert connection.budget.calls == {Lane.OTHER: 4, Lane.SWEEP: 1}
    began, ended = entries
    assert (began["event"], began["lane"], began["reason"], began["used"]) == (
        "budget.wait.began",
        "sweep",
        "reserve",
        990,
    )
    assert (ended["event"], ended["lane"]) == ("budget.wait.ended", "sweep")
    assert ended["duration_s"] >= 0.1


async def test_larger_share_lets_waiting_calls_go_at_once() -> None:
    """A reload is how an operator lets a first load go on."""
    budget = Budget(Shares(share=0.1, reserve=0.0), usage=ApiUsage(100, 1_000))
    for _ in range(100):
        budget.sent()
    with in_lane(Lane.BACKFILL):
        waiting = asyncio.create_task(budget.admit(no_look()))
    await asyncio.sleep(0.01)
    assert budget.waiting == {Lane.BACKFILL: "share"}
    budget.follow(Shares(share=0.5, reserve=0.0))
    await asyncio.wait_for(waiting, 1)
    assert budget.waiting == {}


@pytest.mark.parametrize(
    ("text", "usage", "limit", "wait_s"),
    [
        (DAILY, None, "daily", 900),
        (DAILY, "18/5000", "daily", 900),
        (CONCURRENT, None, "concurrent", 30),
        (CONCURRENT, "5000/5000", "concurrent", 30),
        ("said otherwise", "5000/5000", "daily", 900),
        ("said otherwise", "18/5000", "concurrent", 30),
        ("said otherwise", None, "unsure", 300),
    ],
)
async def test_daily_and_concurrent_limits_are_told_apart(
    stub: StubOrg, connection: Connection, text: str, usage: str | None, limit: str, wait_s: float
) -> None:
    """One errorCode stands for both; only its text differs, and the usage where the text is new."""
    headers = {"Sforce_Limit_Info": f"api-usage={usage}"} if usage else {}
    stub.then(PATH, errors(403, "REQUEST_LIMIT_EXCEEDED", text, **headers))
    with pytest.raises(LimitError) as caught:
        await connection.request("GET", PATH)
    assert (caught.value.limit, caught.value.retry_after_s) == (limit, wait_s)


async def test_refusal_pauses_the_lanes_and_one_call_finds_its_end(
    stub: StubOrg, connection: Connection
) -> None:
    """A hundred calls that come back together would only be refused together."""
    ended: list[str] = []
    refused = errors(403, "REQUEST_LIMIT_EXCEEDED", CONCURRENT)
    connection.budget = Budget(Shares(), Listeners(refused=lambda _: 0.1, accepted=ended.append))
    stub.then(PATH, refused, refused, *[OK] * 5)
    with in_lane(Lane.REFETCH):
        first = asyncio.create_task(connection.request("GET", PATH))
        await asyncio.sleep(0.05)
    with in_lane(Lane.SWEEP):
        others = [asyncio.create_task(connection.request("GET", PATH)) for _ in range(4)]
        await asyncio.sleep(0.02)
    assert dict(connection.budget.waiting) == {Lane.REFETCH: "refused", Lane.SWEEP: "refused"}
    assert stub.count(PATH) == 1
    await asyncio.gather(first, *others)
    assert stub.count(PATH) == 2 + 5
    assert ended == ["concurrent"]


async def test_reload_lets_a_refused_lane_try_at_once(stub: StubOrg, connection: Connection) -> None:
    """An operator who bought calls must not wait a quarter of an hour for them to be used."""
    connection.budget = Budget(Shares())
    stub.then(PATH, errors(403, "REQUEST_LIMIT_EXCEEDED", DAILY), OK)
    with in_lane(Lane.SWEEP):
        refused = asyncio.create_task(connection.request("GET", PATH))
    async with asyncio.timeout(5):
        while not connection.budget.waiting:  # noqa: ASYNC110 - it waits for nobody else
            await asyncio.sleep(0.01)
        connection.budget.follow(Shares())
        await refused
    assert connection.budget.waiting == {}
    assert not await waits(connection.budget, Lane.VERIFY)


@pytest.mark.parametrize("lane", [Lane.PULL, Lane.OTHER])
async def test_whoever_is_waited_for_is_refused_at_once(
    stub: StubOrg, connection: Connection, lane: Lane
) -> None:
    """Somebody sits in front of a pull; it tells them, and does not wait a quarter of an hour."""
    connection.budget = Budget(Shares())
    stub.then(PATH, errors(403, "REQUEST_LIMIT_EXCEEDED", DAILY), OK)
    with in_lane(lane):
        with pytest.raises(LimitError):
            await connection.request("GET", PATH)
        assert (await connection.request("GET", PATH)).status == 200
    assert await waits(connection.budget, Lane.SWEEP), "one short call proves nothing yet"


def test_calls_of_a_day_ago_are_forgotten() -> None:
    """Salesforce counts any 24 hours."""
    now_s = 1_000_000.0
    calls = CallLog(lambda: now_s)
    calls.note(Lane.SWEEP)
    now_s += SLOT_S * (SLOTS - 1)
    calls.note(Lane.PULL)
    assert calls.by_lane() == {Lane.SWEEP: 1, Lane.PULL: 1}
    now_s += SLOT_S
    calls.note(Lane.PULL)
    assert calls.by_lane() == {Lane.PULL: 2}
    assert len(calls.dump()) == 2


def test_counts_survive_a_restart() -> None:
    """Or each restart would give us a whole share anew."""
    now_s = 1_000_000.0
    calls = CallLog(lambda: now_s)
    calls.note(Lane.SWEEP)
    again = CallLog(lambda: now_s)
    again.note(Lane.PULL)
    again.recall(calls.dump() | {"1": {"sweep": 9}, "1665": {"lane of a later version": 3, "pull": 1}})
    assert again.by_lane() == {Lane.SWEEP: 1, Lane.PULL: 2}


def test_forecast_tells_when_the_share_is_spent() -> None:
    """A first load that will not fit is seen hours before it stops."""
    now_s = 6_000_000.0
    calls = CallLog(lambda: now_s)
    assert calls.spent_in_s(100) is None
    for _ in range(6):
        for _ in range(10):
            calls.note(Lane.BACKFILL)
        now_s += SLOT_S
    now_s -= SLOT_S
    assert calls.spent_in_s(60) == 0
    assert calls.spent_in_s(100) == 4 * SLOT_S
    assert calls.spent_in_s(10 * SLOTS + 1) is None, "what was made a day ago no longer counts"

"""The budget as operators see it: gauges, the claim that names who waits, and counts that outlive a process."""

from __future__ import annotations

import asyncio
import math

import pytest
from structlog.testing import capture_logs

from sfsync.errors import LimitError
from sfsync.salesforce.budget import ApiUsage, Lane, Shares, in_lane
from sfsync.store.database import StoreOptions, open_database
from sfsync.store.report import report
from sfsync.sync.health import Health
from sfsync.sync.metrics import Metrics
from sfsync.sync.outages import Outages
from sfsync.sync.spending import Spending

ORG = "00D5i000000DemoEAC"


def spending(metrics: Metrics) -> Spending:
    made = Spending(metrics, Outages(metrics), wait_s_max=0.2, auth_wait_s=0.2)
    made.budget.follow(Shares(share=0.5, reserve=0.1))
    return made


def value(metrics: Metrics, name: str, lane: str = "") -> float | None:
    return metrics.registry.get_sample_value(f"sfsync_{name}", {"lane": lane} if lane else {})


def call(made: Spending, lane: Lane, count: int) -> None:
    with in_lane(lane):
        for _ in range(count):
            made.budget.sent()


def test_gauges_show_calls_by_lane_and_when_the_share_is_spent() -> None:
    """An operator wants to know hours before."""
    metrics = Metrics()
    made, health = spending(metrics), Health()
    made.show(health)
    assert value(metrics, "api_calls_day", "sweep") == 0
    made.budget.told(ApiUsage(70, 1_000))
    call(made, Lane.SWEEP, 3)
    call(made, Lane.PULL, 2)
    made.show(health)
    assert value(metrics, "api_calls_total", "sweep") == 3
    assert value(metrics, "api_calls_day", "pull") == 2
    assert value(metrics, "api_calls_hour", "pull") == 2
    assert (value(metrics, "api_used"), value(metrics, "api_allowed")) == (70, 1_000)
    assert value(metrics, "api_share") == 500
    assert value(metrics, "api_share_spent_in_seconds") == 99 * 600, "five calls in the first ten minutes"
    call(made, Lane.BACKFILL, 495)
    made.show(health)
    assert value(metrics, "api_share_spent_in_seconds") == 0


def test_share_that_is_never_spent_is_infinite_and_no_number_of_days() -> None:
    """An alert below four hours must not fire."""
    metrics = Metrics()
    made = spending(metrics)
    made.budget.told(ApiUsage(1, 100_000))
    made.show(Health())
    assert value(metrics, "api_share_spent_in_seconds") == math.inf


@pytest.mark.parametrize(("lane", "ready"), [(Lane.SWEEP, False), (Lane.REFETCH, False), (Lane.VERIFY, True)])
async def test_claim_names_who_waits_and_is_red_where_equality_depends_on_it(lane: Lane, ready: bool) -> None:
    """A verify that waits until night is no reason to page somebody."""
    metrics = Metrics()
    made, health = spending(metrics), Health("stream")
    health.set("stream", ok=True)
    made.budget.told(ApiUsage(990, 1_000))

    async def look() -> None:
        """Nothing new."""

    with in_lane(lane):
        waiting = asyncio.create_task(made.budget.admit(look))
    await asyncio.sleep(0)
    made.show(health)
    assert health.ready is ready
    assert f"{lane} waits" in health.claims["budget"].detail
    assert value(metrics, "api_waiting", str(lane)) == 1
    waiting.cancel()
    await asyncio.wait({waiting})
    made.show(health)
    assert health.ready
    assert "budget" not in health.claims
    assert value(metrics, "api_waiting", str(lane)) == 0


def test_refusals_of_many_jobs_are_one_outage_with_its_length() -> None:
    """Four jobs that fail are one thing that is away."""
    metrics = Metrics()
    made = spending(metrics)
    with capture_logs() as entries:
        for _ in range(3):
            made.budget.refused(
                LimitError("spent", code="REQUEST_LIMIT_EXCEEDED", retry_after_s=0, limit="daily")
            )
        assert metrics.registry.get_sample_value("sfsync_outage", {"outage": "api_limit.daily"}) == 1
        made.budget._pauses["daily"].until = 0.0
        made.budget.accepted()
    told = [(e["event"], e["outage"]) for e in entries if e["event"].startswith("outage.")]
    assert told == [("outage.began", "api_limit.daily"), ("outage.ended", "api_limit.daily")]
    assert metrics.registry.get_sample_value("sfsync_outage", {"outage": "api_limit.daily"}) == 0


async def test_counts_outlive_the_process_and_are_reported(pg_dsn: str) -> None:
    """Or each restart would give us a whole share anew; and status asks the store, not a daemon."""
    first, second = spending(Metrics()), spending(Metrics())
    async with open_database(StoreOptions(pg_dsn)) as database:
        told = await report(database, ORG)
        assert (told["api"], told["lag"], told["told_at"]) == (None, None, None)
        first.budget.told(ApiUsage(70, 1_000))
        call(first, Lane.BACKFILL, 7)
        await first.keep(database, ORG)
        call(second, Lane.PULL, 1)
        await second.recall(database, ORG)
        await second.recall(database, ORG)
        assert second.budget.log.by_lane() == {Lane.BACKFILL: 7, Lane.PULL: 1}
        await second.keep(database, ORG)
        told = await report(database, ORG)
    assert told["api"]["day"] == {"backfill": 7, "pull": 1}
    assert told["api"]["allowed"] is None, "the second process has not heard yet"
    assert "slots" not in told["api"]
    assert told["told_at"]

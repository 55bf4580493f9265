"""API calls that run short: what matters less waits, the stream goes on, and the log says when it is over."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.stage import Stage, until

EAGER = {"SFSYNC_SYNC__SWEEP_INTERVAL_S": "1"}
TEXTS = {"daily": "TotalRequests Limit exceeded.", "concurrent": "ConcurrentPerOrgLongTxn Limit exceeded."}


async def test_spent_share_stops_sweeps_and_neither_stream_nor_pull(stage: Stage) -> None:
    """Of 115,000 calls two in ten thousand are ours here: a sweep a second spends them."""
    daemon = stage.daemon({**EAGER, "SFSYNC_SALESFORCE__API_SHARE": "0.0004"}).wait_ready()
    began = daemon.wait_for("budget.wait.began", lane="sweep")
    assert began["reason"] == "share"
    assert began["own"] >= 0.95 * 0.0004 * began["allowed"]
    until(lambda: "sweep waits" in str(daemon.readiness()), "the claim that names what waits")
    before = stage.org.stats()["calls"]
    contact = stage.org.create("Contact", LastName="By the stream")
    await stage.must_be_equal()
    await stage.value("SELECT crm.request_sync($1)", contact)
    daemon.wait_for("pull.completed")
    assert stage.org.stats()["calls"] != before, "the pull was made"
    assert not daemon.log.all("budget.wait.ended")


async def test_last_calls_of_the_org_are_left_to_others(stage: Stage) -> None:
    """Another system spent the org's day: sweeps leave it the rest, and go on by themselves when there are more."""
    settings = {"SFSYNC_SALESFORCE__API_SHARE": "1", "SFSYNC_SALESFORCE__API_LOOK_S": "0.5"}
    daemon = stage.daemon({**EAGER, **settings}).wait_ready()
    stage.org.set(api_limit=stage.org.stats()["api_requests"] + 12)
    began = daemon.wait_for("budget.wait.began", lane="sweep")
    assert began["reason"] == "reserve"
    assert began["used"] < began["allowed"], "nobody was refused"
    contact = stage.org.create("Contact", LastName="By the stream")
    stage.org.plant("lose_event", match=contact)
    stage.org.update(contact, LastName="Lost")
    stage.org.set(api_limit=115_000)
    ended = daemon.wait_for("budget.wait.ended", lane="sweep")
    assert ended["duration_s"] > 0
    await stage.must_be_equal()
    assert not [one for one in daemon.log.all("outage.began") if one["outage"].startswith("api_limit")]


@pytest.mark.parametrize("limit", ["daily", "concurrent"])
async def test_refused_calls_are_one_named_outage_and_the_stream_goes_on(stage: Stage, limit: str) -> None:
    """One thing is away, whichever jobs meet it; its length is in the log."""
    daemon = stage.daemon().wait_ready()
    body = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": TEXTS[limit]}]
    stage.org.plant("status", match="queryAll", times=2, code=403, body=body, headers={"Retry-After": "1"})
    daemon.signal(signal.SIGUSR1)
    daemon.wait_for("outage.began", outage=f"api_limit.{limit}")
    stage.org.create("Contact", LastName="By the stream")
    daemon.wait_for("stream.batch.applied")
    ended = daemon.wait_for("outage.ended", outage=f"api_limit.{limit}")
    assert ended["duration_s"] >= 1
    assert ended["attempts"] == 2
    await stage.must_be_equal()
    assert [entry["outage"] for entry in daemon.log.all("outage.began")] == [f"api_limit.{limit}"]
    assert not daemon.log.all("sweep.failed")

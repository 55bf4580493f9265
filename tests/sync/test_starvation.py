"""A stream that starves must be told from a quiet org and from one that is behind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from sfsync.core.order import Clocks
from sfsync.sync.metrics import Metrics
from sfsync.sync.options import SyncOptions
from sfsync.sync.outages import Outages
from sfsync.sync.starvation import Missed, Starvation, StarvationWatch
from sfsync.sync.subscription import Subscription
from sfsync.sync.work import Work
from sfsync.sync.writer import StreamState


def test_two_sweeps_with_drift_and_nothing_newer_mean_starvation() -> None:
    """Salesforce gives no error; only the sweep can tell."""
    watch = StarvationWatch()
    assert not watch.is_starved(drift_records=3, delivered_ms=1_000)
    assert watch.is_starved(drift_records=1, delivered_ms=1_000)


def test_fresh_subscription_is_judged_anew() -> None:
    """Or each sweep would tear down a session that had no time to deliver."""
    watch = StarvationWatch()
    watch.is_starved(drift_records=3, delivered_ms=None)
    assert watch.is_starved(drift_records=3, delivered_ms=None)
    assert not watch.is_starved(drift_records=3, delivered_ms=None)
    assert watch.is_starved(drift_records=3, delivered_ms=None)


def test_stream_that_is_behind_but_moves_is_left_alone() -> None:
    """It will arrive."""
    watch = StarvationWatch()
    assert not watch.is_starved(drift_records=3, delivered_ms=1_000)
    assert not watch.is_starved(drift_records=3, delivered_ms=2_000)


def test_quiet_org_is_no_starvation() -> None:
    """Nothing delivered, nothing found: nothing happened."""
    watch = StarvationWatch()
    assert not watch.is_starved(drift_records=0, delivered_ms=1_000)
    assert not watch.is_starved(drift_records=0, delivered_ms=1_000)
    assert not watch.is_starved(drift_records=2, delivered_ms=1_000)
    assert not watch.is_starved(drift_records=0, delivered_ms=1_000)
    assert not watch.is_starved(drift_records=2, delivered_ms=1_000)


class Cure:
    """A subscription that only notes how it is restarted."""

    def __init__(self) -> None:
        self.restarts: list[bool] = []

    def restart(self, *, at_tip: bool = False) -> None:
        self.restarts.append(at_tip)


@dataclass
class Scene:
    """A judge of the stream, the stream it judges, and what it does about it."""

    judge: Starvation
    stream: StreamState
    cure: Cure
    metrics: Metrics

    def found(self, newest_ms: int, *, records: int = 3, drift: int = 0) -> None:
        self.judge.swept(Missed(drift, records, newest_ms))

    def is_starved(self) -> bool:
        return self.metrics.registry.get_sample_value("sfsync_outage", {"outage": "starved"}) == 1


def scene(*, settle_ms: int = 0, tip_after_s: float = 3_600.0) -> Scene:
    """A stream that is open and delivered what was committed at 100 s."""
    stream = StreamState(commit_ms=100_000, is_open=True)
    metrics, cure = Metrics(), Cure()
    options = SyncOptions(clocks=Clocks(fuzz_ms=1_000, settle_ms=settle_ms), starved_tip_after_s=tip_after_s)
    outages = Outages(metrics)
    work = SimpleNamespace(
        writer=SimpleNamespace(stream=stream),
        options=options,
        outage=lambda name: outages.named(name, wait_s_max=1.0, auth_wait_s=1.0),
    )
    return Scene(Starvation(cast(Work, work), cast(Subscription, cure)), stream, cure, metrics)


def test_one_sweep_and_a_silent_settle_time_prove_starvation() -> None:
    """Waiting for a second sweep costs a quarter of an hour of old data."""
    play = scene()
    with capture_logs() as entries:
        play.found(200_000)
        assert not play.is_starved(), "an event may be on its way"
        play.judge.look()
        play.judge.look()
    assert play.is_starved()
    assert play.cure.restarts == [False]
    [starved] = [entry for entry in entries if entry["event"] == "stream.starved"]
    assert (starved["records"], starved["delivered"]) == (3, 100_000)


def test_starvation_ends_with_its_length_when_something_newer_comes() -> None:
    """An operator must see that it is over."""
    play = scene()
    play.found(200_000)
    play.judge.look()
    play.judge.look()
    assert play.is_starved()
    play.stream.commit_ms = 200_000
    with capture_logs() as entries:
        play.judge.look()
    assert not play.is_starved()
    [ended] = [entry for entry in entries if entry["event"] == "outage.ended"]
    assert ended["outage"] == "starved"
    assert ended["duration_s"] >= 0


def test_event_that_comes_late_ends_the_suspicion() -> None:
    """A transaction stamps its records minutes before it commits: the sweep may see it first."""
    play = scene()
    play.found(200_000)
    play.stream.commit_ms = 210_000
    play.judge.look()
    play.judge.look()
    assert not play.is_starved()
    assert play.cure.restarts == []


def test_stream_that_moves_is_behind_and_does_not_starve() -> None:
    """Each event that comes gives it another settle time."""
    play = scene(settle_ms=60_000)
    play.found(200_000)
    play.judge.look()
    assert not play.is_starved()
    play = scene()
    play.found(200_000)
    play.stream.moved_at = time.monotonic() + 60
    play.judge.look()
    assert not play.is_starved()


def test_stream_that_is_away_does_not_starve() -> None:
    """That is another outage, and says so itself."""
    play = scene()
    play.found(200_000)
    play.stream.is_open = False
    play.judge.look()
    assert not play.is_starved()


@pytest.mark.parametrize(("newest_ms", "tip_ms"), [(100_500, None), (90_000, None), (200_000, 250_000)])
def test_what_the_stream_does_not_owe_is_not_missed(newest_ms: int, tip_ms: int | None) -> None:
    """What was committed before the tip, or before the last commit that came, it need not deliver any more."""
    play = scene()
    play.stream.tip_ms = tip_ms
    play.found(newest_ms)
    play.judge.look()
    play.judge.look()
    assert not play.is_starved()


def test_stream_that_never_delivered_is_not_judged() -> None:
    """Nobody knows yet what it owes."""
    play = scene()
    play.stream.commit_ms = None
    play.found(200_000)
    play.judge.look()
    play.judge.look()
    assert not play.is_starved()


def test_starvation_of_an_age_ends_at_the_tip() -> None:
    """What Salesforce cannot bring itself to replay must not keep what is new from us for ever."""
    play = scene()
    with capture_logs() as entries:
        for stamp_ms in (200_000, 300_000):
            play.found(stamp_ms)
            play.judge.look()
            play.judge.look()
            play.judge._tip_at = play.judge._tip_at and time.monotonic()
        play.judge.look()
    assert play.cure.restarts == [False, True]
    assert [e["event"] for e in entries if e["event"].startswith("stream.")] == [
        "stream.starved",
        "stream.position.abandoned",
    ]


def test_quiet_starvation_is_not_cured_for_ever() -> None:
    """Without another sweep that misses something there is nothing to gain by another session."""
    play = scene(tip_after_s=0.0)
    play.found(200_000)
    for _ in range(5):
        play.judge.look()
    assert len(play.cure.restarts) == 1


def test_starvation_goes_on_over_a_pipeline_that_begins_anew() -> None:
    """Or every outage of Postgres would report that the stream delivers again."""
    play = scene()
    play.found(200_000)
    play.judge.look()
    play.judge.look()
    again = Starvation(play.judge._work, play.judge._subscription)
    play.stream.is_open, play.stream.commit_ms = False, None
    again.look()
    play.stream.is_open, play.stream.commit_ms = True, 100_000
    again.look()
    assert play.is_starved()
    play.stream.commit_ms = 100_001
    again.look()
    assert not play.is_starved()

"""A stream that starves must be told from a quiet org and from one that is behind."""

from __future__ import annotations

from sfsync.sync.starvation import StarvationWatch


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

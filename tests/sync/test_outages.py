"""An outage is two log lines and a gauge, whatever the number of failures."""

from __future__ import annotations

from structlog.testing import capture_logs

from sfsync.errors import AuthError, LimitError, UnavailableError
from sfsync.sync.metrics import Metrics
from sfsync.sync.outages import Outage, Outages


def outage(metrics: Metrics) -> Outage:
    return Outage("stream", metrics, wait_s_max=60, auth_wait_s=900)


def gauge(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("sfsync_outage", {"outage": "stream"})


def test_hundred_failures_are_one_outage() -> None:
    """An operator reads transitions, not repetitions."""
    metrics = Metrics()
    away = outage(metrics)
    with capture_logs() as logs:
        waits = [away.failed(UnavailableError("cut")) for _ in range(100)]
        assert gauge(metrics) == 1
        away.ended()
        away.ended()
    assert [entry["event"] for entry in logs] == ["outage.began", "outage.ended"]
    assert logs[1]["attempts"] == 100
    assert gauge(metrics) == 0
    assert all(0 < wait <= 60 for wait in waits)
    assert max(waits[:1]) <= 1


def test_second_refusal_waits_long_so_that_users_are_not_locked_out() -> None:
    """The first one may be a revoked token, which a new login cures."""
    away = outage(Metrics())
    assert away.failed(AuthError("no")) < 60
    assert away.failed(AuthError("no")) == 900


def test_first_refusal_after_a_network_outage_is_tried_again_soon() -> None:
    """After a long cut the token has simply expired."""
    away = outage(Metrics())
    away.failed(UnavailableError("cut"))
    assert away.failed(AuthError("expired")) < 60


def test_thing_that_is_back_for_a_moment_does_not_shorten_the_waits() -> None:
    """A session that opens and dies at once would otherwise be a hot loop with a clean conscience."""
    metrics = Metrics()
    away = outage(metrics)
    for _ in range(12):
        away.failed(UnavailableError("cut"))
        away.back()
        assert gauge(metrics) == 0
    assert max(away.failed(UnavailableError("cut")) for _ in range(30)) > 5


def test_outage_outlives_the_pipeline_that_met_it() -> None:
    """Its end must be told by whoever brings the thing back."""
    metrics = Metrics()
    outages = Outages(metrics)
    outages.named("stream", wait_s_max=60, auth_wait_s=900).failed(UnavailableError("cut"))
    with capture_logs() as logs:
        outages.named("stream", wait_s_max=60, auth_wait_s=900).back()
    assert [entry["event"] for entry in logs] == ["outage.ended"]


def test_limit_waits_as_long_as_it_says() -> None:
    """Calling a spent allocation again only burns more of it."""
    assert outage(Metrics()).failed(LimitError("spent", retry_after_s=300)) >= 300


def test_retry_after_is_honoured_up_to_the_bound() -> None:
    """A server may ask for patience, but not for ever."""
    away = outage(Metrics())
    assert away.failed(UnavailableError("busy", retry_after_s=20)) >= 20
    assert away.failed(UnavailableError("busy", retry_after_s=7_200)) <= 60

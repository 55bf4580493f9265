"""The figures: what they say after what happened, and that the document lists them."""

from __future__ import annotations

import math
import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from sfsync.sync.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def document_rows(metrics: Metrics) -> list[str]:
    """The table of docs/metrics.md."""
    rows = []
    for collector in metrics.registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            labels = ", ".join(f"`{label}`" for label in collector._labelnames)
            suffix = "_total" if collector._type == "counter" else ""
            name, meaning = collector._name + suffix, collector._documentation
            rows.append(f"| `{name}` | {collector._type} | {labels} | {meaning} |")
    return rows


def test_document_lists_every_metric() -> None:
    """Alerts are written from that page."""
    written = re.findall(r"^\| `.*\|$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert written == document_rows(Metrics())


def test_lag_is_split_between_salesforce_and_us() -> None:
    """Whose fault a delay is, is the first question."""
    metrics = Metrics()
    metrics.committed(commit_ms=100_000, arrived_s=103.0, committed_s=103.5)
    assert value(metrics, "sfsync_lag_seconds_sum") == 3.5
    assert value(metrics, "sfsync_lag_salesforce_seconds_sum") == 3.0
    assert value(metrics, "sfsync_lag_own_seconds_sum") == 0.5


def test_lag_below_zero_counts_as_zero() -> None:
    """Salesforce's whole seconds may lie ahead of our clock; a negative sum would hide real lag."""
    metrics = Metrics()
    metrics.committed(commit_ms=101_000, arrived_s=100.0, committed_s=100.25)
    assert value(metrics, "sfsync_lag_seconds_sum") == 0.0
    assert value(metrics, "sfsync_lag_own_seconds_sum") == 0.25


def test_ages_grow_by_themselves() -> None:
    """A figure that somebody must refresh stands still exactly when that somebody hangs."""
    now_s = 1000.0
    metrics = Metrics(lambda: now_s)
    assert math.isnan(value(metrics, "sfsync_sweep_age_seconds") or 0.0)
    metrics.sweep_completed(finished_s=990.0, duration_s=4.0)
    metrics.position_confirmed()
    metrics.dirty(records=2, oldest_s=970.0)
    now_s = 1010.0
    assert value(metrics, "sfsync_sweep_age_seconds") == 20.0
    assert value(metrics, "sfsync_position_age_seconds") == 10.0
    assert value(metrics, "sfsync_dirty_oldest_seconds") == 40.0
    metrics.dirty(records=0, oldest_s=None)
    assert value(metrics, "sfsync_dirty_oldest_seconds") == 0.0


def test_sweep_of_an_earlier_daemon_has_an_age_but_no_length() -> None:
    """After a restart the last certificate still counts."""
    metrics = Metrics(lambda: 100.0)
    metrics.sweep_completed(finished_s=40.0)
    assert value(metrics, "sfsync_sweep_age_seconds") == 60.0
    assert value(metrics, "sfsync_sweep_duration_seconds_count") == 0.0


def test_two_daemons_of_one_process_share_no_figure() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.events.labels("Lead", "UPDATE").inc(3)
    assert value(first, "sfsync_events_total", entity="Lead", change_type="UPDATE") == 3.0
    assert value(second, "sfsync_events_total", entity="Lead", change_type="UPDATE") is None


def test_no_series_tells_when_it_was_created() -> None:
    """They double the size of every scrape and say nothing."""
    assert b"_created" not in generate_latest(Metrics().registry)


def test_recent_lag_is_told_by_quantiles_of_an_hour() -> None:
    """One slow batch among many must show, and yesterday's must not."""
    now_s = 10_000.0
    metrics = Metrics(lambda: now_s)
    assert metrics.recent_lag() is None
    metrics.committed(commit_ms=1_000, arrived_s=3_000.0, committed_s=3_001.0)
    for number in range(99):
        committed_s = 9_000.0 + number
        metrics.committed(
            commit_ms=round(committed_s * 1000) - 30, arrived_s=committed_s - 0.02, committed_s=committed_s
        )
    metrics.committed(commit_ms=9_500_000, arrived_s=9_502.0, committed_s=9_502.5)
    assert metrics.recent_lag() == {
        "batches": 100,
        "salesforce_ms": {"p50": 10.0, "p99": 10.0, "last": 2_000.0},
        "own_ms": {"p50": 20.0, "p99": 20.0, "last": 500.0},
    }

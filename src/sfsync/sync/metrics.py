"""Every figure that `/metrics` shows, in one registry that belongs to one daemon.

Why: the work records here, the console only serves, so nothing in `sync/` knows HTTP. Label values are words of
ours, never ids or field values: an org can invent those without end, and a scrape is kept for years.
Ages are computed when they are read; a gauge that somebody has to refresh stands still exactly when it matters.
`docs/metrics.md` lists these and is compared by a test.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

_LAG_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
_RECENT_S, _RECENT_MAX = 3_600.0, 2_000
_DURATION_BUCKETS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)

# A second series for each of ours, saying when it began, tells nobody anything: all begin with the process.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one daemon. `now_s` gives seconds since the epoch."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._now_s = now_s
        self._recent_lags: deque[tuple[float, float, float]] = deque(maxlen=_RECENT_MAX)
        self._make_stream()
        self._make_sweep()
        self._make_state()
        self._make_salesforce()
        ProcessCollector(registry=self.registry)

    def _make_stream(self) -> None:
        self.events = self._counter("events", "Change events received.", "entity", "change_type")
        self.events_skipped = self._counter(
            "events_skipped", "Events that changed nothing, by reason.", "reason"
        )
        self.commands = self._counter("commands", "Commands given to the applier.", "kind")
        self.rows_changed = self._counter("rows_changed", "Rows written or updated.", "table")
        self.transactions_split = self._counter(
            "transactions_split", "Transactions whose tail came later than hold_ms."
        )
        self.cleaned_values = self._counter(
            "cleaned_values", "Values cleaned because Postgres cannot hold them."
        )
        self.sessions = self._counter("sessions", "CometD sessions ended, by outcome.", "outcome")
        self._lag = self._histogram(
            "lag_seconds", "From Salesforce's commit to ours, slowest event of each batch.", _LAG_BUCKETS
        )
        self._lag_salesforce = self._histogram(
            "lag_salesforce_seconds",
            "From Salesforce's commit to the event's arrival, likewise.",
            _LAG_BUCKETS,
        )
        self._lag_own = self._histogram(
            "lag_own_seconds",
            "From the event's arrival to our commit, waiting for its transaction and the queue included, likewise.",
            _LAG_BUCKETS,
        )

    def _make_sweep(self) -> None:
        self.drift_records = self._counter(
            "drift_records", "Records that a sweep had to repair.", "entity", "reason"
        )
        self.ahead_records = self._counter(
            "ahead_records", "Records that a sweep saw before the stream did.", "entity"
        )
        self._swept_at_s = math.nan
        self._gauge("sweep_age_seconds", "Since the last complete sweep.").set_function(
            lambda: self._now_s() - self._swept_at_s
        )
        self._sweep_duration = self._histogram(
            "sweep_duration_seconds", "Length of sweeps.", _DURATION_BUCKETS
        )

    def _make_state(self) -> None:
        self.ready = self._gauge("ready", "1 when this daemon is ready.")
        self.queue_events = self._gauge("queue_events", "Events that wait to be applied.")
        self.dirty_records = self._gauge("dirty_records", "Records known to need a fresh read.")
        self._dirty_since_s = math.nan
        self._gauge("dirty_oldest_seconds", "Age of the oldest dirty mark.").set_function(
            self._dirty_oldest_s
        )
        self.dead_letters = self._gauge("dead_letters", "Dead letters that wait for a cure.")
        self.suspended_columns = self._gauge(
            "suspended_columns", "Mapped columns that are stale because the org lost or retyped a field."
        )
        self._position_at_s = math.nan
        self._gauge(
            "position_age_seconds", "Since the position was last committed or confirmed."
        ).set_function(lambda: self._now_s() - self._position_at_s)
        self.outage = self._gauge("outage", "1 while the named thing we depend on is away.", "outage")

    def _make_salesforce(self) -> None:
        self.api_used = self._gauge("api_used", "API requests of the org's day so far, by all its clients.")
        self.api_allowed = self._gauge("api_allowed", "API requests that the org may make in a day.")
        self.api_share = self._gauge("api_share", "API requests of any 24 hours that are ours to make.")
        self.api_calls = self._counter("api_calls", "API requests that we made.", "lane")
        self.api_day = self._gauge(
            "api_calls_day", "API requests that we made in the last 24 hours, also before a restart.", "lane"
        )
        self.api_hour = self._gauge(
            "api_calls_hour", "API requests that we made in about the last hour.", "lane"
        )
        self.api_spent_in = self._gauge(
            "api_share_spent_in_seconds",
            "Until our share is spent at the pace of the last hour; +Inf: not within a day.",
        )
        self.api_waiting = self._gauge("api_waiting", "1 while calls of this lane wait.", "lane")

    def committed(self, *, commit_ms: int, arrived_s: float, committed_s: float) -> None:
        """Record the way of a batch's slowest event: Salesforce's commit, arrival and our commit.

        One record per batch: observing each event would cost more than decoding it. Salesforce's clock is exact to a second, so a lag may come out below zero; it counts as zero.
        """
        salesforce_s = max(0.0, arrived_s - commit_ms / 1000)
        own_s = max(0.0, committed_s - arrived_s)
        self._lag.observe(max(0.0, committed_s - commit_ms / 1000))
        self._lag_salesforce.observe(salesforce_s)
        self._lag_own.observe(own_s)
        self._recent_lags.append((committed_s, salesforce_s, own_s))
        self._position_at_s = committed_s

    def recent_lag(self) -> dict[str, Any] | None:
        """Return what the batches of the last hour say of lag, in ms by whose it was; None when there was none."""
        since_s = self._now_s() - _RECENT_S
        recent = [lag for lag in self._recent_lags if lag[0] > since_s]
        if not recent:
            return None
        return {
            "batches": len(recent),
            "salesforce_ms": _quantiles([salesforce_s for _, salesforce_s, _ in recent]),
            "own_ms": _quantiles([own_s for _, _, own_s in recent]),
        }

    def position_confirmed(self, at_s: float | None = None) -> None:
        """Say that the stream has nothing newer than the committed position."""
        self._position_at_s = self._now_s() if at_s is None else at_s

    def sweep_completed(self, *, finished_s: float, duration_s: float | None = None) -> None:
        """Record a complete sweep; without *duration_s* one that an earlier daemon made."""
        self._swept_at_s = finished_s
        if duration_s is not None:
            self._sweep_duration.observe(duration_s)

    def dirty(self, *, records: int, oldest_s: float | None) -> None:
        """Record how many dirty records there are, and since when (seconds since the epoch) the oldest is."""
        self.dirty_records.set(records)
        self._dirty_since_s = math.nan if oldest_s is None else oldest_s

    def _dirty_oldest_s(self) -> float:
        return 0.0 if math.isnan(self._dirty_since_s) else self._now_s() - self._dirty_since_s

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"sfsync_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"sfsync_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"sfsync_{name}", meaning, registry=self.registry, buckets=buckets)


def _quantiles(values_s: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and the last of *values_s*, in ms."""
    ordered = sorted(values_s)
    chosen = {
        "p50": ordered[(len(ordered) - 1) // 2],
        "p99": ordered[math.ceil(len(ordered) * 0.99) - 1],
        "last": values_s[-1],
    }
    return {name: round(value_s * 1000, 1) for name, value_s in chosen.items()}

"""Show what API calls are made for, and when our share will be spent: in metrics, in health, and in the store.

Why: the budget decides in the room that sends calls and knows neither figures nor outages. Here it is given the
outages it names, `api_limit.daily` and `api_limit.concurrent` (`api_limit.unsure` where Salesforce says neither), and
is looked at every few seconds. A refusal is one outage for all jobs, because it is one thing that is away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..salesforce.budget import Budget, Lane, Listeners, Shares
from ..store.database import Database
from ..store.figures import keep_figures, recall_figures
from .health import Health
from .metrics import Metrics
from .outages import Outage, Outages

_CLAIM = "budget"
# While one of these waits, nobody can promise that the store is equal to the org.
_NEEDED = frozenset({Lane.REFETCH, Lane.SWEEP})
_REASONS = {
    "share": "our share of the org's API calls is spent",
    "reserve": "the org's API calls are nearly spent",
    "refused": "Salesforce refuses API calls",
}


class Spending:
    """The budget of one process, and everything that tells of it."""

    def __init__(self, metrics: Metrics, outages: Outages, *, wait_s_max: float, auth_wait_s: float) -> None:
        self._metrics = metrics
        self._outages = outages
        self._waits_s = (wait_s_max, auth_wait_s)
        self._recalled = ""
        self.budget = Budget(
            Shares(),
            Listeners(
                sent=lambda lane: metrics.api_calls.labels(str(lane)).inc(),
                refused=lambda error: self._outage(error.limit).failed(error),
                accepted=lambda limit: self._outage(limit).ended(),
            ),
        )

    def _outage(self, limit: str) -> Outage:
        wait_s_max, auth_wait_s = self._waits_s
        return self._outages.named(f"api_limit.{limit}", wait_s_max=wait_s_max, auth_wait_s=auth_wait_s)

    async def recall(self, database: Database, org: str) -> None:
        """Go on with what an earlier process counted; once in a process."""
        if self._recalled == org:
            return
        told, _ = await recall_figures(database, org)
        self.budget.log.recall(told.get("api", {}).get("slots", {}))
        self._recalled = org

    async def keep(self, database: Database, org: str) -> None:
        """Write the figures down, for a restart and for whoever asks the store."""
        await keep_figures(database, org, {"api": self._told(), "lag": self._metrics.recent_lag()})

    def show(self, health: Health) -> None:
        """Bring gauges and health up to date."""
        budget, metrics = self.budget, self._metrics
        if usage := budget.usage:
            metrics.api_used.set(usage.used)
            metrics.api_allowed.set(usage.allowed)
            metrics.api_share.set(budget.own_max or 0.0)
            spent_in_s = self._spent_in_s()
            metrics.api_spent_in.set(math.inf if spent_in_s is None else spent_in_s)
        day, hour, waiting = budget.log.by_lane(), budget.by_hour(), budget.waiting
        for lane in Lane:
            metrics.api_day.labels(str(lane)).set(day[lane])
            metrics.api_hour.labels(str(lane)).set(hour.get(lane, 0))
            metrics.api_waiting.labels(str(lane)).set(lane in waiting)
        self._claim(health, waiting)

    def _claim(self, health: Health, waiting: Mapping[Lane, str]) -> None:
        if not waiting:
            health.withdraw(_CLAIM)
            return
        detail = "; ".join(f"{lane} waits: {_REASONS[reason]}" for lane, reason in sorted(waiting.items()))
        health.set(_CLAIM, ok=not _NEEDED & set(waiting), detail=detail)

    def _spent_in_s(self) -> float | None:
        own_max = self.budget.own_max
        return None if own_max is None else self.budget.log.spent_in_s(own_max)

    def _told(self) -> dict[str, Any]:
        budget = self.budget
        usage, own_max = budget.usage, budget.own_max
        return {
            "used": usage.used if usage else None,
            "allowed": usage.allowed if usage else None,
            "share": None if own_max is None else int(own_max),
            "day": {str(lane): count for lane, count in sorted(budget.log.by_lane().items())},
            "hour": {str(lane): count for lane, count in sorted(budget.by_hour().items())},
            "spent_in_s": self._spent_in_s(),
            "waiting": {str(lane): reason for lane, reason in sorted(budget.waiting.items())},
            "slots": budget.log.dump(),
        }

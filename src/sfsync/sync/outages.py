"""Announce what we depend on going away and coming back, once each, with its length; and how long to wait.

Why: during an outage a daemon fails hundreds of times. An operator wants two lines and a gauge, not hundreds.
"""

from __future__ import annotations

import random
import time

import structlog

from ..errors import AuthError, LimitError, SfsyncError, UnavailableError
from ..log import describe_error
from .metrics import Metrics

_log = structlog.get_logger()
_FIRST_WAIT_S = 0.5


class Outage:
    """One thing we depend on, and the waits while it is away: exponential with full jitter, bounded."""

    def __init__(self, name: str, metrics: Metrics, *, wait_s_max: float, auth_wait_s: float) -> None:
        self._name = name
        self._metrics = metrics
        self._wait_s_max = wait_s_max
        self._auth_wait_s = auth_wait_s
        self._began_at: float | None = None
        self._attempts = 0
        self._refusals = 0

    @property
    def is_open(self) -> bool:
        """Whether it is away now, as far as is known."""
        return self._began_at is not None

    @property
    def length_s(self) -> float:
        """How long it has been away; 0 when it is not."""
        return 0.0 if self._began_at is None else time.monotonic() - self._began_at

    def failed(self, error: SfsyncError) -> float:
        """Note a failure; return how many seconds to wait before the next attempt."""
        self._attempts += 1
        if self._began_at is None:
            self._began_at = time.monotonic()
            self._metrics.outage.labels(self._name).set(1)
            _log.warning("outage.began", outage=self._name, error=describe_error(error))
        ceiling_s = min(self._wait_s_max, _FIRST_WAIT_S * 2.0 ** min(self._attempts, 16))
        wait_s = random.uniform(_FIRST_WAIT_S / 5, ceiling_s)  # noqa: S311 - jitter, not a secret
        self._refusals = self._refusals + 1 if isinstance(error, AuthError) else 0
        if self._refusals > 1:
            # The first refusal may be a revoked token; a second one means the credentials, and users get locked.
            _log.error(
                "salesforce.auth.refused", error=describe_error(error), retry_after_s=self._auth_wait_s
            )
            return self._auth_wait_s
        if isinstance(error, LimitError):
            _log.warning("salesforce.limit.reached", limit=error.code, retry_after_s=error.retry_after_s)
            return max(wait_s, error.retry_after_s)
        if isinstance(error, UnavailableError) and error.retry_after_s:
            return max(wait_s, min(error.retry_after_s, self._wait_s_max))
        return wait_s

    def back(self) -> None:
        """Announce that it is back; whether for good is not known yet, so waits go on growing."""
        if self._began_at is not None:
            _log.info(
                "outage.ended",
                outage=self._name,
                duration_s=round(time.monotonic() - self._began_at, 3),
                attempts=self._attempts,
            )
            self._metrics.outage.labels(self._name).set(0)
            self._began_at = None

    def ended(self) -> None:
        """Note that it is back and works; the next outage begins with short waits."""
        self.back()
        self._attempts = self._refusals = 0


class Outages:
    """The outages of one process, by name: a pipeline that begins anew goes on with those that are open."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._named: dict[str, Outage] = {}

    def named(self, name: str, *, wait_s_max: float, auth_wait_s: float) -> Outage:
        """Return the outage of this name."""
        if name not in self._named:
            self._named[name] = Outage(name, self._metrics, wait_s_max=wait_s_max, auth_wait_s=auth_wait_s)
        return self._named[name]

"""The org's clock: system time plus an offset that a test may move.

Why: retention (72 h), recycle bin (15 days) and certificates are measured in days; a test moves the clock instead
of waiting. The offset is added to the system clock rather than frozen, so that time still flows between two calls.
"""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Org time, always aware and in UTC."""

    def __init__(self) -> None:
        self._offset_s = 0.0

    def now(self) -> datetime:
        """Return the org's present instant."""
        return datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=self._offset_s)

    def now_ms(self) -> int:
        """Return the org's present instant in epoch milliseconds."""
        return int((time.time() + self._offset_s) * 1000)

    def advance(self, seconds: float) -> None:
        """Move org time by *seconds*; negative moves it back."""
        self._offset_s += seconds

    @property
    def offset_s(self) -> float:
        """How far org time is ahead of system time."""
        return self._offset_s


def whole_second(instant: datetime) -> datetime:
    """Cut *instant* to the second: record stamps carry nothing finer."""
    return instant.replace(microsecond=0)

"""The org's allocation of delivered events in any 24 hours, over all its clients."""

from collections import deque
from typing import TYPE_CHECKING

from sfsync.simorg.bayeux import DAILY_LIMIT, Failure

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

DAY_MS = 86_400_000


class Deliveries:
    """Counts what was delivered, by the org's clock."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._counts: deque[tuple[int, int]] = deque()
        self._in_a_day = 0

    def count(self, events: int) -> None:
        """Note that *events* were delivered."""
        if events:
            self._counts.append((self._org.clock.now_ms(), events))
            self._in_a_day += events
            self._org.stats.calls["delivered"] += events

    def check(self) -> None:
        """Raise Failure if the allocation of the last 24 hours is used up."""
        horizon = self._org.clock.now_ms() - DAY_MS
        while self._counts and self._counts[0][0] < horizon:
            self._in_a_day -= self._counts.popleft()[1]
        if self._in_a_day >= self._org.settings.delivery_limit:
            raise Failure(DAILY_LIMIT)

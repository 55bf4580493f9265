"""What one simulated org consists of: its world, clock, faults, settings, logins, sessions and event bus.

Why: every router takes this one value instead of reaching for module globals, so that a test process may hold
several orgs side by side.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sfsync.simorg.clock import Clock
from sfsync.simorg.faults import Faults
from sfsync.simorg.push_settings import PushSettings
from sfsync.simorg.world import World

if TYPE_CHECKING:
    from sfsync.simorg.bus import EventBus
    from sfsync.simorg.life import Life
    from sfsync.simorg.oauth import Sessions
    from sfsync.simorg.soql_run import Result

DAY_MS = 86_400_000


@dataclass(slots=True)
class Settings(PushSettings):
    """What the control API may change while the org runs; every field is checked by its declared type."""

    long_poll_s: float = 110.0
    reconnect_window_s: float = 40.0
    retention_h: float = 72.0
    read_lag_s: float = 0.0
    shuffle: bool = True
    batch_max: int = 100
    person_accounts: bool = False
    diff_text: bool = True
    require_cookie: bool = True
    api_limit: int = 115_000
    delivery_limit: int = 1_000_000
    concurrent_clients: int = 1_000
    overflow_at: int = 100_000
    bulk_delay_s: float = 0.2
    # Query jobs that may be created in a day.
    bulk_job_limit: int = 10_000
    # Compress results for whoever accepts that.
    bulk_gzip: bool = True
    # Answer a query job that asks the same of an unchanged org from the file of the one before.
    bulk_keep_results: bool = False
    cdc_entities: list[str] = field(default_factory=lambda: ["Lead", "Contact", "Account"])


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client must present; printed on the process's first line of output."""

    client_id: str
    client_secret: str
    username: str
    password: str
    security_token: str
    user_id: str


@dataclass(slots=True)
class DayCount:
    """Something of which only so much is allowed a day: all there ever was, and what falls on today.

    It is counted anew when a day of org time has gone by; the real org rolls by the hour.
    """

    total: int = 0
    _day_began_ms: int = 0
    _before: int = 0

    def today(self, now_ms: int) -> int:
        """Return the count of the current day of org time."""
        if now_ms - self._day_began_ms >= DAY_MS:
            self._day_began_ms, self._before = now_ms, self.total
        return self.total - self._before

    def set_today(self, now_ms: int, count: int) -> None:
        """Let *count* be the count of the current day, as if others had used it up."""
        self.today(now_ms)
        self._before = self.total - count


@dataclass(slots=True)
class Stats:
    """What was asked of the org: call counts by kind, and the details worth keeping of some of them."""

    calls: Counter[str] = field(default_factory=Counter)
    details: dict[str, list[Any]] = field(default_factory=dict)
    api: DayCount = field(default_factory=DayCount)
    bulk_jobs: DayCount = field(default_factory=DayCount)

    def note(self, kind: str, detail: Any) -> None:
        """Count one call of *kind* and keep *detail* (the last thousand)."""
        self.calls[kind] += 1
        kept = self.details.setdefault(kind, [])
        kept.append(detail)
        del kept[:-1000]


@dataclass(slots=True)
class Org:
    """One simulated org."""

    world: World
    clock: Clock
    faults: Faults
    settings: Settings
    credentials: Credentials
    stats: Stats = field(default_factory=Stats)
    url: str = "http://localhost"
    jwt_public_pem: str | None = None
    # Results of queries with more pages to fetch, by locator; the oldest make room.
    cursors: "dict[str, Result]" = field(default_factory=dict)
    # Users at work in the background, whoever let them begin; kept after their end for what they did.
    life: "Life | None" = None
    # Set by `make_org`, which builds them from the org itself.
    sessions: "Sessions" = field(init=False)
    bus: "EventBus" = field(init=False)

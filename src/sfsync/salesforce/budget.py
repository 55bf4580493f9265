"""Whose API calls these are, and who may make one now: what matters less waits for what matters more.

Why: an org's calls of a day are shared by everything that talks to it. sfsync takes a share and no more, and leaves a
reserve to the others whatever they did with the rest, because a daemon that spends the last call of an org stops
its owner's other systems. Near both bounds the lanes stop one after the other, the least important first, so that
a verify never costs somebody their pull; a pull never waits here, only Salesforce refuses it.

The lane of a call is the job it belongs to, not an argument of every function on the way: it is a context variable,
which tasks inherit. A call that waits is not refused: its job goes on where it was, with what it has read so far.

Where Salesforce itself refuses (`REQUEST_LIMIT_EXCEEDED`), the lanes pause together, and one call at a time finds out
whether that is over; a pull and what a daemon begins with are refused at once, since somebody waits for them.

The rejected alternative, a token bucket of calls a minute, spreads what need not be spread: the limit is a day's.
Source: Salesforce REST API guide "Headers: Limit Info"; "API Request Limits and Allocations" (calls of any 24 hours).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from ..errors import LimitError

_log = structlog.get_logger()
SLOT_S = 600
SLOTS = 86_400 // SLOT_S
_HOUR_SLOTS = 3_600 // SLOT_S
_PROBE_S = 60.0
# What must have come free before a lane that waited goes on, or it would wait again at its next call.
_SLACK = 0.01


class Lane(StrEnum):
    """What API calls are made for, the most important first; `other` is what a daemon cannot begin without."""

    PULL = "pull"
    REFETCH = "refetch"
    SWEEP = "sweep"
    BACKFILL = "backfill"
    VERIFY = "verify"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Where a lane stops: at this part of our share, and when so many times the reserve are left of the org's day."""

    share: float
    reserves: float


_BOUNDS: Mapping[Lane, _Bounds] = {
    Lane.REFETCH: _Bounds(1.0, 0.5),
    Lane.SWEEP: _Bounds(0.95, 1.0),
    Lane.BACKFILL: _Bounds(0.85, 1.5),
    Lane.VERIFY: _Bounds(0.7, 2.0),
}
"""The lanes that may have to wait; the others never do."""

_SHARE, _RESERVE, _REFUSED = "share", "reserve", "refused"
_lane: ContextVar[Lane] = ContextVar("lane", default=Lane.OTHER)


def lane_in_use() -> Lane:
    """Return the lane that calls made here are counted in."""
    return _lane.get()


@contextmanager
def in_lane(lane: Lane) -> Iterator[None]:
    """Make the calls of the block, and of the tasks begun in it, in *lane*."""
    token = _lane.set(lane)
    try:
        yield
    finally:
        _lane.reset(token)


@dataclass(frozen=True, slots=True)
class ApiUsage:
    """The org's API calls of the last 24 hours, by all its clients, as the latest answer told."""

    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the org's calls of a day is for us, and how much is always left to others; parts of one.

    While a lane waits the org is asked every `look_s` seconds what is left.
    """

    share: float = 0.5
    reserve: float = 0.1
    look_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told: of each call sent, of a refusal (the answer is how many seconds to pause), and of its end."""

    sent: Callable[[Lane], None] = lambda _: None
    refused: Callable[[LimitError], float] = lambda error: error.retry_after_s
    accepted: Callable[[str], None] = lambda _: None


class CallLog:
    """Our calls of the last 24 hours by lane, in slots of ten minutes. `now_s` gives seconds since the epoch."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._slots: dict[int, Counter[Lane]] = {}

    def note(self, lane: Lane) -> None:
        """Count one call."""
        slot = self._slot()
        if slot not in self._slots:
            self._slots[slot] = Counter()
            for old in [one for one in self._slots if one <= slot - SLOTS]:
                del self._slots[old]
        self._slots[slot][lane] += 1

    def by_lane(self, slots: int = SLOTS) -> Counter[Lane]:
        """Return the calls of the last *slots* slots, the one under way included."""
        oldest = self._slot() - slots
        total: Counter[Lane] = Counter()
        for slot, calls in self._slots.items():
            if slot > oldest:
                total.update(calls)
        return total

    def spent_in_s(self, bound: float) -> float | None:
        """Return when the calls of any 24 hours reach *bound* at the pace of the last hour; None: not within a day."""
        now = self._slot()
        slots = min(_HOUR_SLOTS, now - min(self._slots, default=now)) + 1
        pace = self.by_lane(slots).total() / slots
        calls = {slot: counted.total() for slot, counted in self._slots.items()}
        for ahead in range(SLOTS):
            kept = sum(count for slot, count in calls.items() if slot > now + ahead - SLOTS)
            if kept + pace * ahead >= bound:
                return float(ahead * SLOT_S)
        return None

    def dump(self) -> dict[str, dict[str, int]]:
        """Return the log as JSON can hold it, to be kept over a restart."""
        return {str(slot): {str(lane): n for lane, n in calls.items()} for slot, calls in self._slots.items()}

    def recall(self, kept: Mapping[str, Mapping[str, int]]) -> None:
        """Take in what an earlier process counted, once, before anything of this one was kept."""
        oldest = self._slot() - SLOTS
        for slot, calls in kept.items():
            if int(slot) > oldest:
                known = {Lane(lane): count for lane, count in calls.items() if lane in _LANES}
                self._slots.setdefault(int(slot), Counter()).update(known)

    def _slot(self) -> int:
        return int(self._now_s() // SLOT_S)


_LANES = frozenset(str(lane) for lane in Lane)


@dataclass(slots=True)
class _Wait:
    reason: str
    since: float
    calls: int = 0


@dataclass(slots=True)
class _Pause:
    """A refusal of Salesforce's: nobody asks before `until`, and then one at a time."""

    until: float = 0.0
    asking_until: float = 0.0


@dataclass(slots=True)
class Budget:
    """The calls of one org and who may make them; it outlives connections. Without `shares` it only counts.

    One event loop only.
    """

    shares: Shares | None = None
    listeners: Listeners = field(default_factory=Listeners)
    log: CallLog = field(default_factory=CallLog)
    usage: ApiUsage | None = None
    calls: Counter[Lane] = field(default_factory=Counter)
    _told_at: float = field(default=float("-inf"), init=False)
    _waits: dict[Lane, _Wait] = field(default_factory=dict, init=False)
    _pauses: dict[str, _Pause] = field(default_factory=dict, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    # ---- what calls tell

    def sent(self) -> None:
        """Count one call, made in the lane in use."""
        lane = lane_in_use()
        self.calls[lane] += 1
        self.log.note(lane)
        self.listeners.sent(lane)

    def follow(self, shares: Shares) -> None:
        """Let these shares hold from now on, and let one call try at once whether a refusal is over."""
        self.shares = shares
        for pause in self._pauses.values():
            pause.until = pause.asking_until = 0.0
        self._wake()

    def told(self, usage: ApiUsage) -> None:
        """Note what an answer said of the org's day."""
        self.usage = usage
        self._told_at = time.monotonic()

    def accepted(self) -> None:
        """Note an answered call: refusals whose pause was over are over; before that, a short call proves nothing."""
        now = time.monotonic()
        for name in [name for name, pause in self._pauses.items() if pause.until <= now]:
            del self._pauses[name]
            self.listeners.accepted(name)
            self._wake()

    def refused(self, error: LimitError) -> bool:
        """Note that Salesforce refused for a limit; return whether the caller is to wait and call again."""
        pause = self._pauses.setdefault(error.limit, _Pause())
        pause.until = time.monotonic() + self.listeners.refused(error)
        pause.asking_until = 0.0
        return self._may_wait(lane_in_use())

    # ---- who may call

    async def admit(self, look: Callable[[], Awaitable[object]]) -> None:
        """Wait until a call in the lane in use may be made; *look* makes a call that tells how the org's day stands.

        Cancellation: safe; nothing was counted.
        """
        lane = lane_in_use()
        if not self._may_wait(lane) or not self._obstacle(lane):
            return
        is_noted = False
        try:
            while reason := self._obstacle(lane, slack=_SLACK):
                if reason == _RESERVE and self._is_old():
                    # Whatever comes of it, nobody need ask again soon.
                    self._told_at = time.monotonic()
                    with in_lane(Lane.OTHER):
                        await look()
                    continue
                self._note_wait(lane, reason, is_new=not is_noted)
                is_noted = True
                await self._until_changed(self._patience_s(reason))
        finally:
            if is_noted:
                self._end_wait(lane)

    def _may_wait(self, lane: Lane) -> bool:
        return self.shares is not None and lane in _BOUNDS

    def _obstacle(self, lane: Lane, *, slack: float = 0.0) -> str:
        """Say what a call in *lane* must wait for, or nothing; whoever asks after a pause is over goes first."""
        now = time.monotonic()
        for pause in self._pauses.values():
            if max(pause.until, pause.asking_until) > now:
                return _REFUSED
        if obstacle := self._spent(lane, slack):
            return obstacle
        for pause in self._pauses.values():
            pause.asking_until = now + _PROBE_S
        return ""

    def _spent(self, lane: Lane, slack: float) -> str:
        if self.usage is None or self.shares is None:
            return ""
        allowed, bounds = self.usage.allowed, _BOUNDS[lane]
        spare = allowed * slack
        if self.log.by_lane().total() + spare >= self.shares.share * bounds.share * allowed:
            return _SHARE
        left = allowed - self.usage.used
        return _RESERVE if left - spare <= self.shares.reserve * bounds.reserves * allowed else ""

    def _is_old(self) -> bool:
        return self.shares is not None and time.monotonic() - self._told_at >= self.shares.look_s

    def _patience_s(self, reason: str) -> float:
        if reason != _REFUSED:
            return self.shares.look_s if self.shares else 0.0
        over = [max(pause.until, pause.asking_until) for pause in self._pauses.values()]
        return max(0.0, max(over, default=0.0) - time.monotonic())

    async def _until_changed(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(max(wait_s, 0.01)):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- what is shown

    @property
    def waiting(self) -> Mapping[Lane, str]:
        """The lanes that wait now, each with what for: `share`, `reserve` or `refused`."""
        return {lane: wait.reason for lane, wait in self._waits.items()}

    @property
    def own_max(self) -> float | None:
        """How many calls of any 24 hours are ours; None while the org has not told its limit."""
        return self.usage.allowed * self.shares.share if self.usage and self.shares else None

    def by_hour(self) -> Mapping[Lane, int]:
        """Return our calls of about the last hour by lane."""
        return self.log.by_lane(_HOUR_SLOTS)

    def _note_wait(self, lane: Lane, reason: str, *, is_new: bool) -> None:
        wait = self._waits.setdefault(lane, _Wait(reason, time.monotonic()))
        wait.reason = reason
        wait.calls += is_new
        if wait.calls > 1 or not is_new:
            return
        used, allowed = (self.usage.used, self.usage.allowed) if self.usage else (None, None)
        _log.warning(
            "budget.wait.began",
            lane=str(lane),
            reason=reason,
            own=self.log.by_lane().total(),
            used=used,
            allowed=allowed,
        )

    def _end_wait(self, lane: Lane) -> None:
        wait = self._waits[lane]
        wait.calls -= 1
        if wait.calls == 0:
            del self._waits[lane]
            duration_s = round(time.monotonic() - wait.since, 3)
            _log.info("budget.wait.ended", lane=str(lane), duration_s=duration_s)

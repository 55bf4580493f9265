"""Notice a stream that is subscribed, alive, and delivers nothing, and cure it.

Why: Salesforce documents that a CometD subscriber may starve for hours after a bulk load, without any error. The
count of events cannot tell that from a quiet org; only a sweep can, which finds changes the stream should have
delivered. Two proofs are taken:

- **One sweep** that found records newer than the stream's last commit, and then, while the stream is open, a settle
  time in which no event comes. That wait tells a stream that is merely behind, and a transaction that stamped its
  records long before it committed, from one that starves.
- **Two sweeps in a row** with drift between which nothing newer came, whatever the stamps say.

The cure is a fresh subscription from the committed position; after an age, if sweeps still find what the stream does
not deliver, one at its tip, since what Salesforce cannot bring itself to replay may keep what is new from us; all
entities are owed a sweep then, as after an expired position. It is an outage, `starved`, that begins and ends once:
it is over when the stream delivers something newer.
Source: Salesforce help article 005321562.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from ..errors import UnavailableError
from .subscription import Subscription
from .work import Work

_log = structlog.get_logger()


class StarvationWatch:
    """Remembers what the last sweep that found drift knew of the stream."""

    def __init__(self) -> None:
        self._drifted = False
        self._delivered_ms: int | None = None

    def is_starved(self, *, drift_records: int, delivered_ms: int | None) -> bool:
        """Take in one complete sweep; tell whether the stream starves. `delivered_ms`: its last commit."""
        drifted = drift_records > 0
        starved = drifted and self._drifted and delivered_ms == self._delivered_ms
        # A fresh subscription gets two sweeps of its own before it is judged.
        self._drifted = drifted and not starved
        self._delivered_ms = delivered_ms
        return starved


@dataclass(frozen=True, slots=True)
class Missed:
    """What a sweep had to write that the stream had not delivered: how much was drift, how much in all, the newest stamp."""

    drift_records: int
    records: int
    newest_ms: int


@dataclass(slots=True)
class _Suspicion:
    """Records that one sweep found newer than the stream; proven when nothing comes for a settle time."""

    records: int
    newest_ms: int
    since: float


class Starvation:
    """Judges the stream of one org by what its sweeps find. `look` MUST be called every few seconds."""

    def __init__(self, work: Work, subscription: Subscription) -> None:
        self._work = work
        self._stream = work.writer.stream
        self._subscription = subscription
        self._outage = work.outage("starved")
        self._watch = StarvationWatch()
        self._suspicion: _Suspicion | None = None
        # What was delivered when it began; one that an earlier pipeline noticed is judged by what is committed now.
        self._delivered_ms: int | None = None
        self._tip_at: float | None = None

    def swept(self, missed: Missed) -> None:
        """Take in what a complete sweep found."""
        self.look()
        delivered_ms = self._stream.commit_ms
        if self._watch.is_starved(drift_records=missed.drift_records, delivered_ms=delivered_ms):
            self._starved(missed.drift_records)
        elif self._suspicion is None and missed.records and self._is_newer(missed.newest_ms):
            self._suspicion = _Suspicion(missed.records, missed.newest_ms, time.monotonic())

    def look(self) -> None:
        """Notice that the stream delivers again, or that a suspicion has become a proof."""
        if not self._stream.is_open:
            # Nor is it known yet what was committed before.
            return
        if self._outage.is_open and self._delivers_again():
            self._outage.ended()
            self._suspicion = self._tip_at = None
        suspicion = self._suspicion
        if suspicion is None:
            return
        if not self._is_newer(suspicion.newest_ms):
            self._suspicion = None
        elif time.monotonic() - max(suspicion.since, self._stream.moved_at) > self._patience_s:
            self._suspicion = None
            self._starved(suspicion.records)

    @property
    def _patience_s(self) -> float:
        return self._work.options.clocks.settle_ms / 1000

    def _is_newer(self, stamp_ms: int) -> bool:
        """Tell whether the stream, from where this session began, owes a change of this stamp."""
        owed_from_ms = max(self._stream.commit_ms or 0, self._stream.tip_ms or 0)
        return owed_from_ms > 0 and stamp_ms > owed_from_ms + self._work.options.clocks.fuzz_ms

    def _delivers_again(self) -> bool:
        if self._delivered_ms is None:
            self._delivered_ms = self._stream.commit_ms or 0
        return (self._stream.commit_ms or 0) > self._delivered_ms

    def _starved(self, records: int) -> None:
        """Announce it, once, and subscribe afresh; after an age at the tip."""
        now = time.monotonic()
        if not self._outage.is_open:
            self._delivered_ms = self._stream.commit_ms or 0
            _log.error("stream.starved", records=records, delivered=self._stream.commit_ms)
        self._outage.failed(UnavailableError("the stream delivers nothing", code="STARVED"))
        if self._tip_at is None:
            self._tip_at = now + self._work.options.starved_tip_after_s
        at_tip = now >= self._tip_at
        if at_tip:
            self._tip_at = now + self._work.options.starved_tip_after_s
            _log.error("stream.position.abandoned", starved_s=round(self._outage.length_s, 1))
        self._subscription.restart(at_tip=at_tip)

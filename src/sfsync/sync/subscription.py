"""Follow the stream: one session after the other, each from the committed position.

Why: a session that met any anomaly is over; what it had not committed is delivered again. So there is no state
to mend, only a place to begin. Receiving and applying are two tasks, because Salesforce drops a client that
does not ask again within 40 s; when applying is slower than that, the session is dropped on purpose and
nothing is lost.

A subscription at the tip (no position yet, or one that Salesforce no longer keeps) comes first and a sweep of
everything since the watermark after it: the other order leaves a hole between the two.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import structlog

from ..core.commands import Command
from ..core.decide import decide
from ..core.decode import decode
from ..core.events import (
    ChangeEvent,
    Event,
    GapEvent,
    MalformedEvent,
    OverflowEvent,
    Position,
    RawEvent,
    WildcardEvent,
)
from ..core.ids import Entity
from ..errors import PositionError, ReplayExpiredError, SalesforceError, UnavailableError
from ..log import describe_error
from ..salesforce.cometd import CometdSession, open_session
from ..store.batch import DeadLetter
from .outages import Outage
from .transactions import Received, TransactionBuffer
from .work import Work
from .writer import Delivery

_log = structlog.get_logger()
_SEEN_MAX = 50_000
_WINDOW_SHARE = 0.75

EventKey = tuple[str, int, str, int]


class Subscription:
    """The push side of one org. Run `run` as one task."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._session_limit = asyncio.timeout(None)
        self._tip_wanted = False
        work.writer.stream.on_error = self.restart

    def restart(self, *, at_tip: bool = False) -> None:
        """End the session that runs, from outside; the next one starts from the committed position, or at the tip."""
        self._tip_wanted |= at_tip
        with suppress(RuntimeError):
            # Outside a session there is nothing to end: the next one is about to begin anyway.
            self._session_limit.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Subscribe for ever. Raises only what no session can mend."""
        outage = self._work.outage("stream")
        from_tip = False
        while True:
            started = time.monotonic()
            try:
                await self._run_limited(outage, from_tip=from_tip or self._tip_wanted)
            except ReplayExpiredError as error:
                _log.error("stream.position.expired", channel=self._work.options.channel)
                # failpoint: stream.expired - Salesforce keeps our position no longer
                self._lost(error, 0.0, started)
                from_tip = True
            except (SalesforceError, PositionError) as error:
                from_tip = False
                wait_s = outage.failed(error) if isinstance(error, SalesforceError) else 0.0
                self._lost(error, wait_s, started)
                await asyncio.sleep(wait_s)

    def _lost(self, error: Exception, wait_s: float, started: float) -> None:
        self._work.writer.stream.is_open = False
        self._work.metrics.sessions.labels(type(error).__name__).inc()
        self._work.health.set("stream", ok=False, detail=type(error).__name__)
        # failpoint: stream.lost - a session ended
        _log.warning(
            "stream.subscription.lost",
            channel=self._work.options.channel,
            error=describe_error(error),
            wait_s=round(wait_s, 3),
            session_s=round(time.monotonic() - started, 3),
        )

    async def _run_limited(self, outage: Outage, *, from_tip: bool) -> None:
        """Run one session until it fails or is restarted."""
        self._session_limit = asyncio.timeout(None)
        try:
            async with self._session_limit:
                await self._run_session(outage, from_tip=from_tip)
        except TimeoutError as error:
            ended_by = self._work.writer.stream.error
            raise ended_by or UnavailableError(
                "the session was ended for a fresh one", code="RESTART"
            ) from error

    async def _run_session(self, outage: Outage, *, from_tip: bool) -> None:
        position = await self._work.writer.begin_session()
        number = self._work.writer.stream.session
        asked = None if from_tip else position
        async with open_session(
            self._work.connection,
            channel=self._work.options.channel,
            position=asked,
            timings=self._work.options.timings,
        ) as session:
            if asked is None:
                await self._begin_at_tip()
                self._tip_wanted = False
            self._work.writer.stream.moved_at = time.monotonic()
            self._work.writer.stream.is_open = True
            self._work.writer.stream.confirmed.set()
            self._work.health.set("stream", ok=True)
            outage.back()
            _log.info(
                "stream.subscription.opened",
                channel=self._work.options.channel,
                replay="tip" if asked is None else asked.hex(),
            )
            await _Session(self, session, number, outage).receive()

    async def _begin_at_tip(self) -> None:
        confirmed_ms = await self._work.connection.clock_ms()
        detail = "the stream began at its tip; a sweep must cover the rest"
        self._work.health.set("sweep", ok=False, detail=detail)
        await self._work.writer.begin_at_tip(confirmed_ms)

    # What a session does with the events it gets -------------------------------------------------------

    def decided(self, raw: RawEvent, seen: OrderedDict[EventKey, None], arrived_s: float) -> Received:
        """Decode and decide one event; one that this session already received asks for nothing."""
        event = decode(raw)
        if isinstance(event, MalformedEvent):
            _log.error(
                "stream.event.parked", entity=event.entity, reason=event.reason, position=raw.position.hex()
            )
            return self._received(raw, event, arrived_s)
        header = event.header
        key = (header.transaction_key, header.sequence_number, header.entity, hash(header.record_ids))
        if key in seen:
            self._work.metrics.events_skipped.labels("duplicate").inc()
            return Received(raw.position, event, [], arrived_s=arrived_s)
        seen[key] = None
        if len(seen) > _SEEN_MAX:
            seen.popitem(last=False)
        return self._received(raw, event, arrived_s)

    def _received(self, raw: RawEvent, event: Event, arrived_s: float) -> Received:
        commands = decide(event, self._work.mapping.plans)
        return Received(raw.position, event, commands, len(raw.payload), arrived_s)

    async def deliver(self, number: int, session: CometdSession, events: Sequence[Received]) -> None:
        """Hand finished transactions to the writer, within the time that Salesforce gives us."""
        self._count(events)
        delivery = _delivery(number, events, session.date_ms or 0)
        budget_s = self._work.options.reconnect_window_s * _WINDOW_SHARE - (
            time.monotonic() - session.last_reply_at
        )
        try:
            async with asyncio.timeout(max(budget_s, 0.0)):
                await self._work.writer.deliver(delivery)
        except TimeoutError:
            _log.warning(
                "stream.backpressure.dropped",
                queued_events=self._work.writer.queued_events,
                waited_s=round(self._work.options.reconnect_window_s * _WINDOW_SHARE, 1),
            )
            raise UnavailableError("applying is too slow for this session", code="BACKPRESSURE") from None

    def _count(self, events: Sequence[Received]) -> None:
        kinds: Counter[tuple[str, str]] = Counter()
        for received in events:
            match received.event:
                case MalformedEvent(entity=entity):
                    kinds[_label(entity), "MALFORMED"] += 1
                case ChangeEvent(header=header, cleaned=cleaned):
                    kinds[_label(header.entity), header.change_type.value] += 1
                    if cleaned:
                        self._work.metrics.cleaned_values.inc(cleaned)
                case other:
                    kinds[_label(other.header.entity), other.header.change_type.value] += 1
                    _announce(other)
        for (entity, change_type), count in kinds.items():
            self._work.metrics.events.labels(entity, change_type).inc(count)

    def note_idle(self) -> None:
        """A poll that brought nothing confirms the position, once all before it is committed."""
        if self._work.writer.queued_events == 0:
            self._work.metrics.position_confirmed()

    def note_split(self, transaction: str) -> None:
        """Count a transaction whose tail came later than it was held for."""
        self._work.metrics.transactions_split.inc()
        _log.warning("stream.transaction.split", transaction=transaction, hold_ms=self._work.options.hold_ms)

    @property
    def hold_s(self) -> float:
        return self._work.options.hold_ms / 1000


class _Session:
    """Receive until the session ends; the tail of a transaction is held for a moment, and dropped at the end."""

    def __init__(
        self, subscription: Subscription, session: CometdSession, number: int, outage: Outage
    ) -> None:
        self._subscription = subscription
        self._session = session
        self._number = number
        self._outage = outage
        self._buffer = TransactionBuffer()
        self._seen: OrderedDict[EventKey, None] = OrderedDict()

    async def receive(self) -> None:
        """Receive for ever. Raises what ended the session."""
        while True:
            raw_events = await (self._receive_or_cut() if self._buffer.holds else self._session.receive())
            # failpoint: stream.received - a reply with or without events was received
            self._outage.ended()
            await self._take(raw_events)
            if not raw_events:
                self._subscription.note_idle()

    async def _receive_or_cut(self) -> list[RawEvent]:
        """Receive; when that takes longer than a tail may be held, deliver the tail meanwhile."""
        receiving = asyncio.create_task(self._session.receive(), name="receive")
        # Where delivering fails first, nobody asks any more why receiving did.
        receiving.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait({receiving}, timeout=self._subscription.hold_s)
            if not receiving.done():
                await self._deliver(self._buffer.cut())
                # failpoint: stream.tail.cut - the tail was delivered as nothing follows it
            return await receiving
        finally:
            receiving.cancel()

    async def _take(self, raw_events: Sequence[RawEvent]) -> None:
        arrived_s = time.time()
        received = [self._subscription.decided(raw, self._seen, arrived_s) for raw in raw_events]
        # failpoint: stream.decided - the events of a reply were decoded and decided
        finished, split = self._buffer.add(received)
        if split is not None:
            self._subscription.note_split(split)
        if self._subscription.hold_s == 0 or self._buffer.is_full:
            finished += self._buffer.cut()
        await self._deliver(finished)

    async def _deliver(self, events: Sequence[Received]) -> None:
        if events:
            await self._subscription.deliver(self._number, self._session, events)
            # failpoint: stream.delivered - transactions were handed to the writer


def _delivery(number: int, events: Sequence[Received], date_ms: int) -> Delivery:
    commits = [e.event.header.commit_ms for e in events if not isinstance(e.event, MalformedEvent)]
    commands: list[Command] = []
    for received in events:
        commands += received.commands
    return Delivery(
        session=number,
        position=events[-1].position,
        events=len(events),
        commands=commands,
        heard_ms=max([date_ms, *commits]),
        commit_ms=max(commits, default=None),
        oldest_ms=min(commits, default=None),
        arrived_s=events[0].arrived_s,
        skipped=sum(not received.commands for received in events),
        size=sum(received.size for received in events),
        dead_letters=[
            _dead_letter(r.event, r.position) for r in events if isinstance(r.event, MalformedEvent)
        ],
    )


def _dead_letter(event: MalformedEvent, position: Position) -> DeadLetter:
    only = event.record_ids[0] if len(event.record_ids) == 1 else None
    return DeadLetter(event.reason, event.entity, only, position)


def _announce(event: Event) -> None:
    match event:
        case GapEvent(header):
            _log.info("stream.gap.received", entity=_label(header.entity), records=len(header.record_ids))
        case OverflowEvent(header):
            _log.warning("stream.overflow.received", entity=_label(header.entity))
        case WildcardEvent(header):
            _log.warning("stream.wildcard.received", entity=_label(header.entity))
        case ChangeEvent() | MalformedEvent():
            pass


_OURS = frozenset(entity.value for entity in Entity)


def _label(entity: str | None) -> str:
    """Name an entity in metrics and logs without letting an org invent names for us."""
    return entity if entity in _OURS else "other"

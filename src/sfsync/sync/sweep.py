"""Read what changed since the watermark, repair what the stream missed, and certify what was found.

Why: Salesforce promises no delivery time for change events and documents that a subscriber may starve for hours.
Push is a fast hint; the sweep is the proof. What a sweep had to repair although the stream had every chance to
deliver it is drift, an incident; what is younger is merely ahead of the stream.

The watermark moves with the last page only: to the instant the sweep began, less a look-back longer than the
longest transaction, because a transaction commits after the stamps it writes. Cost grows with what changed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from structlog.contextvars import bound_contextvars

from ..core.ids import Entity
from ..core.order import Verdict
from ..errors import QueryError, SalesforceError, UnavailableError
from ..log import describe_error
from ..salesforce.budget import Lane, in_lane
from ..salesforce.rest import Page
from ..salesforce.soql import Keyset
from ..store.batch import Batch, Outcome
from ..store.columns import note_projected, owes_projection
from ..store.readings import (
    Certificate,
    OwedReading,
    Reading,
    load_owed,
    load_readings,
    owe_in_full,
    sweep_end,
)
from .backfill import Backfill
from .reading import read_commands, selection
from .starvation import Missed, Starvation
from .work import Work

_log = structlog.get_logger()
_LOOK_EVERY_S = 0.5
_STREAM_WAIT_S = 30.0
_AHEAD_MS = 300_000
_LEFT_TO_LATER = (Verdict.UNPROVEN, Verdict.FILLED, Verdict.MARKED)


@dataclass(slots=True)
class _Findings:
    """What the pages of one entity's sweep have shown so far."""

    read: int = 0
    equal: int = 0
    ahead: int = 0
    deferred: int = 0
    settled: int = 0
    api_calls: int = 0
    drift: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    newest_missed_ms: int = 0

    def add(self, outcome: Outcome, window: _Window) -> None:
        self.equal += outcome.verdicts[Verdict.EQUAL]
        self.settled += outcome.verdicts[Verdict.SETTLED]
        self.deferred += outcome.parked + sum(outcome.verdicts[verdict] for verdict in _LEFT_TO_LATER)
        for repair in outcome.repairs:
            if repair.modstamp_ms < window.drift_before_ms:
                self.drift[repair.reason] += 1
            else:
                self.ahead += 1
            if window.may_be_owed:
                self.missed += 1
                self.newest_missed_ms = max(self.newest_missed_ms, repair.modstamp_ms)


class Sweeper:
    """The pull side of one org: backfill once, then sweep at start, on time, on request, and when owed."""

    def __init__(self, work: Work, starvation: Starvation) -> None:
        self._work = work
        self._starvation = starvation
        self._asked: set[str] = set()
        self._waiting: list[asyncio.Future[str]] = []
        self._full_wanted = False
        self._started = False
        self._met_unreadable = False
        self._due_at = time.monotonic()

    # Triggers ----------------------------------------------------------------------------------------

    def ask(self, reason: str) -> asyncio.Future[str]:
        """Ask for a sweep now; repeated askings become one.

        The future gives the id of a sweep begun after it; all who ask before that share it.
        """
        self._asked.add(reason)
        if not self._waiting:
            self._waiting.append(asyncio.get_running_loop().create_future())
        return self._waiting[-1]

    def ask_in_full(self, reason: str) -> None:
        """Ask for a sweep now that reads every record, whether or not its stamp says that it changed."""
        self._full_wanted = True
        self._asked.add(reason)

    @property
    def reason(self) -> str:
        """Why a sweep was asked for: all reasons since the last one."""
        return "+".join(sorted(self._asked))

    async def run(self) -> None:
        """Backfill what never was, then sweep for ever. Raises what makes writing impossible."""
        outage = self._work.outage("sweep")
        while True:
            try:
                await self._backfill_missing()
                reason = await self._next_reason()
                if reason is not None:
                    await self.sweep(reason)
                outage.ended()
            except SalesforceError as error:
                wait_s = outage.failed(error)
                self._work.health.set("sweep", ok=False, detail=type(error).__name__)
                _log.warning("sweep.failed", error=describe_error(error), wait_s=round(wait_s, 3))
                self._due_at = time.monotonic()
                await self._work.look_again_after(error)
                await asyncio.sleep(wait_s)
            else:
                if reason is None:
                    await asyncio.sleep(_LOOK_EVERY_S)

    async def _next_reason(self) -> str | None:
        """Say why to sweep now, or None; what is owed makes unready from the moment it is known."""
        if self._asked:
            return self.reason
        if self._work.options.sweep_enabled and time.monotonic() >= self._due_at:
            return "schedule"
        owed = await load_owed(self._work.database, self._work.org)
        if owed:
            self._tell_owed(owed[0])
        due = self._satisfiable(owed, await self._work.org_time_ms())
        return due[0].reason if due else None

    def _satisfiable(self, owed: Iterable[OwedReading], now_ms: int) -> list[OwedReading]:
        """Return the owed readings that a sweep begun now would satisfy, whatever whole seconds hide."""
        begun_ms = now_ms - 2 * self._work.options.clocks.fuzz_ms
        return [reading for reading in owed if reading.not_before_ms <= begun_ms]

    # Work --------------------------------------------------------------------------------------------

    async def _backfill_missing(self) -> None:
        """Load what never was loaded, once the subscription stands; owe a reading to what was loaded otherwise."""
        readings = await load_readings(self._work.database, self._work.org)
        missing = [readings[entity] for entity in _PARENTS_FIRST if not readings[entity].is_backfilled]
        if not self._started:
            await self._follow_mapping(readings)
        if missing:
            detail = ", ".join(reading.entity for reading in missing) + " not loaded yet"
            self._work.health.set("backfill", ok=False, detail=detail)
            await self._work.writer.stream.confirmed.wait()
            for reading in missing:
                with in_lane(Lane.BACKFILL):
                    await Backfill(self._work).run(reading)
        elif not self._started:
            # A stream that is away must not keep the sweep from standing in for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_STREAM_WAIT_S):
                    await self._work.writer.stream.confirmed.wait()
        self._work.health.set("backfill", ok=True)
        if not self._started:
            await self._recall_last_sweep()
        if not self._started and not self._work.options.sweep_enabled:
            await self._tell_caught_up()
        self._started = True

    async def _recall_last_sweep(self) -> None:
        """Let the age of the last sweep go on over a restart."""
        [row] = await self._work.database.fetch("load_last_sweep", self._work.org)
        if row["ended_s"] is not None:
            self._work.metrics.sweep_completed(finished_s=row["ended_s"])

    async def _follow_mapping(self, readings: Mapping[Entity, Reading]) -> None:
        """Show what the mirror has long known of new columns, and owe a reading of what was read otherwise."""
        mapping = self._work.mapping
        if await owes_projection(self._work.database, mapping):
            await self._work.writer.reproject()
            await note_projected(self._work.database, mapping)
        changed = [
            entity
            for entity, reading in readings.items()
            if reading.is_backfilled and reading.mapping != mapping.plans[entity].coverage
        ]
        if changed:
            await owe_in_full(self._work.database, self._work.org, changed, "mapping")

    async def sweep(self, reason: str) -> str:
        """Sweep every entity once, and the ones that are owed a reading in full in full; return the sweep's id."""
        asked, self._asked = self._asked, set()
        waiting, self._waiting = self._waiting, []
        full_wanted, self._full_wanted = self._full_wanted, False
        self._due_at = time.monotonic() + self._work.options.sweep_interval_s
        sweep_id = secrets.token_hex(4)
        started = time.monotonic()
        try:
            with bound_contextvars(sweep_id=sweep_id), in_lane(Lane.SWEEP):
                _log.info("sweep.started", reason=reason)
                # failpoint: sweep.begun - a sweep begins
                await self._sweep_entities(sweep_id, reason, full_wanted=full_wanted)
        except SalesforceError:
            self._waiting = [*waiting, *self._waiting]
            self._full_wanted |= full_wanted
            self._asked |= asked
            raise
        self._work.metrics.sweep_completed(finished_s=time.time(), duration_s=time.monotonic() - started)
        await self._tell_caught_up()
        # failpoint: sweep.ended - a sweep is over, nobody was told
        for finished in waiting:
            if not finished.done():
                finished.set_result(sweep_id)
        if self._work.mapping.paused or self._met_unreadable:
            # A field may be back or of another type, or what a column waited for was read by this sweep.
            self._met_unreadable = False
            await self._work.look_again()
        return sweep_id

    async def _sweep_entities(self, sweep_id: str, reason: str, *, full_wanted: bool) -> None:
        """Sweep each entity. Raises, at the end, what kept one from being read; the others are certified."""
        # The window must begin as late as it can, or an owed reading would not be satisfied by it.
        now_ms = await self._work.connection.clock_ms()
        readings = await load_readings(self._work.database, self._work.org)
        owed = self._satisfiable(await load_owed(self._work.database, self._work.org), now_ms)
        in_full = {o.entity for o in owed if o.in_full}
        if in_full:
            await self._work.refuse_stale_mapping()
        found: list[_Findings] = []
        refused: QueryError | None = None
        for entity in _PARENTS_FIRST:
            run = _Run(sweep_id, reason, in_full=full_wanted or entity in in_full)
            try:
                found.append(await self._sweep_entity(readings[entity], run))
            except QueryError as error:
                _log.warning("sweep.failed", entity=str(entity), error=describe_error(error), wait_s=0.0)
                refused = error
        if refused is not None:
            raise refused
        self._starvation.swept(_missed(found))

    async def _tell_caught_up(self) -> None:
        owed = await load_owed(self._work.database, self._work.org)
        if owed:
            self._tell_owed(owed[0])
        else:
            self._work.health.set("sweep", ok=True)

    def _tell_owed(self, reading: OwedReading) -> None:
        detail = f"a reading of {reading.entity} is owed ({reading.reason})"
        self._work.health.set("sweep", ok=False, detail=detail)

    async def _sweep_entity(self, reading: Reading, run: _Run) -> _Findings:
        """Sweep one entity; return what its pages showed."""
        findings = _Findings()
        if reading.watermark_ms is None:
            return findings
        since_ms = 0 if run.in_full else reading.watermark_ms
        started = time.monotonic()
        page = await self._fetch(reading.entity, since_ms, None)
        began_ms = page.read_from_ms
        # Under a new mapping every row lacks something that no event ever promised: that is no drift.
        is_new_mapping = run.in_full and reading.mapping != self._work.mapping.plans[reading.entity].coverage
        window = _Window(
            since_ms,
            began_ms,
            started,
            0 if is_new_mapping else self._drift_before_ms(began_ms),
            not is_new_mapping,
        )
        while True:
            findings.api_calls += 1
            findings.read += len(page.records)
            # failpoint: sweep.page.read - a page of a sweep was read
            if page.done:
                break
            outcome = await self._apply(page, reading.entity, run)
            findings.add(outcome, window)
            # failpoint: sweep.page.applied - a page that is not the last is committed
            page = await self._fetch_after(page, reading.entity, since_ms)
        await self._apply_last(page, reading, run, window, findings)
        return findings

    async def _fetch(self, entity: Entity, since_ms: int, after: Keyset | None) -> Page:
        plan = self._work.mapping.plans[entity]
        return await self._work.rest.sweep_page(
            selection(plan), since_ms, after=after, limit=self._work.options.sweep_page
        )

    async def _fetch_after(self, page: Page, entity: Entity, since_ms: int) -> Page:
        after = Keyset.of(page.records[-1])
        following = await self._fetch(entity, since_ms, after)
        if following.records and Keyset.of(following.records[-1]) == after:
            raise UnavailableError(f"the pages of {entity} do not advance", code="PAGING")
        return following

    async def _apply(self, page: Page, entity: Entity, run: _Run) -> Outcome:
        commands, letters = read_commands(page, self._work.mapping.plans[entity])
        self._met_unreadable |= bool(letters)
        return await self._work.writer.submit(
            Batch(commands, "sweep", page.read_to_ms, dead_letters=letters, source=run.sweep_id)
        )

    async def _apply_last(
        self, page: Page, reading: Reading, run: _Run, window: _Window, findings: _Findings
    ) -> None:
        """Apply the last page, then commit the certificate with the watermark.

        The certificate counts the last page too, so it follows in a transaction of its own; a crash between
        the two sweeps the same window again.
        """
        outcome = await self._apply(page, reading.entity, run)
        findings.add(outcome, window)
        certificate = _certificate(reading, run, window, findings)
        # failpoint: sweep.last.applied - the last page is committed, its certificate is not
        progress = sweep_end(
            self._work.database,
            self._work.org,
            certificate,
            watermark_ms=window.began_ms - self._work.options.look_back_ms,
            mapping=self._work.mapping.plans[reading.entity].coverage if run.in_full else None,
        )
        await self._work.writer.submit(Batch((), "sweep", page.read_to_ms, progress=progress))
        self._report(certificate)

    def _drift_before_ms(self, began_ms: int) -> int:
        """Return the instant before which a change should have come by the stream."""
        delivered_ms = self._work.writer.stream.commit_ms or 0
        return max(delivered_ms - self._work.options.clocks.settle_ms, began_ms - _AHEAD_MS)

    def _report(self, certificate: Certificate) -> None:
        entity = str(certificate.entity)
        self._work.metrics.ahead_records.labels(entity).inc(certificate.ahead)
        for reason, count in certificate.drift.items():
            self._work.metrics.drift_records.labels(entity, reason).inc(count)
        _log.info(
            "sweep.entity.completed",
            entity=entity,
            reason=certificate.reason,
            window_from=certificate.window_from_ms,
            window_to=certificate.window_to_ms,
            read=certificate.records_read,
            equal=certificate.equal,
            repaired=dict(certificate.drift),
            ahead=certificate.ahead,
            deferred=certificate.deferred,
            settled=certificate.settled,
            api_calls=certificate.api_calls,
            duration_ms=certificate.duration_ms,
        )
        if certificate.drift:
            _log.error(
                "sweep.drift.found",
                entity=entity,
                records=sum(certificate.drift.values()),
                reasons=dict(certificate.drift),
            )


_PARENTS_FIRST = (Entity.ACCOUNT, Entity.CONTACT, Entity.LEAD)


@dataclass(frozen=True, slots=True)
class _Run:
    sweep_id: str
    reason: str
    in_full: bool


@dataclass(frozen=True, slots=True)
class _Window:
    since_ms: int
    began_ms: int
    started: float
    drift_before_ms: int
    may_be_owed: bool


def _missed(found: Iterable[_Findings]) -> Missed:
    findings = list(found)
    return Missed(
        drift_records=sum(one.drift.total() for one in findings),
        records=sum(one.missed for one in findings),
        newest_ms=max((one.newest_missed_ms for one in findings), default=0),
    )


def _certificate(reading: Reading, run: _Run, window: _Window, findings: _Findings) -> Certificate:
    return Certificate(
        sweep_id=run.sweep_id,
        entity=reading.entity,
        reason=run.reason,
        window_from_ms=window.since_ms,
        window_to_ms=window.began_ms,
        records_read=findings.read,
        equal=findings.equal,
        drift=dict(findings.drift),
        ahead=findings.ahead,
        deferred=findings.deferred,
        settled=findings.settled,
        api_calls=findings.api_calls,
        duration_ms=round((time.monotonic() - window.started) * 1000),
        equal_as_of_ms=window.began_ms,
    )

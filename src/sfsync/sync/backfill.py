"""Read an entity for the first time, page by page in the order of ids, and remember each page.

Why: it starts after the subscription stands, so that whatever changes meanwhile also comes as an event, and it
ends by leaving a watermark at the instant it began: the first sweep covers the whole time of the backfill. Paging
by id survives a crash at any page; only under another mapping it begins anew, since the pages of before lack its
fields. Bulk API 2.0 will be a second source of the same pages for big entities.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from ..core.ids import Entity, RecordId, record_id
from ..errors import SalesforceError
from ..salesforce.rest import Page
from ..store.batch import Batch, Progress
from ..store.database import Connection, analyze
from ..store.readings import BackfillPage, Reading, backfill_end, backfill_progress
from .reading import read_commands, selection
from .work import Work

_log = structlog.get_logger()
_TELL_EVERY_S = 5.0


class Backfill:
    """First load of the entities of one org."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def run(self, reading: Reading) -> None:
        """Load or go on loading one entity. Raises what reading or writing raises; it resumes where it was."""
        entity = reading.entity
        if reading.mapping != self._work.mapping.plans[entity].coverage:
            reading = Reading(entity)
        if self._work.options.adoption.minimal:
            await self._skip(entity)
            return
        total = await self._work.rest.count(entity.value)
        # failpoint: backfill.begun - a first load begins
        _log.info("backfill.entity.started", entity=str(entity), total=total)
        started = told = time.monotonic()
        records, calls = 0, 1
        from_ms = reading.backfill_from_ms
        page = await self._fetch(entity, reading.backfill_after)
        while True:
            calls += 1
            from_ms = page.read_from_ms if from_ms is None else from_ms
            records += len(page.records)
            if page.done:
                await self._apply_last(page, entity, from_ms)
                break
            page = await self._apply_and_fetch(page, entity, from_ms)
            if calls.bit_count() == 1:
                # At every doubling: statistics in time, at a cost that stays small.
                await analyze(self._work.database)
            if time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                self._tell(entity, reading.backfill_records + records, total, records / (told - started))
        # failpoint: backfill.completed - a first load is complete
        await analyze(self._work.database)
        _log.info(
            "backfill.entity.completed",
            entity=str(entity),
            records=reading.backfill_records + records,
            duration_s=round(time.monotonic() - started, 3),
            api_calls=calls,
        )

    async def _skip(self, entity: Entity) -> None:
        """Load nothing: what is adopted is asked for record by record; sweeps begin now."""
        now_ms = await self._work.connection.clock_ms()
        end = backfill_end(
            self._work.database,
            self._work.org,
            entity,
            watermark_ms=now_ms - self._work.options.look_back_ms,
            mapping=self._work.mapping.plans[entity].coverage,
        )
        await self._work.writer.submit(Batch((), "backfill", now_ms, progress=end))

    async def _fetch(self, entity: Entity, after: RecordId | None) -> Page:
        plan = self._work.mapping.plans[entity]
        return await self._work.rest.backfill_page(
            selection(plan), after=after, limit=self._work.options.sweep_page
        )

    async def _apply_and_fetch(self, page: Page, entity: Entity, from_ms: int) -> Page:
        """Apply one page while the next is on its way; what was read is kept although the next page fails."""
        last = _last_id(page)
        progress = self._progress(page, entity, from_ms, last)
        following = asyncio.create_task(self._fetch(entity, last), name="backfill-page")
        try:
            await self._work.writer.submit(self._batch(page, entity, progress))
            # failpoint: backfill.page.applied - a page that is not the last is committed
            return await following
        finally:
            following.cancel()

    def _progress(self, page: Page, entity: Entity, from_ms: int, last: RecordId | None) -> Progress:
        return backfill_progress(
            self._work.database,
            self._work.org,
            BackfillPage(entity, from_ms, last, len(page.records), self._work.mapping.plans[entity].coverage),
        )

    async def _apply_last(self, page: Page, entity: Entity, from_ms: int) -> None:
        note = self._progress(page, entity, from_ms, _last_id(page) if page.records else None)
        end = backfill_end(
            self._work.database,
            self._work.org,
            entity,
            watermark_ms=from_ms - self._work.options.look_back_ms,
            mapping=self._work.mapping.plans[entity].coverage,
        )

        async def both(connection: Connection) -> None:
            await note(connection)
            await end(connection)

        await self._work.writer.submit(self._batch(page, entity, both))

    def _batch(self, page: Page, entity: Entity, progress: Progress) -> Batch:
        commands, letters = read_commands(page, self._work.mapping.plans[entity])
        return Batch(commands, "backfill", page.read_to_ms, progress=progress, dead_letters=letters)

    def _tell(self, entity: Entity, records: int, total: int, records_s: float) -> None:
        _log.info(
            "backfill.entity.progressed",
            entity=str(entity),
            records=records,
            total=total,
            percent=round(100 * min(records, total) / total, 1) if total else 100.0,
            records_s=round(records_s),
        )


def _last_id(page: Page) -> RecordId:
    try:
        return record_id(str(page.records[-1]["Id"]))
    except (KeyError, ValueError) as error:
        raise SalesforceError(
            "a backfill page ends with a record without a readable Id", code="RECORD"
        ) from error

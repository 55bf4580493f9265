"""Read dirty records again when a read can prove something, and not before.

Why: REST may answer older than a commit for some seconds, so a read made too early would heal a mark with old
content. A record is read when `since + settle` is over, in batches of hundreds per call; what a read does not
end is tried again with growing waits. Everything goes to `queryAll`, which alone tells deleted from hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from ..core.ids import Entity, RecordId
from ..core.order import Verdict
from ..errors import QueryError, SalesforceError
from ..salesforce.budget import Lane, in_lane
from ..salesforce.rest import READ_IDS_MAX
from ..store.batch import Batch
from .reading import read_records
from .work import Work

_log = structlog.get_logger()
_LOOK_EVERY_S = 0.25
_DUE_MAX = 5_000


class Refetcher:
    """Reads dirty records of one org. Run `run` as one task."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def run(self) -> None:
        """Look for due marks for ever. Raises what makes writing impossible."""
        outage = self._work.outage("rest")
        while True:
            try:
                with in_lane(Lane.REFETCH):
                    await self._read_due()
                outage.ended()
                await asyncio.sleep(_LOOK_EVERY_S)
            except SalesforceError as error:
                await self._work.look_again_after(error)
                await asyncio.sleep(outage.failed(error))

    async def _read_due(self) -> None:
        """Read what is due. Raises, at the end, what kept one entity from being read; the others were."""
        now_ms = await self._work.org_time_ms()
        refused: QueryError | None = None
        for entity in Entity:
            try:
                await self._read_due_of(entity, now_ms)
            except QueryError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _read_due_of(self, entity: Entity, now_ms: int) -> None:
        rows = await self._work.database.fetch(
            "load_dirty_due", self._work.org, str(entity), now_ms, _DUE_MAX
        )
        ids = [RecordId(row["record_id"]) for row in rows]
        size = min(self._work.options.refetch_batch, READ_IDS_MAX)
        for start in range(0, len(ids), size):
            await self._read(entity, ids[start : start + size])

    async def _read(self, entity: Entity, ids: Sequence[RecordId]) -> None:
        """Read these records now and apply what was found, absences included."""
        # The read's lower bound must be as fresh as it can be, or it proves nothing.
        await self._work.connection.clock_ms()
        found = await read_records(self._work.rest, self._work.mapping.plans[entity], ids)
        # failpoint: refetch.read - dirty records were read
        outcome = await self._work.writer.submit(
            Batch(
                found.commands,
                "refetch",
                found.read_to_ms,
                dead_letters=found.dead_letters,
                refetched=True,
            )
        )
        # failpoint: refetch.applied - what was read of dirty records is committed
        _log.info(
            "refetch.completed",
            entity=str(entity),
            requested=len(ids),
            read=found.read,
            settled=outcome.verdicts[Verdict.SETTLED] + outcome.verdicts[Verdict.REPAIRED],
            absent=found.absent,
            api_calls=1,
        )

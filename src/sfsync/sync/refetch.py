"""Read dirty records again when a read can prove something, and not before.

Why: REST may answer older than a commit for some seconds, so a read made too early would heal a mark with old
content. A record is read when `since + settle` is over; what a read does not end is tried again with growing waits.

They are read in as few calls as can be. Collections take 2,000 live records in one, `queryAll` 400, and `queryAll` alone
tells deleted from hidden: it reads what may be deleted, what collections answered null for, and everything where
collections would save no call.

What Salesforce refuses to read together is halved until the record that it refuses is alone. That one becomes a dead
letter and waits longer and longer; nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import structlog

from ..core.commands import Cause, Refetch
from ..core.ids import Entity, RecordId
from ..core.order import Verdict
from ..errors import QueryError, SalesforceError, UnavailableError
from ..log import describe_error
from ..salesforce.budget import Lane, in_lane
from ..salesforce.rest import READ_IDS_MAX, RETRIEVE_IDS_MAX, Rest
from ..salesforce.soql import Selection
from ..store.batch import Batch, DeadLetter
from .reading import Found, read_records, retrieve_records
from .work import Work

_log = structlog.get_logger()
_LOOK_EVERY_S = 0.25
_DUE_MAX = 5_000
_FAILURES_MAX = 64
# These are about the whole entity or the login, however few records are asked for.
_ABOUT_ALL = frozenset(
    {"INVALID_FIELD", "INVALID_TYPE", "INSUFFICIENT_ACCESS", "FUNCTIONALITY_NOT_ENABLED", "MAPPING", "NAME"}
    | {"UNSUPPORTED_API_VERSION", "HTTP_410", "NOT_FOUND", "PATH", "LOCATOR"}
)
# An outage answers so too, so whether it is one is asked before anything is halved.
_PERHAPS_AWAY = frozenset({"QUERY_TIMEOUT", "UNKNOWN_EXCEPTION", "OVERSIZE"})


@dataclass(slots=True)
class _Look:
    """One look at the due records of an entity: how much of it failed, and whether the org is known to answer."""

    entity: Entity
    failures: int = 0
    is_alive: bool = False


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
        live = [RecordId(row["record_id"]) for row in rows if not row["may_be_deleted"]]
        others = [RecordId(row["record_id"]) for row in rows if row["may_be_deleted"]]
        size = self._work.options.refetch_batch
        if saves_calls(len(live), len(others), size):
            parts = _parts(live, min(size, RETRIEVE_IDS_MAX))
            live = [one for part in parts for one in await self._retrieve(entity, part)]
        looked = _Look(entity)
        for part in _parts([*others, *live], min(size, READ_IDS_MAX)):
            await self._query(looked, part, self._work.rest)

    # One call -----------------------------------------------------------------------------------------

    async def _retrieve(self, entity: Entity, ids: Sequence[RecordId]) -> Sequence[RecordId]:
        """Read live records now and apply them; return those of which that cannot tell."""
        began = self._calls()
        # The read's lower bound must be as fresh as it can be, or it proves nothing.
        await self._work.connection.clock_ms()
        try:
            found, missing = await retrieve_records(self._work.rest, self._work.mapping.plans[entity], ids)
        except SalesforceError as error:
            await self._work.look_again_after(error)
            if error.code == "INVALID_FIELD" or _may_lie_in_a_record(error):
                # The org still describes the field, or one id spoils them all: queryAll finds out.
                return ids
            raise
        await self._apply(entity, ids, found, began)
        return missing

    async def _query(self, looked: _Look, ids: Sequence[RecordId], rest: Rest) -> None:
        """Read these records now and apply what was found, absences included.

        Where that fails, they are halved until what fails is one record, which is put aside.
        Raises what is not about a record: an outage, a limit, an entity or a field that is not there.
        """
        began = self._calls()
        await self._work.connection.clock_ms()
        try:
            found = await read_records(rest, self._work.mapping.plans[looked.entity], ids)
        except SalesforceError as error:
            if not _may_lie_in_a_record(error):
                raise
            await self._judge(looked, error)
            if len(ids) == 1:
                await self._put_aside(looked.entity, ids[0], error)
                return
        else:
            # failpoint: refetch.read - dirty records were read
            await self._apply(looked.entity, ids, found, began)
            return
        # What failed whole was tried often enough.
        once, middle = Rest(self._work.connection, tries=1), len(ids) // 2
        await self._query(looked, ids[:middle], once)
        await self._query(looked, ids[middle:], once)

    def _calls(self) -> int:
        return self._work.connection.budget.calls[Lane.REFETCH]

    async def _apply(self, entity: Entity, ids: Sequence[RecordId], found: Found, began: int) -> None:
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
            api_calls=self._calls() - began,
        )

    # Where a batch fails --------------------------------------------------------------------------------

    async def _judge(self, looked: _Look, error: SalesforceError) -> None:
        """Raise *error* when it is an outage, or when so much fails that halving would spend the org's day."""
        looked.failures += 1
        if looked.failures > _FAILURES_MAX:
            raise error
        if isinstance(error, UnavailableError) and not looked.is_alive:
            rest = Rest(self._work.connection, tries=1)
            await rest.backfill_page(Selection(looked.entity.value, ("Id",)), limit=1)
            looked.is_alive = True

    async def _put_aside(self, entity: Entity, record: RecordId, error: SalesforceError) -> None:
        """Note that a record cannot be read; it is tried again with growing waits."""
        now_ms = await self._work.connection.clock_ms()
        letter = DeadLetter(describe_error(error), entity.value, record)
        command = Refetch(entity, record, now_ms, Cause.MALFORMED)
        await self._work.writer.submit(
            Batch([command], "refetch", now_ms, dead_letters=[letter], refetched=True)
        )
        _log.error(
            "refetch.record.refused", record_id=record, entity=str(entity), error=describe_error(error)
        )


def saves_calls(live: int, others: int, size: int) -> bool:
    """Tell whether reading *live* records as collections takes fewer calls than asking `queryAll` for all.

    One call more is reckoned for what collections answer null for.
    """
    by_query = min(size, READ_IDS_MAX)
    together = ceil((live + others) / by_query)
    apart = ceil(live / min(size, RETRIEVE_IDS_MAX)) + ceil(others / by_query) + 1
    return apart < together


def _may_lie_in_a_record(error: SalesforceError) -> bool:
    if isinstance(error, UnavailableError):
        return error.code in _PERHAPS_AWAY
    return type(error) in (SalesforceError, QueryError) and error.code not in _ABOUT_ALL


def _parts(ids: Sequence[RecordId], size: int) -> list[Sequence[RecordId]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]

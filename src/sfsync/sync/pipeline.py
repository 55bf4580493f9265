"""Wire the work of one org: push, pull, and the one writer between them and the store.

Why: the jobs are one task group. A job that fails ends them all and leaves through the caller, who decides
whether that was an outage (try again from the committed position) or the end of the process. Nothing is handed
over between two lives of a pipeline: what it knew is in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ..core.mapping import BoundMapping
from ..errors import StoreUnavailableError
from ..salesforce.connection import Connection
from ..store.apply import Applier
from ..store.batch import Rules
from ..store.database import Database
from ..store.leadership import Leadership
from .adopting import follow_adoption
from .handlers import handlers
from .health import Health
from .metrics import Metrics
from .options import SyncOptions
from .outages import Outages
from .refetch import Refetcher
from .reload import Prepare
from .requests import Requests
from .spending import Spending
from .starvation import Starvation
from .subscription import Subscription
from .sweep import Sweeper
from .work import Work
from .writer import Writer

_log = structlog.get_logger()
_GAUGES_EVERY_S = 5.0
_TELL_EVERY_S = 60.0
_PRUNE_EVERY_S = 3_600.0
_PRUNE_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All that the jobs of one org share while they run."""

    connection: Connection
    database: Database
    leadership: Leadership
    mapping: BoundMapping
    options: SyncOptions
    metrics: Metrics
    health: Health
    outages: Outages
    spending: Spending
    sweep_wanted: asyncio.Event
    verify_wanted: asyncio.Event
    applying: asyncio.Lock
    describe: Callable[[], Awaitable[BoundMapping]]
    reload: Prepare

    async def run(self) -> None:
        """Replicate until a job fails or this is cancelled.

        Cancellation: safe at any moment; a batch in flight is either committed whole or comes again.
        """
        applier = Applier(
            self.database,
            self.leadership,
            self.mapping,
            Rules(self.options.clocks, self.options.other_half_wait_s, self.options.adoption),
        )
        writer = Writer(self.database, applier, self.options, self.metrics, self.applying)
        work = Work(
            connection=self.connection,
            database=self.database,
            writer=writer,
            mapping=self.mapping,
            options=self.options,
            metrics=self.metrics,
            health=self.health,
            outages=self.outages,
            describe=self.describe,
            reload=self.reload,
        )
        subscription, refetcher = Subscription(work), Refetcher(work)
        starvation = Starvation(work, subscription)
        sweeper = Sweeper(work, starvation)
        requests = Requests(work, handlers(work, sweeper))
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run(), name="writer")
            group.create_task(subscription.run(), name="stream")
            group.create_task(_follow(work, sweeper), name="sweep")
            group.create_task(refetcher.run(), name="refetch")
            group.create_task(requests.run(), name="requests")
            group.create_task(_relay(self.sweep_wanted, sweeper.ask, "signal"), name="sweep-signal")
            group.create_task(_relay(self.verify_wanted, sweeper.ask_in_full, "signal"), name="verify-signal")
            group.create_task(self._watch_leadership(), name="leadership")
            group.create_task(self._keep_house(starvation), name="house")

    async def _watch_leadership(self) -> None:
        """End when the lock's session ended: whether somebody else leads now is found out by asking again."""
        await self.leadership.lost.wait()
        # failpoint: leadership.lost - the session that held the lock ended
        raise StoreUnavailableError("the session that holds the leadership lock ended")

    async def _keep_house(self, starvation: Starvation) -> None:
        """Look at the stream, refresh the gauges, keep the figures, and forget what is older than its retention."""
        await self.spending.recall(self.database, self.connection.org_id)
        pruned_at = told_at = float("-inf")
        while True:
            starvation.look()
            await self._refresh_gauges()
            if time.monotonic() - told_at >= _TELL_EVERY_S:
                told_at = time.monotonic()
                await self.spending.keep(self.database, self.connection.org_id)
                # failpoint: figures.kept - what was counted is kept for a restart
            if time.monotonic() - pruned_at >= _PRUNE_EVERY_S and await self._prune():
                pruned_at = time.monotonic()
            await asyncio.sleep(_GAUGES_EVERY_S)

    async def _refresh_gauges(self) -> None:
        [row] = await self.database.fetch("load_gauges", self.connection.org_id)
        self.metrics.dirty(records=row["dirty"], oldest_s=row["dirty_since"])
        self.metrics.dead_letters.set(row["dead_letters"])
        self.metrics.suspended_columns.set(row["suspended"])
        self.spending.show(self.health)

    async def _prune(self) -> bool:
        """Forget a part of what is too old; return whether that was all."""
        [row] = await self.database.fetch(
            "prune_history",
            self.connection.org_id,
            self.options.change_retention_days,
            self.options.dead_letter_retention_days,
            _PRUNE_ROWS,
        )
        # failpoint: history.pruned - what is too old is forgotten
        return int(row["changes"]) < _PRUNE_ROWS


async def _follow(work: Work, sweeper: Sweeper) -> None:
    """Follow a changed choice of who is adopted, then sweep for ever."""
    await follow_adoption(work)
    await sweeper.run()


async def _relay(wanted: asyncio.Event, ask: Callable[[str], object], reason: str) -> None:
    """Pass on what a signal asks for; a storm of them that came meanwhile is one."""
    while True:
        await wanted.wait()
        wanted.clear()
        ask(reason)

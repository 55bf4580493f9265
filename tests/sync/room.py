"""One org's work, wired as the pipeline wires it but job by job, against a simulated org and a real database.

Why: a test of the sweep wants the sweep alone, with the stream told what to believe, and a test of the stream wants
no sweep that hides its faults. The org is served inside the test's own loop, so that nothing waits for a process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from sfsync.core.ids import Entity, RecordId, record_id
from sfsync.core.mapping import BoundMapping
from sfsync.core.mapping_file import MappedColumn, MappingFile, default_mapping
from sfsync.core.order import Clocks
from sfsync.daemon import bind_mapping
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.connection import open_connection
from sfsync.salesforce.reply import CometdTimings
from sfsync.salesforce.rest import Rest
from sfsync.salesforce.secret import Secret
from sfsync.store.apply import Applier
from sfsync.store.batch import Rules
from sfsync.store.binding import bind_org
from sfsync.store.columns import ensure_columns, load_memory
from sfsync.store.database import StoreOptions, open_database
from sfsync.store.leadership import lead
from sfsync.store.readings import load_readings
from sfsync.sync.handlers import handlers
from sfsync.sync.health import Health
from sfsync.sync.metrics import Metrics
from sfsync.sync.options import SyncOptions
from sfsync.sync.outages import Outages
from sfsync.sync.refetch import Refetcher
from sfsync.sync.requests import Requests
from sfsync.sync.starvation import Starvation
from sfsync.sync.subscription import Subscription
from sfsync.sync.sweep import Sweeper
from sfsync.sync.work import Work
from sfsync.sync.writer import Writer
from tests.simorg.site import Site, eventually, serving

QUICK: dict[str, Any] = {
    "clocks": Clocks(fuzz_ms=1_000, settle_ms=0),
    "timings": CometdTimings(long_poll_s=2.0, goodbye_s=0.2),
    "backoff_s_max": 0.2,
    "auth_retry_s": 0.2,
    "sweep_interval_s": 3_600.0,
    "look_back_ms": 2_000,
}


@dataclass(slots=True)
class Room:
    """The jobs of one org and what they work on."""

    site: Site
    work: Work
    subscription: Subscription
    sweeper: Sweeper
    refetcher: Refetcher
    requests: Requests
    connection: asyncpg.Connection

    @property
    def writer(self) -> Writer:
        return self.work.writer

    @asynccontextmanager
    async def doing(self, *jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run the writer and *jobs* for the length of a block; the first failure leaves through it."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in (self.writer.run(), *jobs)]
            yield
            for task in tasks:
                task.cancel()

    async def backfill(self) -> None:
        """Load the org as the first start does, without a stream."""
        self.writer.stream.confirmed.set()
        async with self.doing(self.sweeper.run()):
            await self.until_claimed("backfill")
            await self.until_claimed("sweep")

    async def until_claimed(self, name: str, *, ok: bool = True) -> None:
        async def is_claimed() -> bool:
            return self.work.health.claims[name].ok is ok

        await eventually(is_claimed)

    async def create(self, entity: str, **fields: Any) -> RecordId:
        """Create one record in the org; return its id."""
        step = {"op": "create", "entity": entity, "fields": fields, "as": "it"}
        return record_id((await self.site.transact(step))["it"])

    async def contacts(self, count: int, **fields: Any) -> list[RecordId]:
        """Create contacts in one transaction: one stamp for all of them."""
        steps = [
            {
                "op": "create",
                "entity": "Contact",
                "fields": {"LastName": f"Person {n}", **fields},
                "as": f"c{n}",
            }
            for n in range(count)
        ]
        ids = await self.site.transact(*steps)
        return [record_id(ids[f"c{n}"]) for n in range(count)]

    async def update(self, record: RecordId, **fields: Any) -> None:
        await self.site.transact({"op": "update", "id": record, "fields": fields})

    async def plant(self, kind: str, **params: Any) -> None:
        await self.site.control("POST", "faults", {"kind": kind, **params})

    async def heal(self) -> None:
        await self.site.control("DELETE", "faults")

    async def field(self, entity: str, action: str, **field: Any) -> None:
        """Let an administrator change one field of the org."""
        await self.site.control("POST", "fields", {"entity": entity, "action": action, "field": field})

    async def watermark(self, entity: Entity) -> int | None:
        return (await load_readings(self.work.database, self.work.org))[entity].watermark_ms

    async def rows(self, query: str, *values: Any) -> list[asyncpg.Record]:
        return await self.connection.fetch(query, *values)

    async def value(self, query: str, *values: Any) -> Any:
        return await self.connection.fetchval(query, *values)

    async def last_names(self) -> set[str]:
        return {row["last_name"] for row in await self.rows("SELECT last_name FROM crm.active_person")}

    async def answered(self, request: int) -> tuple[str, dict[str, Any]]:
        """Wait for what became of a request."""

        async def outcome() -> list[asyncpg.Record]:
            query = "SELECT outcome, detail FROM sfsync.request WHERE id = $1 AND done_at IS NOT NULL"
            return await self.rows(query, request)

        [row] = await eventually(outcome, 20)
        return row["outcome"], json.loads(row["detail"])

    async def certificate(self, entity: str) -> asyncpg.Record:
        """Return the newest certificate of an entity."""
        [row, *_] = await self.rows(
            "SELECT * FROM sfsync.sweep WHERE entity = $1 ORDER BY id DESC LIMIT 1", entity
        )
        return row


@asynccontextmanager
async def open_room(
    dsn: str, site: Site, *, chosen: MappingFile | None = None, **options: Any
) -> AsyncIterator[Room]:
    """Log in to *site*, lead its org on a migrated database, and make the jobs; none runs yet."""
    mapping_file = chosen or default_mapping()
    async with (
        open_database(StoreOptions(dsn)) as database,
        open_connection(
            ClientCredentials(
                site.org.credentials.client_id,
                Secret(site.org.credentials.client_secret),
                site.org.url,
            )
        ) as link,
        lead(database, link.org_id) as leadership,
    ):

        async def describe() -> BoundMapping:
            return await bind_mapping(Rest(link), mapping_file, await load_memory(database, link.org_id))

        await bind_org(database, link.org_id)
        mapping = await describe()
        await ensure_columns(database, mapping)
        settings = SyncOptions(**{**QUICK, **options})
        applier = Applier(database, leadership, mapping, Rules(settings.clocks, 0.1, settings.adoption))
        metrics = Metrics()
        writer = Writer(database, applier, settings, metrics)
        health = Health("stream", "backfill", "sweep")
        work = Work(link, database, writer, mapping, settings, metrics, health, Outages(metrics), describe)
        subscription, refetcher = Subscription(work), Refetcher(work)
        starvation = Starvation(work, subscription)
        sweeper = Sweeper(work, starvation)
        connection = await asyncpg.connect(dsn)
        try:
            yield Room(
                site,
                work,
                subscription,
                sweeper,
                refetcher,
                Requests(work, handlers(work, sweeper)),
                connection,
            )
        finally:
            await connection.close()


@asynccontextmanager
async def furnished(dsn: str, **options: Any) -> AsyncIterator[Room]:
    """Serve a fresh org, quick in its timings, and open the room for it."""
    async with serving() as site:
        await site.control("POST", "settings", {"long_poll_s": 1})
        async with open_room(dsn, site, **options) as room:
            yield room


@asynccontextmanager
async def levelled(dsn: str, **options: Any) -> AsyncIterator[Room]:
    """As `furnished`, in an org whose contacts have a number `Level__c`, mapped to the column `level`."""
    column = MappedColumn("person", "level", "plain", {Entity.CONTACT: "Level__c"})
    chosen = MappingFile((*default_mapping().columns, column))
    async with serving() as site:
        await site.control("POST", "settings", {"long_poll_s": 1})
        number = {"name": "Level__c", "type": "double"}
        await site.control("POST", "fields", {"entity": "Contact", "action": "add", "field": number})
        async with open_room(dsn, site, chosen=chosen, **options) as room:
            yield room

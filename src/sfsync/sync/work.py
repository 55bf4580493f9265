"""What the jobs of one org share, as one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from ..core.mapping import BoundMapping
from ..errors import ConfigError, MappingChangedError, QueryError, SalesforceError
from ..salesforce.connection import Connection
from ..salesforce.rest import Rest
from ..store.database import Database
from .health import Health
from .metrics import Metrics
from .options import SyncOptions
from .outages import Outage, Outages
from .reload import Prepare
from .writer import Writer


@dataclass(frozen=True, slots=True)
class Work:
    """The org, the store, the writer between them, and how the work is to be done."""

    connection: Connection
    database: Database
    writer: Writer
    mapping: BoundMapping
    options: SyncOptions
    metrics: Metrics
    health: Health
    outages: Outages
    describe: Callable[[], Awaitable[BoundMapping]]
    reload: Prepare | None = None

    async def refuse_stale_mapping(self) -> None:
        """Describe the org again. Raises `MappingChangedError` when the mapping no longer means what it did.

        Raises `QueryError` when the org no longer feeds it: what is known stays, and the stream goes on.
        """
        try:
            described = await self.describe()
        except ConfigError as error:
            raise QueryError(str(error), code="MAPPING") from error
        if described.fingerprint != self.mapping.fingerprint:
            raise MappingChangedError(
                "the org describes mapped fields otherwise than when this pipeline began"
            )

    async def look_again(self) -> None:
        """Describe the org again, if it answers. Raises `MappingChangedError` when that changes the mapping."""
        with suppress(SalesforceError):
            await self.refuse_stale_mapping()

    async def look_again_after(self, error: SalesforceError) -> None:
        """Look again when *error* tells of a field that is not there: an administrator removed or hid it."""
        if error.code == "INVALID_FIELD":
            await self.look_again()

    @property
    def org(self) -> str:
        return self.connection.org_id

    @property
    def rest(self) -> Rest:
        return Rest(self.connection)

    def outage(self, name: str) -> Outage:
        """Return the outage of this name; it outlives this pipeline."""
        return self.outages.named(
            name, wait_s_max=self.options.backoff_s_max, auth_wait_s=self.options.auth_retry_s
        )

    async def org_time_ms(self) -> int:
        """Return about what the org's clock shows now; for planning only."""
        estimated_ms = self.connection.estimated_ms()
        return await self.connection.clock_ms() if estimated_ms is None else estimated_ms

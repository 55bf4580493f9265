"""The API's own way to the store: two connections, opened when somebody first asks.

Why: the console listens before the store is open and while it is away, and a reader must never take a connection
that the applier waits for, so it shares none with it. A short time limit ends what would read a big table through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from ..errors import ConfigError
from ..store.database import Database, StoreOptions, open_database
from ..store.people import Reader, open_reader
from ..store.report import known_org

_CONNECTIONS_MAX = 2
_STATEMENT_TIMEOUT_S = 5.0
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """Which store the API reads, and how many days of history are kept there."""

    options: StoreOptions
    kept_days: int


class Source:
    """Opens the store once; a pool that was opened finds its way back by itself when Postgres does."""

    def __init__(self, access: StoreAccess) -> None:
        self.kept_days = access.kept_days
        self._options = replace(
            access.options,
            statement_timeout_s=min(_STATEMENT_TIMEOUT_S, access.options.statement_timeout_s),
            lock_timeout_s=min(_STATEMENT_TIMEOUT_S, access.options.lock_timeout_s),
            connect_timeout_s=min(_STATEMENT_TIMEOUT_S, access.options.connect_timeout_s),
        )
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._database: Database | None = None

    async def database(self) -> Database:
        """Return the open store. Raises what `open_database` raises, and `TimeoutError`."""
        async with asyncio.timeout(_PATIENCE_S), self._opening:
            if self._database is None:
                self._database = await self._stack.enter_async_context(
                    open_database(self._options, connections_max=_CONNECTIONS_MAX)
                )
            return self._database

    async def bound(self) -> tuple[Database, str]:
        """Return the open store and its org. Raises `ConfigError` when it is bound to none yet."""
        database = await self.database()
        org = await known_org(database)
        if org is None:
            raise ConfigError("the store is bound to no org yet: start sfsync run first")
        return database, org

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Open a snapshot. Raises `TimeoutError` when no connection is free for too long, or the block takes as long."""
        async with asyncio.timeout(_PATIENCE_S):
            async with open_reader(await self.database()) as reader:
                yield reader

    async def close(self) -> None:
        """Hang up; whoever still reads is cut off."""
        await self._stack.aclose()

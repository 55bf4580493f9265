"""Find the store that the settings name: a server elsewhere, or one of our own.

Why: the daemon starts the embedded server and holds its directory; a second program on the same machine must use
that running server, not fight for the directory. Whether one runs is learned by connecting, because files of a
killed server look like those of a running one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from ..errors import StoreError, StoreUnavailableError
from ..store.database import Database, StoreOptions, open_database
from ..store.embedded import embedded_postgres
from ..store.sql import Schemas
from .model import StoreSettings


def store_options(settings: StoreSettings, dsn: str) -> StoreOptions:
    """Return the options for a connection to *dsn*."""
    return StoreOptions(
        dsn=dsn,
        schemas=Schemas(settings.crm_schema, settings.internal_schema),
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )


@contextmanager
def serve_store(settings: StoreSettings) -> Iterator[str]:
    """Yield the DSN of the store; without a configured one, of an embedded server that runs as long as the block.

    Blocks for seconds when it starts a server. Raises `ConfigError` when that cannot be had.
    """
    if settings.dsn is not None:
        yield settings.dsn.get_secret_value()
        return
    with embedded_postgres(settings.embedded_dir) as dsn:
        yield dsn


@asynccontextmanager
async def open_store(settings: StoreSettings, *, may_serve: bool = True) -> AsyncIterator[Database]:
    """Open the store beside a daemon that may be running, starting the embedded server only when it is not.

    Raises what `open_database` and `serve_store` raise, and `StoreUnavailableError` when an embedded server
    would have to be started and *may_serve* is false.
    """
    with ExitStack() as served:
        dsn = await _running_embedded(settings)
        if dsn is None and settings.dsn is None and not may_serve:
            raise StoreUnavailableError("the embedded Postgres does not run")
        if dsn is None:
            dsn = await asyncio.to_thread(served.enter_context, serve_store(settings))
        async with open_database(store_options(settings, dsn), connections_max=2) as database:
            yield database


async def _running_embedded(settings: StoreSettings) -> str | None:
    """Return the DSN of the embedded server that another process runs."""
    if settings.dsn is not None:
        return None
    directory = settings.embedded_dir
    try:
        port, password = (directory / "port").read_text(), (directory / "password").read_text()
    except OSError:
        return None
    dsn = f"postgresql://sfsync:{password}@127.0.0.1:{port}/postgres"
    try:
        async with open_database(store_options(settings, dsn), connections_max=1):
            return dsn
    except StoreError:
        # The files of a server that is gone; its port may be another one's by now.
        return None

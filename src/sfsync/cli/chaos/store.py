"""Where the play keeps its rows: databases made for it, on a Postgres of our own or on the server of a DSN.

Why: a play kills, refuses and rebinds, so it never touches a database that is there. Of a server that is given, only
the right to make databases is used; what was made is dropped at the end.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import asyncpg

from ...errors import ConfigError
from ...store.embedded import embedded_postgres

# The process id keeps those who play on one server apart.
_NAMES = f"sfsync_chaos_{os.getpid()}_"


class OwnServer:
    """A Postgres of our own; it can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._served = ExitStack()
        self.dsn = ""

    def start(self) -> None:
        """Start the server, on the same port as before. Raises `ConfigError`."""
        self.dsn = self._served.enter_context(embedded_postgres(self._directory, settings={"fsync": "off"}))

    def stop(self) -> None:
        """Stop it, as an operator does before an upgrade: at once, whoever is connected."""
        self._served.close()

    async def away(self) -> None:
        """Take the server away."""
        await asyncio.to_thread(self.stop)

    async def back(self) -> None:
        """Bring it back."""
        await asyncio.to_thread(self.start)


class GivenServer:
    """A server that somebody else runs: it cannot be stopped, but all our connections to it can be ended."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def away(self) -> None:
        """End every connection to the databases of ours."""
        await _on(
            self.dsn,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(datname, '{_NAMES}')",
        )

    async def back(self) -> None:
        """Do nothing: it was never away."""


Server = OwnServer | GivenServer


@contextmanager
def open_server(dsn: str | None) -> Iterator[Server]:
    """Yield a server; without a *dsn* it is started here and ends with the block. Raises `ConfigError`."""
    if dsn is not None:
        if urlsplit(dsn).scheme not in ("postgresql", "postgres"):
            raise ConfigError("--dsn must be a URL like postgresql://USER@HOST/DATABASE")
        yield GivenServer(dsn)
        return
    with tempfile.TemporaryDirectory(prefix="sfsync-chaos-") as name:
        # As root, the server runs as another user, who must be able to pass through.
        Path(name).chmod(0o711)
        server = OwnServer(Path(name) / "postgres")
        try:
            with _unhurried():
                server.start()
            yield server
        finally:
            with _unhurried():
                server.stop()


async def make_database(server: Server) -> str:
    """Make an empty database and return its DSN. Raises `ConfigError` when this role may not."""
    name = f"{_NAMES}{secrets.token_hex(4)}"
    try:
        await _on(server.dsn, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            "the role of --dsn may not make databases: ALTER ROLE … CREATEDB, or leave --dsn out"
        ) from error
    except (asyncpg.PostgresError, OSError) as error:
        raise ConfigError(f"the Postgres of --dsn cannot be used: {type(error).__name__}: {error}") from error
    return urlsplit(server.dsn)._replace(path=f"/{name}").geturl()


async def drop_database(server: Server, dsn: str) -> None:
    """Drop a database that `make_database` made, whoever is connected to it."""
    await _on(server.dsn, f"DROP DATABASE IF EXISTS {urlsplit(dsn).path[1:]} WITH (FORCE)")


async def _on(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def _unhurried() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done: a server that is half started would stay behind."""
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt

"""Finding the store: a server elsewhere, the embedded one that a daemon runs, or one to be started."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfsync.config import SecretText, StoreSettings
from sfsync.config.place import open_store, serve_store
from sfsync.errors import ConfigError, StoreUnavailableError
from sfsync.store.embedded import find_binaries


@pytest.fixture
def embedded() -> Iterator[StoreSettings]:
    """Settings for an embedded server, in a directory that its uid may enter."""
    if not find_binaries():
        pytest.skip("no PostgreSQL programs on this machine")
    with tempfile.TemporaryDirectory(prefix="sfsync-test-") as name:
        yield StoreSettings(embedded_dir=Path(name))


async def port_of(settings: StoreSettings, *, may_serve: bool = True) -> str:
    """Open the store and tell which port answered."""
    async with open_store(settings, may_serve=may_serve) as database:
        async with database.transaction() as connection:
            return str(await connection.fetchval("SELECT current_setting('port')"))


async def test_command_uses_the_server_that_a_daemon_runs(embedded: StoreSettings) -> None:
    """Two launchers in one directory would stop each other's server."""
    with serve_store(embedded) as dsn:
        assert f":{await port_of(embedded, may_serve=False)}/" in dsn
        with pytest.raises(ConfigError, match="another process"):
            await asyncio.to_thread(serve_store(embedded).__enter__)


async def test_command_starts_and_stops_the_server_when_nobody_runs_it(embedded: StoreSettings) -> None:
    """`sfsync status` works while the daemon is down, and leaves no server behind."""
    assert await port_of(embedded)
    with pytest.raises(StoreUnavailableError):
        await port_of(embedded, may_serve=False)


async def test_configured_server_is_used_as_it_is(empty_dsn: str, tmp_path: Path) -> None:
    """An embedded directory is not looked at then."""
    settings = StoreSettings(dsn=SecretText(empty_dsn), embedded_dir=tmp_path / "none")
    assert f":{await port_of(settings)}/" in empty_dsn
    assert not (tmp_path / "none").exists()

"""What every measurement is given: how thorough to be, and a server to make databases on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sfsync.store.embedded import embedded_postgres
from tests.postgres import PgServer

# Real fsync, as in production; only what a server of this size would be given anyway.
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the bench; *sizes* are those of the growth table, where they were asked for."""

    quick: bool
    server: PgServer
    directory: Path
    sizes: tuple[int, ...] = ()


@contextmanager
def running_server(directory: Path) -> Iterator[PgServer]:
    """Run the embedded server with SERVER's settings."""
    with embedded_postgres(directory, settings=SERVER) as dsn:
        yield PgServer(dsn)

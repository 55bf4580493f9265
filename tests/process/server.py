"""A Postgres server of our own, and what happens to servers: stopped dead, restarted, demoted, full, crashed.

Why: these faults hit everybody who uses a server, so the tests of this room have one for themselves. It is the embedded
one, whose directory survives: leaving its launcher and entering it again is a restart on the same port.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from sfsync.store.embedded import UNPRIVILEGED, embedded_postgres, find_binaries
from tests.acceptance.stage import until
from tests.postgres import SETTINGS

SLOTS = 40
SMALL_BYTES = 256 << 20
PAGE_BYTES = 4096


class OwnServer:
    """One embedded server; leaving it stops it and removes everything."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._stack = ExitStack()
        self._running = ExitStack()
        self._settings = {
            **SETTINGS,
            "max_connections": str(SLOTS),
            "log_line_prefix": "%a ",
            **(settings or {}),
        }
        # Not pytest's own temporary folder: root's is closed to the uid that the server runs as.
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sfsync-test-")))
        self.dsn = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        self._stack.close()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.dsn)
        return parts.hostname or "", parts.port or 0

    def dsn_of(self, database: str) -> str:
        """Return the DSN of a database of this server."""
        return urlsplit(self.dsn)._replace(path=f"/{database}").geturl()

    # What happens to it ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, or start again."""
        self.dsn = self._running.enter_context(embedded_postgres(self.directory, settings=self._settings))

    def stop_at_once(self) -> None:
        """End it without a farewell, as `pg_ctl stop -m immediate` does: nobody's transaction ends well."""
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "the end of the server")
        self._running.close()

    def restart_as_standby(self) -> None:
        """Start it as the hot standby of nobody: it answers questions and refuses to write, until promoted."""
        self.stop_at_once()
        signal_file = self.directory / "data" / "standby.signal"
        signal_file.touch()
        if os.geteuid() == 0:
            os.chown(signal_file, UNPRIVILEGED, UNPRIVILEGED)
        self.start()

    @contextmanager
    def database(self, *, tablespace: str = "pg_default") -> Iterator[str]:
        """Make an empty database and yield its DSN; drop it, whoever is still connected."""
        name = f"room_{time.monotonic_ns()}"
        run_sql(self.dsn, f"CREATE DATABASE {name} TEMPLATE template0 TABLESPACE {tablespace}")
        try:
            yield self.dsn_of(name)
        finally:
            run_sql(self.dsn, f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def small_disk(self) -> Iterator[SmallDisk]:
        """Mount a small disk and make it the tablespace `small`."""
        with mounted(SMALL_BYTES) as directory:
            run_sql(self.dsn, f"CREATE TABLESPACE small LOCATION '{directory}'")
            disk = SmallDisk(directory)
            try:
                yield disk
            finally:
                disk.free()
                run_sql(self.dsn, "DROP TABLESPACE small")


class SmallDisk:
    """A disk that can be filled: it is memory, and no larger than it says."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        """Leave no room for another page, however much is written meanwhile."""
        with self._ballast.open("wb") as file:
            for step in (1 << 20, PAGE_BYTES):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted(size: int) -> Iterator[Path]:
    """Mount *size* bytes of memory as a disk that the server may use. Raises OSError where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="sfsync-test-") as parent:
        Path(parent).chmod(0o755)
        directory = Path(parent, "disk")
        directory.mkdir()
        owner = UNPRIVILEGED if os.geteuid() == 0 else os.geteuid()
        options = f"size={size},uid={owner},mode=700"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(f"a small disk cannot be mounted: {done.stderr.strip()}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def why_no_server() -> str:
    """Say why no server of our own can run here; empty if one can."""
    return "" if find_binaries() else "no PostgreSQL programs on this machine to run a server of our own with"


def run_sql(dsn: str, statement: str, *arguments: object) -> list[Any]:
    """Run one statement and return its rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())

"""PostgreSQL servers and databases for tests.

Why: servers start when the first test asks, since most runs need one of them; databases are copied from a
template, which takes a tenth of the time that migrating takes.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import asyncpg
import docker
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer

from sfsync.store.database import StoreOptions, open_database
from sfsync.store.embedded import embedded_postgres, find_binaries
from sfsync.store.migrate import migrate

# Data that a test loses in a crash of the machine are no loss; several servers share a small machine.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}
IMAGES = {"postgres:18": "container 18", "postgres:17": "container 17", "postgres:15": "container 15"}
IMAGES_PULLED = ("postgres:18", "postgres:15")


@functools.cache
def available_servers() -> tuple[str, ...]:
    """Name the servers that tests can run on, the newest first."""
    if "SFSYNC_TEST_DSN" in os.environ:
        return ("SFSYNC_TEST_DSN",)
    if images := _container_images():
        return tuple(IMAGES[image] for image in images)
    majors = sorted({binaries.major for binaries in find_binaries()}, reverse=True)
    if not majors:
        raise RuntimeError(
            "no PostgreSQL for the tests: set SFSYNC_TEST_DSN, start Docker, or run make setup"
        )
    return tuple(f"embedded {major}" for major in majors)


class PgFleet:
    """The servers of one test session."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._servers: dict[str, PgServer] = {}

    def server(self, name: str) -> PgServer:
        """Return the server of that name, started at first use."""
        if name not in self._servers:
            self._servers[name] = PgServer(self._stack.enter_context(_running(name)))
        return self._servers[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class PgServer:
    """One running server, and the databases that tests make on it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._template: str | None = None
        # The process id keeps parallel workers and earlier runs on a shared server apart.
        self._names = (f"sfsync_test_{os.getpid()}_{number}" for number in itertools.count())

    @asynccontextmanager
    async def database(self, *, migrated: bool) -> AsyncIterator[str]:
        """Make a database, yield its DSN, and drop it, whoever is still connected."""
        if migrated and self._template is None:
            self._template = await self._make_template()
        name = await self._create(self._template if migrated and self._template else "template0")
        try:
            yield self._dsn_of(name)
        finally:
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _make_template(self) -> str:
        name = await self._create("template0")
        await migrate_database(self._dsn_of(name))
        return name

    async def _create(self, template: str) -> str:
        name = next(self._names)
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _dsn_of(self, database: str) -> str:
        return urlsplit(self.dsn)._replace(path=f"/{database}").geturl()


async def migrate_database(dsn: str) -> None:
    """Bring a database to the schema of sfsync, as the daemon does at its start."""
    async with open_database(StoreOptions(dsn), connections_max=1) as database:
        await migrate(database)


@contextmanager
def _running(name: str) -> Iterator[str]:
    """Run the named server and yield the DSN of a role that may create databases."""
    kind, _, version = name.partition(" ")
    if kind == "SFSYNC_TEST_DSN":
        yield os.environ["SFSYNC_TEST_DSN"]
    elif kind == "container":
        container = PostgresContainer(
            f"postgres:{version}", username="sfsync", password="sfsync", driver=None
        )
        with container.with_command(
            [word for key, on in SETTINGS.items() for word in ("-c", f"{key}={on}")]
        ) as running:
            yield running.get_connection_url()
    else:
        binaries = next(found for found in find_binaries() if found.major == int(version))
        # Not pytest's own temporary folder: root's is closed to the uid that the server runs as.
        with (
            tempfile.TemporaryDirectory(prefix="sfsync-test-") as directory,
            embedded_postgres(Path(directory), settings=SETTINGS, binaries=binaries) as dsn,
        ):
            yield dsn


def _container_images() -> list[str]:
    """List the images to use when a container engine answers: those it has, else those it can fetch."""
    with warnings.catch_warnings():
        # The client leaks its socket when nobody listens; it must go while nobody complains.
        warnings.simplefilter("ignore", ResourceWarning)
        images = _images_of_engine()
        gc.collect()
    return images


def _images_of_engine() -> list[str]:
    try:
        with closing(docker.from_env(timeout=3)) as engine:
            engine.ping()
            present = {
                tag.removeprefix("docker.io/library/") for image in engine.images.list() for tag in image.tags
            }
            return [image for image in IMAGES if image in present] or _pull(engine)
    except (DockerException, OSError):
        return []


def _pull(engine: docker.DockerClient) -> list[str]:
    for image in IMAGES_PULLED:
        engine.images.pull(image)
    return list(IMAGES_PULLED)

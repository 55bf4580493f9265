"""Be the only writer of one org: a lock to wait for, an epoch to be safe by.

Why: an advisory lock alone does not fence. A daemon whose lock connection was cut believes it leads while its
successor already writes (measured: such a pair interleaves positions). So the lock only spares a hot standby
its work, and every apply transaction holds the epoch row FOR SHARE and fails unless it is its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from ..errors import FencedError, SchemaError, StoreUnavailableError
from .database import Connection, Database, store_errors

_log = structlog.get_logger()
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to write for *org*, as long as no newer epoch exists. `lost` is set when the lock's session ended."""

    org: str
    epoch: int
    lost: asyncio.Event


def holder_name() -> str:
    """Return how this process shows up in the epoch table."""
    return f"{socket.gethostname()}:{os.getpid()}"


def lock_key(org: str) -> int:
    """Return the advisory lock's key for *org*: stable, signed 64 bits."""
    return int.from_bytes(hashlib.sha256(f"sfsync:{org}".encode()).digest()[:8], "big", signed=True)


@asynccontextmanager
async def lead(
    database: Database, org: str, *, wait: bool = True, prepare: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Leadership]:
    """Wait for the leadership of *org* and hold it.

    *prepare* runs once the lock is held and before the epoch begins: a stand-by of a newer version must not
    migrate the store under the leader. Raises `FencedError`, naming the leader, when another process leads and
    *wait* is false.
    """
    connection = await database.connect_alone()
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _connection: lost.set())
    try:
        await _take_lock(database, connection, org, wait=wait)
        # failpoint: leadership.locked - the lock of the leader is held
        if prepare is not None:
            await prepare()
        with store_errors():
            epoch = await connection.fetchval(database.sql("claim_epoch"), org, holder_name())
            # failpoint: epoch.claimed - a new epoch is begun
        _log.info("leadership.taken", org=org, epoch=epoch)
        yield Leadership(org, epoch, lost)
    finally:
        connection.terminate()


async def _take_lock(database: Database, connection: Connection, org: str, *, wait: bool) -> None:
    announced = False
    while True:
        with store_errors():
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(org)):
                return
        holder = await _holder(database, org)
        if not wait:
            raise FencedError(f"org {org} is led by {holder}")
        if not announced:
            _log.info("leadership.waiting", org=org, holder=holder)
            announced = True
        await asyncio.sleep(_POLL_S)


async def _holder(database: Database, org: str) -> str:
    """Name who leads; before its first start the leader may not have made the table yet."""
    try:
        rows = await database.fetch("load_epoch", org)
    except SchemaError:
        rows = []
    return str(rows[0]["holder"]) if rows else "a daemon that is starting"


async def refuse_if_fenced(connection: Connection, database: Database, leadership: Leadership) -> None:
    """Hold the epoch row until the transaction ends. Raises `FencedError` when a newer epoch exists."""
    refuse_epoch(await connection.fetchval(database.sql("lock_epoch"), leadership.org), leadership)


def refuse_epoch(epoch: int | None, leadership: Leadership) -> None:
    """Judge the epoch that a transaction found and holds. Raises `FencedError` when it is not *leadership*'s."""
    if epoch is None:
        raise StoreUnavailableError("the epoch row is gone: the store was replaced under us")
    if epoch != leadership.epoch:
        raise FencedError(f"epoch {leadership.epoch} of org {leadership.org} was succeeded by {epoch}")

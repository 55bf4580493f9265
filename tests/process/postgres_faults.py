"""What happens to a Postgres: each fault strikes, is seen to have struck, lasts as long as a block, and is healed.

Why: a fault that did not reach the daemon would let every test pass. So each names what the server itself wrote into its
log about the daemon, or what the daemon told, before the block begins.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import asyncpg

from tests.acceptance.stage import LOOK_S
from tests.process.room import PATIENCE_S, Room
from tests.process.server import SLOTS, SmallDisk, run_sql

_SESSIONS = "FROM pg_stat_activity WHERE application_name = 'sfsync' AND datname = current_database()"


def until_struck(room: Room, sign: Callable[[], object], what: str) -> None:
    """Let the choirs sing until *sign* shows that the fault has reached the daemon."""
    deadline = time.monotonic() + PATIENCE_S
    while not sign():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not reach the daemon; its log:\n{room.running.log.tail()}")
        room.sing()
        time.sleep(LOOK_S)


def _server_told(room: Room, text: str) -> Callable[[], bool]:
    """Return a test for whether the server has written *text* once more than by now."""
    log = room.server.directory / "log"
    before = log.read_text(errors="replace").count(text)
    return lambda: log.read_text(errors="replace").count(text) > before


def _outage(room: Room) -> Callable[[], bool]:
    """Return a test for whether the daemon has announced one more outage than by now."""
    before = len(room.running.log.all("outage.began", outage="pipeline"))
    return lambda: len(room.running.log.all("outage.began", outage="pipeline")) > before


@contextmanager
def stopped(room: Room) -> Iterator[None]:
    """Stop the server without a farewell, and start it again."""
    is_away = _outage(room)
    room.server.stop_at_once()
    try:
        until_struck(room, is_away, "the stop")
        yield
    finally:
        room.server.start()
        room.lines.lead_to(room.server.address)


@contextmanager
def terminated(room: Room) -> Iterator[None]:
    """End all sessions of the daemon, as an administrator does."""
    is_told = _server_told(room, "sfsync FATAL:  terminating connection due to administrator command")
    run_sql(room.dsn, f"SELECT pg_terminate_backend(pid) {_SESSIONS}")
    until_struck(room, is_told, "the termination")
    yield


@contextmanager
def crashed(room: Room) -> Iterator[None]:
    """Kill one server process of the daemon, as the kernel does when memory is short: the server ends all others."""
    is_told = _server_told(room, "terminating any other active server processes")
    is_away = _outage(room)
    pid = run_sql(room.dsn, f"SELECT pid {_SESSIONS} ORDER BY backend_start LIMIT 1")[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    until_struck(room, lambda: is_told() and is_away(), "the crash")
    yield


@contextmanager
def row_locked(room: Room) -> Iterator[None]:
    """Keep the row of one person locked that changes meanwhile."""
    record_id = room.org.create("Contact", LastName="Locked")
    held = "SELECT p.id FROM crm.person AS p WHERE p.salesforce_id = $1 FOR UPDATE"
    until_struck(room, lambda: run_sql(room.dsn, held, record_id), "the person")
    before = len(room.running.log.all("store.record.parked", record_id=record_id))
    with _held(room, held, record_id):
        room.org.update(record_id, LastName="Changed while locked")
        until_struck(
            room,
            lambda: len(room.running.log.all("store.record.parked", record_id=record_id)) > before,
            "the lock",
        )
        # One person's row is in somebody's hands; nobody else waits for it.
        room.wait_heard()
        yield


@contextmanager
def table_locked(room: Room) -> Iterator[None]:
    """Keep a table locked that every batch writes, as a migration may."""
    is_told = _server_told(room, "sfsync ERROR:  canceling statement due to lock timeout")
    with _held(room, "LOCK TABLE sfsync.position IN SHARE MODE"):
        until_struck(room, is_told, "the lock")
        yield


@contextmanager
def read_only(room: Room) -> Iterator[None]:
    """Let the server refuse to write, as one does that was demoted while sessions were open."""
    is_told = _server_told(room, "in a read-only transaction")
    _set_read_only(room, "on")
    try:
        until_struck(room, is_told, "the refusal to write")
        yield
    finally:
        _set_read_only(room, "off")


@contextmanager
def standby(room: Room) -> Iterator[None]:
    """Let the server come back as a hot standby, and promote it: nobody may write before that."""
    is_away = _outage(room)
    room.server.restart_as_standby()
    room.lines.lead_to(room.server.address)
    try:
        until_struck(room, is_away, "the demotion")
        yield
    finally:
        run_sql(room.server.dsn, "SELECT pg_promote()")


@contextmanager
def crowded(room: Room) -> Iterator[None]:
    """Take every connection that the server has to give, those of the daemon included."""
    crowd: list[asyncpg.Connection[Any]] = []
    is_away = _outage(room)
    try:
        room.lines.wait_for(_fill(room.dsn, crowd))
        room.lines.wait_for(crowd[0].execute(f"SELECT pg_terminate_backend(pid) {_SESSIONS}"))
        room.lines.wait_for(_fill(room.dsn, crowd))
        is_told = _server_told(room, "too many clients already")
        until_struck(room, lambda: is_away() and is_told(), "the crowd")
        yield
    finally:
        for one in crowd:
            room.lines.now(one.terminate)


def full_disk(disk: SmallDisk) -> Callable[[Room], AbstractContextManager[None]]:
    """Return the fault that fills the disk on which the store lies."""

    @contextmanager
    def disk_full(room: Room) -> Iterator[None]:
        is_told = _server_told(room, "No space left on device")
        disk.fill()
        try:
            until_struck(room, is_told, "the full disk")
            yield
        finally:
            disk.free()

    return disk_full


FAULTS: Mapping[str, Callable[[Room], AbstractContextManager[None]]] = {
    "stop": stopped,
    "terminate": terminated,
    "crash": crashed,
    "row_lock": row_locked,
    "table_lock": table_locked,
    "read_only": read_only,
    "standby": standby,
    "too_many_connections": crowded,
}


@contextmanager
def _held(room: Room, statement: str, *arguments: object) -> Iterator[None]:
    """Hold what *statement* locks, in a transaction of somebody else."""

    async def hold(taken: asyncio.Event, released: asyncio.Event) -> None:
        connection = await asyncpg.connect(room.dsn)
        try:
            async with connection.transaction():
                await connection.execute(statement, *arguments)
                taken.set()
                await released.wait()
        finally:
            await connection.close()

    taken, released = asyncio.Event(), asyncio.Event()
    holding: Future[None] = room.lines.begin(hold(taken, released))
    room.lines.wait_for(asyncio.wait_for(taken.wait(), PATIENCE_S))
    try:
        yield
    finally:
        room.lines.now(released.set)
        holding.result(PATIENCE_S)


def _set_read_only(room: Room, value: str) -> None:
    async def change() -> None:
        connection = await asyncpg.connect(
            room.server.dsn, server_settings={"default_transaction_read_only": "off"}
        )
        try:
            await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    asyncio.run(change())


async def _fill(dsn: str, crowd: list[asyncpg.Connection[Any]]) -> None:
    """Connect until the server refuses."""
    for _ in range(2 * SLOTS):
        try:
            crowd.append(await asyncpg.connect(dsn))
        except asyncpg.TooManyConnectionsError:
            return
    raise AssertionError("the server never refuses")

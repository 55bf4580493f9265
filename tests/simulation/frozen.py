"""Everything that a history may not take from this machine: its clocks, its random bits, its pace.

Why: one seed for all. The modules of the standard library are patched, not sfsync: whatever asks for the time or for
a random number in this process gets the simulation's, without knowing. Waits that only poll (an owed sweep, a due
refetch) look less often, since each look costs a statement and shows nothing that the next one would not. The driver
is told of the server's own array types what it would ask of the catalog in every session.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import aiohappyeyeballs
import aiohttp.client_proto
import aiohttp.connector
import asyncpg

import sfsync.daemon
import sfsync.salesforce.auth
import sfsync.store.leadership
import sfsync.sync.pipeline
import sfsync.sync.pull
import sfsync.sync.refetch
import sfsync.sync.requests
import sfsync.sync.sweep
import sfsync.sync.writer
from sfsync.simorg import cometd, cometd_server

from .loop import EPOCH_S, PROCESS, VirtualLoop, begin_serials, serial_hash
from .network import start_connection

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

_LOOKS: tuple[tuple[Any, str, float], ...] = (
    (sfsync.sync.refetch, "_LOOK_EVERY_S", 3.0),
    (sfsync.sync.sweep, "_LOOK_EVERY_S", 3.0),
    (sfsync.sync.writer, "_RELEASE_EVERY_S", 3.0),
    (sfsync.sync.pipeline, "_GAUGES_EVERY_S", 200.0),
    (sfsync.sync.requests, "_POLL_S", 6.0),
    (sfsync.sync.requests, "_ALIVE_EVERY_S", 600.0),
    (sfsync.store.leadership, "_POLL_S", 5.0),
    (cometd, "FAULT_LOOK_S", 1.0),
    (cometd_server, "WITHHELD_LOOK_S", 2.0),
)

# Of the server's array types: the type of their elements and its name. Their numbers are the same in every server.
_ARRAYS = {
    1000: (16, "bool"),
    1001: (17, "bytea"),
    1007: (23, "int4"),
    1010: (27, "tid"),
    1016: (20, "int8"),
    3807: (3802, "jsonb"),
}
_ask_types = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]  # the driver's own


async def _tell_types(connection: Any, numbers: Any, patience_s: float | None) -> Any:
    """Answer for types that are known here; ask the server for others."""
    if not all(number in _ARRAYS for number in numbers):
        return await _ask_types(connection, numbers, patience_s)
    no_more = {"kind": b"b", "basetype": None, "range_subtype": None, "attrtypoids": None, "attrnames": None}
    rows = [
        {"oid": number, "ns": "pg_catalog", "name": f"_{name}", "elemtype": element, "elemtype_name": name}
        | {"elemdelim": ",", **no_more}
        for number, (element, name) in ((number, _ARRAYS[number]) for number in numbers)
    ]
    return rows, SimpleNamespace(name="none was used")


@contextmanager
def frozen(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Let everything in this process live in *loop*'s time, with chance drawn from *seed*."""
    drawn = random.Random(seed)
    begin_serials()
    random.seed(seed)

    def wall_s() -> float:
        process = PROCESS.get()
        return EPOCH_S + loop.time() + (process.skew_s if process is not None else 0.0)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(wall_s(), tz or UTC)

    def text(size: int | None = None) -> str:
        return "".join(drawn.choices(_ALPHABET, k=2 * (size or 16)))

    def hexadecimal(size: int | None = None) -> str:
        return drawn.randbytes(size or 16).hex()

    patched: list[tuple[Any, str, Any]] = [
        (time, "time", wall_s),
        (time, "monotonic", loop.time),
        (aiohttp.connector, "monotonic", loop.time),
        (aiohappyeyeballs, "start_connection", start_connection),
        (asyncpg.Connection, "_introspect_types", _tell_types),
        (secrets, "token_hex", hexadecimal),
        (secrets, "token_urlsafe", text),
        (secrets, "choice", drawn.choice),
        (asyncio.Event, "__hash__", serial_hash),
        (aiohttp.client_proto.ResponseHandler, "__hash__", serial_hash),
        (sfsync.salesforce.auth, "datetime", Clock),
        (sfsync.sync.pull, "datetime", Clock),
        (sfsync.daemon, "configure_logging", lambda **_: None),
    ]
    slower = drawn.choice([1, 5, 10, 10])
    patched += [(owner, name, seconds * slower) for owner, name, seconds in _LOOKS]
    with ExitStack() as stack:
        for owner, name, value in patched:
            stack.enter_context(patch.object(owner, name, value))
        # What the collector finalizes, and when, is chance; references that go away go at once all the same.
        gc.disable()
        stack.callback(gc.enable)
        yield

"""Ask whoever leads the org to do something, and wait for the answer.

Why: only the leader of an org writes, so a wish is put into the store, where a daemon on any machine hears it. When
no daemon leads, one is run for as long as it takes: the same program by the same path, so that what is asked for
by hand has no second implementation of leadership, fencing and catching up.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..config import Settings
from ..config.place import open_store
from ..errors import ConfigError, SfsyncError, StoreUnavailableError
from ..store.database import Database
from ..store.leadership import lock_key
from ..store.report import known_org
from ..store.requests import Answered, answers, describe_leader, put_requests

__all__ = ["Answered", "Wish", "ask", "ask_each", "just_answered"]
_POLL_S = 0.2
# After the time is over the daemon still answers why it could not.
_GRACE_S = 2.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; `verb` and `done` name it for people, as in "sweep" and "swept".

    `watch` is told the detail of the open request while we wait, and shows it in place of the seconds.
    """

    kind: str
    argument: str | None
    verb: str
    done: str
    watch: Callable[[dict[str, Any]], None] | None = None


Read = Callable[[Database, str, Answered], Awaitable[T]]
"""What to read from the store, given the org, once the wish is answered: an embedded server may end after it."""

Put = Callable[[Database, str], Awaitable[T]]
"""What to do with the store of an org while a daemon leads it; it goes on where it was when the store was away."""


async def ask(settings: Settings, config: Path | None, wish: Wish, read: Read[T], *, timeout_s: float) -> T:
    """Put the wish, wait until it is answered, and return what *read* finds; run a daemon for it when none leads.

    Raises `StoreUnavailableError` when *timeout_s* is over, `ConfigError` when the store has no org yet.
    """
    asked: list[int] = []

    async def put(database: Database, org: str) -> T:
        if not asked:
            asked.extend(await put_requests(database, org, wish.kind, [wish.argument]))
        return await read(database, org, await _answer(database, wish, asked[0]))

    return await _beside_a_leader(settings, config, wish, put, timeout_s=timeout_s)


async def ask_each(
    settings: Settings, config: Path | None, wish: Wish, arguments: Sequence[str], *, timeout_s: float
) -> list[Answered | str]:
    """Put the wish once for each of *arguments*, and return what became of each, or why it was not served in time.

    Raises what `ask` raises, but for the time being over while a daemon leads.
    """
    asked: list[int] = []

    async def put(database: Database, org: str) -> list[Answered | str]:
        if not asked:
            asked.extend(await put_requests(database, org, wish.kind, arguments, expires_s=timeout_s))
        told = await answers(database, asked, timeout_s=timeout_s)
        late = f"not {wish.done} within {timeout_s:g} s; "
        late += await describe_leader(database, org) if None in told else ""
        return [late if one is None else one for one in told]

    return await _beside_a_leader(settings, config, wish, put, timeout_s=timeout_s + _GRACE_S)


async def _beside_a_leader(
    settings: Settings, config: Path | None, wish: Wish, put: Put[T], *, timeout_s: float
) -> T:
    """Run *put* while a daemon leads, if need be one that we run for it."""
    try:
        async with asyncio.timeout(timeout_s):
            async with open_store(settings.store) as database:
                org = await known_org(database)
                if org is None:
                    raise ConfigError("the store is bound to no org yet: start sfsync run first")
                [leader] = await database.fetch("probe_leader", org, lock_key(org))
                if leader["is_led"]:
                    _tell(f"{leader['holder']} leads org {org}: asking it to {wish.verb}")
                    return await put(database, org)
            _tell(f"no daemon leads org {org}: running one to {wish.verb}")
            async with _own_daemon(config) as daemon:
                return await _while_it_runs(daemon, _put_when_reachable(settings, org, put))
    except TimeoutError:
        raise StoreUnavailableError(
            f"not {wish.done} within {timeout_s:g} s; the request stays in the store and a daemon will do it, "
            "sfsync status shows it"
        ) from None


async def just_answered(_database: Database, _org: str, answered: Answered) -> Answered:
    """Read nothing more than the answer."""
    return answered


async def _answer(database: Database, wish: Wish, asked: int) -> Answered:
    """Wait until the request is done."""
    began = time.monotonic()
    while True:
        [request] = await database.fetch("load_request", asked)
        if request["done_at"] is not None:
            return Answered(asked, request["outcome"], json.loads(request["detail"] or "{}"))
        if wish.watch is None:
            _progress(wish, began)
        else:
            wish.watch(json.loads(request["detail"] or "{}"))
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def _own_daemon(config: Path | None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `sfsync run` beside us; it is asked to leave at the end of the block."""
    words = ["run", *(["--config", str(config)] if config else [])]
    quiet = {"SFSYNC_CONSOLE__ENABLED": "false", "SFSYNC_LOG__LEVEL": "warning"}
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sfsync", *words, env=os.environ | quiet, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield daemon
    finally:
        if daemon.returncode is None:
            daemon.terminate()
        await daemon.wait()


async def _while_it_runs(daemon: asyncio.subprocess.Process, asking: Awaitable[T]) -> T:
    """Wait for an answer of a daemon that is just starting; fail as soon as it ends."""
    answering = asyncio.ensure_future(asking)
    ending = asyncio.create_task(daemon.wait())
    try:
        await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise SfsyncError(f"the daemon ended with exit code {daemon.returncode}; its last lines say why")
    finally:
        answering.cancel()
        ending.cancel()
        await asyncio.gather(answering, ending, return_exceptions=True)


async def _put_when_reachable(settings: Settings, org: str, put: Put[T]) -> T:
    while True:
        try:
            async with open_store(settings.store, may_serve=False) as database:
                return await put(database, org)
        except StoreUnavailableError:
            await asyncio.sleep(_POLL_S)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(wish: Wish, began: float) -> None:
    if sys.stderr.isatty():
        print(
            f"\rwaiting for it to {wish.verb}, {time.monotonic() - began:.0f} s ",
            end="",
            file=sys.stderr,
            flush=True,
        )

"""`sfsync reconcile`: have everything swept now, wait, and show the certificates.

Why: only the leader of an org writes, so the sweep is asked for in the store, where a daemon on any machine hears
it. When no daemon leads, one is run for as long as the sweep takes: the same program by the same path, so that
a sweep by hand has no second implementation of leadership, fencing and catching up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..config import Settings, load_settings
from ..config.place import open_store
from ..errors import ConfigError, SfsyncError, StoreUnavailableError
from ..log import configure_logging
from ..store.database import Database
from ..store.leadership import lock_key
from .exits import FOUND, OK
from .status import certificate_lines, certificates, known_org

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Swept:
    """How the request ended: its outcome, and the certificates of its sweep."""

    outcome: str
    error: str
    certificates: list[dict[str, Any]]


def run(arguments: argparse.Namespace) -> int:
    """Sweep, print the certificates; return 1 when the sweep was refused or had to repair anything."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    swept = asyncio.run(_reconcile(settings, arguments.config, arguments.timeout_s))
    if arguments.json:
        print(json.dumps({"outcome": swept.outcome, "certificates": swept.certificates}, indent=2))
    else:
        print("\n".join(certificate_lines(swept.certificates, datetime.now(UTC))))
    if swept.outcome != "swept":
        print(f"sfsync: the sweep was {swept.outcome}: {swept.error}", file=sys.stderr)
        return FOUND
    return FOUND if any(sum(one["drift"].values()) for one in swept.certificates) else OK


async def _reconcile(settings: Settings, config: Path | None, timeout_s: float) -> _Swept:
    try:
        async with asyncio.timeout(timeout_s):
            async with open_store(settings.store) as database:
                org = await known_org(database)
                if org is None:
                    raise ConfigError("the store is bound to no org yet: start sfsync run first")
                [leader] = await database.fetch("probe_leader", org, lock_key(org))
                if leader["is_led"]:
                    _tell(f"{leader['holder']} leads org {org}: asking it to sweep")
                    return await _ask(database, org)
            _tell(f"no daemon leads org {org}: running one for this sweep")
            async with _own_daemon(config) as daemon:
                return await _ask_own(settings, org, daemon)
    except TimeoutError:
        raise StoreUnavailableError(
            f"not swept within {timeout_s:g} s; the request stays in the store and a daemon will do it, "
            "sfsync status shows it"
        ) from None


async def _ask(database: Database, org: str) -> _Swept:
    """Put the request and wait until it is done."""
    [asked] = await database.fetch("insert_request", org, "sweep", None)
    began = time.monotonic()
    while True:
        [request] = await database.fetch("load_request", asked["id"])
        if request["done_at"] is not None:
            break
        _progress(began)
        await asyncio.sleep(_POLL_S)
    detail = json.loads(request["detail"] or "{}")
    found = await certificates(database, org, sweep_id=detail.get("sweep_id", ""))
    return _Swept(request["outcome"], detail.get("error", ""), found)


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


async def _ask_own(settings: Settings, org: str, daemon: asyncio.subprocess.Process) -> _Swept:
    """Ask a daemon that is just starting; fail as soon as it ends."""
    asking = asyncio.create_task(_ask_when_reachable(settings, org))
    ending = asyncio.create_task(daemon.wait())
    try:
        await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        raise SfsyncError(f"the daemon ended with exit code {daemon.returncode}; its last lines say why")
    finally:
        asking.cancel()
        ending.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)


async def _ask_when_reachable(settings: Settings, org: str) -> _Swept:
    while True:
        try:
            async with open_store(settings.store, may_serve=False) as database:
                return await _ask(database, org)
        except StoreUnavailableError:
            await asyncio.sleep(_POLL_S)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(began: float) -> None:
    if sys.stderr.isatty():
        print(f"\rsweeping, {time.monotonic() - began:.0f} s ", end="", file=sys.stderr, flush=True)

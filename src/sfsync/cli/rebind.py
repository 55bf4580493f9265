"""`sfsync rebind`: let the store follow another org from now on.

Why: after a sandbox refresh the same login leads to another org. A daemon refuses to mix two orgs in one store, and
no flag or setting should talk it out of that: a person confirms, by the new org's id, at a moment when no
daemon leads. Leadership of both orgs is held meanwhile, so that none can start in between.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack

from ..config import Settings, load_settings
from ..config.login import open_login
from ..config.place import open_store
from ..errors import ConfigError
from ..log import configure_logging
from ..store.binding import rebind_org
from ..store.database import Database
from ..store.leadership import lead
from ..store.report import known_org
from .exits import FOUND, OK

_PATIENCE_S = 30.0


def run(arguments: argparse.Namespace) -> int:
    """Ask whether it is meant, then rebind; return 1 when it was not confirmed."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    return asyncio.run(_rebind(settings, arguments.yes))


async def _rebind(settings: Settings, confirmed: str | None) -> int:
    org = await _login_org(settings)
    async with open_store(settings.store) as database:
        bound = await known_org(database)
        if bound is None:
            print(f"the store is bound to no org yet; sfsync run will bind it to {org}")
            return OK
        if bound == org:
            print(f"the store is bound to org {org} already")
            return OK
        if not await _is_meant(database, bound, org, confirmed):
            print("nothing was changed", file=sys.stderr)
            return FOUND
        async with AsyncExitStack() as stack:
            for each in sorted((bound, org)):
                await stack.enter_async_context(lead(database, each, wait=False))
            await rebind_org(database, org)
    print(f"the store now follows org {org}; the next sfsync run loads it from the beginning")
    return OK


async def _login_org(settings: Settings) -> str:
    async with open_login(settings, patience_s=_PATIENCE_S) as connection:
        return connection.org_id


async def _is_meant(database: Database, bound: str, org: str, confirmed: str | None) -> bool:
    counts = {row["subject"]: row["live"] for row in await database.fetch("report_subjects", bound)}
    if confirmed is not None:
        if confirmed != org:
            raise ConfigError(
                f"--yes names org {confirmed}, the login leads to org {org}: nothing was changed"
            )
        return True
    print(
        f"The store follows org {bound}: {counts['people']:,} people, {counts['companies']:,} companies.\n"
        f"The login leads to org {org}.\n"
        "Rebinding leaves the rows of the old org as they are, no longer kept equal to anything, and loads the new\n"
        "org from the beginning; its people and companies get ids of their own."
    )
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody is there to confirm: run it on a terminal, or add --yes {org}")
    return (await asyncio.to_thread(input, f"Type the new org's id to go on ({org}): ")).strip() == org

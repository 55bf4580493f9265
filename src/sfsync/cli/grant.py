"""`sfsync grant`: let a role of the database read crm, or work with it as an application.

Why: it needs the store only. No daemon has to run, and one that does is not disturbed; what later versions and
mappings add is given to the role by the daemon's next start.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator

from ..config import Settings, load_settings
from ..config.place import open_store
from ..log import configure_logging
from ..store.database import Database
from ..store.grants import Admission, Kind, let_in, shut_out
from ..store.report import known_org
from .exits import OK


def run(arguments: argparse.Namespace) -> int:
    """Let the role in, or shut it out, and print what changed."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    print("\n".join(asyncio.run(_work(settings, arguments))))
    return OK


async def _work(settings: Settings, arguments: argparse.Namespace) -> list[str]:
    async with open_store(settings.store) as database:
        await known_org(database)
        if arguments.revoke:
            return [await _revoke(database, arguments.role)]
        kind: Kind = "application" if arguments.application else "reader"
        admission = await let_in(database, arguments.role, kind, create=arguments.create)
        return list(_lines(arguments.role, kind, admission))


async def _revoke(database: Database, role: str) -> str:
    was = await shut_out(database, role)
    return f"{role}: no longer {was}" if was else f"{role}: was not let in; nothing to take away"


def _lines(role: str, kind: Kind, admission: Admission) -> Iterator[str]:
    if admission.created:
        yield f"{role}: created, without login: GRANT it to who logs in"
    if admission.was == kind and not admission.given:
        yield f"{role}: {kind} already; nothing to give"
        return
    yield f"{role}: {kind} now" + (f", was {admission.was}" if admission.was not in (None, kind) else "")
    yield from (f"  {line}" for line in admission.given)

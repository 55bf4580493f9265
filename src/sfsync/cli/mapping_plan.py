"""`sfsync mapping plan`: what a changed mapping would do, and on demand do it.

Why: the plan is made beside a running daemon and writes nothing: it binds the file to what the org describes, compares
it with what the store was bound to, and reads a sample of what the mirror does not have yet. It shows values, for it is
shown to an operator on a terminal; nothing of it is logged. What is applied is the configured file, by the daemon that
leads: the same way as SIGHUP, but with an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from ..config import Settings, load_settings
from ..config.login import open_login
from ..config.mapping import load_mapping, read_mapping
from ..config.place import open_store
from ..core.mapping_file import Table
from ..daemon import sync_options
from ..errors import ConfigError, SchemaError
from ..log import configure_logging
from ..salesforce.rest import Rest
from ..store.columns import take_over
from ..store.database import Database
from ..store.report import known_org
from .asking import Wish, ask, just_answered
from .exits import FOUND, OK
from .findings import printable_json
from .mapping_preview import Asked, Plan, make_plan
from .mapping_telling import plan_json, plan_lines

_RELOAD = Wish("reload", None, verb="reload its configuration", done="reloaded")
_PLACE = re.compile(r"(person|company)\.([a-z][a-z0-9_]{0,62})")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, and with --apply have it done; return 1 when the leader refused it."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    given = [_column(text) for text in arguments.take_over]
    if arguments.apply:
        _refuse_other_file(arguments, settings)
    plan = asyncio.run(_plan(arguments, settings, given))
    if not arguments.apply:
        _show(arguments, plan, applied=None)
        return OK
    error = asyncio.run(_apply(arguments, settings, given))
    _show(arguments, plan, applied=error or "applied")
    if error:
        print(f"sfsync: the new mapping was refused: {error}", file=sys.stderr)
        return FOUND
    return OK


def _column(text: str) -> tuple[Table, str]:
    shape = _PLACE.fullmatch(text)
    if shape is None:
        raise ConfigError(f"--take-over {text}: a column is named like person.nickname or company.segment")
    return cast("Table", shape[1]), shape[2]


def _refuse_other_file(arguments: argparse.Namespace, settings: Settings) -> None:
    configured = settings.mapping.file
    if arguments.file is None or (configured and arguments.file.resolve() == configured.resolve()):
        return
    now = f"it is {configured} now" if configured else "it is not set now: the shipped mapping is in force"
    raise ConfigError(
        f"--apply: {arguments.file} is not the configured mapping; set mapping.file to it ({now}), then apply again"
    )


async def _plan(
    arguments: argparse.Namespace, settings: Settings, given: Sequence[tuple[Table, str]]
) -> Plan:
    mapping = read_mapping(arguments.file) if arguments.file else load_mapping(settings.mapping)
    async with _store(settings) as (database, org), open_login(settings) as connection:
        if org is not None and org != connection.org_id:
            raise SchemaError(f"the store belongs to org {org}, the login leads to {connection.org_id}")
        options = sync_options(settings)
        asked = Asked(
            mapping,
            Rest(connection),
            options.sweep_page,
            given,
            options.adoption,
            with_sample=not arguments.no_sample,
        )
        return await make_plan(asked, database if org else None, connection.org_id)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[tuple[Database | None, str | None]]:
    """Open the store and tell its org; (None, None) where no daemon has set one up yet."""
    if settings.store.dsn is None and not (settings.store.embedded_dir / "data").exists():
        yield None, None
        return
    async with open_store(settings.store) as database:
        try:
            org = await known_org(database)
        except SchemaError:
            org = None
        yield database, org


async def _apply(
    arguments: argparse.Namespace, settings: Settings, given: Sequence[tuple[Table, str]]
) -> str:
    """Have the configured mapping put in force; return why it was refused, or nothing."""
    if given:
        async with open_store(settings.store) as database:
            await take_over(database, given)
    answered = await ask(settings, arguments.config, _RELOAD, just_answered, timeout_s=arguments.timeout_s)
    return "" if answered.outcome == "reloaded" else answered.error or answered.outcome


def _show(arguments: argparse.Namespace, plan: Plan, *, applied: str | None) -> None:
    if arguments.json:
        told = plan_json(plan) | {"applied": applied == "applied"}
        print(printable_json(json.dumps(told, indent=2, ensure_ascii=False)))
        return
    print("\n".join(plan_lines(plan)))
    if applied == "applied":
        print(
            "\napplied: the daemon works by it; what must be read is read beside the stream (sfsync status)"
        )
    elif applied is None and plan.changes_anything:
        print("\nnothing was changed; --apply, SIGHUP or the next start does it")

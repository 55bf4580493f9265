"""`sfsync purge`: erase one person or company, and keep it away.

Why: what is erased cannot be brought back from here, so the command first shows what it found and what goes with it,
and asks for the very id. Ids are told to whoever asked and to nobody else: the answer that stays in the store holds
counts and a hash.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ..config import Settings, load_settings
from ..config.place import open_store
from ..core.ids import record_id
from ..errors import ConfigError
from ..log import configure_logging
from ..store.erasure import Trace, find_trace, target
from ..store.report import known_org
from .asking import Answered, Wish, ask, just_answered
from .exits import FOUND, OK
from .findings import printable

_NOTES = """\
Columns that applications added to these rows go with them. Not reached from here: backups and the write-ahead log,
log files, files that were imported, and what Salesforce itself holds (docs/erasure.md)."""


def run(arguments: argparse.Namespace) -> int:
    """Show what would go, ask, erase; return 1 when it was refused or not confirmed."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    try:
        if arguments.forget_hash:
            return _forget(settings, arguments)
        return _purge(settings, arguments)
    except ValueError as error:
        print(f"sfsync: {arguments.target}: {error}", file=sys.stderr)
        return FOUND


def _purge(settings: Settings, arguments: argparse.Namespace) -> int:
    trace = asyncio.run(_look(settings, arguments.target))
    if arguments.dry_run:
        _show(trace, arguments, outcome="nothing was changed")
        return FOUND if trace.refusal else OK
    if trace.refusal:
        raise ValueError(f"nothing was erased: {trace.refusal}")
    if not arguments.yes and not _is_meant(trace, arguments.target):
        print("nothing was changed", file=sys.stderr)
        return FOUND
    argument = {"purge": arguments.target, "reason": arguments.reason}
    answered = _ask(settings, arguments, Wish("purge", json.dumps(argument), verb="purge", done="purged"))
    if answered.outcome != "purged":
        raise ValueError(f"the purge was {answered.outcome}: {answered.error}")
    _show(trace, arguments, outcome="purged", told=answered.detail)
    return OK


def _forget(settings: Settings, arguments: argparse.Namespace) -> int:
    argument = json.dumps({"forget": record_id(arguments.target)})
    answered = _ask(settings, arguments, Wish("purge", argument, verb="forget an erasure", done="forgotten"))
    if answered.outcome != "forgotten":
        raise ValueError(f"it was {answered.outcome}: {answered.error}")
    if arguments.json:
        print(json.dumps({"outcome": answered.outcome}))
    else:
        print(f"forgotten: {arguments.target} may come back, as somebody new; sfsync pull reads it now")
    return OK


def _ask(settings: Settings, arguments: argparse.Namespace, wish: Wish) -> Answered:
    return asyncio.run(ask(settings, arguments.config, wish, just_answered, timeout_s=arguments.timeout_s))


async def _look(settings: Settings, named: str) -> Trace:
    wanted = target(named)
    async with open_store(settings.store) as database:
        org = await known_org(database)
        if org is None:
            raise ConfigError("the store is bound to no org yet: there is nobody to erase")
        async with database.transaction() as connection:
            return await find_trace(connection, database, org, wanted)


def _is_meant(trace: Trace, named: str) -> bool:
    print("\n".join([*_lines(trace, trace.counts), _NOTES]), file=sys.stderr)
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to confirm: run it on a terminal, or add --yes")
    print(f"This cannot be undone. Type {named} to erase: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == named


def _show(
    trace: Trace,
    arguments: argparse.Namespace,
    *,
    outcome: str,
    told: Mapping[str, Any] | None = None,
) -> None:
    counts = told["removed"] if told else trace.counts
    if not arguments.json:
        print("\n".join([*_lines(trace, counts), outcome]))
        return
    document = {
        "outcome": "purged" if told else "dry_run",
        "subject": trace.subject,
        "records": trace.record_ids,
        "ids": trace.own_ids,
        "removed" if told else "would_remove": dict(counts),
        "references": [asdict(one) for one in trace.references],
        "refusal": trace.refusal,
    }
    print(json.dumps(document, indent=2))


def _lines(trace: Trace, counts: Mapping[str, int]) -> Iterator[str]:
    ids = ", ".join(map(str, trace.own_ids)) or "none"
    yield f"{trace.subject:<18}{ids}; records {', '.join(trace.record_ids) or 'none'}"
    for table, count in counts.items():
        if count and table != "people_of_company":
            yield f"{table:<18}{count:,}"
    if people := counts.get("people_of_company", 0):
        yield f"{'people':<18}{people:,} stay, and belong to no company then"
    for reference in trace.references:
        yield f"{'refers to it':<18}{printable(str(reference))}"
    if trace.refusal:
        yield f"{'refused':<18}{trace.refusal}"

"""What the store knows of the work: leader, positions, readings, certificates, and what waits.

Why: the store is asked rather than a daemon, because it answers also when the daemon is on another machine, hangs
or is gone, which is when people ask. The command line and the HTTP API tell the same facts, so both get them here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg

from ..errors import SchemaError
from .binding import bound_org
from .database import Database
from .figures import recall_figures
from .leadership import lock_key

NO_TABLE = ("42P01", "3F000")

Report = dict[str, Any]
"""Facts as JSON can hold them."""


async def known_org(database: Database) -> str | None:
    """Return the org that the store is bound to. Raises `SchemaError` when the store was never set up."""
    try:
        return await bound_org(database)
    except SchemaError as error:
        if error.sqlstate not in NO_TABLE:
            raise
        raise SchemaError("this database holds no store of sfsync yet; sfsync run makes it") from error


async def report(database: Database, org: str) -> Report:
    """Return the state of an org's work."""
    [leader] = await _read(database, "probe_leader", org, lock_key(org))
    [waiting] = await _read(database, "report_waiting", org)
    [erased] = await _read(database, "report_erased", org)
    told, told_at = await recall_figures(database, org)
    told.get("api", {}).pop("slots", None)
    subjects = {row.pop("subject"): row for row in await _read(database, "report_subjects", org)}
    return {
        "org": org,
        "leader": leader,
        "positions": await _read(database, "report_positions", org),
        "backfill": await _read(database, "report_backfills", org),
        "certificates": await certificates(database, org),
        "waiting": waiting,
        "erased": erased,
        "api": told.get("api"),
        "lag": told.get("lag"),
        "told_at": told_at.isoformat(timespec="seconds") if told_at else None,
        "suspended": await _read(database, "report_suspended"),
        **subjects,
    }


async def certificates(database: Database, org: str, *, sweep_id: str | None = None) -> list[Report]:
    """Return the last certificate of each entity, of any sweep or of one."""
    return [certificate(row) for row in await database.fetch("report_sweeps", org, sweep_id)]


def certificate(row: asyncpg.Record) -> Report:
    """Return a row of `sfsync.sweep` ready for JSON."""
    told = plain(row)
    return told | {"drift": json.loads(told["drift"])}


def plain(row: asyncpg.Record) -> Report:
    """Return a row ready for JSON: `*_ms` become instants under a name without it, lengths stay numbers."""
    told: Report = {}
    for key, value in row.items():
        if isinstance(value, datetime):
            told[key] = value.isoformat(timespec="seconds")
        elif key.endswith("_ms") and key != "duration_ms":
            told[key.removesuffix("_ms")] = instant(value)
        else:
            told[key] = value
    return told


def instant(ms: int | None) -> str | None:
    """Spell an instant of Salesforce's, given in epoch milliseconds."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


async def _read(database: Database, name: str, *values: object) -> list[Report]:
    return [plain(row) for row in await database.fetch(name, *values)]

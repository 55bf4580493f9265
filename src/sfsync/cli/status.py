"""`sfsync status`: what the store knows of the work, whether or not a daemon runs.

Why: the store is asked rather than a daemon, because it answers also when the daemon is on another machine, hangs
or is gone, which is when people ask.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..config import load_settings
from ..config.place import open_store
from ..errors import SchemaError
from ..log import configure_logging
from ..store.binding import bound_org
from ..store.database import Database
from ..store.leadership import lock_key
from .exits import OK
from .findings import printable
from .wording import age, instant

NO_TABLE = ("42P01", "3F000")

Report = dict[str, Any]


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the org that the store is bound to."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)

    async def read() -> Report:
        async with open_store(settings.store) as database:
            org = await known_org(database)
            return await _report(database, org) if org else {"org": None}

    report = asyncio.run(read())
    if arguments.json:
        print(json.dumps(report, indent=2))
    elif report["org"] is None:
        print("bound to no org yet: sfsync run has not logged in with this store")
    else:
        print("\n".join(_lines(report, datetime.now(UTC))))
    return OK


async def known_org(database: Database) -> str | None:
    """Return the org that the store is bound to. Raises `SchemaError` when the store was never set up."""
    try:
        return await bound_org(database)
    except SchemaError as error:
        if error.sqlstate not in NO_TABLE:
            raise
        raise SchemaError("this database holds no store of sfsync yet; sfsync run makes it") from error


async def _report(database: Database, org: str) -> Report:
    [leader] = await _read(database, "probe_leader", org, lock_key(org))
    [waiting] = await _read(database, "report_waiting", org)
    subjects = {row.pop("subject"): row for row in await _read(database, "report_subjects", org)}
    return {
        "org": org,
        "leader": leader,
        "positions": await _read(database, "report_positions", org),
        "backfill": await _read(database, "report_backfills", org),
        "certificates": await certificates(database, org),
        "waiting": waiting,
        **subjects,
    }


async def certificates(database: Database, org: str, *, sweep_id: str | None = None) -> list[Report]:
    """Return the last certificate of each entity, of any sweep or of one, ready for JSON."""
    rows = await _read(database, "report_sweeps", org, sweep_id)
    for row in rows:
        row["drift"] = json.loads(row["drift"])
    return rows


async def _read(database: Database, name: str, *values: object) -> list[Report]:
    return [_plain(dict(row)) for row in await database.fetch(name, *values)]


def _plain(row: Mapping[str, Any]) -> Report:
    """Return a row with instants as JSON can hold them; `*_ms` become ISO texts under a name without it."""
    plain: Report = {}
    for key, value in row.items():
        if isinstance(value, datetime):
            plain[key] = value.isoformat(timespec="seconds")
        elif key.endswith("_ms") and key != "duration_ms":
            plain[key.removesuffix("_ms")] = instant(value)
        else:
            plain[key] = value
    return plain


def _lines(report: Report, now: datetime) -> Iterator[str]:
    leader = report["leader"]
    yield f"org           {report['org']}"
    if leader["is_led"]:
        held = f"{printable(leader['holder'])}, epoch {leader['epoch']}, for {age(leader['taken_at'], now)}"
        yield f"leader        {held}"
    else:
        yield "leader        none: no daemon works for this org now"
    for position in report["positions"]:
        yield f"position      {position['channel']}, {_position(position, now)}"
    for backfill in report["backfill"]:
        done = (
            f"complete {age(backfill['backfilled_at'], now)} ago"
            if backfill["backfilled_at"]
            else "under way"
        )
        yield f"backfill      {backfill['entity']}: {done}, {backfill['records']:,} records"
    yield from certificate_lines(report["certificates"], now)
    for subject in ("people", "companies"):
        counts = report[subject]
        yield f"{subject:<12}  {counts['live']:,} live, {counts['deleted']:,} deleted, {counts['merged']:,} merged away"
    yield from _waiting_lines(report["waiting"], now)


def _position(position: Report, now: datetime) -> str:
    if not position["has_replay"]:
        return "none yet: no event came; a new session starts at the tip, and a sweep follows"
    return f"moved {age(position['moved_at'], now)} ago"


def certificate_lines(found: Sequence[Report], now: datetime) -> Iterator[str]:
    """Tell each certificate in one line."""
    for one in found:
        drift = sum(one["drift"].values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(one["drift"].items()) if count)
        yield (
            f"sweep         {one['entity']}: equal as of {one['equal_as_of']}, ended {age(one['ended_at'], now)} ago; "
            f"read {one['records_read']:,}, equal {one['equal']:,}, "
            f"repaired {drift:,}{f' ({reasons})' if reasons else ''}, ahead {one['ahead']:,}, deferred {one['deferred']:,}; "
            f"{one['api_calls']} calls, {one['duration_ms'] / 1000:.1f} s"
        )


def _waiting_lines(waiting: Report, now: datetime) -> Iterator[str]:
    kinds = (
        ("dirty", "dirty", "dirty_since"),
        ("dead letters", "dead_letters", "dead_letter_since"),
        ("requests", "requests", "request_since"),
    )
    for title, count, since in kinds:
        oldest = f", the oldest for {age(waiting[since], now)}" if waiting[since] else ""
        yield f"{title:<12}  {waiting[count]:,}{oldest}"
    if waiting["resweeps"]:
        yield f"to be swept   {waiting['resweeps']} entities, after an overflow or a wildcard event"

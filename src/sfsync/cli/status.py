"""`sfsync status`: what the store knows of the work, whether or not a daemon runs.

Why: what is told is gathered in `store/report.py`, where the HTTP API gets it too; here it is put into lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ..config import load_settings
from ..config.place import open_store
from ..log import configure_logging
from ..store.report import Report, known_org, report
from .exits import OK
from .findings import printable
from .wording import age


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the org that the store is bound to."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)

    async def read() -> Report:
        async with open_store(settings.store) as database:
            org = await known_org(database)
            return await report(database, org) if org else {"org": None}

    found = asyncio.run(read())
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif found["org"] is None:
        print("bound to no org yet: sfsync run has not logged in with this store")
    else:
        print("\n".join(_lines(found, datetime.now(UTC))))
    return OK


def _lines(found: Report, now: datetime) -> Iterator[str]:
    leader = found["leader"]
    yield f"org           {found['org']}"
    if leader["is_led"]:
        held = f"{printable(leader['holder'])}, epoch {leader['epoch']}, for {age(leader['taken_at'], now)}"
        yield f"leader        {held}"
    else:
        yield "leader        none: no daemon works for this org now"
    for position in found["positions"]:
        yield f"position      {position['channel']}, {_position(position, now)}"
    for backfill in found["backfill"]:
        done = (
            f"complete {age(backfill['backfilled_at'], now)} ago"
            if backfill["backfilled_at"]
            else "under way"
        )
        yield f"backfill      {backfill['entity']}: {done}, {backfill['records']:,} records"
    yield from certificate_lines(found["certificates"], now)
    for subject in ("people", "companies"):
        counts = found[subject]
        yield f"{subject:<12}  {counts['live']:,} live, {counts['deleted']:,} deleted, {counts['merged']:,} merged away"
    for one in found["suspended"]:
        name = printable(f"{one['table_name']}.{one['column_name']}")
        yield f"suspended     {name}: stale for {age(one['since'], now)}, {_lost(one)}"
    yield from _waiting_lines(found["waiting"], now)
    yield from _figure_lines(found, now)
    if (erased := found["erased"])["records"]:
        yield f"erased        {erased['records']:,} records, the last {age(erased['last_at'], now)} ago"


def _lost(column: Report) -> str:
    field = printable(column["field"])
    if column["reason"] == "gone":
        return f"{field} is gone or hidden: give the user Read on it, or take it out of the mapping"
    return f"{field} has another type now: map it under another column name"


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
            f"repaired {drift:,}{f' ({reasons})' if reasons else ''}, ahead {one['ahead']:,}, "
            f"settled {one['settled']:,}, deferred {one['deferred']:,}; "
            f"{one['api_calls']} calls, {one['duration_ms'] / 1000:.1f} s"
        )


def _figure_lines(found: Report, now: datetime) -> Iterator[str]:
    """Tell what the leader told last, a minute ago or when it stopped."""
    if (api := found["api"]) is not None:
        day, hour = sum(api["day"].values()), sum(api["hour"].values())
        lanes = ", ".join(f"{lane} {count:,}" for lane, count in api["day"].items())
        ours = f" of {api['share']:,}" if api["share"] is not None else ""
        org = f"; the org {api['used']:,} of {api['allowed']:,}" if api["allowed"] is not None else ""
        yield f"API calls     {day:,}{ours} in 24 h ({lanes or 'none'}), {hour:,} in the last hour{org}"
        if api["spent_in_s"] is not None:
            hours = f"{api['spent_in_s'] / 3600:.1f} h"
            yield f"              at the pace of the last hour our share is spent in {hours}"
        for lane, reason in api["waiting"].items():
            yield f"              {lane} waits ({reason})"
    if (lag := found["lag"]) is not None:
        shares = (("Salesforce", lag["salesforce_ms"]), ("sfsync", lag["own_ms"]))
        told = "; ".join(
            f"{whose} p50 {ms['p50']:,.0f} ms, p99 {ms['p99']:,.0f} ms, last {ms['last']:,.0f} ms"
            for whose, ms in shares
        )
        yield f"lag           {told} ({lag['batches']:,} batches of an hour)"
    if found["told_at"] is not None:
        yield f"              told {age(found['told_at'], now)} ago"


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

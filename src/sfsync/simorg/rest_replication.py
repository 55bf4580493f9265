"""`/updated` and `/deleted`: what changed and what was deleted in a span of minutes.

Why: both are answered from the log and the stamps in it. `latestDateCovered` is held back by transactions still open,
because they will commit with stamps that lie inside the span; the lists end where it says, so that a client which
goes on from there gets nothing twice and misses nothing.

Source: REST API Developer Guide, "Get a List of Updated Records", "Get a List of Deleted Records".
"""

from datetime import datetime, timedelta
from typing import Any

from sfsync.simorg.calls import Call, Reply, Routes
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError
from sfsync.simorg.values import parse_datetime, rest_datetime
from sfsync.simorg.world import BIN_LIFE

UPDATED_WINDOW = timedelta(days=30)
IDS_MAX = 600_000


def add_routes(routes: Routes) -> None:
    """Add the replication resources."""
    routes.add("GET", "sobjects/{entity}/updated", updated)
    routes.add("GET", "sobjects/{entity}/deleted", deleted)


def updated(call: Call, entity: str) -> Reply:
    """List the live records stamped within a span."""
    name = known_entity(call.org.world.schema, entity).name
    start, end = _span(call)
    if start < _minute(call.org.clock.now() - UPDATED_WINDOW):
        raise _refused("startDate cannot be more than 30 days ago")
    ids, covered = [], _covered(call, end)
    for record_id, fields in call.snapshot().by_stamp(name, start):
        if fields["SystemModstamp"] >= covered:
            break
        if not fields["IsDeleted"]:
            ids.append(record_id)
    if len(ids) > IDS_MAX:
        raise ApiError("EXCEEDED_ID_LIMIT", f"more than {IDS_MAX} ids; choose a shorter span")
    return Reply({"ids": ids, "latestDateCovered": rest_datetime(covered)})


def deleted(call: Call, entity: str) -> Reply:
    """List the records deleted within a span, whether still in the recycle bin or purged from it."""
    name = known_entity(call.org.world.schema, entity).name
    start, end = _span(call)
    earliest = _minute(call.org.clock.now() - BIN_LIFE)
    if start < earliest:
        raise _refused(f"startDate before the earliest date available: {rest_datetime(earliest)}")
    covered = _covered(call, end)
    gone = _deletions(call, name, start, covered)
    return Reply(
        {
            "deletedRecords": [{"id": i, "deletedDate": rest_datetime(stamp)} for i, stamp in gone],
            "earliestDateAvailable": rest_datetime(earliest),
            "latestDateCovered": rest_datetime(covered),
        }
    )


def _deletions(call: Call, entity: str, start: datetime, end: datetime) -> list[tuple[str, datetime]]:
    snapshot = call.snapshot()
    found: dict[str, datetime] = {}
    # A deletion is committed at its stamp or later, never before.
    world = call.org.world
    for commit in world.log[world.number_at(start - timedelta(seconds=1)) : snapshot.number]:
        for change in commit.changes:
            if change.entity != entity or change.kind != "DELETE" or change.after is None:
                continue
            if not snapshot.hides(entity, change.after):
                found[change.record_id] = change.after["SystemModstamp"]
    in_span = ((record_id, stamp) for record_id, stamp in found.items() if start <= stamp < end)
    return [(record_id, stamp) for record_id, stamp in in_span if _is_gone(snapshot.get(record_id))]


def _is_gone(fields: Any) -> bool:
    return fields is None or fields["IsDeleted"]


def _span(call: Call) -> tuple[datetime, datetime]:
    """Return start and end cut to the minute. Raises ApiError."""
    instants = []
    for name in ("start", "end"):
        text = call.param(name)
        instant = parse_datetime(text) or parse_datetime(text + "Z")
        if instant is None:
            raise ApiError("MALFORMED_QUERY", f"{name} is no ISO 8601 date and time: {text!r}")
        instants.append(_minute(instant))
    start, end = instants
    if end - start < timedelta(minutes=1):
        raise _refused("The specified end date must be at least one minute after the start date")
    return start, end


def _covered(call: Call, end: datetime) -> datetime:
    now = call.org.clock.now() - timedelta(seconds=call.lag_s)
    oldest = call.org.world.oldest_open()
    return min(end, _minute(now), _minute(oldest or now))


def _minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


def _refused(message: str) -> ApiError:
    return ApiError("INVALID_REPLICATION_DATE", message)

"""`/query` and `/queryAll`: SOQL over REST, with pages behind a locator.

Source: REST API Developer Guide, "Query", "QueryAll", "Query More Results"; header `Sforce-Query-Options`.
"""

import re

from sfsync.simorg.calls import Call, Reply, Routes
from sfsync.simorg.errors import ApiError
from sfsync.simorg.soql_run import Result, run

BATCH_DEFAULT = BATCH_MAX = 2_000
BATCH_MIN = 200
CURSORS_MAX = 50


def add_routes(routes: Routes) -> None:
    """Add the query resources."""
    routes.add("GET", "query", query)
    routes.add("GET", "queryAll", query_all)
    routes.add("GET", "query/{locator}", more)
    routes.add("GET", "queryAll/{locator}", more)


def query(call: Call) -> Reply:
    """Answer SOQL from live records."""
    if "explain" in call.params:
        raise ApiError(
            "INVALID_QUERY_PARAMETER", "explain: this org makes no query plans; send the query as q"
        )
    return _first_page(call, deleted=False)


def query_all(call: Call) -> Reply:
    """Answer SOQL from live records and the recycle bin."""
    return _first_page(call, deleted=True)


def more(call: Call, locator: str) -> Reply:
    """Answer the next page of an earlier query."""
    cursor, _, start = locator.partition("-")
    result = call.org.cursors.get(cursor)
    if result is None or not start.isdigit():
        raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, result, int(start), cursor)


def _first_page(call: Call, *, deleted: bool) -> Reply:
    soql = call.param("q")
    call.org.stats.note("queryAll" if deleted else "query", soql)
    return _page(call, run(soql, call.snapshot(), deleted=deleted), 0, None)


def _page(call: Call, result: Result, start: int, cursor: str | None) -> Reply:
    end = start + _batch_size(call)
    body = {"totalSize": result.total, "done": end >= len(result)}
    if end < len(result):
        cursor = cursor or _keep(call, result)
        body["nextRecordsUrl"] = f"/services/data/v{call.version}/query/{cursor}-{end}"  # type: ignore[assignment]  # mixed values
    rows_of = result.json if call.is_inner else result.encoded
    return Reply({**body, "records": rows_of(start, end, call.version)})


def _keep(call: Call, result: Result) -> str:
    cursors = call.org.cursors
    cursor = call.org.world.ids.next("Query")
    cursors[cursor] = result
    while len(cursors) > CURSORS_MAX:
        del cursors[next(iter(cursors))]
    return cursor


def _batch_size(call: Call) -> int:
    options = call.headers.get("Sforce-Query-Options", "")
    asked = re.search(r"batchSize=(\d+)", options, re.IGNORECASE)
    return min(BATCH_MAX, max(BATCH_MIN, int(asked.group(1)))) if asked else BATCH_DEFAULT

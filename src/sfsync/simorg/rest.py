"""The REST API: versions, resources, limits and describe here, the rest in the `rest_*` modules.

Source: REST API Developer Guide.
"""

import random
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from sfsync.simorg import (
    rest_collections,
    rest_composite,
    rest_event_schema,
    rest_query,
    rest_replication,
    rest_rows,
)
from sfsync.simorg.calls import Call, Reply, Routes, unless_unmodified
from sfsync.simorg.describe import describe_entity, describe_global
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError
from sfsync.simorg.gate import NEWEST_VERSION, OLDEST_VERSION, STALE, USER, json_response
from sfsync.simorg.json_body import read_json

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

_SEASONS = ("Winter", "Spring", "Summer")
_RESOURCES = ("sobjects", "query", "queryAll", "limits", "composite", "jobs", "event")


def add_rest_routes(app: web.Application, org: "Org") -> None:
    """Serve the REST API of *org*."""
    routes = rest_routes()

    async def versions(_request: web.Request) -> web.Response:
        return json_response([_version(number) for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)])

    async def answer(request: web.Request) -> web.Response:
        reply = routes.answer(await call_of(org, request))
        response = (
            web.Response(status=reply.status)
            if reply.body is None
            else json_response(reply.body, reply.status)
        )
        response.headers.update(reply.headers)
        return response

    app.router.add_get("/services/data", versions)
    app.router.add_get("/services/data/", versions)
    app.router.add_route("*", "/services/data/v{version:\\d+\\.0}", answer)
    app.router.add_route("*", "/services/data/v{version:\\d+\\.0}/{tail:.*}", answer)


def rest_routes() -> Routes:
    """Return the table of all REST resources."""
    routes = Routes()
    routes.add("GET", "", resources)
    routes.add("GET", "limits", limits)
    routes.add("GET", "limits/recordCount", record_count)
    routes.add("GET", "sobjects", global_describe)
    routes.add("GET", "sobjects/{entity}/describe", entity_describe)
    rest_query.add_routes(routes)
    rest_replication.add_routes(routes)
    rest_event_schema.add_routes(routes)
    rest_collections.add_routes(routes)
    rest_composite.add_routes(routes)
    rest_rows.add_routes(routes)
    return routes


async def call_of(org: "Org", request: web.Request) -> Call:
    """Return the call that an HTTP request is. Raises ApiError for a body that is no JSON."""
    raw_path = request.raw_path.partition("?")[0].partition(f"/v{request.match_info['version']}")[2]
    return Call(
        org,
        request[USER],
        request.match_info["version"],
        _method(request),
        "/".join(unquote(part) for part in raw_path.strip("/").split("/")),
        dict(request.query),
        request.headers,
        _json_body(await request.read(), request.content_type),
        request.get(STALE, random.random() * org.settings.read_lag_s),
    )


def resources(call: Call) -> Reply:
    """List the resources of this version."""
    base = f"/services/data/v{call.version}"
    identity = f"{call.org.url}/id/{call.org.world.org_id}/{call.user_id}"
    return Reply({**{name: f"{base}/{name}" for name in _RESOURCES}, "identity": identity})


def limits(call: Call) -> Reply:
    """Tell what is left of the org's allocations."""
    stats, settings = call.org.stats, call.org.settings
    delivered, now_ms = stats.calls["event.delivered"], call.org.clock.now_ms()
    left = {
        "DailyApiRequests": (settings.api_limit, settings.api_limit - stats.api.today(now_ms)),
        "DailyBulkV2QueryJobs": (
            settings.bulk_job_limit,
            settings.bulk_job_limit - stats.bulk_jobs.today(now_ms),
        ),
        "DailyBulkV2QueryFileStorageMB": (976_562, 976_562),
        "DailyDeliveredPlatformEvents": (settings.delivery_limit, settings.delivery_limit - delivered),
        "StreamingApiConcurrentClients": (settings.concurrent_clients, settings.concurrent_clients),
        "DurableStreamingApiConcurrentClients": (settings.concurrent_clients, settings.concurrent_clients),
        "DailyBulkApiBatches": (15_000, 15_000),
        "HourlyPublishedPlatformEvents": (250_000, 250_000),
        "DataStorageMB": (1_073, 1_000),
    }
    return Reply({name: {"Max": most, "Remaining": max(0, rest)} for name, (most, rest) in left.items()})


def record_count(call: Call) -> Reply:
    """Count the live records of some entities."""
    # The real one counts what is stored, whoever may see it.
    schema, snapshot = call.org.world.schema, call.org.world.snapshot(call.lag_s)
    named = call.params.get("sObjects")
    names = [known_entity(schema, name).name for name in named.split(",")] if named else list(schema.entities)
    counts = [{"count": snapshot.count_live(name), "name": name} for name in names]
    return Reply({"sObjects": counts})


def global_describe(call: Call) -> Reply:
    """Describe all entities in short."""
    return unless_unmodified(call, describe_global(call.org.world.schema, call.version), _changed_at(call))


def entity_describe(call: Call, entity: str) -> Reply:
    """Describe one entity and the fields the user may see."""
    schema = call.org.world.schema
    body = describe_entity(schema, known_entity(schema, entity), call.version)
    return unless_unmodified(call, body, _changed_at(call))


def _changed_at(call: Call) -> datetime:
    return call.org.world.schema_changed_at


def _method(request: web.Request) -> str:
    # Clients behind old proxies send PATCH as POST with this parameter.
    return (
        request.query.get("_HttpMethod", request.method).upper()
        if request.method == "POST"
        else request.method
    )


def _json_body(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    if content_type not in ("application/json", "application/octet-stream"):
        raise ApiError(
            "UNSUPPORTED_MEDIA_TYPE", f"Content type {content_type} is not supported; use application/json"
        )
    try:
        return read_json(body)
    except ValueError as error:
        raise ApiError("JSON_PARSER_ERROR", f"{error}") from error


def _version(number: int) -> dict[str, str]:
    # 62.0 is Winter '25; three versions follow each other every year.
    years, season = divmod(number - 62, 3)
    label = f"{_SEASONS[season]} '{25 + years:02d}"
    return {"label": label, "url": f"/services/data/v{number}.0", "version": f"{number}.0"}

"""What every API call passes before it is answered: faults, size, version, session and limit, in that order.

Why: these rules hold for each address alike, and a reply is not always an answer: a fault may cut the connection in
the middle of it. Putting them in one middleware keeps the handlers free of both.

Source: REST API Developer Guide, "Status Codes and Error Responses", "Headers: Limit Info".
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from aiohttp import hdrs, web

from sfsync.simorg.bulk_results import Page
from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.json_body import write_json
from sfsync.simorg.shield import api_error_of

if TYPE_CHECKING:
    from sfsync.simorg.faults import Fault
    from sfsync.simorg.org import Org

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
URI_AND_HEADERS_MAX = 16_384
OLDEST_VERSION, NEWEST_VERSION = 31, 67
GUARDED = ("/services/data/v", "/services/async/")
COMPRESSED_FROM = 1_024
STALE = web.RequestKey("stale_s", float)
USER = web.RequestKey("user_id", str)
_LIMIT_MESSAGES = {
    "daily": "TotalRequests Limit exceeded.",
    "concurrent": "ConcurrentPerOrgLongTxn Limit exceeded.",
}


def gate(org: "Org") -> Any:
    """Return the middleware that guards the data APIs of *org*."""

    @web.middleware
    async def pass_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/services/data") and not request.path.startswith("/services/async/"):
            return await handler(request)
        org.world.empty_bin()
        subject = f"{request.method} {unquote_plus(request.raw_path)}"
        refused = await _suffer(org, request, subject)
        response = refused or await _guarded(org, request, handler)
        response.headers["Sforce-Limit-Info"] = (
            f"api-usage={org.stats.api.today(org.clock.now_ms())}/{org.settings.api_limit}"
        )
        truncated = org.faults.take("truncate", subject)
        if truncated is not None:
            return await _cut_off(request, response, int(truncated.params.get("bytes", 20)))
        if accepts_gzip(request, response):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    return pass_gate


def error_response(error: ApiError) -> web.Response:
    """Return the reply that *error* makes."""
    response = json_response(error.body(), status=error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Token"
    return response


def json_response(body: Any, status: int = 200) -> web.Response:
    """Return *body* as JSON in UTF-8."""
    return web.Response(
        body=write_json(body), status=status, content_type="application/json", charset="UTF-8"
    )


async def _guarded(org: "Org", request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _admit(org, request)
        return await handler(request)
    except Exception as error:  # noqa: BLE001  # whatever it was, the limits are in the reply's header
        return error_response(api_error_of(error, request))


def _admit(org: "Org", request: web.Request) -> None:
    """Raise ApiError unless the request may be answered; count it if so."""
    size = len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    if size > URI_AND_HEADERS_MAX:
        raise ApiError("URI_TOO_LONG", "The URI and the headers together are longer than 16,384 bytes")
    if not request.path.startswith(GUARDED):
        return
    version = request.match_info.get("version", "")
    if version.replace(".", "").isdigit():
        _check_version(float(version))
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None and "X-SFDC-Session" in request.headers:
        header = f"Bearer {request.headers['X-SFDC-Session']}"
    if header is not None and header.split(" ")[0] not in ("Bearer", "OAuth"):
        raise ApiError("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
    session = org.sessions.check(header)
    if session is None:
        raise ApiError("INVALID_SESSION_ID", "Session expired or invalid")
    request[USER] = session.user_id
    if org.stats.api.today(org.clock.now_ms()) >= org.settings.api_limit:
        raise ApiError("REQUEST_LIMIT_EXCEEDED", _LIMIT_MESSAGES["daily"])
    org.stats.api.total += 1


def _check_version(version: float) -> None:
    if version < OLDEST_VERSION:
        raise ApiError("UNSUPPORTED_API_VERSION", "This API version is retired: use a newer one")
    if version > NEWEST_VERSION:
        raise not_found()


async def _suffer(org: "Org", request: web.Request, subject: str) -> web.Response | None:
    """Let the planted faults act; return a reply if one of them is the answer."""
    faults = org.faults
    if (delay := faults.take("delay", subject)) is not None:
        await asyncio.sleep(float(delay.params.get("s", 1.0)))
    if (stale := faults.take("stale_read", subject)) is not None:
        request[STALE] = float(stale.params.get("s", 3.0))
    if (hang := faults.take("hang", subject)) is not None:
        await _hang(org, request, hang)
        return _cut(request)
    if faults.take("cut", subject) is not None:
        return _cut(request)
    if (limited := faults.take("limit_reached", subject)) is not None:
        which = str(limited.params.get("which", "daily"))
        return error_response(ApiError("REQUEST_LIMIT_EXCEEDED", _LIMIT_MESSAGES[which]))
    status = faults.take("status", subject)
    return None if status is None else _planted_reply(status.params)


def _planted_reply(params: Any) -> web.Response:
    body = params.get("body", "")
    text = body if isinstance(body, str) else write_json(body).decode()
    kind = params.get("content_type") or (
        "text/html" if text.lstrip().startswith("<") else "application/json"
    )
    response = web.Response(text=text, status=int(params.get("code", 503)), content_type=kind)
    response.headers.update(params.get("headers", {}))
    return response


async def _hang(org: "Org", request: web.Request, fault: "Fault") -> None:
    """Say nothing until the fault is cleared, its seconds are over or the client leaves."""
    deadline = asyncio.get_running_loop().time() + float(fault.params.get("s", 3_600.0))
    while org.faults.is_planted(fault.number) and asyncio.get_running_loop().time() < deadline:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(0.05)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _cut_off(request: web.Request, response: web.StreamResponse, length: int) -> web.StreamResponse:
    """Announce the whole body, send its first *length* bytes, then drop the connection."""
    if isinstance(response, Page):
        response.cut_after = length
    if not isinstance(response, web.Response):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    partial = web.StreamResponse(status=response.status, headers=response.headers)
    partial.content_length = len(body)
    await partial.prepare(request)
    await partial.write(body[:length])
    if request.transport is not None:
        request.transport.close()
    return partial


def accepts_gzip(request: web.Request, response: web.StreamResponse) -> bool:
    """Tell whether *response* is long enough to be compressed, and the client takes that."""
    is_accepted = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
    return is_accepted and isinstance(response, web.Response) and len(response.body or b"") >= COMPRESSED_FROM  # type: ignore[arg-type]  # bytes here

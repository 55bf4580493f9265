"""The outermost middleware: whatever a request does to its handler, it gets an answer in the form of its API.

Why: a client judges an org by its errors. A page of HTML or a trace back where an array of errors belongs would try
the client with something that Salesforce never sends; and bytes that are no UTF-8 would travel from a header into
events and logs that nobody could encode any more, so they are refused at the door.
"""

import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.json_body import write_json
from sfsync.simorg.soap_login import fault

UNEXPECTED = "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (0)"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def shield(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer *request*, or say in its API's own form why it cannot be answered."""
    if not _is_readable(request):
        return _reply(
            request, ApiError("BAD_REQUEST", "The address or a header holds bytes that are no UTF-8")
        )
    try:
        return await handler(request)
    except web.HTTPException as error:
        if type(error).__module__ != web.HTTPException.__module__:
            raise
        return _reply(request, api_error_of(error, request))
    except Exception as error:  # noqa: BLE001  # see the module's docstring
        return _reply(request, api_error_of(error, request))


def api_error_of(error: Exception, request: web.Request) -> ApiError:
    """Return what to answer for *error*; one that no client should be able to cause is traced on standard error."""
    match error:
        case ApiError():
            answer = error
        case web.HTTPMethodNotAllowed():
            allowed = ",".join(sorted(error.allowed_methods))
            message = f"HTTP Method '{request.method}' not allowed. Allowed are {allowed}"
            answer = ApiError("METHOD_NOT_ALLOWED", message)
        case web.HTTPNotFound():
            answer = not_found()
        case web.HTTPRequestEntityTooLarge():
            answer = ApiError("REQUEST_TOO_LARGE", "The body of the request is too large")
        case web.HTTPClientError() | web.RequestPayloadError() | UnicodeDecodeError():
            answer = ApiError("BAD_REQUEST", f"The request cannot be read: {error}")
        case RecursionError():
            answer = ApiError("JSON_PARSER_ERROR", "The request is nested too deeply")
        case _:
            traceback.print_exception(error, file=sys.stderr)
            answer = ApiError("UNKNOWN_EXCEPTION", UNEXPECTED)
    return answer


def _is_readable(request: web.Request) -> bool:
    try:
        request.raw_path.encode()
        for name, value in request.raw_headers:
            name.decode()
            value.decode()
    except UnicodeError:
        return False
    return True


def _reply(request: web.Request, error: ApiError) -> web.Response:
    match request.path.split("/"):
        case ["", "services", "Soap", *_]:
            return fault("MALFORMED_REQUEST", error.message)
        case ["", "services", "oauth2", *_] | ["", "id", *_]:
            return _json(_oauth_body(error), error.status)
        case ["", "cometd", *_]:
            return _json([{"successful": False, "error": f"{error.status}::{error.message}"}], error.status)
        case ["", "control", *_]:
            hint = "; GET /control/ lists what there is" if error.status in (404, 405) else ""
            return _json({"error": f"{request.method} {request.path}: {error.message}{hint}"}, error.status)
        case _:
            return _json(error.body(), error.status)


def _oauth_body(error: ApiError) -> dict[str, str]:
    message = "must use HTTP POST" if error.code == "METHOD_NOT_ALLOWED" else error.message
    return {"error": "invalid_request", "error_description": message}


def _json(body: Any, status: int) -> web.Response:
    return web.Response(
        body=write_json(body), status=status, content_type="application/json", charset="UTF-8"
    )

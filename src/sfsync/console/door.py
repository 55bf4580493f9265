"""The way into the API: who may come in, and what comes out when something goes wrong.

Why: the API shows people, so it needs a token always, also on loopback, where every local user can connect; without a
configured one it is closed and says so. What the store refuses is translated once: away is 503 with a hint when to
come again, never a text of the driver's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from ..errors import ConfigError, SchemaError, StoreError, StoreUnavailableError
from ..log import describe_error
from .calls import Route, read_call
from .guard import holds_token
from .problems import Problem, is_api
from .routes import ROUTES
from .source import Source

_log = structlog.get_logger()
_RETRY_AFTER_S = 5
_TIMED_OUT, _LOCKED = "57014", "55P03"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Serves `ROUTES` from one source to whoever holds the token."""

    def __init__(self, source: Source, token: str | None) -> None:
        self._source = source
        self._token = token

    def open(self, app: web.Application) -> None:
        """Add the API to *app*."""
        for route in ROUTES:
            if route.method == "GET":
                app.router.add_get(route.path, self._handler(route))
            else:
                app.router.add_route(route.method, route.path, self._handler(route))
        app.middlewares.append(self._middleware())

    def _handler(self, route: Route) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            reply = await route.does(self._source, await read_call(request, route))
            return web.Response(
                body=msgspec.json.encode(reply.body),
                status=reply.status,
                headers={**reply.headers, hdrs.CONTENT_TYPE: "application/json"},
            )

        return serve

    def _middleware(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not is_api(request):
                return await handler(request)
            try:
                self._refuse_strangers(request)
                return await handler(request)
            except Problem as problem:
                return problem.answer(request)
            except (StoreError, ConfigError, TimeoutError) as error:
                return _unavailable(error).answer(request)

        return check

    def _refuse_strangers(self, request: web.Request) -> None:
        if self._token is None:
            raise Problem(403, "set console.token_file: the API shows people, so it needs a token always")
        if not holds_token(request, self._token):
            raise Problem(
                401,
                "send the token as `Authorization: Bearer TOKEN`",
                headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
            )


def _unavailable(error: StoreError | ConfigError | TimeoutError) -> Problem:
    """Say why the store cannot answer, without what Postgres says."""
    match error:
        case StoreUnavailableError(sqlstate=code) if code == _TIMED_OUT:
            why = "the answer takes too long to find: ask for less at a time, or filter by an id"
        case StoreUnavailableError(sqlstate=code) if code == _LOCKED:
            why = "a table is being changed just now"
        case StoreUnavailableError():
            why = "Postgres is away"
        case SchemaError():
            why = f"the store is not set up for this version (SQLSTATE {error.sqlstate}): a daemon that leads does that"
        case ConfigError():
            why = str(error)
        case TimeoutError():
            why = "too many ask at a time, or Postgres is slow"
        case _:
            _log.error("console.call.failed", error=describe_error(error))
            return Problem(500, "the store refused what the API asked of it; the log says more")
    return Problem(503, why, headers={hdrs.RETRY_AFTER: str(_RETRY_AFTER_S)})

"""Serve `/healthz`, `/readyz` and `/metrics`, and the API under `/v1/`.

Why: `/healthz` only says that the event loop still answers, so that a supervisor does not kill a daemon that waits
for Salesforce; `/readyz` is red then, with reasons. With a token set, anybody may learn red or green, since load
balancers carry no token, but details and figures need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ..errors import ConfigError
from ..sync.health import Health
from ..sync.metrics import Metrics
from .door import Door
from .guard import BODY_BYTES_MAX, dress, guard, holds_token, refusal
from .source import Source, StoreAccess

_IDLE_S_MAX = 20
_LINE_BYTES_MAX = 4096
_CONNECTIONS_WAITING_MAX = 64


class Secret(Protocol):
    """A text that is given out only when asked for."""

    def get_secret_value(self) -> str:
        """Give the text out."""


class Listening(Protocol):
    """Where to listen and who may look: the `console` section of the settings, which this room may not import."""

    @property
    def host(self) -> str:
        """Address to bind."""

    @property
    def port(self) -> int:
        """Port to bind; 0 leaves the choice to the system."""

    @property
    def token(self) -> Secret | None:
        """The bearer token that details need."""

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names by which clients may address us, besides `localhost` and bare addresses."""


class Console:
    """The pages and what they are drawn from."""

    def __init__(self, health: Health, metrics: Metrics, token: str | None) -> None:
        self._health = health
        self._metrics = metrics
        self._token = token

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer, which proves that the loop is not blocked."""
        return web.json_response({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        """Answer 200 or 503; whoever may see details gets every claim with its reason."""
        ready = self._health.ready
        answer: dict[str, object] = {"ready": ready}
        if holds_token(request, self._token):
            answer["claims"] = {
                name: {"ok": claim.ok, "detail": claim.detail} for name, claim in self._health.claims.items()
            }
        return web.json_response(answer, status=200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with all figures, in Prometheus' text format."""
        if not holds_token(request, self._token):
            return web.json_response(
                {"error": "a bearer token is needed"}, status=401, headers={hdrs.WWW_AUTHENTICATE: "Bearer"}
            )
        self._metrics.ready.set(self._health.ready)
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST}
        )


class _Connection(web.RequestHandler):
    """One client. Answers what is no HTTP without repeating it and without saying which library read it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse a request that could not be read or answered, and hang up."""
        if status >= 500:
            self.log_exception("a page failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        return refusal(request, status, "not understood" if status < 500 else "failed; the log says more")


@asynccontextmanager
async def serve_console(
    listening: Listening, health: Health, metrics: Metrics, store: StoreAccess | None = None
) -> AsyncIterator[int]:
    """Serve the pages, and with *store* the API, while the block runs; gives the port that was bound.

    Raises `ConfigError` when the address cannot be bound.
    """
    token = listening.token.get_secret_value() if listening.token else None
    source = Source(store) if store is not None else None
    runner = _runner(Console(health, metrics, token), listening, Door(source, token) if source else None)
    await runner.setup()
    try:
        server = await _listen(runner, listening)
        try:
            port = server.sockets[0].getsockname()[1]
            structlog.get_logger().info("console.started", host=listening.host, port=port)
            yield port
        finally:
            # Not awaited: it would wait for idle clients, which only the runner's clean-up hangs up on.
            server.close()
    finally:
        await runner.cleanup()
        if source is not None:
            await source.close()


def _runner(console: Console, listening: Listening, door: Door | None) -> web.AppRunner:
    names = frozenset({"localhost", listening.host.lower(), *map(str.lower, listening.allowed_hosts)})
    app = web.Application(middlewares=[guard(names)], client_max_size=BODY_BYTES_MAX)
    app.router.add_get("/healthz", console.healthz)
    app.router.add_get("/readyz", console.readyz)
    app.router.add_get("/metrics", console.metrics)
    if door is not None:
        door.open(app)
    app.on_response_prepare.append(dress)
    return web.AppRunner(app, access_log=None, shutdown_timeout=1)


async def _listen(runner: web.AppRunner, listening: Listening) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    manager = runner.server
    if manager is None:
        raise RuntimeError("the runner is not set up")

    def connection() -> web.RequestHandler:
        return _Connection(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=_IDLE_S_MAX,
            lingering_time=1,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
        )

    try:
        return await loop.create_server(
            connection, listening.host, listening.port, backlog=_CONNECTIONS_WAITING_MAX
        )
    except OSError as error:
        raise ConfigError(
            f"console.port: cannot listen on {listening.host} port {listening.port} ({error.strerror}); "
            "choose another port (0 = any free one) or set console.enabled = false"
        ) from error

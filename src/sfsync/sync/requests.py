"""Do what the CLI and applications ask for: a durable queue in the store, announced by NOTIFY.

Why: whoever may write to the store can ask, on any machine, and a request survives a daemon that is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import asyncpg
import msgspec
import structlog

from ..errors import SalesforceError
from ..log import describe_error
from ..store.database import store_errors
from .work import Work

_log = structlog.get_logger()
_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for. The meaning of `argument` is that of its `kind`."""

    id: int
    kind: str
    argument: str | None
    asked_by: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: one word, and details that are shown as JSON."""

    outcome: str
    detail: Mapping[str, object]


Handler = Callable[[Request], Awaitable[Answer]]
"""Serve one kind of request. `ValueError` says, without quoting values, what is wrong with the request."""


class Requests:
    """Serves the requests of one org. Run `run` as one task."""

    def __init__(self, work: Work, handlers: Mapping[str, Handler]) -> None:
        self._work = work
        self._handlers = handlers

    async def run(self) -> None:
        """Serve for ever. Raises `StoreUnavailableError` when the store is away."""
        heard = asyncio.Event()
        listener = await self._work.database.connect_alone()
        try:
            with store_errors():
                await listener.add_listener("sfsync_request", lambda *_: heard.set())
            async with asyncio.TaskGroup() as group:
                begun: set[int] = set()
                while True:
                    rows = await self._work.database.fetch("load_open_requests", self._work.org)
                    for row in rows:
                        if row["id"] not in begun:
                            group.create_task(self._serve(_request(row)), name=f"request-{row['id']}")
                    # A request that is done is not listed again, so only open ones need be remembered.
                    begun = {row["id"] for row in rows}
                    try:
                        async with asyncio.timeout(_POLL_S):
                            await heard.wait()
                    except TimeoutError:
                        pass
                    heard.clear()
        finally:
            listener.terminate()

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._answer(request)
        except (SalesforceError, ValueError) as error:
            reason = describe_error(error) if isinstance(error, SalesforceError) else str(error)
            _log.warning("request.refused", request=request.id, kind=request.kind, error=reason)
            answer = Answer("refused", {"error": reason})
        detail = msgspec.json.encode(answer.detail).decode()
        await self._work.database.fetch(
            "complete_request", self._work.org, request.id, answer.outcome, detail
        )
        _log.info("request.completed", request=request.id, kind=request.kind, outcome=answer.outcome)

    async def _answer(self, request: Request) -> Answer:
        handler = self._handlers.get(request.kind)
        if handler is None:
            raise ValueError("this version does not know such a request")
        return await handler(request)


def _request(row: asyncpg.Record) -> Request:
    return Request(row["id"], row["kind"], row["argument"], row["asked_by"])

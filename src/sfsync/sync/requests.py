"""Do what the CLI and applications ask for: a durable queue in the store, announced by NOTIFY.

Why: whoever may write to the store can ask, on any machine, and a request survives a daemon that is down. It is a
row until it is answered, so whatever goes wrong with one must end in an answer: left open, a request that cannot be
served would come back at every start. Only what makes all work impossible ends this one too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import asyncpg
import msgspec
import structlog

from ..errors import (
    FencedError,
    MappingChangedError,
    PoisonError,
    PositionError,
    SfsyncError,
    StoreUnavailableError,
)
from ..log import describe_error, where_raised
from ..store.database import store_errors
from .answering import Answer, Handler, Request
from .work import Work

__all__ = ["Answer", "Handler", "Request", "Requests"]

_log = structlog.get_logger()
_POLL_S = 5.0
_LISTEN_AGAIN_S = 1.0
_ALIVE_EVERY_S = 30.0
_FLOODING = "pull"
PULLS_MAX, _OTHERS_MAX = 2_000, 100
_ENDS_ALL = (StoreUnavailableError, FencedError, PositionError, PoisonError, MappingChangedError)


class Requests:
    """Serves the requests of one org. Run `run` as one task."""

    def __init__(self, work: Work, handlers: Mapping[str, Handler]) -> None:
        self._work = work
        self._handlers = handlers
        self._heard = asyncio.Event()
        self._serving: dict[int, str] = {}
        self._are_more = False

    async def run(self) -> None:
        """Serve for ever. Raises `StoreUnavailableError` when the store is away."""
        # What an earlier run left behind was cancelled with it.
        self._serving.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="request-listener")
            while True:
                self._heard.clear()
                await self._begin_open(group)
                try:
                    async with asyncio.timeout(_POLL_S):
                        await self._heard.wait()
                except TimeoutError:
                    pass

    async def _begin_open(self, group: asyncio.TaskGroup) -> None:
        """Begin to serve what is open; a flood of pulls waits in the store, not in memory, and in nobody's way."""
        pulls = sum(kind == _FLOODING for kind in self._serving.values())
        room = PULLS_MAX - pulls
        rows = await self._work.database.fetch(
            "load_open_requests", self._work.org, list(self._serving), room, _OTHERS_MAX
        )
        for row in rows:
            self._serving[row["id"]] = row["kind"]
            group.create_task(self._serve(_request(row)), name=f"request-{row['id']}")
        self._are_more = sum(row["kind"] == _FLOODING for row in rows) == room
        self._look_for_more()

    def _look_for_more(self) -> None:
        """Look again once there is room for many: each look passes over all that wait."""
        if self._are_more and len(self._serving) <= PULLS_MAX // 2:
            self._heard.set()

    async def _serve(self, request: Request) -> None:
        try:
            # failpoint: request.taken - somebody asks for something
            answer = await self._answer(request)
            # failpoint: request.served - what was asked is done, not answered
            await self._complete(request, answer)
            # failpoint: request.answered - the answer is committed
        finally:
            del self._serving[request.id]
            self._look_for_more()
        _log.info("request.completed", request=request.id, kind=request.kind, outcome=answer.outcome)
        if answer.afterwards is not None:
            answer.afterwards()

    async def _answer(self, request: Request) -> Answer:
        handler = self._handlers.get(request.kind)
        try:
            if handler is None:
                raise ValueError("this version does not know such a request")
            return await handler(request)
        except _ENDS_ALL:
            raise
        except (SfsyncError, ValueError) as error:
            reason = describe_error(error) if isinstance(error, SfsyncError) else str(error)
            _log.warning("request.refused", request=request.id, kind=request.kind, error=reason)
            return Answer("refused", {"error": reason})
        except Exception as error:  # noqa: BLE001 - answered below
            # A fault of ours in one request must not stop everybody's work at every start.
            _log.error(
                "request.failed",
                request=request.id,
                kind=request.kind,
                error=describe_error(error),
                where=where_raised(error),
            )
            return Answer("refused", {"error": f"the daemon failed at it ({type(error).__name__})"})

    async def _complete(self, request: Request, answer: Answer) -> None:
        detail = msgspec.json.encode(answer.detail).decode()
        await self._work.database.fetch(
            "complete_request", self._work.org, request.id, answer.outcome, detail
        )

    async def _listen(self) -> None:
        """Hear what is announced; whenever the connection dies, make another one, and look for what was missed."""
        while True:
            try:
                listener = await self._work.database.connect_alone()
                try:
                    await self._hear(listener)
                finally:
                    listener.terminate()
            except StoreUnavailableError:
                # Whether the store is away for all work is found out by those who work.
                await asyncio.sleep(_LISTEN_AGAIN_S)

    async def _hear(self, listener: asyncpg.Connection[asyncpg.Record]) -> None:
        """Listen as long as the connection lives. Raises `StoreUnavailableError` when it is found dead."""
        ended = asyncio.Event()
        listener.add_termination_listener(lambda _connection: ended.set())
        with store_errors():
            await listener.add_listener("sfsync_request", lambda *_: self._heard.set())
            self._heard.set()
            while not ended.is_set():
                try:
                    async with asyncio.timeout(_ALIVE_EVERY_S):
                        await ended.wait()
                except TimeoutError:
                    await listener.execute("SELECT 1")
        _log.warning("request.listener.lost")


def _request(row: asyncpg.Record) -> Request:
    left_s = row["left_s"]
    deadline = None if left_s is None else time.monotonic() + left_s
    return Request(row["id"], row["kind"], row["argument"], row["asked_by"], deadline)

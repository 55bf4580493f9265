"""Do what the CLI and applications ask for: a durable queue in the store, announced by NOTIFY.

Why: whoever may write to the store can ask, on any machine, and a request survives a daemon that is down.
"""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import structlog

from ..core.ids import RecordId, entity_of, record_id
from ..core.order import Verdict
from ..errors import SalesforceError
from ..log import describe_error
from ..store.apply import Outcome
from ..store.database import store_errors
from .refetch import Refetcher
from .sweep import Sweeper
from .work import Work

_log = structlog.get_logger()
_POLL_S = 5.0


class Requests:
    """Serves the requests of one org. Run `run` as one task."""

    def __init__(self, work: Work, sweeper: Sweeper, refetcher: Refetcher) -> None:
        self._work = work
        self._sweeper = sweeper
        self._refetcher = refetcher

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
                            group.create_task(self._serve(row), name=f"request-{row['id']}")
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

    async def _serve(self, request: asyncpg.Record) -> None:
        kind = request["kind"]
        try:
            outcome, detail = await self._do(kind, request["argument"])
        except (SalesforceError, ValueError) as error:
            reason = describe_error(error) if isinstance(error, SalesforceError) else str(error)
            _log.warning("request.refused", request=request["id"], kind=kind, error=reason)
            outcome, detail = "refused", {"error": reason}
        await self._work.database.fetch(
            "complete_request", self._work.org, request["id"], outcome, msgspec.json.encode(detail).decode()
        )
        _log.info("request.completed", request=request["id"], kind=kind, outcome=outcome)

    async def _do(self, kind: str, argument: str | None) -> tuple[str, dict[str, object]]:
        match kind:
            case "sweep":
                return "swept", {"sweep_id": await self._sweeper.ask("request")}
            case "pull":
                return await self._pull(record_id(argument or "")), {}
            case _:
                raise ValueError("this version does not know such a request")

    async def _pull(self, record: RecordId) -> str:
        """Read one record now; what is certain is written, and the verdict says how certain that is."""
        entity = entity_of(record)
        if entity is None:
            raise ValueError("only a Lead, Contact or Account can be pulled")
        return _verdict(await self._refetcher.read(entity, [record]))


def _verdict(outcome: Outcome) -> str:
    for verdict, word in _WORDS:
        if outcome.verdicts[verdict]:
            if verdict is Verdict.REPAIRED and outcome.repairs and outcome.repairs[0].reason == "missing":
                return "created"
            return word
    return "unsettled"


_WORDS = (
    (Verdict.EQUAL, "equal"),
    (Verdict.REPAIRED, "updated"),
    (Verdict.SETTLED, "equal"),
    (Verdict.ABSENT, "absent"),
)

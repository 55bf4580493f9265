"""Erase a person or company for whoever asks, and let a record come back that was erased.

Why: erasing is a write like any other, so only the leader does it, between two batches. The request names whom it is
about and would itself be a trace: it is answered in the same transaction, its argument replaced by the hash. So a
crash at any instant leaves either the person and the request, or neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

import msgspec
import structlog

from ..core.ids import RecordId, record_id
from ..errors import SchemaError, StoreError
from ..store.database import Connection
from ..store.erasure import (
    ErasedBeforeError,
    Target,
    bare_trace,
    erase,
    find_trace,
    forget_erasure,
    scrub_requests,
    target,
)
from .requests import Answer, Request
from .work import Work

_log = structlog.get_logger()


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The argument of a request: whom to erase, and why; or which record may come back."""

    purge: str | None = None
    reason: str | None = None
    forget: str | None = None


class Purge:
    """Serves requests of the kind `purge`; the argument is a `Wanted` as JSON."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def serve(self, request: Request) -> Answer:
        """Erase or forget. Raises `ValueError` when it cannot be done; then nothing was changed."""
        try:
            wanted = msgspec.json.decode(request.argument or "", type=Wanted)
        except msgspec.DecodeError as error:
            raise ValueError('the argument must be JSON like {"purge": "003..."}') from error
        try:
            if wanted.purge is not None:
                return await self._purge(request, wanted.purge, wanted.reason)
            if wanted.forget is not None:
                return await self._forget(record_id(wanted.forget))
        except StoreError as error:
            if type(error) not in (StoreError, SchemaError):
                raise
            # A table or trigger of an application stood in the way; of ours none does.
            raise ValueError(f"nothing was erased, the database refused: {error}") from error
        raise ValueError("the argument says neither whom to purge nor what to forget")

    async def _purge(self, request: Request, named: str, reason: str | None) -> Answer:
        wanted, answers = target(named), list[Answer]()

        async def work(connection: Connection) -> Sequence[RecordId]:
            answers.append(await self._erase(connection, request, wanted, reason))
            return ()

        try:
            await self._work.writer.change("purge", work)
        except ErasedBeforeError as error:
            if wanted.record_id is not None:
                await self._refuse(request, wanted.record_id, str(error))
            raise
        [answer] = answers
        _log.info(
            "erasure.completed",
            subject=answer.detail["subject"],
            hash=answer.detail["hash"],
            records=answer.detail["records"],
            removed=answer.detail["removed"],
        )
        return answer

    async def _erase(
        self, connection: Connection, request: Request, wanted: Target, reason: str | None
    ) -> Answer:
        """Erase, and answer the request in the same transaction: whoever serves it again finds it done."""
        database, org = self._work.database, self._work.org
        trace = await find_trace(connection, database, org, wanted)
        if reason and re.search(trace.pattern, reason):
            raise ValueError("the reason names whom it is about: it is kept, so leave the id out")
        removed = await erase(connection, database, org, trace, source=f"request {request.id}")
        # failpoint: purge.erased - somebody is erased, the request is open
        alias, requests = await scrub_requests(connection, database, org, trace, but=request.id)
        detail = {
            "subject": trace.subject,
            "hash": alias,
            "records": len(trace.record_ids),
            "removed": {**removed, "request": requests},
            "references": [asdict(reference) for reference in trace.references],
            "reason": reason,
        }
        await self._complete(connection, request, alias, Answer("purged", detail))
        # failpoint: purge.answered - and the request answered with it
        return Answer("purged", detail)

    async def _refuse(self, request: Request, erased: RecordId, reason: str) -> None:
        """Answer a request about somebody who was erased before, without keeping the id that it names."""

        async def work(connection: Connection) -> Sequence[RecordId]:
            trace = bare_trace(erased)
            alias, _ = await scrub_requests(
                connection, self._work.database, self._work.org, trace, but=request.id
            )
            await self._complete(connection, request, alias, Answer("refused", {"error": reason}))
            return ()

        await self._work.writer.change("purge", work)

    async def _complete(self, connection: Connection, request: Request, alias: str, answer: Answer) -> None:
        statement = self._work.database.sql("complete_purge")
        detail = msgspec.json.encode(answer.detail).decode()
        await connection.execute(statement, self._work.org, request.id, alias, answer.outcome, detail)

    async def _forget(self, record: RecordId) -> Answer:
        async def work(connection: Connection) -> Sequence[RecordId]:
            await forget_erasure(connection, self._work.database, self._work.org, record)
            return ()

        await self._work.writer.change("purge", work)
        return Answer("forgotten", {})

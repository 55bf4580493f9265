"""Read a whole entity by a query job of Bulk API 2.0: create it, wait for it, fetch its pages as they come.

Why: for a million records REST needs five hundred answers and a parser; a job needs twenty, and its CSV can go on to
Postgres as it is. A page's locator stays good as long as the job does, so a page that broke off is simply fetched
again, by this process or the next one. What a job brings is true between two instants, as with every read: not
earlier than its creation, not later than the answer that said it was complete (design: "Clocks").

Nothing of a job's `errorMessage` is told but its code: the rest may quote what somebody wrote into a record.
Source: Salesforce Bulk API 2.0 guide "Query Jobs", "Get Results for a Query Job".
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec

from ..errors import BulkFailedError, UnavailableError
from .connection import Answer, Connection
from .rest import CLOCK_FUZZ_MS
from .transport import Body

POLL_S = (1.0, 30.0)
DEADLINE_S = 6 * 3600.0
_TRIES = 3
_GROWTH = 1.5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JOB_ID = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?", re.ASCII)
_CODE = re.compile(r"[A-Za-z][A-Za-z_]{2,79}\b", re.ASCII)
_LAST_LOCATOR = "null"

OnProgress = Callable[[int], None]
"""Told how many records the job has processed so far."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A query job; `created_ms` is its createdDate."""

    id: str
    created_ms: int

    @property
    def read_from_ms(self) -> int:
        """An instant not later than what the job reads."""
        return self.created_ms // 1000 * 1000 - CLOCK_FUZZ_MS


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a complete job holds: how many records, and an instant not earlier than what they show."""

    records: int
    read_to_ms: int


@dataclass(frozen=True, slots=True)
class BulkPage:
    """One page on its way: CSV with a header row, in pieces; `records` as the server counted them.

    `next_locator` is None for the last page.
    """

    chunks: AsyncIterator[bytes]
    next_locator: str | None
    records: int


class _JobInfo(msgspec.Struct, rename="camel"):
    id: str
    state: str
    created_date: str
    number_records_processed: int = 0
    error_message: str | None = None


_decode_info = msgspec.json.Decoder(_JobInfo).decode


class BulkQuery:
    """The query jobs of one org. Every call is repeated a few times while Salesforce is away."""

    def __init__(
        self,
        connection: Connection,
        *,
        poll_s: tuple[float, float] = POLL_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """*poll_s*: how long to wait before asking after a job, at first and at most."""
        self._connection = connection
        self._poll_s = poll_s
        self._deadline_s = deadline_s
        self._root = f"/services/data/v{connection.api_version}/jobs/query"

    async def create(self, soql: str, *, deleted: bool = True) -> BulkJob:
        """Create a job; with *deleted* it reads the recycle bin too. Raises what `Connection.request` raises.

        A repeated call may leave a job that nobody asks after; Salesforce forgets it after seven days.
        """
        asked = {"operation": "queryAll" if deleted else "query", "query": soql, "contentType": "CSV"}
        answer = await self._connection.read(
            self._root, kind="bulk", tries=_TRIES, body=json.dumps(asked).encode()
        )
        info = _info(answer)
        if not _JOB_ID.fullmatch(info.id):
            raise UnavailableError("the new job's id is no id", code="ANSWER")
        return BulkJob(info.id, _instant_ms(info.created_date))

    async def finished(self, job: BulkJob, on_progress: OnProgress | None = None) -> BulkResult:
        """Wait until *job* is complete.

        Raises `BulkFailedError` when it failed, was aborted or is not complete at the deadline, and `QueryError` when
        it is gone.
        """
        wait_s, wait_s_max = self._poll_s
        deadline = time.monotonic() + self._deadline_s
        while True:
            answer = await self._connection.read(self._path(job), kind="bulk", tries=_TRIES)
            info = _info(answer)
            if on_progress is not None:
                on_progress(info.number_records_processed)
            if info.state == "JobComplete":
                if answer.date_ms is None:
                    raise UnavailableError(
                        "the org's answers carry no Date: reads cannot be put in order", code="NO_DATE"
                    )
                return BulkResult(info.number_records_processed, answer.date_ms + CLOCK_FUZZ_MS)
            if info.state in ("Failed", "Aborted"):
                raise BulkFailedError(info.state, f"the job is {info.state}{_reason(info.error_message)}")
            if time.monotonic() + wait_s > deadline:
                raise BulkFailedError("Late", f"the job is {info.state} after {self._deadline_s:.0f} s")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * _GROWTH, wait_s_max)

    @asynccontextmanager
    async def page(self, job: BulkJob, locator: str | None, max_records: int) -> AsyncIterator[BulkPage]:
        """Fetch the page at *locator* (None: the first) of a complete job, while the block lasts.

        A page may be fetched again; the pieces raise `UnavailableError` when it breaks off. Repeating is the
        caller's, who knows what became of the pieces: see `connection.retrying`.
        """
        place = "" if locator is None else f"&locator={quote(locator, safe='')}"
        path = f"{self._path(job)}/results?maxRecords={max_records:d}{place}"
        async with self._connection.download(path, kind="bulk", accept="text/csv") as download:
            told = download.headers.get("Sforce-NumberOfRecords", "")
            following = download.headers.get("Sforce-Locator", "")
            if not (told.isascii() and told.isdigit()) or not following or following == locator:
                raise UnavailableError("a page of results does not say what it holds", code="ANSWER")
            next_locator = None if following == _LAST_LOCATOR else following
            yield BulkPage(_pieces(download.body), next_locator, int(told))

    async def abort(self, job: BulkJob) -> None:
        """Tell Salesforce that a job under way is not wanted any more."""
        await self._connection.request("PATCH", self._path(job), kind="bulk", body=b'{"state":"Aborted"}')

    async def delete(self, job: BulkJob) -> None:
        """Let Salesforce forget a job that is over, with its results."""
        await self._connection.request("DELETE", self._path(job), kind="bulk")

    def _path(self, job: BulkJob) -> str:
        return f"{self._root}/{job.id}"


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    while piece := await body.read():
        yield piece


def _info(answer: Answer) -> _JobInfo:
    try:
        return _decode_info(answer.body)
    except (ValueError, RecursionError) as error:
        raise UnavailableError("the answer is no query job", code="ANSWER") from error


def _instant_ms(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, TypeError) as error:
        raise UnavailableError("a job came without a readable createdDate", code="ANSWER") from error


def _reason(message: str | None) -> str:
    found = _CODE.match(message or "")
    return f": {found[0]}" if found else ""

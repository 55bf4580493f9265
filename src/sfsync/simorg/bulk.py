"""Bulk API 2.0: query jobs with CSV results behind locators, and ingest jobs.

Why: a job is asynchronous, so it runs as a task of its own: a client meets UploadComplete, InProgress and a later
JobComplete, as with the real service. Results keep the records as the job read them; CSV is written when a page is
fetched, in slices that let other requests in between.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs".
"""

import asyncio
import base64
import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg.bulk_ingest import Ingest, add_ingest_routes
from sfsync.simorg.calls import json_object
from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.gate import STALE, USER, json_response
from sfsync.simorg.soql_fields import Column
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, FieldsFunction, Query, parse
from sfsync.simorg.soql_rows import compile_renderer
from sfsync.simorg.soql_run import Result, answer, scope_of
from sfsync.simorg.values import rest_datetime

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

ROWS_DEFAULT = 50_000
SLICE_ROWS = 1_000
PAGES_AT_ONCE = 5
RESULT_PAGES_SINCE = 58.0
DELIMITERS = {"COMMA": ",", "TAB": "\t", "SEMICOLON": ";", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDS = {"LF": "\n", "CRLF": "\r\n"}
TERMINAL = ("JobComplete", "Failed", "Aborted")


@dataclass(slots=True)
class Job:
    """One query job."""

    id: str
    query: Query
    operation: str
    entity: str
    version: str
    user_id: str
    created_at: datetime
    delimiter: str
    line_ending: str
    lag_s: float
    state: str = "UploadComplete"
    changed_at: datetime | None = None
    result: Result | None = None
    error: str | None = None
    columns: list[Column] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        """Return what the creation of the job answers."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.entity,
            "createdById": self.user_id,
            "createdDate": rest_datetime(self.created_at),
            "systemModstamp": rest_datetime(self.changed_at or self.created_at),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }

    def full_info(self) -> dict[str, Any]:
        """Return what asking after the job answers."""
        spent = (self.changed_at or self.created_at) - self.created_at
        extra = {
            "jobType": "V2Query",
            "numberRecordsProcessed": len(self.result) if self.result else 0,
            "retries": 0,
            "totalProcessingTime": int(spent.total_seconds() * 1000),
            "isPkChunkingSupported": True,
        }
        return {**self.info(), **extra, **({"errorMessage": self.error} if self.error else {})}


def add_bulk_routes(app: web.Application, org: "Org") -> None:
    """Serve the Bulk API 2.0 of *org*."""
    jobs = QueryJobs(org)
    base = "/services/data/v{version:\\d+\\.0}/jobs/query"
    app.router.add_post(base, jobs.create)
    app.router.add_get(base, jobs.listing)
    app.router.add_get(base + "/{job}", jobs.show)
    app.router.add_patch(base + "/{job}", jobs.abort)
    app.router.add_delete(base + "/{job}", jobs.delete)
    app.router.add_get(base + "/{job}/results", jobs.results)
    app.router.add_get(base + "/{job}/resultPages", jobs.result_pages)
    app.on_shutdown.append(jobs.close)
    add_ingest_routes(app, Ingest(org))


class QueryJobs:
    """The query jobs of one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(self, request: web.Request) -> web.Response:
        """Create a job and begin it."""
        body = json_object(await request.read())
        job = self._job(request, body)
        self._jobs[job.id] = job
        self._org.stats.note("bulk2.job", job.query.soql)
        task = asyncio.create_task(self._run(job), name=f"bulk job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_response(job.info())

    async def listing(self, request: web.Request) -> web.Response:
        """List the jobs."""
        records = [job.info() | {"jobType": "V2Query"} for job in self._jobs.values()]
        return json_response({"done": True, "nextRecordsUrl": None, "records": records})

    async def show(self, request: web.Request) -> web.Response:
        """Tell how far a job is."""
        return json_response(self._found(request).full_info())

    async def abort(self, request: web.Request) -> web.Response:
        """End a job before it is done."""
        job = self._found(request)
        if json_object(await request.read()).get("state") != "Aborted":
            raise ApiError("INVALIDJOBSTATE", "A query job can only be set to the state Aborted")
        if job.state in TERMINAL:
            raise ApiError("INVALIDJOBSTATE", f"Aborting a job in the state {job.state} is not allowed")
        self._move(job, "Aborted")
        return json_response(job.info())

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a job that is over."""
        job = self._found(request)
        if job.state not in TERMINAL:
            raise ApiError("INVALIDJOBSTATE", f"Deleting a job in the state {job.state} is not allowed")
        del self._jobs[job.id]
        return web.Response(status=204)

    async def results(self, request: web.Request) -> web.Response:
        """Return one page of a finished job as CSV."""
        job, result = self._finished(request)
        start = locator_start(request.query.get("locator"))
        count = _positive(request.query.get("maxRecords"), ROWS_DEFAULT)
        rows = result.rows[start : start + count]
        end = start + len(rows)
        response = web.Response(
            body=await self._csv(job, result, rows), content_type="text/csv", charset="UTF-8"
        )
        response.headers["Sforce-Locator"] = "null" if end >= len(result) else locator_of(end)
        response.headers["Sforce-NumberOfRecords"] = str(len(rows))
        return response

    async def result_pages(self, request: web.Request) -> web.Response:
        """Return the addresses of up to five pages at once."""
        job, result = self._finished(request)
        start = locator_start(request.query.get("locator"))
        count = _positive(request.query.get("maxRecords"), ROWS_DEFAULT)
        base = f"/services/data/v{job.version}/jobs/query/{job.id}"
        starts = list(range(start, max(len(result), 1), count))
        pages = [{"resultUrl": f"{base}/results?locator={locator_of(s)}&maxRecords={count}"} for s in starts]
        rest = starts[PAGES_AT_ONCE:]
        following = f"{base}/resultPages?locator={locator_of(rest[0])}&maxRecords={count}" if rest else None
        return json_response(
            {"done": not rest, "nextRecordsUrl": following, "resultPages": pages[:PAGES_AT_ONCE]}
        )

    async def close(self, _app: web.Application) -> None:
        """Stop the jobs under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        await asyncio.sleep(self._org.settings.bulk_delay_s / 2)
        if not self._proceed(job, "InProgress"):
            return
        try:
            job.result = answer(
                job.query,
                self._org.world.snapshot(job.lag_s, job.user_id),
                deleted=job.operation == "queryAll",
            )
        except ApiError as error:
            job.error = f"{error.code} : {error.message}"
            self._move(job, "Failed")
            return
        await asyncio.sleep(self._org.settings.bulk_delay_s / 2)
        self._proceed(job, "JobComplete")

    def _proceed(self, job: Job, state: str) -> bool:
        if job.state in TERMINAL:
            return False
        self._move(job, state)
        return True

    def _move(self, job: Job, state: str) -> None:
        job.state = state
        job.changed_at = self._org.clock.now().replace(microsecond=0)

    def _job(self, request: web.Request, body: dict[str, Any]) -> Job:
        operation, soql = body.get("operation"), body.get("query")
        if operation not in ("query", "queryAll") or not isinstance(soql, str):
            raise ApiError("INVALIDJOB", "operation must be query or queryAll, and query must be SOQL text")
        delimiter, ending = body.get("columnDelimiter", "COMMA"), body.get("lineEnding", "LF")
        if delimiter not in DELIMITERS or ending not in LINE_ENDS:
            raise ApiError("INVALIDJOB", f"unknown columnDelimiter or lineEnding: {delimiter}, {ending}")
        query = parse(soql)
        scope = scope_of(query, self._org.world.snapshot())
        columns = compile_renderer(query, scope, deleted=False).columns if _is_plain(query) else []
        _check_bulk(query, columns)
        return Job(
            self._org.world.ids.next("Job"),
            query,
            operation,
            scope.entity.name,
            request.match_info["version"],
            request[USER],
            self._org.clock.now().replace(microsecond=0),
            delimiter,
            ending,
            request.get(STALE, random.random() * self._org.settings.read_lag_s),
            columns=columns,
        )

    def _found(self, request: web.Request) -> Job:
        job = self._jobs.get(request.match_info["job"])
        if job is None:
            raise not_found()
        return job

    def _finished(self, request: web.Request) -> tuple[Job, Result]:
        job = self._found(request)
        if request.match_info["version"] != job.version:
            message = f"the job was created with API version {job.version}; use the same for its results"
            raise ApiError("API_VERSION_MISMATCH", message)
        if job.state != "JobComplete" or job.result is None:
            raise ApiError("INVALIDJOBSTATE", f"the job has no results in the state {job.state}")
        return job, job.result

    async def _csv(self, job: Job, result: Result, rows: list[Any]) -> bytes:
        renderer = result.renderer
        assert renderer is not None, "a bulk query is never an aggregate one"  # noqa: S101  # narrows the type
        delimiter, line_end = DELIMITERS[job.delimiter], LINE_ENDS[job.line_ending]
        header = delimiter.join(f'"{column.name}"' for column in job.columns)
        parts = [(header + line_end).encode()]
        for start in range(0, len(rows), SLICE_ROWS):
            parts.append(renderer.csv(rows[start : start + SLICE_ROWS], delimiter, line_end).encode())
            await asyncio.sleep(0)
        return b"".join(parts)


def locator_of(start: int) -> str:
    """Return the locator of the page that begins with row *start*."""
    return base64.b64encode(str(start).encode()).decode().rstrip("=")


def locator_start(locator: str | None) -> int:
    """Return the row that a locator stands for. Raises ApiError."""
    if locator is None:
        return 0
    try:
        return int(base64.b64decode(locator + "=" * (-len(locator) % 4)))
    except ValueError as error:
        raise ApiError("INVALID_QUERY_LOCATOR", f"invalid locator: {locator}") from error


def _is_plain(query: Query) -> bool:
    return not any(isinstance(selected, Aggregate | Query) for selected in query.select)


def _check_bulk(query: Query, columns: list[Column]) -> None:
    """Raise ApiError for what SOQL allows and Bulk does not."""
    if query.group_by or query.offset or not _is_plain(query):
        message = "GROUP BY, OFFSET, aggregates and subqueries are not supported in Bulk Query"
        raise ApiError("API_ERROR", message)
    if any(column.field.is_address for column in columns):
        raise ApiError("API_ERROR", "Selecting compound data not supported in Bulk Query")
    if any(isinstance(s, FieldsFunction) and s.kind != "STANDARD" for s in query.select):
        raise SoqlError(
            "MALFORMED_QUERY", query.soql, None, "FIELDS(ALL) and FIELDS(CUSTOM) are not supported here"
        )


def _positive(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdigit() or int(text) == 0:
        raise ApiError("INVALID_QUERY_PARAMETER", f"maxRecords must be a whole number above 0; got {text}")
    return int(text)

"""Bulk API 2.0: query jobs with CSV results behind locators, and ingest jobs.

Why: a job is asynchronous, so it runs as a task of its own: a client meets UploadComplete, InProgress and a later
JobComplete, as with the real service. It reads the org as it is when the job runs, not as it was when the job was
created, and writes the rows to a file in slices that let other requests in between.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs".
"""

import asyncio
import base64
import random
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from aiohttp import hdrs, web

from sfsync.simorg.bulk_ingest import Ingest, add_ingest_routes
from sfsync.simorg.bulk_results import Manner, Page, ResultFile
from sfsync.simorg.calls import json_object
from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.gate import STALE, USER, json_response
from sfsync.simorg.soql_fields import Column
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, FieldsFunction, Query, parse
from sfsync.simorg.soql_rows import compile_renderer
from sfsync.simorg.soql_run import answer, scope_of
from sfsync.simorg.values import rest_datetime
from sfsync.simorg.world import Snapshot

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

ROWS_DEFAULT = 50_000
SLICE_ROWS = 2_000
PAGES_AT_ONCE = 5
RESULTS_KEPT = 4
JOB_LIFE = timedelta(days=7)
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
    processed: int = 0
    file: ResultFile | None = None
    error: str | None = None
    columns: list[Column] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """What faults about the job are matched against."""
        return f"{self.operation} {self.query.soql}"

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
            "numberRecordsProcessed": self.processed,
            "retries": 0,
            "totalProcessingTime": int(spent.total_seconds() * 1000),
            "isPkChunkingSupported": True,
        }
        return {**self.info(), **extra, **({"errorMessage": self.error} if self.error else {})}

    def header(self) -> bytes:
        """Return the first line of every page."""
        names = DELIMITERS[self.delimiter].join(f'"{column.name}"' for column in self.columns)
        return (names + LINE_ENDS[self.line_ending]).encode()


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
        # Files of earlier jobs by what they answer, while the setting says to keep them.
        self._kept: OrderedDict[Hashable, ResultFile] = OrderedDict()

    async def create(self, request: web.Request) -> web.Response:
        """Create a job and begin it."""
        job = self._job(request, json_object(await request.read()))
        self._check_allowed(job)
        self._jobs[job.id] = job
        self._org.stats.note("bulk2.job", job.query.soql)
        self._org.stats.bulk_jobs.total += 1
        task = asyncio.create_task(self._run(job), name=f"bulk job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_response(job.info())

    async def listing(self, request: web.Request) -> web.Response:
        """List the jobs."""
        self._expire()
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

    async def results(self, request: web.Request) -> Page:
        """Return one page of a finished job as CSV."""
        _, file = self._finished(request)
        start = _start(request, len(file))
        end = min(len(file), start + _positive(request.query.get("maxRecords"), ROWS_DEFAULT))
        count, subject = end - start, _subject(request)
        if (wrong := self._org.faults.take("bulk_miscount", subject)) is not None:
            count += int(wrong.params.get("by", -1))
        page = Page(file, start, end, self._manner(request, subject))
        page.headers["Sforce-Locator"] = "null" if end >= len(file) else locator_of(end)
        page.headers["Sforce-NumberOfRecords"] = str(count)
        return page

    async def result_pages(self, request: web.Request) -> web.Response:
        """Return the addresses of up to five pages at once."""
        job, file = self._finished(request)
        start = _start(request, len(file))
        count = _positive(request.query.get("maxRecords"), ROWS_DEFAULT)
        base = f"/services/data/v{job.version}/jobs/query/{job.id}"
        starts = range(start, max(len(file), start + 1), count)
        pages = [
            {"resultUrl": f"{base}/results?locator={locator_of(s)}&maxRecords={count}"}
            for s in starts[:PAGES_AT_ONCE]
        ]
        rest = starts[PAGES_AT_ONCE:]
        following = f"{base}/resultPages?locator={locator_of(rest[0])}&maxRecords={count}" if rest else None
        return json_response({"done": not rest, "nextRecordsUrl": following, "resultPages": pages})

    async def close(self, _app: web.Application) -> None:
        """Stop the jobs under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        settings, faults = self._org.settings, self._org.faults
        await asyncio.sleep(settings.bulk_delay_s / 2)
        if not self._proceed(job, "InProgress"):
            return
        if (failure := faults.take("bulk_fail", job.subject)) is not None:
            self._fail(job, failure.params.get("message"))
            return
        try:
            await self._answer(job)
        except ApiError as error:
            self._fail(job, f"{error.code} : {error.message}")
            return
        if (stuck := faults.take("bulk_stuck", job.subject)) is not None:
            await asyncio.sleep(float(stuck.params.get("s", 60.0)))
        await asyncio.sleep(settings.bulk_delay_s / 2)
        aborted = faults.take("bulk_abort", job.subject) is not None
        self._proceed(job, "Aborted" if aborted else "JobComplete")

    async def _answer(self, job: Job) -> None:
        """Write what the job asks for to a file, or take the one of a job that asked the same. Raises ApiError."""
        snapshot = self._org.world.snapshot(job.lag_s, job.user_id)
        key = self._question(job, snapshot)
        file = self._kept.get(key) if self._org.settings.bulk_keep_results else None
        if file is None:
            file = await self._written(job, snapshot)
        job.file, job.processed = file, len(file)
        if self._org.settings.bulk_keep_results and job.state not in TERMINAL:
            self._kept[key] = file
        while len(self._kept) > (RESULTS_KEPT if self._org.settings.bulk_keep_results else 0):
            self._kept.popitem(last=False)

    async def _written(self, job: Job, snapshot: Snapshot) -> ResultFile:
        result = answer(job.query, snapshot, deleted=job.operation == "queryAll")
        file = ResultFile(job.header())
        for lines in result.csv_slices(DELIMITERS[job.delimiter], LINE_ENDS[job.line_ending], SLICE_ROWS):
            file.append(lines)
            job.processed = len(file)
            await asyncio.sleep(0)
            if job.state in TERMINAL:
                break
        return file

    def _question(self, job: Job, snapshot: Snapshot) -> Hashable:
        """Return all that the rows of a job depend on."""
        world = self._org.world
        form = (job.query.soql, job.operation, job.delimiter, job.line_ending)
        # Relative dates mean something else tomorrow.
        return form, snapshot.number, snapshot.veil, world.schema.version, world.clock.now().date()

    def _fail(self, job: Job, message: str | None) -> None:
        job.error = message
        self._proceed(job, "Failed")

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

    def _check_allowed(self, job: Job) -> None:
        """Raise ApiError if no job may be created now, or none of this entity."""
        refused = self._org.faults.take("bulk_refuse", job.subject)
        code = refused.params.get("code", "LIMIT_EXCEEDED") if refused is not None else None
        if code == "INVALIDENTITY":
            raise ApiError(code, f"Entity '{job.entity}' is not supported by the Bulk API.")
        limit = self._org.settings.bulk_job_limit
        if code is not None or self._org.stats.bulk_jobs.today(self._org.clock.now_ms()) >= limit:
            raise ApiError("LIMIT_EXCEEDED", f"Exceeded the limit of {limit} query jobs in 24 hours.")

    def _found(self, request: web.Request) -> Job:
        self._expire()
        job_id = request.match_info["job"]
        if job_id in self._jobs and self._org.faults.take("bulk_forget", _subject(request)) is not None:
            self._move(self._jobs.pop(job_id), "Aborted")
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found()
        return job

    def _expire(self) -> None:
        """Forget the jobs that are older than a week of org time."""
        oldest = self._org.clock.now() - JOB_LIFE
        for job in [job for job in self._jobs.values() if job.created_at < oldest]:
            del self._jobs[job.id]

    def _finished(self, request: web.Request) -> tuple[Job, ResultFile]:
        job = self._found(request)
        if request.match_info["version"] != job.version:
            message = f"the job was created with API version {job.version}; use the same for its results"
            raise ApiError("API_VERSION_MISMATCH", message)
        if job.state != "JobComplete" or job.file is None:
            raise ApiError("INVALIDJOBSTATE", f"the job has no results in the state {job.state}")
        return job, job.file

    def _manner(self, request: web.Request, subject: str) -> Manner:
        accepts = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
        slow = self._org.faults.take("bulk_slow", subject)
        rate = None if slow is None else float(slow.params.get("bytes_s", 10_000))
        return Manner(accepts and self._org.settings.bulk_gzip, rate)


def _subject(request: web.Request) -> str:
    return f"{request.method} {unquote_plus(request.raw_path)}"


def _start(request: web.Request, rows: int) -> int:
    """Return the row that the page asked for begins with. Raises ApiError for a locator of no page."""
    start = locator_start(request.query.get("locator"))
    if not 0 <= start <= rows:
        raise ApiError("INVALID_QUERY_LOCATOR", f"invalid locator: {request.query['locator']}")
    return start


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

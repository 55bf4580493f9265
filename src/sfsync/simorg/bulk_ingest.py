"""Bulk API 2.0 ingest: CSV uploaded, written in transactions of two hundred records, results as CSV.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Bulk API 2.0 Ingest".
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg.calls import json_object
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError, DmlError, not_found
from sfsync.simorg.gate import USER, json_response
from sfsync.simorg.ids import normalize
from sfsync.simorg.schema import EntityDef
from sfsync.simorg.transaction import Transaction
from sfsync.simorg.values import csv_text, rest_datetime

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
CHUNK_RECORDS = 200
NULL_TEXT = "#N/A"
_RESULTS = {
    "successfulResults": ("sf__Id", "sf__Created"),
    "failedResults": ("sf__Id", "sf__Error"),
}


@dataclass(slots=True)
class Batch:
    """What one operation did to a list of records: (id, created or not, record) and (id, error, record)."""

    succeeded: list[tuple[str, bool, dict[str, str]]] = field(default_factory=list)
    failed: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@dataclass(slots=True)
class IngestJob:
    """One ingest job."""

    id: str
    entity: str
    operation: str
    key: str | None
    version: str
    user_id: str
    created_at: datetime
    state: str = "Open"
    text: str = ""
    batch: Batch = field(default_factory=Batch)

    def info(self) -> dict[str, Any]:
        """Return what asking after the job answers."""
        done = len(self.batch.succeeded) + len(self.batch.failed)
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.entity,
            "createdById": self.user_id,
            "createdDate": rest_datetime(self.created_at),
            "systemModstamp": rest_datetime(self.created_at),
            "state": self.state,
            "externalIdFieldName": self.key,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "contentUrl": f"services/data/v{self.version}/jobs/ingest/{self.id}/batches",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
            "jobType": "V2Ingest",
            "numberRecordsProcessed": done,
            "numberRecordsFailed": len(self.batch.failed),
            "retries": 0,
            "totalProcessingTime": 0,
        }


def add_ingest_routes(app: web.Application, ingest: "Ingest") -> None:
    """Serve the ingest jobs."""
    base = "/services/data/v{version:\\d+\\.0}/jobs/ingest"
    app.router.add_post(base, ingest.create)
    app.router.add_get(base + "/{job}", ingest.show)
    app.router.add_put(base + "/{job}/batches", ingest.upload)
    app.router.add_patch(base + "/{job}", ingest.close_or_abort)
    app.router.add_delete(base + "/{job}", ingest.delete)
    app.router.add_get(base + "/{job}/{which}", ingest.results)


class Ingest:
    """The ingest jobs of one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._jobs: dict[str, IngestJob] = {}

    async def create(self, request: web.Request) -> web.Response:
        """Open a job."""
        body = json_object(await request.read())
        operation = body.get("operation")
        if operation not in OPERATIONS:
            raise ApiError("INVALIDJOB", f"operation must be one of {', '.join(OPERATIONS)}")
        entity = known_entity(self._org.world.schema, str(body.get("object", "")))
        now = self._org.clock.now().replace(microsecond=0)
        job_id, version = self._org.world.ids.next("Job"), request.match_info["version"]
        key = body.get("externalIdFieldName")
        job = IngestJob(job_id, entity.name, operation, key, version, request[USER], now)
        self._jobs[job_id] = job
        return json_response(job.info())

    async def show(self, request: web.Request) -> web.Response:
        """Tell how far a job is."""
        return json_response(self._found(request).info())

    async def upload(self, request: web.Request) -> web.Response:
        """Take the CSV of a job."""
        job = self._found(request)
        if job.state != "Open":
            raise ApiError("INVALIDJOBSTATE", f"the job takes no data in the state {job.state}")
        job.text += (await request.read()).decode()
        return web.Response(status=201)

    async def close_or_abort(self, request: web.Request) -> web.Response:
        """Begin the work, or end the job."""
        job = self._found(request)
        state = json_object(await request.read()).get("state")
        if state == "UploadComplete" and job.state == "Open":
            rows = list(csv.DictReader(io.StringIO(job.text, newline="")))
            origin = f"com/salesforce/api/bulkapi/{job.version}"
            work = Work(self._org, job.operation, known_entity(self._org.world.schema, job.entity), job.key)
            work.run(rows, job.user_id, origin, job.batch)
            job.state = "JobComplete"
            return json_response(job.info() | {"state": "UploadComplete"})
        if state != "Aborted" or job.state != "Open":
            raise ApiError("INVALIDJOBSTATE", f"the state {state} cannot follow {job.state}")
        job.state = "Aborted"
        return json_response(job.info())

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a job."""
        del self._jobs[self._found(request).id]
        return web.Response(status=204)

    async def results(self, request: web.Request) -> web.Response:
        """Return what succeeded, failed or was left as CSV."""
        job = self._found(request)
        which = request.match_info["which"]
        if which not in (*_RESULTS, "unprocessedrecords"):
            raise not_found()
        rows: dict[str, list[Any]] = {
            "successfulResults": job.batch.succeeded,
            "failedResults": job.batch.failed,
        }
        header = list(csv.DictReader(io.StringIO(job.text, newline="")).fieldnames or [])
        lines = [_line([*_RESULTS.get(which, ()), *header])]
        for first, second, record in rows.get(which, []):
            lines.append(_line([first, second, *(record.get(name) for name in header)]))
        return web.Response(text="".join(lines), content_type="text/csv", charset="UTF-8")

    def _found(self, request: web.Request) -> IngestJob:
        job = self._jobs.get(request.match_info["job"])
        if job is None:
            raise not_found()
        return job


class Work:
    """One operation on many records of one entity; each record succeeds or fails by itself."""

    def __init__(self, org: "Org", operation: str, entity: EntityDef, key: str | None) -> None:
        self._org = org
        self._entity = entity
        self._key = key or "Id"
        actions: dict[str, Callable[[Transaction, dict[str, Any]], tuple[str, bool]]] = {
            "insert": self._insert,
            "update": self._update,
            "upsert": self._upsert,
            "delete": self._delete,
            "hardDelete": self._purge,
        }
        self._action = actions[operation]

    def run(self, rows: list[dict[str, Any]], user_id: str, origin: str, batch: Batch) -> None:
        """Write *rows* in transactions of two hundred and note the outcome of each in *batch*."""
        for start in range(0, len(rows), CHUNK_RECORDS):
            with self._org.world.transaction(user_id, origin) as tx:
                for row in rows[start : start + CHUNK_RECORDS]:
                    self._one(tx, row, batch)

    def _one(self, tx: Transaction, row: dict[str, Any], batch: Batch) -> None:
        values = {name: None if value == NULL_TEXT else value for name, value in row.items() if value != ""}
        try:
            record_id, created = tx.attempt(lambda: self._action(tx, values))
        except ApiError as error:
            batch.failed.append((str(row.get("Id", "")), f"{error.code}:{error.message}:--", row))
        else:
            batch.succeeded.append((record_id, created, row))

    def _insert(self, tx: Transaction, values: dict[str, Any]) -> tuple[str, bool]:
        return tx.create(self._entity.name, _without_id(values)), True

    def _update(self, tx: Transaction, values: dict[str, Any]) -> tuple[str, bool]:
        record_id = self._id(values)
        tx.update(record_id, _without_id(values))
        return record_id, False

    def _upsert(self, tx: Transaction, values: dict[str, Any]) -> tuple[str, bool]:
        if self._key.lower() == "id":
            return self._update(tx, values) if values.get("Id") else self._insert(tx, values)
        wanted = str(values.get(self._key, "")).lower()
        rows = self._org.world.snapshot().stored_by_id(self._entity.name)
        found = [i for i, f in rows if str(f.get(self._key, "")).lower() == wanted and not f["IsDeleted"]]
        if not found:
            return self._insert(tx, values)
        tx.update(found[0], _without_id(values))
        return found[0], False

    def _delete(self, tx: Transaction, values: dict[str, Any]) -> tuple[str, bool]:
        record_id = self._id(values)
        tx.delete(record_id)
        return record_id, False

    def _purge(self, tx: Transaction, values: dict[str, Any]) -> tuple[str, bool]:
        record_id = self._id(values)
        tx.purge(record_id)
        return record_id, False

    def _id(self, values: dict[str, Any]) -> str:
        text = next((str(value) for name, value in values.items() if name.lower() == "id"), "")
        record_id = normalize(text)
        if record_id is None or self._org.world.entity_of(record_id) is None:
            raise DmlError("MALFORMED_ID", f"malformed id {text}", ["Id"])
        return record_id


def _without_id(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name.lower() not in ("id", "attributes")}


def _line(values: list[Any]) -> str:
    return ",".join(f'"{csv_text(value)}"' for value in values) + "\n"

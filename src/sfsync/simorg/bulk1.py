"""The older Bulk API (1.0) with JSON batches, as far as its well-known clients use it: queries and DML.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Bulk API" part.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg.bulk_ingest import Batch, Work
from sfsync.simorg.calls import json_object
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.gate import USER, json_response
from sfsync.simorg.json_body import read_json
from sfsync.simorg.soql_run import run
from sfsync.simorg.values import rest_datetime

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete", "query", "queryAll")
RESULT_ID = "752000000000001"


@dataclass(slots=True)
class Job1:
    """One job: its description as answered, and the batches by id with what each resulted in."""

    info: dict[str, Any]
    batches: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, Any] = field(default_factory=dict)


def add_bulk1_routes(app: web.Application, org: "Org") -> None:
    """Serve the Bulk API 1.0 of *org*."""
    jobs = _Jobs(org)
    base = "/services/async/{version:\\d+\\.0}/job"
    app.router.add_post(base, jobs.create)
    app.router.add_get(base + "/{job}", jobs.show)
    app.router.add_post(base + "/{job}", jobs.change)
    app.router.add_post(base + "/{job}/batch", jobs.add_batch)
    app.router.add_get(base + "/{job}/batch/{batch}", jobs.show_batch)
    app.router.add_get(base + "/{job}/batch/{batch}/request", jobs.batch_request)
    app.router.add_get(base + "/{job}/batch/{batch}/result", jobs.results)
    app.router.add_get(base + "/{job}/batch/{batch}/result/{result}", jobs.query_result)


class _Jobs:
    def __init__(self, org: "Org") -> None:
        self._org = org
        self._jobs: dict[str, Job1] = {}

    async def create(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        operation = body.get("operation")
        if operation not in OPERATIONS:
            raise ApiError("InvalidJob", f"operation must be one of {', '.join(OPERATIONS)}")
        entity = known_entity(self._org.world.schema, str(body.get("object", "")))
        info = {
            "apiVersion": float(request.match_info["version"]),
            "concurrencyMode": "Parallel",
            "contentType": "JSON",
            "createdById": request[USER],
            "createdDate": rest_datetime(self._org.clock.now()),
            "externalIdFieldName": body.get("externalIdFieldName"),
            "id": self._org.world.ids.next("Job"),
            "object": entity.name,
            "operation": operation,
            "state": "Open",
        }
        self._jobs[str(info["id"])] = Job1(info)
        return json_response(info, 201)

    async def show(self, request: web.Request) -> web.Response:
        return json_response(self._found(request).info)

    async def change(self, request: web.Request) -> web.Response:
        job = self._found(request)
        state = json_object(await request.read()).get("state")
        if state not in ("Closed", "Aborted"):
            raise ApiError("InvalidJobState", f"the state {state} cannot be set")
        job.info["state"] = state
        return json_response(job.info)

    async def add_batch(self, request: web.Request) -> web.Response:
        job, text = self._found(request), (await request.read()).decode()
        batch_id = self._org.world.ids.next("Batch")
        if job.info["operation"] in ("query", "queryAll"):
            deleted = job.info["operation"] == "queryAll"
            result = run(text, self._org.world.snapshot(user_id=request[USER]), deleted=deleted)
            job.batches[batch_id] = result.json(0, len(result), str(job.info["apiVersion"]))
            job.requests[batch_id] = text
        else:
            rows = job.requests[batch_id] = _records(text)
            job.batches[batch_id] = self._written(job, rows)
        return json_response(self._batch_info(job, batch_id), 201)

    async def show_batch(self, request: web.Request) -> web.Response:
        job, batch_id = self._batch(request)
        return json_response(self._batch_info(job, batch_id))

    async def batch_request(self, request: web.Request) -> web.Response:
        job, batch_id = self._batch(request)
        return json_response(job.requests[batch_id])

    async def results(self, request: web.Request) -> web.Response:
        job, batch_id = self._batch(request)
        is_query = job.info["operation"] in ("query", "queryAll")
        return json_response([RESULT_ID] if is_query else job.batches[batch_id])

    async def query_result(self, request: web.Request) -> web.Response:
        job, batch_id = self._batch(request)
        return json_response(job.batches[batch_id])

    def _written(self, job: Job1, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entity = known_entity(self._org.world.schema, job.info["object"])
        work = Work(self._org, job.info["operation"], entity, job.info["externalIdFieldName"])
        origin, results = f"com/salesforce/api/bulkapi/{job.info['apiVersion']}", []
        for row in rows:
            batch = Batch()
            work.run([row], str(job.info["createdById"]), origin, batch)
            for record_id, created, _ in batch.succeeded:
                results.append({"success": True, "created": created, "id": record_id, "errors": []})
            for _, text, _ in batch.failed:
                code, _, message = text.partition(":")
                error = {"statusCode": code, "message": message.removesuffix(":--"), "fields": []}
                results.append({"success": False, "created": False, "id": None, "errors": [error]})
        return results

    def _batch_info(self, job: Job1, batch_id: str) -> dict[str, Any]:
        now = rest_datetime(self._org.clock.now())
        return {
            "apexProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "createdDate": now,
            "id": batch_id,
            "jobId": job.info["id"],
            "numberRecordsFailed": 0,
            "numberRecordsProcessed": len(job.batches[batch_id]),
            "state": "Completed",
            "stateMessage": None,
            "systemModstamp": now,
            "totalProcessingTime": 0,
        }

    def _found(self, request: web.Request) -> Job1:
        job = self._jobs.get(request.match_info["job"])
        if job is None:
            raise not_found()
        return job

    def _batch(self, request: web.Request) -> tuple[Job1, str]:
        job, batch_id = self._found(request), request.match_info["batch"]
        if batch_id not in job.batches:
            raise not_found()
        return job, batch_id


def _records(text: str) -> list[dict[str, Any]]:
    try:
        rows = read_json(text.encode())
    except ValueError as error:
        raise ApiError("InvalidBatch", f"{error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ApiError("InvalidBatch", "a batch must be an array of objects")
    return rows

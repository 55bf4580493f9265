"""A client of the API that believes nothing: each answer is held against what the OpenAPI document says of it.

Why: the document is read back over HTTP, as a foreign client has it, so a path that answers otherwise than is served
and described fails wherever it is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from sfsync.config import ConsoleSettings, SecretText
from sfsync.console.schema import faults
from sfsync.console.server import serve_console
from sfsync.console.source import StoreAccess
from sfsync.store.database import StoreOptions
from sfsync.sync.health import Health
from sfsync.sync.metrics import Metrics

TOKEN = "t0ken-" + "x" * 32


@dataclass(slots=True)
class Answered:
    """An answer of the API, already checked against the document."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass(slots=True)
class Caller:
    """Calls one API with a token."""

    url: str
    http: aiohttp.ClientSession
    document: dict[str, Any] = field(default_factory=dict)
    walked: set[tuple[str, str]] = field(default_factory=set)

    async def get(self, path: str, status: int = 200) -> Any:
        return (await self.call("GET", path, status)).body

    async def post(self, path: str, body: Any, status: int = 200) -> Answered:
        headers = {"Content-Type": "application/json"}
        return await self.call("POST", path, status, data=json.dumps(body), headers=headers)

    async def call(self, method: str, path: str, status: int, **options: Any) -> Answered:
        """Call, expect *status*, and check the answer against the document."""
        async with self.http.request(method, self.url + path, **options) as answer:
            text = await answer.text()
            assert answer.status == status, text
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "sfsync"
            told = Answered(answer.status, json.loads(text), dict(answer.headers))
        if self.document:
            self.check(method, path, told)
        return told

    def check(self, method: str, path: str, told: Answered) -> None:
        """Hold an answer against the schema that the document declares for it."""
        known = self.document["components"]["schemas"]
        declared = self._declared(method, path)
        content = told.headers["Content-Type"].partition(";")[0]
        if declared is None:
            assert told.status in (401, 403, 404, 405)
            schema: dict[str, Any] = {"$ref": "#/components/schemas/Problem"}
            assert content == "application/problem+json"
        else:
            response = declared["responses"][str(told.status)]
            response = self.document["components"]["responses"].get(
                response.get("$ref", "").rpartition("/")[2], response
            )
            schema = response["content"][content]["schema"]
        found = list(faults(schema, told.body, known))
        assert found == [], f"{method} {path}: {found}"
        if told.status >= 400:
            assert told.body["status"] == told.status
            assert told.body["instance"] == path.partition("?")[0][:300]

    def _declared(self, method: str, path: str) -> dict[str, Any] | None:
        for template, methods in self.document["paths"].items():
            shape = re.sub(r"{\w+}", "[^/]+", template)
            if method.lower() in methods and re.fullmatch(shape, path.partition("?")[0]):
                self.walked.add((method, template))
                operation: dict[str, Any] = methods[method.lower()]
                return operation
        return None


@asynccontextmanager
async def calling(dsn: str, *, token: str | None = TOKEN, given: str | None = TOKEN) -> AsyncIterator[Caller]:
    """Serve the API of a store and call it; *token* is what is configured, *given* what the client sends."""
    settings = ConsoleSettings(port=0, token=SecretText(token) if token else None)
    access = StoreAccess(StoreOptions(dsn), kept_days=30)
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    async with (
        serve_console(settings, Health(), Metrics(), access) as port,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        caller = Caller(f"http://127.0.0.1:{port}", http)
        if token is not None and given == token:
            caller.document = await caller.get("/v1/openapi.json")
        yield caller

"""The records that every peer is given: read once from the simulated org, kept as files in each peer's own form.

A folder holds, for each entity, `<Entity>.jsonl` (records as REST answers them), `<Entity>.describe.json` (the
fields that are read of it), and for all of them `singer.jsonl` and `singer-empty.jsonl` (the same without records).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sfsync.core.ids import Entity
from tests.store.harness import MAPPING

API = "/services/data/v66.0"
_FORMATS = {"datetime": "date-time", "date": "date"}
_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "currency": "number",
    "double": "number",
    "percent": "number",
}


@dataclass(frozen=True, slots=True)
class Login:
    """Where an org's API is, and a token for it."""

    url: str
    token: str


async def log_in(http: aiohttp.ClientSession, org: Mapping[str, str]) -> Login:
    """Log in with the credentials that the org's process printed."""
    data = {
        "grant_type": "client_credentials",
        "client_id": org["client_id"],
        "client_secret": org["client_secret"],
    }
    async with http.post(f"{org['url']}/services/oauth2/token", data=data) as answer:
        return Login(org["url"], (await answer.json())["access_token"])


def query(entity: Entity) -> str:
    """Return the SOQL that reads of an entity what sfsync reads of it."""
    return f"SELECT {', '.join(MAPPING.plans[entity].select)} FROM {entity}"


async def write_records(org: Mapping[str, str], directory: Path) -> int:
    """Read all records from *org* into *directory* and return their number."""
    directory.mkdir()
    count = 0
    async with _open(org) as reader:
        with (
            (directory / "singer.jsonl").open("w") as messages,
            (directory / "singer-empty.jsonl").open("w") as empty,
        ):
            for entity in Entity:
                described = _described(entity, await reader.get(f"sobjects/{entity}/describe"))
                (directory / f"{entity}.describe.json").write_text(json.dumps(described))
                schema = _line(_schema(entity, described))
                empty.write(schema)
                messages.write(schema)
                with (directory / f"{entity}.jsonl").open("w") as rows:
                    async for record in reader.records(entity):
                        rows.write(_line(record))
                        messages.write(_line(_message(entity, record, described)))
                        count += 1
            state = _line({"type": "STATE", "value": {"records": count}})
            messages.write(state)
            empty.write(state)
    return count


@dataclass(frozen=True, slots=True)
class _Reader:
    http: aiohttp.ClientSession
    login: Login

    async def get(self, path: str, **params: str) -> Any:
        url = self.login.url + (path if path.startswith("/") else f"{API}/{path}")
        headers = {"Authorization": f"Bearer {self.login.token}"}
        async with self.http.get(url, params=params, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def records(self, entity: Entity) -> AsyncIterator[dict[str, Any]]:
        page = await self.get("query", q=query(entity))
        while True:
            for record in page["records"]:
                del record["attributes"]
                yield record
            if page["done"]:
                return
            page = await self.get(page["nextRecordsUrl"])


@asynccontextmanager
async def _open(org: Mapping[str, str]) -> AsyncIterator[_Reader]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as http:
        yield _Reader(http, await log_in(http, org))


def _described(entity: Entity, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    wanted = set(MAPPING.plans[entity].select)
    return [field for field in described["fields"] if field["name"] in wanted]


def _schema(entity: Entity, fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    properties: dict[str, dict[str, Any]] = {}
    for field in fields:
        kind = _TYPES.get(field["type"], "string")
        properties[field["name"]] = {"type": [kind] if field["type"] == "id" else ["null", kind]}
        if field["type"] in _FORMATS:
            properties[field["name"]]["format"] = _FORMATS[field["type"]]
    return {
        "type": "SCHEMA",
        "stream": entity.lower(),
        "schema": {"type": "object", "properties": properties},
        "key_properties": ["Id"],
    }


def _message(
    entity: Entity, record: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A tap says instants as RFC 3339."""
    instants = {field["name"] for field in fields if field["type"] == "datetime"}
    told = {
        name: value.replace("+0000", "Z") if value is not None and name in instants else value
        for name, value in record.items()
    }
    return {"type": "RECORD", "stream": entity.lower(), "record": told}


def _line(message: object) -> str:
    return json.dumps(message, ensure_ascii=False) + "\n"

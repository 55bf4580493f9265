"""Describe the API as an OpenAPI 3.1 document, made from the table of its paths.

Why: made, not written, so that it cannot say what is not so. Source: OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from .calls import Parameter, Route
from .problems import CONTENT_TYPE, KINDS
from .schemas import SCHEMAS, ref

_ALWAYS = (400, 401, 403, 503)
_PATH_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "an id of ours, also one that leads to another today; for people and companies also a record's",
    "schema": {"type": "string", "pattern": "^([1-9][0-9]{0,18}|[0-9A-Za-z]{15}([0-9A-Za-z]{3})?)$"},
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document that describes *routes*."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "sfsync",
            "version": __version__,
            "description": "People and companies, kept equal to Salesforce. Every error is a problem of RFC 9457.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(SCHEMAS),
            "responses": {str(status): _problem(title) for status, (_, title) in KINDS.items()},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{route.does.__name__.strip('_')}",
        "summary": route.summary,
        "parameters": [*(_PATH_ID for _ in route.path_parameters), *map(_parameter, route.query)],
        "responses": {
            **{str(status): _answer(schema) for status, schema in route.answers.items()},
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted({*_ALWAYS, *route.problems})
            },
        },
    }
    if route.body is not None:
        described["requestBody"] = {"required": True, "content": _json(ref(route.body))}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.meaning,
        "schema": dict(parameter.schema),
    }
    if parameter.schema["type"] == "array":
        described |= {"style": "form", "explode": False}
    return described


def _answer(schema: str) -> dict[str, Any]:
    return {"description": SCHEMAS[schema]["description"], "content": _json(ref(schema))}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}


def _problem(title: str) -> dict[str, Any]:
    return {"description": title, "content": {CONTENT_TYPE: {"schema": dict(ref("Problem"))}}}

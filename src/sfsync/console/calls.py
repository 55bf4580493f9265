"""Turn a request into what a path of the API works with, and say what of it does not fit.

Why: everything that comes from outside is checked here, once, against the table of paths: unknown parameters are
refused by name rather than ignored, because a misspelt filter that is ignored answers with everybody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import hdrs, web

from ..store.people import Reference, parse_reference
from .problems import Fault, Problem
from .schema import Schema, faults
from .schemas import SCHEMAS
from .source import Source

_INTEGER = re.compile(r"-?[0-9]{1,30}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that fits its route.

    `query` has every parameter that was given, typed by its schema; `given` has the same as they were written.
    """

    ids: Mapping[str, Reference]
    query: Mapping[str, Any]
    given: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def id(self) -> Reference:
        """The id in the path."""
        return self.ids["id"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a route answers; `body` is written as JSON."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query. An array is written with commas; an instant needs an offset."""

    name: str
    schema: Schema
    meaning: str


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path. `answers` names the schema of each good status, `problems` lists the others it may give."""

    method: str
    path: str
    does: Callable[[Source, Call], Awaitable[Reply]]
    summary: str
    answers: Mapping[int, str]
    query: tuple[Parameter, ...] = ()
    body: str | None = None
    problems: tuple[int, ...] = ()

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(re.findall(r"{(\w+)}", self.path))


async def read_call(request: web.Request, route: Route) -> Call:
    """Read a request as *route* declares it. Raises `Problem` saying everything that does not fit."""
    found = list(_query_faults(request, route))
    ids: dict[str, Reference] = {}
    for name in route.path_parameters:
        try:
            ids[name] = parse_reference(request.match_info[name])
        except ValueError as error:
            found.append(Fault(str(error), parameter=name))
    if found:
        raise Problem(400, _summed_up(found), faults=found)
    query = {name: _typed(text, _declared(route)[name]) for name, text in request.query.items()}
    return Call(ids, query, dict(request.query), await _read_body(request, route))


def _declared(route: Route) -> dict[str, Schema]:
    return {parameter.name: parameter.schema for parameter in route.query}


def _query_faults(request: web.Request, route: Route) -> Iterator[Fault]:
    declared = _declared(route)
    for name in dict.fromkeys(request.query):
        if name not in declared:
            known = f"it takes {', '.join(declared)}" if declared else "it takes none"
            yield Fault(f"is not known here; {known}", parameter=name[:100])
        elif len(request.query.getall(name)) > 1:
            yield Fault("is given more than once", parameter=name)
        else:
            yield from _value_faults(name, request.query[name], declared[name])


def _value_faults(name: str, text: str, schema: Schema) -> Iterator[Fault]:
    try:
        value = _typed(text, schema)
    except ValueError as error:
        yield Fault(str(error), parameter=name)
        return
    if not isinstance(value, datetime):
        yield from (Fault(fault.detail, parameter=name) for fault in faults(schema, value, SCHEMAS))


def _typed(text: str, schema: Schema) -> object:
    """Read a parameter's text as its schema says. Raises `ValueError` saying what is expected."""
    if schema["type"] == "integer":
        if not _INTEGER.fullmatch(text):
            raise ValueError("must be an integer")
        return int(text)
    if schema["type"] == "array":
        return text.split(",")
    return _instant(text) if schema.get("format") == "date-time" else text


def _instant(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
        if read.tzinfo is None:
            raise ValueError("no offset")
        return read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant with an offset: 2026-11-24T21:00:00Z (write + as %2B)") from None


async def _read_body(request: web.Request, route: Route) -> dict[str, Any]:
    if route.body is None:
        if request.body_exists:
            raise Problem(400, "this path takes no body")
        return {}
    if request.content_type != "application/json":
        raise Problem(415, "send the body as application/json", headers={hdrs.ACCEPT: "application/json"})
    try:
        body = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "the body is not JSON", faults=[Fault("is not JSON", pointer="#")]) from None
    found = list(faults(SCHEMAS[route.body], body, SCHEMAS))
    if found:
        raise Problem(400, _summed_up(found), faults=found)
    checked: dict[str, Any] = body
    return checked


def _summed_up(found: list[Fault]) -> str:
    """Say the first fault in a sentence, and how many there are besides."""
    first = found[0]
    place = f"parameter {first.parameter}" if first.parameter is not None else first.pointer
    others = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{place} {first.detail}{others}"

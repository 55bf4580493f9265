"""`/composite` and `/composite/batch`: several calls in one request.

Why: each inner call runs through the same table of routes; an outer call costs one API request whatever is inside.

Source: REST API Developer Guide, "Composite", "Composite Batch".
"""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from multidict import CIMultiDict

from sfsync.simorg.calls import Call, Reply, Routes
from sfsync.simorg.errors import ApiError

CALLS_MAX = 25
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")


def add_routes(routes: Routes) -> None:
    """Add the composite resources, whose inner calls go through *routes* again."""
    routes.add("POST", "composite", lambda call: composite(call, routes))
    routes.add("POST", "composite/batch", lambda call: batch(call, routes))


def batch(call: Call, routes: Routes) -> Reply:
    """Run independent calls one after another."""
    requests, halt = call.members("batchRequests", "haltOnError")
    results: list[dict[str, Any]] = []
    failed = False
    for request in _checked(requests):
        if failed and halt:
            result = ApiError("BATCH_PROCESSING_HALTED", "Batch processing halted per request")
            results.append({"statusCode": 412, "result": result.body()})
            continue
        inner = _inner(call, request, str(request.get("url", "")), request.get("richInput"))
        reply = _answer(inner, routes)
        failed = failed or reply.status >= 400
        results.append({"statusCode": reply.status, "result": reply.body})
    return Reply({"hasErrors": failed, "results": results})


def composite(call: Call, routes: Routes) -> Reply:
    """Run calls that may refer to the results of earlier ones, as `@{reference.id}`."""
    (requests,) = call.members("compositeRequest")
    bodies: dict[str, Any] = {}
    answers = []
    for request in _checked(requests):
        reference = str(request.get("referenceId", ""))
        url, body = str(_resolved(request.get("url", ""), bodies)), _resolved(request.get("body"), bodies)
        reply = _answer(_inner(call, request, url, body), routes)
        bodies[reference] = reply.body
        answers.append(
            {
                "body": reply.body,
                "httpHeaders": reply.headers,
                "httpStatusCode": reply.status,
                "referenceId": reference,
            }
        )
    return Reply({"compositeResponse": answers})


def _checked(requests: Any) -> list[dict[str, Any]]:
    if not isinstance(requests, list) or not all(isinstance(request, dict) for request in requests):
        raise ApiError("JSON_PARSER_ERROR", "an array of inner requests is required")
    if len(requests) > CALLS_MAX:
        raise ApiError("LIMIT_EXCEEDED", f"at most {CALLS_MAX} inner requests are allowed")
    return requests


def _inner(call: Call, request: dict[str, Any], url: str, body: Any) -> Call:
    parts = urlsplit(url)
    path = re.sub(r"^(/services/data)?/?v\d+\.\d/", "", parts.path).strip("/")
    headers = CIMultiDict(call.headers)
    headers.update(_texts(request.get("httpHeaders")))
    return replace(
        call,
        method=str(request.get("method", "GET")).upper(),
        path=unquote(path),
        params=dict(parse_qsl(parts.query)),
        headers=headers,
        body=body,
        is_inner=True,
    )


def _texts(headers: Any) -> dict[str, str]:
    return {name: str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}


def _answer(call: Call, routes: Routes) -> Reply:
    try:
        return routes.answer(call)
    except ApiError as error:
        return Reply(error.body(), error.status)


def _resolved(value: Any, bodies: dict[str, Any]) -> Any:
    """Put the results of earlier calls in the place of the references to them."""
    if isinstance(value, dict):
        return {name: _resolved(member, bodies) for name, member in value.items()}
    if isinstance(value, list):
        return [_resolved(member, bodies) for member in value]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: str(_looked_up(match, bodies)), value)


def _looked_up(match: re.Match[str], bodies: dict[str, Any]) -> Any:
    found = bodies.get(match.group(1))
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", match.group(2)):
        try:
            found = found[name] if name else found[int(index)]  # type: ignore[index]  # whatever JSON it is
        except (KeyError, IndexError, TypeError) as error:
            message = f"Invalid reference specified. No value for {match.group(0)[2:-1]}"
            raise ApiError("PROCESSING_HALTED", message) from error
    return found

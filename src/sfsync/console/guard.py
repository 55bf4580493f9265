"""What every request must pass, and what every answer carries.

Why: a browser on the operator's machine can be made to send requests to loopback under a foreign name (DNS
rebinding), so the Host header must be ours. Nothing here changes state by GET, no page of another origin may
read an answer, and no answer tells which software and version speaks.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from .problems import Problem, is_api

BODY_BYTES_MAX = 64 * 1024

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "sfsync",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_known_host(header: str | None, allowed: frozenset[str]) -> bool:
    """Tell whether a Host header names us: a bare address, `localhost`, or a name of *allowed*.

    A bare address is safe: rebinding needs a name that the attacker can point elsewhere.
    """
    if not header:
        return False
    host = (
        header.rpartition(":")[0]
        if header.rpartition(":")[2].isdecimal() and not header.endswith("]")
        else header
    )
    host = host.removeprefix("[").removesuffix("]").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in allowed
    return True


def holds_token(request: web.BaseRequest, token: str | None) -> bool:
    """Tell whether the request may see details: it carries the bearer token, or none is set."""
    if token is None:
        return True
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return right and scheme.lower() == "bearer"


def guard(allowed_hosts: frozenset[str]) -> Middleware:
    """Make the middleware that refuses foreign hosts and big bodies, and hides what we are made of."""

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not is_known_host(request.headers.get(hdrs.HOST), allowed_hosts):
            return refusal(request, 421, "this host name is not served here; add it to console.allowed_hosts")
        if (request.content_length or 0) > BODY_BYTES_MAX:
            return refusal(request, 413, f"the body is too large: {BODY_BYTES_MAX} bytes are taken")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return refusal(request, error.status, error.reason, error.headers.get(hdrs.ALLOW))

    return check


def refusal(request: web.BaseRequest, status: int, why: str, allow: str | None = None) -> web.Response:
    """Answer *why* not, and hang up."""
    if is_api(request):
        answer = Problem(status, why).answer(request)
    else:
        answer = web.json_response({"error": why}, status=status)
    answer.headers.update(_HEADERS)
    if allow:
        answer.headers[hdrs.ALLOW] = allow
    answer.force_close()
    return answer


async def dress(_request: web.Request, answer: web.StreamResponse) -> None:
    """Put the security headers on an answer, in place of the library's version banner."""
    answer.headers.update(_HEADERS)

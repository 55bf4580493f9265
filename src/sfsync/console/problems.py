"""Say what is wrong with a request, as RFC 9457 problem details.

Why: whoever calls an API reads one shape of error, finds the part of the request that is at fault by its pointer or
name, and never reads a value back. Source: RFC 9457, "Problem Details for HTTP APIs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web

API_PREFIX = "/v1/"
CONTENT_TYPE = "application/problem+json"
_INSTANCE_CHARACTERS = 300

KINDS: Mapping[int, tuple[str, str]] = {
    400: ("bad-request", "The request is not what this path takes"),
    401: ("unauthorized", "A bearer token is needed"),
    403: ("no-token-set", "The API is closed"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "The path does not take this method"),
    409: ("refused", "The daemon refused what was asked"),
    413: ("too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body must be JSON"),
    421: ("unknown-host", "This host name is not served here"),
    500: ("failed", "The server failed; its log says more"),
    503: ("unavailable", "The store cannot answer now"),
}
"""Type and title of every status that is a problem here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: `pointer` leads into the body, `parameter` names one of the path or the query."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(Exception):  # noqa: N818 - it is what RFC 9457 calls it
    """Ends a request; the guard of the API turns it into an answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})

    def answer(self, request: web.BaseRequest) -> web.Response:
        """Return the answer that says it."""
        slug, title = KINDS.get(self.status, ("refused", HTTPStatus(self.status).phrase))
        problem: dict[str, object] = {
            "type": f"urn:problem-type:sfsync:{slug}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "instance": request.rel_url.raw_path[:_INSTANCE_CHARACTERS],
        }
        if self.faults:
            problem["errors"] = [_told(fault) for fault in self.faults]
        return web.Response(
            body=msgspec.json.encode(problem),
            status=self.status,
            headers={**self.headers, hdrs.CONTENT_TYPE: CONTENT_TYPE},
        )


def is_api(request: web.BaseRequest) -> bool:
    """Tell whether a request is for the API, whose errors are problems."""
    return request.path.startswith(API_PREFIX)


def _told(fault: Fault) -> dict[str, str]:
    named = {"detail": fault.detail, "pointer": fault.pointer, "parameter": fault.parameter}
    return {name: text for name, text in named.items() if text is not None}

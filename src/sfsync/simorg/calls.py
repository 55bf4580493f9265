"""One REST call without its transport, and the table that finds who answers it.

Why: `/composite` and `/composite/batch` run other calls inside one request; with calls and replies as plain values
the outer HTTP request and an inner one take the same path.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.json_body import read_json

if TYPE_CHECKING:
    from sfsync.simorg.org import Org
    from sfsync.simorg.transaction import Transaction
    from sfsync.simorg.world import Snapshot


@dataclass(frozen=True, slots=True)
class Call:
    """A request to `/services/data/v{version}/{path}`; *lag_s* is how old the state is that its reads see."""

    org: "Org"
    user_id: str
    version: str
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None
    lag_s: float = 0.0
    # Whether it runs inside a composite one, which may refer to its result.
    is_inner: bool = False

    @property
    def origin(self) -> str:
        """Where a change made by this call says it came from."""
        options = self.headers.get("Sforce-Call-Options", "")
        client = re.search(r"client=([\w./-]{1,100})", options, re.ASCII)
        return f"com/salesforce/api/rest/{self.version}" + (f";client={client.group(1)}" if client else "")

    def snapshot(self) -> "Snapshot":
        """Return the state that this call reads."""
        return self.org.world.snapshot(self.lag_s, self.user_id)

    def transaction(self) -> "Transaction":
        """Begin the transaction that this call writes in."""
        return self.org.world.transaction(self.user_id, self.origin)

    def param(self, name: str) -> str:
        """Return a query parameter. Raises ApiError if it is missing."""
        value = self.params.get(name)
        if value is None:
            raise ApiError(
                "MALFORMED_QUERY" if name == "q" else "INVALID_QUERY_PARAMETER", f"{name} is required"
            )
        return value

    def members(self, *names: str) -> list[Any]:
        """Return the named members of a JSON object body. Raises ApiError if it has none."""
        if not isinstance(self.body, dict):
            raise ApiError("JSON_PARSER_ERROR", "The body of this request must be a JSON object")
        return [self.body.get(name) for name in names]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call; a body of None is empty."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[..., Reply]


class Routes:
    """Which function answers which method and path; path parameters are passed on by name."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], str, Answer]] = []

    def add(self, methods: str, pattern: str, answer: Answer) -> None:
        """Let *answer* handle the methods, separated by blanks, of a path such as `sobjects/{entity}/{id}`."""
        expression = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))
        self._routes.extend((method, expression, pattern, answer) for method in methods.split())

    def answer(self, call: Call) -> Reply:
        """Answer *call*, a HEAD as the GET whose body is left out. Raises ApiError if nobody does."""
        wanted, allowed = "GET" if call.method == "HEAD" else call.method, []
        for method, expression, pattern, answer in self._routes:
            match = expression.fullmatch(call.path)
            if match is None:
                continue
            if method == wanted:
                call.org.stats.calls[f"rest {method} {pattern or '/'}"] += 1
                return answer(call, **match.groupdict())
            allowed.append(method)
        if allowed:
            message = f"HTTP Method '{call.method}' not allowed. Allowed are {','.join(sorted(set(allowed)))}"
            raise ApiError("METHOD_NOT_ALLOWED", message)
        raise not_found()


def unless_unmodified(call: Call, body: Any, changed_at: datetime) -> Reply:
    """Return *body*, or 304 without one or 412 where the call's headers ask for that; dates count whole seconds."""
    changed_s = int(changed_at.timestamp())
    headers = {"Last-Modified": changed_at.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    since = _http_date(call.headers.get("If-Modified-Since"))
    if since is not None and changed_s <= since:
        return Reply(None, 304, headers)
    until = _http_date(call.headers.get("If-Unmodified-Since"))
    if until is not None and changed_s > until:
        return Reply(None, 412, headers)
    return Reply(body, 200, headers)


def _http_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def json_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that *text* is. Raises ApiError."""
    try:
        body = read_json(text)
    except ValueError as error:
        raise ApiError("JSON_PARSER_ERROR", f"{error}") from error
    if not isinstance(body, dict):
        raise ApiError("JSON_PARSER_ERROR", "The body of this request must be a JSON object")
    return body

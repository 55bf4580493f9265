"""One login to one org: the token, the sockets, the counters and the org's clock.

Why: everything that talks to an org shares one token. When it expires, fifty requests fail at once and must
cause one login, not fifty (Salesforce locks users out), so the login is single-flight here and nowhere else.
A request that fails with 401 is sent once more with the newer token; a second 401 is a refusal.
The org's clock is learned from the `Date` of its answers, because the order of reads and events (design:
"Clocks") is stated in the org's instants and this machine's clock may be minutes off.

Rejected: refreshing ahead of time. A token answer does not say how long it lives.
"""

from __future__ import annotations

import asyncio
import copy
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import aiohttp
import structlog
import yarl
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from ..errors import AuthError, ConfigError, LimitError, OrgMismatchError, SalesforceError, UnavailableError
from ..log import describe_error
from .auth import Credentials, RefreshToken, Session, fetch_token, flow_of
from .budget import ApiUsage, Budget
from .refusals import is_fake_401, read_error_array, refusal
from .transport import CONNECT_S, Body, date_ms, network_errors, open_http, tls_context

log = structlog.get_logger()
_Answered = TypeVar("_Answered")

API_VERSION = "66.0"
ANSWER_BYTES_MAX = 64 * 1024 * 1024
DOWNLOAD_BYTES_MAX = 1024 * 1024 * 1024
CLOCK_AGE_S_MAX = 3.0
RETRY_AFTER_S_PATIENCE = 60.0
_VERSION = re.compile(r"[1-9][0-9]{1,2}\.0")
_NO_SCOPE = "INVALID_SESSION_ID"
_USAGE = re.compile(r"api-usage=(\d{1,18})/(\d{1,18})", re.ASCII)
_NOT_CURED_BY_REPEATING = frozenset({"INVALID_QUERY_LOCATOR", "OVERSIZE"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer; `date_ms` is its `Date`, None when it had none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    date_ms: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """A successful answer whose body is still to be read."""

    headers: Mapping[str, str]
    body: Body


@dataclass(frozen=True, slots=True)
class LinkTimings:
    """How long to wait. `login_pause_s` bounds how often a refused login is tried, whoever asks for it."""

    request_s: float = 150.0
    login_pause_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach an org: what every socket of one connection has in common."""

    tls: ssl.SSLContext
    api_version: str
    client_name: str
    timings: LinkTimings


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    kind: str
    body: bytes | None
    accept: str | None = None


class Connection:
    """A logged-in org. Make one with `open_connection`.

    `calls` counts requests by kind, those only that Salesforce counts against the daily allocation; `budget` counts
    them by lane; one that is put in its place, before the first request, may let them wait.
    """

    def __init__(self, http: aiohttp.ClientSession, credentials: Credentials, link: Link) -> None:
        self.api_version = link.api_version
        self.org_id = ""
        self.budget = Budget()
        self.calls: Counter[str] = Counter()
        self.logins = 0
        self.last_date_ms: int | None = None
        self._last_date_at = float("-inf")
        self._http = http
        self._link = link
        self._credentials = credentials
        self._session: Session | None = None
        self._login_lock = asyncio.Lock()
        self._login_failures = 0
        self._login_failure: SalesforceError | None = None
        self._refused_until = float("-inf")

    @property
    def api_usage(self) -> ApiUsage | None:
        """The org's API calls of the last 24 hours; None before the first answer."""
        return self.budget.usage

    # ---- the token

    async def session(self) -> Session:
        """Return the token in use; log in if there is none. Parallel callers share one login and its failure."""
        if session := self._usable():
            return session
        failures_seen = self._login_failures
        async with self._login_lock:
            if session := self._usable():
                return session
            is_shared = self._login_failures != failures_seen or time.monotonic() < self._refused_until
            if is_shared and self._login_failure is not None:
                raise copy.copy(self._login_failure)
            self._session = await self._log_in()
            return self._session

    def _usable(self) -> Session | None:
        return self._session

    def invalidate(self, session: Session) -> None:
        """Drop *session* if it is still the one in use; the next request logs in again."""
        if self._session is session:
            self._session = None

    def _pause_logins(self, error: AuthError) -> None:
        self._login_failure = error
        self._refused_until = time.monotonic() + self._link.timings.login_pause_s

    async def _log_in(self) -> Session:
        self._login_failure = None
        try:
            session = await fetch_token(self._http, self._credentials)
        except SalesforceError as error:
            self._login_failure = error
            self._login_failures += 1
            if isinstance(error, AuthError):
                self._pause_logins(error)
            raise
        if self.org_id and session.org_id != self.org_id:
            raise OrgMismatchError(
                f"the login led to org {self.org_id} before and leads to {session.org_id} now; if that is intended"
                " (a refreshed sandbox), run `sfsync rebind`"
            )
        self.org_id = session.org_id
        self.logins += 1
        if isinstance(self._credentials, RefreshToken) and session.rotated:
            self._credentials = replace(self._credentials, refresh_token=session.rotated)
        log.info("salesforce.token.fetched", flow=flow_of(self._credentials), org=self.org_id)
        # failpoint: token.fetched - the login is done, its token is in use
        return session

    # ---- requests

    async def request(
        self, method: str, path: str, *, kind: str = "other", body: bytes | None = None
    ) -> Answer:
        """Send one request; on an expired token log in and send it once more.

        It waits while the budget keeps its lane waiting, and is made again where Salesforce refused the lane's call.
        *path* starts with `/services/` and is already encoded.
        Raises the class that `refusals` gives the answer, and `UnavailableError` for what the network does.
        """
        return await self._admitted(self._request, _Call(method, path, kind, body))

    async def _admitted(self, send: Callable[[_Call], Awaitable[_Answered]], call: _Call) -> _Answered:
        while True:
            await self.budget.admit(self._look)
            try:
                answered = await send(call)
            except LimitError as error:
                if not self.budget.refused(error):
                    raise
            else:
                self.budget.accepted()
                return answered

    async def _look(self) -> None:
        """Ask how the org's day stands; every answer tells, a refusal as well."""
        with suppress(LimitError, UnavailableError):
            await self.request("GET", f"/services/data/v{self.api_version}/limits/", kind="limits")

    async def _request(self, call: _Call) -> Answer:
        session = await self.session()
        answer = await self._send(session, call)
        if answer.status == 401:
            session = await self._log_in_again(session, answer)
            answer = await self._send(session, call)
        if 200 <= answer.status < 300:
            return answer
        raise self._refused(session, answer)

    @asynccontextmanager
    async def download(self, path: str, *, kind: str, accept: str) -> AsyncIterator[Download]:
        """Send a GET and yield the answer while it arrives, for bodies that must not be held whole.

        Raises what `request` raises. Not reading is back pressure; reading raises what `Body.read` raises.
        """
        response = await self._admitted(self._begin_download, _Call("GET", path, kind, None, accept))
        try:
            self.note_date(date_ms(response.headers))
            yield Download(response.headers, Body(response, size_max=DOWNLOAD_BYTES_MAX))
        finally:
            response.close()

    async def _begin_download(self, call: _Call) -> aiohttp.ClientResponse:
        """Return a successful answer with its body unread; the caller closes it."""
        session = await self.session()
        response = await self._open(session, call)
        try:
            if response.status == 401:
                session = await self._log_in_again(session, await _whole(response))
                response.close()
                response = await self._open(session, call)
            if not 200 <= response.status < 300:
                raise self._refused(session, await _whole(response))
        except BaseException:
            response.close()
            raise
        return response

    async def _log_in_again(self, session: Session, answer: Answer) -> Session:
        self.invalidate(session)
        if is_fake_401(read_error_array(answer.body)):
            lacking = AuthError("the token lacks the scope to use the API (api, or full)", code=_NO_SCOPE)
            self._pause_logins(lacking)
            raise lacking
        return await self.session()

    def _refused(self, session: Session, answer: Answer) -> SalesforceError:
        """Return what an answer other than success means, and let the login learn from it."""
        if answer.status == 401 or 300 <= answer.status < 400:
            # A moved org answers with redirects, which are not followed: the next login tells its new address.
            self.invalidate(session)
        usage = self.api_usage
        is_quota_spent = usage.used >= usage.allowed if usage else None
        error = refusal(answer.status, answer.headers, answer.body, is_quota_spent=is_quota_spent)
        if isinstance(error, AuthError):
            self._pause_logins(error)
        return error

    async def read(self, path: str, *, kind: str, tries: int = 1, body: bytes | None = None) -> Answer:
        """Send a request that changes nothing, up to *tries* times while Salesforce is away."""
        async for attempt in retrying(tries, kind):
            with attempt:
                return await self.request("GET" if body is None else "POST", path, kind=kind, body=body)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, session: Session, call: _Call) -> Answer:
        headers = self._begin(session, call)
        answer = await self._exchange(session.instance_url, call, headers)
        self._note_usage(answer.headers)
        return answer

    def _begin(self, session: Session, call: _Call) -> dict[str, str]:
        """Count a request that is about to be sent, and return its headers."""
        if not call.path.startswith("/services/"):
            raise SalesforceError(f"not a path of the Salesforce API: {call.path[:80]!r}", code="PATH")
        headers = self.headers(session)
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if call.accept is not None:
            headers["Accept"] = call.accept
        self.calls[call.kind] += 1
        self.budget.sent()
        return headers

    def _note_usage(self, headers: Mapping[str, str]) -> None:
        if usage := _USAGE.search(headers.get("Sforce-Limit-Info", "")):
            self.budget.told(ApiUsage(int(usage[1]), int(usage[2])))

    async def _open(self, session: Session, call: _Call) -> aiohttp.ClientResponse:
        """Send a request and return its answer with the body unread; the caller closes it."""
        headers = self._begin(session, call)
        with network_errors("Salesforce cannot be reached"):
            response = await self._http.request(
                call.method,
                yarl.URL(session.instance_url + call.path, encoded=True),
                headers=headers,
                # How long the whole takes depends on who reads it; that something comes does not.
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_S, sock_read=self._link.timings.request_s
                ),
                allow_redirects=False,
            )
        self._note_usage(response.headers)
        return response

    async def _exchange(self, origin: str, call: _Call, headers: Mapping[str, str]) -> Answer:
        with network_errors("Salesforce cannot be reached"):
            async with self._http.request(
                call.method,
                yarl.URL(origin + call.path, encoded=True),
                headers=headers,
                data=call.body,
                timeout=aiohttp.ClientTimeout(total=self._link.timings.request_s, sock_connect=CONNECT_S),
                allow_redirects=False,
            ) as response:
                body = await Body(response, size_max=ANSWER_BYTES_MAX).read_all()
        answer = Answer(response.status, response.headers, body, date_ms(response.headers))
        if 200 <= answer.status < 300:
            # An error page may come from a machine in between, whose clock is not the org's.
            self.note_date(answer.date_ms)
        return answer

    def headers(self, session: Session) -> dict[str, str]:
        """Return the headers of an authorised request."""
        return {
            "Authorization": f"Bearer {session.access_token.reveal()}",
            "Sforce-Call-Options": f"client={self._link.client_name}",
        }

    # ---- the org's clock

    def note_date(self, instant_ms: int | None) -> None:
        """Remember the `Date` of an answer that has just been completed."""
        if instant_ms is not None:
            self.last_date_ms = instant_ms
            self._last_date_at = time.monotonic()

    async def clock_ms(self) -> int:
        """Return the `Date` of a fresh, cheap answer: the list of versions, which is no API call and needs no token."""
        answer = await self.ask_versions()
        # failpoint: clock.asked - the org told its time
        if answer.date_ms is None:
            raise UnavailableError(
                "the org's answers carry no Date: reads cannot be put in order", code="NO_DATE"
            )
        return answer.date_ms

    async def ask_versions(self) -> Answer:
        """Ask which API versions the org serves, without a token and without counting."""
        session = await self.session()
        answer = await self._exchange(
            session.instance_url, _Call("GET", "/services/data/", "versions", None), {}
        )
        if answer.status != 200:
            raise refusal(answer.status, answer.headers, answer.body)
        return answer

    async def recent_date_ms(self) -> int:
        """Return an instant of the org's clock that is past and not much older than `CLOCK_AGE_S_MAX`."""
        if self.last_date_ms is None or time.monotonic() - self._last_date_at > CLOCK_AGE_S_MAX:
            return await self.clock_ms()
        return self.last_date_ms

    def estimated_ms(self) -> int | None:
        """Return what the org's clock shows about now; for planning only, a read is dated by an answer."""
        if self.last_date_ms is None:
            return None
        return self.last_date_ms + round((time.monotonic() - self._last_date_at) * 1000)

    # ---- a second set of sockets, for a stream

    def open_http(self, cookies: aiohttp.CookieJar) -> aiohttp.ClientSession:
        """Return a client session with the same TLS rules, its own sockets and *cookies*; the caller closes it."""
        return open_http(self._link.tls, client_name=self._link.client_name, cookies=cookies)


@asynccontextmanager
async def open_connection(
    credentials: Credentials,
    *,
    api_version: str = API_VERSION,
    ca_file: Path | None = None,
    client_name: str = "sfsync",
    timings: LinkTimings | None = None,
) -> AsyncIterator[Connection]:
    """Log in and yield the connection; its sockets close with the block.

    Raises what `fetch_token` raises, and `ConfigError` for an API version or CA file that cannot be used.
    """
    if not _VERSION.fullmatch(api_version):
        raise ConfigError(f'api_version {api_version!r} is malformed: "66.0" is an example')
    link = Link(tls_context(ca_file), api_version, client_name, timings or LinkTimings())
    async with open_http(link.tls, client_name=client_name, cookies=aiohttp.DummyCookieJar()) as http:
        connection = Connection(http, credentials, link)
        await connection.session()
        yield connection


async def _whole(response: aiohttp.ClientResponse) -> Answer:
    """Read the answer that a download got in place of what it asked for."""
    body = await Body(response, size_max=ANSWER_BYTES_MAX).read_all()
    return Answer(response.status, response.headers, body, date_ms(response.headers))


def retrying(tries: int, kind: str) -> AsyncRetrying:
    """Return the one retry policy of this package: bounded, exponential with full jitter, obeying Retry-After."""
    jitter = wait_random_exponential(multiplier=0.5, max=30)

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else None
        return max(asked_s or 0.0, jitter(state))

    def announce(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info(
            "retry.scheduled",
            task=kind,
            attempt=state.attempt_number,
            wait_s=round(state.upcoming_sleep, 3),
            error=describe_error(error) if error else None,
        )

    return AsyncRetrying(
        stop=stop_after_attempt(tries),
        wait=wait_s,
        retry=retry_if_exception(_may_succeed_later),
        before_sleep=announce,
        reraise=True,
    )


def _may_succeed_later(error: BaseException) -> bool:
    """Tell whether repeating soon may help; a long `Retry-After` is the caller's to sit out."""
    return (
        isinstance(error, UnavailableError)
        and error.code not in _NOT_CURED_BY_REPEATING
        and (error.retry_after_s or 0.0) <= RETRY_AFTER_S_PATIENCE
    )

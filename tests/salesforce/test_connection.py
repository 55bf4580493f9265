"""One connection: one login for many failures, errors by code, bounded retries, nothing sent elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from sfsync.errors import (
    AuthError,
    ConfigError,
    LimitError,
    OrgMismatchError,
    QueryError,
    SalesforceError,
    UnavailableError,
)
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.budget import ApiUsage
from sfsync.salesforce.connection import Connection, LinkTimings, open_connection
from sfsync.salesforce.refusals import ERROR_BY_CODE, ERROR_BY_STATUS
from tests.salesforce.stub_org import (
    DATE_MS,
    Respond,
    StubOrg,
    answer,
    cut,
    cut_after,
    errors,
    gzipped,
    oauth_error,
    token_answer,
)

PATH = "/services/data/v66.0/limits/"
TOKEN = "/services/oauth2/token"
SAMPLES = Path(__file__).parents[1] / "samples"
OK = answer(
    b"{}", headers={"Sforce-Limit-Info": "api-usage=25/5000; per-app-api-usage=17/250(appName=my-app)"}
)


class ExpiringOrg:
    """Refuses every token but the newest, and lets all requests of a wave arrive before it answers any."""

    def __init__(self, stub: StubOrg, wave: int) -> None:
        self.stub = stub
        self.barrier = asyncio.Barrier(wave)

    async def respond(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer 00D5i000000Demo!token1":
            await self.barrier.wait()
            return await errors(401, "INVALID_SESSION_ID")(request, message)
        return await OK(request, message)


async def test_fifty_expired_requests_cause_one_login(stub: StubOrg, connection: Connection) -> None:
    """Fifty logins in a second lock the integration user out."""
    org = ExpiringOrg(stub, 10)
    stub.then(PATH, *[org.respond] * 100)
    answers = await asyncio.gather(*(connection.request("GET", PATH) for _ in range(50)))
    assert {one.status for one in answers} == {200}
    assert stub.logins == 2


async def test_fifty_requests_share_one_refused_login(stub: StubOrg, connection: Connection) -> None:
    """A refusal is shared like a success, or each waiter would try for itself."""
    connection.invalidate(await connection.session())
    stub.then(TOKEN, *[oauth_error(400, "invalid_grant", "authentication failure")] * 50)
    outcomes = await asyncio.gather(
        *(connection.request("GET", PATH) for _ in range(50)), return_exceptions=True
    )
    assert {type(one) for one in outcomes} == {AuthError}
    assert stub.count(TOKEN) == 2
    assert stub.count(PATH) == 0


async def test_refused_login_is_not_tried_again_at_once(
    stub: StubOrg, credentials: ClientCredentials
) -> None:
    """Sweep, refetch and stream each retry; together they must not hammer the login."""
    async with open_connection(credentials, timings=LinkTimings(login_pause_s=60)) as connection:
        connection.invalidate(await connection.session())
        stub.then(TOKEN, oauth_error(400, "invalid_grant", "authentication failure"))
        for _ in range(5):
            with pytest.raises(AuthError):
                await connection.request("GET", PATH)
    assert stub.count(TOKEN) == 2


async def test_cancelled_login_does_not_fail_the_others(stub: StubOrg, connection: Connection) -> None:
    """A caller that gives up while it logs in for all must hand the job on."""
    connection.invalidate(await connection.session())
    stub.then(TOKEN, stub.hang)
    stub.then(PATH, OK)
    first = asyncio.create_task(connection.request("GET", PATH))
    await stub.hung.wait()
    second = asyncio.create_task(connection.request("GET", PATH))
    first.cancel()
    assert (await asyncio.wait_for(second, 5)).status == 200


async def test_second_401_is_a_refusal(stub: StubOrg, connection: Connection) -> None:
    """A token that is refused right after the login will not get better by logging in."""
    stub.then(PATH, errors(401, "INVALID_SESSION_ID"), errors(401, "INVALID_SESSION_ID"))
    with pytest.raises(AuthError):
        await connection.request("GET", PATH)
    assert (stub.logins, stub.count(PATH)) == (2, 2)


FAKE = [
    json.loads((SAMPLES / "109-rest-error-401-scope.json").read_text())[0]["message"],
    "This session is not valid for use with the REST API",
    "Connected app is not attached to Agent",
]


@pytest.mark.parametrize("text", FAKE)
async def test_fake_401_causes_no_login(stub: StubOrg, credentials: ClientCredentials, text: str) -> None:
    """Missing scopes look like an expired session; logging in for them never ends."""
    stub.then(PATH, errors(401, "INVALID_SESSION_ID", text))
    async with open_connection(credentials) as connection:
        for _ in range(3):
            with pytest.raises(AuthError, match="scope"):
                await connection.request("GET", PATH)
    assert (stub.logins, stub.count(PATH)) == (1, 1)


async def test_login_that_leads_to_another_org_is_refused(stub: StubOrg, connection: Connection) -> None:
    """A refreshed sandbox answers to the same name; mixing two orgs cannot be undone."""
    connection.invalidate(await connection.session())
    other = token_answer(stub, "00D5i000000Othr!x") | {
        "id": f"{stub.url}/id/00D5i000000OthrEAC/0055i000000SyncAAE"
    }
    stub.then(TOKEN, answer(json.dumps(other).encode()))
    with pytest.raises(OrgMismatchError):
        await connection.request("GET", PATH)


CODES_OF_THE_GUIDE = [
    "INVALID_SESSION_ID",
    "REQUEST_LIMIT_EXCEEDED",
    "INSUFFICIENT_ACCESS",
    "FUNCTIONALITY_NOT_ENABLED",
    "API_DISABLED_FOR_ORG",
    "INVALID_FIELD",
    "INVALID_TYPE",
    "MALFORMED_QUERY",
    "QUERY_TIMEOUT",
    "INVALID_QUERY_LOCATOR",
    "INVALID_QUERY_FILTER_OPERATOR",
    "QUERY_TOO_COMPLICATED",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "EXCEEDED_ID_LIMIT",
    "INVALID_REPLICATION_DATE",
    "MALFORMED_ID",
    "NOT_FOUND",
    "ENTITY_IS_DELETED",
    "UNABLE_TO_LOCK_ROW",
    "DUPLICATES_DETECTED",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
    "UNSUPPORTED_API_VERSION",
    "UNKNOWN_EXCEPTION",
    "SERVER_UNAVAILABLE",
    "API_CURRENTLY_DISABLED",
    "INVALID_AUTH_HEADER",
]


def test_every_documented_code_is_mapped() -> None:
    """A code that nobody mapped gets a reaction that nobody chose."""
    assert sorted(ERROR_BY_CODE) == sorted(CODES_OF_THE_GUIDE)


@pytest.mark.parametrize("code", CODES_OF_THE_GUIDE)
async def test_each_code_becomes_its_class(stub: StubOrg, connection: Connection, code: str) -> None:
    """By code alone: the text is in the user's language, and holds values."""
    stub.then(PATH, errors(400, code, "value 'secret name' is wrong"))
    with pytest.raises(SalesforceError) as caught:
        await connection.request("GET", PATH)
    assert type(caught.value) is ERROR_BY_CODE[code]
    assert caught.value.code == code
    assert "secret name" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *ERROR_BY_STATUS.items(),
        (400, SalesforceError),
        (404, SalesforceError),
        (300, UnavailableError),
        (302, UnavailableError),
        (500, UnavailableError),
        (502, UnavailableError),
        (503, UnavailableError),
    ],
)
async def test_each_bare_status_becomes_its_class(
    stub: StubOrg, connection: Connection, status: int, expected: type[SalesforceError]
) -> None:
    """Edges and proxies answer in HTML, or with nothing."""
    stub.then(
        PATH, *[answer(b"<html>We are setting things up</html>", status=status, content_type="text/html")] * 2
    )
    with pytest.raises(SalesforceError) as caught:
        await connection.request("GET", PATH)
    assert type(caught.value) is expected


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("1*-rest-error-*.json")), ids=lambda path: path.stem)
async def test_captured_error_arrays_are_understood(
    stub: StubOrg, connection: Connection, sample: Path
) -> None:
    """What real orgs sent."""
    body = sample.read_bytes()
    stub.then(PATH, *[answer(body, status=int(sample.stem.split("-")[3]))] * 2)
    with pytest.raises(SalesforceError) as caught:
        await connection.request("GET", PATH)
    code = json.loads(body)[0]["errorCode"]
    assert (type(caught.value), caught.value.code) == (ERROR_BY_CODE[code], code)


async def test_first_known_code_of_several_decides(stub: StubOrg, connection: Connection) -> None:
    """An array may hold more than one element."""
    body = [{"errorCode": "NEVER_HEARD_OF", "message": ""}, {"errorCode": "INVALID_FIELD", "message": ""}]
    stub.then(PATH, answer(json.dumps(body).encode(), status=400))
    with pytest.raises(QueryError):
        await connection.request("GET", PATH)


async def test_missing_field_is_named(stub: StubOrg, connection: Connection) -> None:
    """The one part of a message that the operator needs and that holds no value."""
    text = "\nSELECT Id, Foo__c FROM Lead\n ^\nERROR at Row:1:Column:12\nNo such column 'Foo__c' on entity 'Lead'. If you"
    stub.then(PATH, errors(400, "INVALID_FIELD", text))
    with pytest.raises(QueryError, match="no field Foo__c on Lead"):
        await connection.request("GET", PATH)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [("5000/5000", 900), ("18/5000", 30), (None, 300)],
    ids=["daily", "concurrent", "unknown"],
)
async def test_daily_and_concurrent_limits_wait_differently(
    stub: StubOrg, connection: Connection, usage: str | None, expected: float
) -> None:
    """One errorCode stands for both: a spent day wants a long wait, 25 long requests a short one."""
    headers = {"Sforce_Limit_Info": f"api-usage={usage}"} if usage else {}
    stub.then(PATH, errors(403, "REQUEST_LIMIT_EXCEEDED", **headers))
    with pytest.raises(LimitError) as caught:
        await connection.request("GET", PATH)
    assert caught.value.retry_after_s == expected


async def test_usage_calls_and_date_are_kept(stub: StubOrg, connection: Connection) -> None:
    """Budget, certificates and the clock rule stand on them; the clock and logins cost no API call."""
    stub.then(PATH, OK, OK)
    await connection.request("GET", PATH, kind="limits")
    await connection.request("GET", PATH, kind="limits")
    assert await connection.clock_ms() == DATE_MS
    assert connection.api_usage == ApiUsage(25, 5000)
    assert connection.calls == {"limits": 2}
    assert connection.last_date_ms == DATE_MS


async def test_clock_needs_no_token(stub: StubOrg, connection: Connection) -> None:
    """It is asked before every read after a pause, and must not depend on a session."""
    await connection.clock_ms()
    assert "Authorization" not in stub.seen[-1].headers
    assert stub.seen[-1].path == "/services/data/"


async def test_error_page_does_not_set_the_clock(stub: StubOrg, connection: Connection) -> None:
    """A proxy's clock is not the org's."""
    stub.then("/services/data/", answer(b"", status=503))
    with pytest.raises(UnavailableError):
        await connection.clock_ms()
    assert connection.last_date_ms is None


async def test_outage_is_retried_as_often_as_asked(stub: StubOrg, connection: Connection) -> None:
    """A short outage should not fail a sweep; an endless loop should not hide a long one."""
    stub.then(PATH, cut, errors(503, "SERVER_UNAVAILABLE"), OK)
    assert (await connection.read(PATH, kind="limits", tries=3)).status == 200
    stub.then(PATH, *[errors(503, "SERVER_UNAVAILABLE")] * 5)
    with pytest.raises(UnavailableError):
        await connection.read(PATH, kind="limits", tries=2)
    assert stub.count(PATH) == 5


@pytest.mark.parametrize(
    "code", ["INVALID_FIELD", "REQUEST_LIMIT_EXCEEDED", "INVALID_QUERY_LOCATOR", "NOT_FOUND"]
)
async def test_what_repeating_does_not_cure_is_not_repeated(
    stub: StubOrg, connection: Connection, code: str
) -> None:
    """Each call counts against the day's allocation."""
    stub.then(PATH, *[errors(400, code)] * 3)
    with pytest.raises(SalesforceError):
        await connection.read(PATH, kind="query", tries=3)
    assert stub.count(PATH) == 1


async def test_retry_after_is_obeyed(stub: StubOrg, connection: Connection) -> None:
    """Short ones are sat out, long ones are the caller's decision."""
    stub.then(PATH, errors(503, "SERVER_UNAVAILABLE", Retry_After="1"), OK)
    started = asyncio.get_running_loop().time()
    await connection.read(PATH, kind="limits", tries=2)
    assert asyncio.get_running_loop().time() - started >= 1
    stub.then(PATH, errors(503, "SERVER_UNAVAILABLE", Retry_After="600"))
    with pytest.raises(UnavailableError) as caught:
        await connection.read(PATH, kind="limits", tries=2)
    assert caught.value.retry_after_s == 600


@pytest.fixture
async def trap() -> AsyncIterator[StubOrg]:
    """A second server, where nothing must ever arrive."""
    org = StubOrg()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", org.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    org.url = f"http://localhost:{runner.addresses[0][1]}"
    yield org
    await runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed_and_asks_for_a_new_login(
    stub: StubOrg, connection: Connection, trap: StubOrg, status: int
) -> None:
    """A redirect would carry the token along; a moved org tells its new address at the next login."""
    stub.then(PATH, answer(b"", status=status, headers={"Location": trap.url + PATH}))
    with pytest.raises(UnavailableError):
        await connection.request("GET", PATH)
    assert not trap.seen
    stub.then(PATH, OK)
    await connection.request("GET", PATH)
    assert stub.logins == 2


@pytest.mark.parametrize(
    "reply", [cut, errors(500, "X"), errors(403, "API_DISABLED_FOR_ORG"), cut_after(b"x", announced=9)]
)
async def test_no_token_in_exception_or_log(
    stub: StubOrg, connection: Connection, reply: Respond, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback goes wherever logs go, and the token is as good as a password for two hours."""
    caplog.set_level(logging.DEBUG)
    stub.then(PATH, *[reply] * 2)
    with structlog.testing.capture_logs() as entries, pytest.raises(SalesforceError) as caught:
        await connection.read(PATH, kind="limits", tries=2)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    token = (await connection.session()).access_token.reveal()
    assert token not in shown + caplog.text + repr(entries) + repr(connection) + repr(vars(connection))


async def test_proxy_of_the_environment_is_ignored(
    stub: StubOrg, connection: Connection, trap: StubOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable left over in a shell must not send the token through somebody's proxy."""
    monkeypatch.setenv("http_proxy", trap.url)
    monkeypatch.setenv("HTTP_PROXY", trap.url)
    stub.then(PATH, OK)
    await connection.request("GET", PATH)
    assert not trap.seen


@pytest.mark.parametrize(
    "path", ["//evil.example/services/", "https://evil.example", "/cometd/66.0", "services/data"]
)
async def test_path_outside_the_api_is_not_requested(
    stub: StubOrg, connection: Connection, path: str
) -> None:
    """A locator is an answer, and answers are not trusted."""
    with pytest.raises(SalesforceError):
        await connection.request("GET", path)
    assert stub.count("/") == 1


async def test_gzip_bomb_stays_bounded(stub: StubOrg, connection: Connection) -> None:
    """100 KB on the wire, 100 MB of blanks."""
    stub.then(PATH, gzipped(b" " * (100 << 20)))
    with pytest.raises(UnavailableError, match="larger than"):
        await connection.request("GET", PATH)


async def test_compressed_answer_is_inflated(stub: StubOrg, connection: Connection) -> None:
    """Pages of records shrink to a tenth."""
    body = json.dumps({"name": "山田" * 100_000}).encode()
    stub.then(PATH, gzipped(body))
    assert (await connection.request("GET", PATH)).body == body
    assert stub.seen[-1].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("body", [b"x" * 10, b""])
async def test_body_that_is_cut_is_an_outage(stub: StubOrg, connection: Connection, body: bytes) -> None:
    """Half a page must not pass for a page."""
    stub.then(PATH, cut_after(body, announced=100))
    with pytest.raises(UnavailableError):
        await connection.request("GET", PATH)


async def test_silence_ends_at_the_deadline(stub: StubOrg, credentials: ClientCredentials) -> None:
    """A half-open line gives no error by itself, ever."""
    async with open_connection(credentials, timings=LinkTimings(request_s=0.2)) as connection:
        stub.then(PATH, stub.hang)
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(connection.request("GET", PATH), 5)


@pytest.mark.parametrize("version", ["66", "66.1", "../66.0", "v66.0", ""])
async def test_malformed_api_version_is_a_configuration_error(
    credentials: ClientCredentials, version: str
) -> None:
    """It becomes part of every path."""
    with pytest.raises(ConfigError):
        async with open_connection(credentials, api_version=version):
            pass


async def test_ca_file_that_cannot_be_used_is_a_configuration_error(
    credentials: ClientCredentials, tmp_path: Path
) -> None:
    """Going on without it would fail later with a riddle."""
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(ConfigError, match="CA file"):
            async with open_connection(credentials, ca_file=path):
                pass

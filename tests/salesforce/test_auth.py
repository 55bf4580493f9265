"""Logging in: each flow sends what it should, each refusal has its class, no answer sends us elsewhere."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import time
import traceback
from dataclasses import replace
from urllib.parse import parse_qs

import aiohttp
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sfsync.errors import AuthError, ConfigError, LimitError, SalesforceError, UnavailableError
from sfsync.salesforce.auth import (
    ClientCredentials,
    Credentials,
    JwtBearer,
    LegacyPassword,
    RefreshToken,
    _grant,
    check_instance_url,
    check_login_url,
    fetch_token,
)
from sfsync.salesforce.connection import open_connection
from sfsync.salesforce.secret import Secret
from tests.salesforce.conftest import CANARY
from tests.salesforce.stub_org import ORG_ID, Respond, StubOrg, answer, cut, errors, oauth_error, token_answer

TOKEN = "/services/oauth2/token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


async def log_in(credentials: Credentials) -> str:
    async with open_connection(credentials) as connection:
        return connection.org_id


def form(stub: StubOrg) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(stub.seen[0].body.decode()).items()}


async def test_jwt_is_signed_short_lived_and_in_seconds(stub: StubOrg) -> None:
    """Milliseconds in `exp` is the classic mistake; a long life makes a stolen assertion useful."""
    credentials = JwtBearer("key", "sync@acme.example", Secret(PEM), stub.url)
    assert await log_in(credentials) == ORG_ID
    sent = form(stub)
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(
        sent["assertion"], KEY.public_key(), ["RS256"], audience="https://login.salesforce.com"
    )
    assert (claims["iss"], claims["sub"]) == ("key", "sync@acme.example")
    assert 170 < claims["exp"] - time.time() <= 180


@pytest.mark.parametrize(
    ("login_url", "audience", "expected"),
    [
        ("https://login.salesforce.com", None, "https://login.salesforce.com"),
        ("https://test.salesforce.com", None, "https://test.salesforce.com"),
        ("https://acme--dev.sandbox.my.salesforce.com", None, "https://test.salesforce.com"),
        ("https://acme.my.salesforce.com", None, "https://login.salesforce.com"),
        (
            "https://acme.my.salesforce.com",
            "https://acme.my.salesforce.com",
            "https://acme.my.salesforce.com",
        ),
    ],
)
def test_audience_fits_the_kind_of_org(login_url: str, audience: str | None, expected: str) -> None:
    """A sandbox refuses the production audience, with a text that does not say so."""
    assertion = _grant(JwtBearer("key", "user", Secret(PEM), login_url, audience), login_url)["assertion"]
    assert jwt.decode(assertion, options={"verify_signature": False})["aud"] == expected


async def test_key_that_cannot_be_read_is_a_configuration_error(stub: StubOrg) -> None:
    """Retrying would never help, and the message must not quote the key."""
    with pytest.raises(ConfigError) as caught:
        await log_in(JwtBearer("key", "user", Secret("-----BEGIN " + CANARY), stub.url))
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not stub.seen


async def test_client_credentials_and_legacy_password_send_their_form(stub: StubOrg) -> None:
    """The security token follows the password without a separator."""
    await log_in(ClientCredentials("key", Secret("s3&="), stub.url))
    assert form(stub) == {"grant_type": "client_credentials", "client_id": "key", "client_secret": "s3&="}
    stub.seen.clear()
    await log_in(LegacyPassword("key", Secret("s"), "user", Secret("pass"), Secret("TOKEN"), stub.url))
    assert form(stub)["grant_type"] == "password"
    assert form(stub)["password"] == "passTOKEN"


async def test_rotated_refresh_token_is_saved_and_used_next_time(stub: StubOrg) -> None:
    """With rotation on, using the old token again may revoke the whole grant."""
    saved: list[Secret] = []
    for number in (1, 2):
        fresh = token_answer(stub, f"00D5i000000Demo!{number}") | {"refresh_token": f"rotated{number}"}
        stub.then(TOKEN, answer(json.dumps(fresh).encode()))
    credentials = RefreshToken("key", Secret("first"), Secret("s"), stub.url, saved.append)
    async with open_connection(credentials) as connection:
        connection.invalidate(await connection.session())
        await connection.session()
    sent = [parse_qs(one.body.decode())["refresh_token"][0] for one in stub.seen]
    assert sent == ["first", "rotated1"]
    assert [one.reveal() for one in saved] == ["rotated1", "rotated2"]


REFUSALS: list[tuple[Respond, type[SalesforceError], str | None]] = [
    (oauth_error(400, "invalid_grant", "authentication failure"), AuthError, "disabled"),
    (oauth_error(400, "invalid_grant", "request not supported on this domain"), AuthError, "My Domain"),
    (oauth_error(400, "invalid_grant", "no client credentials user enabled"), AuthError, "Run As"),
    (oauth_error(400, "invalid_grant", "user hasn't approved this consumer"), AuthError, "pre-authorised"),
    (oauth_error(400, "invalid_grant", "invalid assertion"), AuthError, "certificate"),
    (oauth_error(400, "invalid_grant", "audience is invalid"), AuthError, "audience"),
    (oauth_error(400, "invalid_grant", "expired authorization code"), AuthError, "clock"),
    (oauth_error(400, "invalid_grant", "expired access/refresh token"), AuthError, "authorise again"),
    (oauth_error(400, "invalid_grant", "ip restricted"), AuthError, "ranges"),
    (oauth_error(400, "invalid_client_id", "client identifier invalid"), AuthError, "client id"),
    (oauth_error(401, "invalid_client", "invalid client credentials"), AuthError, "client secret"),
    (
        oauth_error(400, "invalid_app_access", "user is not admin approved to access this app"),
        AuthError,
        "profile",
    ),
    (oauth_error(400, "unsupported_grant_type", "grant type not supported"), AuthError, "flow"),
    (oauth_error(400, "inactive_user", "user is inactive"), AuthError, None),
    (oauth_error(400, "inactive_org", "organization is inactive"), AuthError, None),
    (oauth_error(400, "rate_limit_exceeded", "login rate exceeded"), LimitError, None),
    (answer(b"", status=429), LimitError, None),
    (oauth_error(400, "server_error", "try again"), UnavailableError, None),
    (oauth_error(500, "invalid_grant", "authentication failure"), UnavailableError, None),
    (answer(b"<html>", status=503, content_type="text/html"), UnavailableError, None),
    (answer(b"<html>", status=400, content_type="text/html"), UnavailableError, None),
    (answer(b"<html>login</html>"), UnavailableError, None),
    (answer(b"[]"), UnavailableError, None),
    (answer(b"", status=302, headers={"Location": "/elsewhere"}), UnavailableError, None),
    (errors(400, "ODD"), UnavailableError, None),
    (cut, UnavailableError, None),
]


@pytest.mark.parametrize(("reply", "expected", "hint"), REFUSALS, ids=range(len(REFUSALS)))
async def test_each_refusal_of_the_token_endpoint_has_its_class(
    stub: StubOrg,
    credentials: ClientCredentials,
    reply: Respond,
    expected: type[SalesforceError],
    hint: str | None,
) -> None:
    """Taken for an outage, a refusal becomes a login storm; taken for a refusal, an outage stops the daemon."""
    stub.then(TOKEN, reply)
    with pytest.raises(SalesforceError) as caught:
        await log_in(credentials)
    assert type(caught.value) is expected
    assert (hint or "") in str(caught.value)
    assert len(stub.seen) == 1


async def test_unknown_description_is_not_repeated(stub: StubOrg, credentials: ClientCredentials) -> None:
    """The text is somebody else's, and error messages go to the log."""
    stub.then(TOKEN, oauth_error(400, "invalid_grant", f"said {CANARY}"))
    with pytest.raises(AuthError) as caught:
        await log_in(credentials)
    assert CANARY not in str(caught.value)


ATTACKS = [
    "http://acme.my.salesforce.com",
    "https://evil.example",
    "https://acme.my.salesforce.com.evil.example",
    "https://evil.example/.salesforce.com",
    "https://evilsalesforce.com",
    "https://salesforce.com.evil.example",
    "https://user@acme.my.salesforce.com",
    "https://acme.my.salesforce.com@evil.example",
    "https://169.254.169.254",
    "http://169.254.169.254/",
    "https://[fd00::1]",
    "https://acme.my.salesforce.com:8443",
    "https://acme.my.salesforce.com/path",
    "https://acme.my.salesforce.com?x",
    "https://acme.my.salesforce.com#x",
    "https://acme.my.salesforce.com\\evil.example",
    "https://evil.example\\.salesforce.com",
    "https://acme..salesforce.com",
    "https://acme.my.salesforce.com\n",
    "https://acme.my.sale\u017fforce.com",
    "https://xn--salesforce-.example",
    "//acme.my.salesforce.com",
    "acme.my.salesforce.com",
    "\\\\evil.example",
    "https://localhost",
    "http://localhost:8080",
    "",
]


@pytest.mark.parametrize("url", ATTACKS)
def test_instance_url_outside_salesforce_is_refused(url: str) -> None:
    """Whoever can answer for the token endpoint must not choose where the token goes."""
    with pytest.raises(SalesforceError):
        check_instance_url(url, "https://login.salesforce.com")


@pytest.mark.parametrize(
    ("url", "login_url"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme.my.salesforce.com/", "https://login.salesforce.com"),
        ("https://ACME.my.salesforce.com", "https://acme.my.salesforce.com"),
        ("https://acme--dev.sandbox.my.salesforce.com:443", "https://test.salesforce.com"),
        ("https://na1.salesforce.com", "https://login.salesforce.com"),
        ("https://crm.acme.example", "https://crm.acme.example"),
        ("https://crm.acme.example:8443", "https://crm.acme.example:8443"),
        ("http://localhost:8080", "http://localhost:9090"),
        ("https://localhost:8080", "https://localhost:8080"),
    ],
)
def test_instance_url_of_salesforce_or_of_the_login_host_is_taken(url: str, login_url: str) -> None:
    """Sandboxes, My Domains and a simulated org must work."""
    assert check_instance_url(url, login_url) == url.lower().rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "https://evil.example",
        "http://10.0.0.1:8080",
        "https://acme.my.salesforce.com",
    ],
)
async def test_simulated_org_cannot_send_us_off_the_machine(
    stub: StubOrg, credentials: ClientCredentials, url: str
) -> None:
    """No request leaves: the only one seen is the login."""
    stub.instance_url = url
    with pytest.raises(SalesforceError, match="instance_url"):
        await log_in(credentials)
    assert [one.path for one in stub.seen] == [TOKEN]


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.my.salesforce.com",
        "ftp://localhost",
        "https://user@host",
        "https://host/path",
        "login.salesforce.com",
        "",
    ],
)
def test_login_url_must_be_a_plain_https_origin(url: str) -> None:
    """A password sent in the clear, or to a path of somebody's choice, is lost."""
    with pytest.raises(ConfigError):
        check_login_url(url)


@pytest.mark.parametrize(
    "broken",
    [
        {"access_token": "with space and\r\nheader: x"},
        {"access_token": ""},
        {"id": "https://login.salesforce.com/nothing"},
        {"id": f"https://login.salesforce.com/id/{ORG_ID}x/0055i000000SyncAAE"},
    ],
)
async def test_malformed_token_answer_is_refused(
    stub: StubOrg, credentials: ClientCredentials, broken: dict[str, str]
) -> None:
    """A token with a line break in it would write headers of its own."""
    stub.then(TOKEN, answer(json.dumps(token_answer(stub, "00D5i000000Demo!x") | broken).encode()))
    with pytest.raises(SalesforceError, match="malformed"):
        await log_in(credentials)


async def test_token_answer_is_bounded(stub: StubOrg, credentials: ClientCredentials) -> None:
    """The login host is not trusted with our memory either."""
    stub.then(TOKEN, answer(b" " * (1 << 20)))
    with pytest.raises(UnavailableError, match="larger"):
        await log_in(credentials)


def test_secret_shows_itself_to_nobody() -> None:
    """Every way of turning an object into text that a program uses without thinking."""
    secret = Secret(CANARY)
    credentials = ClientCredentials("key", secret, "https://acme.my.salesforce.com")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>10}",
        "{}".format(secret),  # noqa: UP032 - one more way to show it.
        repr(credentials),
        str([secret]),
    ]
    assert not [text for text in shown if CANARY in text]
    assert "***" in repr(credentials)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(credentials)
    with pytest.raises(TypeError):
        copy.deepcopy(credentials)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert replace(credentials, client_id="other").client_secret is secret


@pytest.mark.parametrize(
    "reply", [errors(500, "X"), oauth_error(400, "invalid_grant", CANARY), cut, answer(CANARY.encode())]
)
async def test_no_secret_in_exception_or_log(
    stub: StubOrg, credentials: ClientCredentials, reply: Respond, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback goes wherever logs go."""
    caplog.set_level(logging.DEBUG)
    stub.then(TOKEN, reply)
    out = io.StringIO()
    with structlog.testing.capture_logs() as entries, pytest.raises(SalesforceError) as caught:
        await log_in(credentials)
    traceback.print_exception(caught.value, file=out)
    assert CANARY not in out.getvalue() + caplog.text + repr(entries) + repr(vars(caught.value))


async def test_successful_login_logs_flow_and_org_only(stub: StubOrg, credentials: ClientCredentials) -> None:
    """The token is in memory and nowhere else."""
    with structlog.testing.capture_logs() as entries:
        async with open_connection(credentials) as connection:
            session = await connection.session()
    assert entries == [
        {
            "event": "salesforce.token.fetched",
            "flow": "client_credentials",
            "org": ORG_ID,
            "log_level": "info",
        }
    ]
    assert session.access_token.reveal() not in repr(session) + repr(vars(connection))


async def test_fetch_token_needs_no_connection(stub: StubOrg, credentials: ClientCredentials) -> None:
    """`sfsync check` logs in without opening anything else."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        session = await fetch_token(http, credentials)
    assert (session.org_id, session.instance_url) == (ORG_ID, stub.url)

"""Log in: one credential type per OAuth flow, one function that turns it into an access token.

Why: a client that guesses the flow from which arguments are set cannot say what is missing. Each type holds
exactly what its flow needs, and its secrets cannot be printed.

`instance_url` of the answer is untrusted input: whoever can make the token endpoint (or a cache before it)
answer chooses where our token goes next. Only https to Salesforce's own domains or to the login host is
taken; a simulated org on loopback may name any loopback address, and nothing else.

Source: Salesforce help "OAuth Authorization Flows"; JWT claims as simple-salesforce sends them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
import jwt
import msgspec

from ..core.ids import checksum
from ..errors import ConfigError, SalesforceError, UnavailableError
from .refusals import token_refusal
from .secret import Secret
from .transport import CONNECT_S, Body, network_errors

PRODUCTION_LOGIN = "https://login.salesforce.com"
SANDBOX_LOGIN = "https://test.salesforce.com"
TOKEN_PATH = "/services/oauth2/token"  # noqa: S105 - a path, not a token.
JWT_LIFETIME_S = 180
LOGIN_S = 30.0
_ANSWER_BYTES_MAX = 256 * 1024

_ORIGIN = re.compile(r"(https?)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[::1\])(?::([0-9]{1,5}))?/?", re.ASCII)
_IDENTITY = re.compile(
    r"https?://[^/]+/id/([0-9A-Za-z]{15}|[0-9A-Za-z]{18})/([0-9A-Za-z]{15}|[0-9A-Za-z]{18})", re.ASCII
)
_TOKEN = re.compile(r"[!-~]{8,16384}", re.ASCII)
_SALESFORCE_HOSTS = (".salesforce.com", ".salesforce.mil", ".sfcrmproducts.cn")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """A private key whose certificate the app knows; the recommended flow.

    `audience` None: production or sandbox login, whichever fits `login_url`.
    """

    client_id: str
    username: str
    private_key: Secret
    login_url: str = PRODUCTION_LOGIN
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The app's own secret; `login_url` must be the org's My Domain."""

    client_id: str
    client_secret: Secret
    login_url: str


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token from an earlier interactive login.

    `save_rotated` MUST have stored a new refresh token durably when it returns: with rotation on, the old
    one is dead from then on and using it again may revoke the whole grant.
    """

    client_id: str
    refresh_token: Secret
    client_secret: Secret | None = None
    login_url: str = PRODUCTION_LOGIN
    save_rotated: Callable[[Secret], None] | None = None


@dataclass(frozen=True, slots=True)
class LegacyPassword:
    """Username and password; Salesforce ends this flow in February 2027."""

    client_id: str
    client_secret: Secret
    username: str
    password: Secret
    security_token: Secret
    login_url: str = PRODUCTION_LOGIN


Credentials = JwtBearer | ClientCredentials | RefreshToken | LegacyPassword


@dataclass(frozen=True, slots=True)
class Session:
    """One successful login. `rotated` is the refresh token that replaces the one just used."""

    access_token: Secret
    instance_url: str
    org_id: str
    user_id: str
    fetched_at: datetime
    rotated: Secret | None = None


class _TokenAnswer(msgspec.Struct):
    access_token: str
    instance_url: str
    id: str
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "_TokenAnswer(***)"


def flow_of(credentials: Credentials) -> str:
    """Name the flow for the log."""
    match credentials:
        case JwtBearer():
            return "jwt_bearer"
        case ClientCredentials():
            return "client_credentials"
        case RefreshToken():
            return "refresh_token"
        case LegacyPassword():
            return "legacy_password"


def check_login_url(url: str) -> str:
    """Return *url* without a trailing slash, or raise `ConfigError`: https, or a simulated org on loopback."""
    found = _origin(url)
    if found is None or (found[1] == "http" and found[2] not in _LOOPBACK_HOSTS):
        raise ConfigError(
            "login_url must be https://HOST without path, for example https://acme.my.salesforce.com "
            "(plain http is taken for localhost only)"
        )
    return found[0].rstrip("/")


def check_instance_url(url: str, login_url: str) -> str:
    """Return the origin that our token may be sent to, or raise `SalesforceError`.

    A login at loopback (a simulated org) leads to loopback and nowhere else; any other login leads, by https on
    port 443, to Salesforce's domains or back to the login host.
    """
    login = urlsplit(check_login_url(login_url))
    found = _origin(url)
    if found is None:
        raise SalesforceError(
            "the login answered with an instance_url that is no plain https origin", code="INSTANCE_URL"
        )
    scheme, host, port = found.groups()
    if _bracketed(login.hostname or "") in _LOOPBACK_HOSTS:
        is_allowed = host in _LOOPBACK_HOSTS
    else:
        is_own = host == login.hostname and port in (None, "443", str(login.port))
        is_salesforce = host.endswith(_SALESFORCE_HOSTS) and ".." not in host and port in (None, "443")
        is_allowed = scheme == "https" and (is_own or is_salesforce)
    if not is_allowed:
        raise SalesforceError(
            "the login answered with an instance_url outside Salesforce; nothing was sent there",
            code="INSTANCE_URL",
        )
    return found[0].rstrip("/")


async def fetch_token(http: aiohttp.ClientSession, credentials: Credentials) -> Session:
    """Log in once, without retry.

    Raises `AuthError` when the credentials are refused, `LimitError` when logins are limited,
    `UnavailableError` when the endpoint is away, `SalesforceError` when its answer cannot be trusted.
    """
    login_url = check_login_url(credentials.login_url)
    timeout = aiohttp.ClientTimeout(total=LOGIN_S, sock_connect=CONNECT_S)
    with network_errors("the token endpoint cannot be reached"):
        async with http.post(
            login_url + TOKEN_PATH,
            data=_grant(credentials, login_url),
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            body = await Body(response, size_max=_ANSWER_BYTES_MAX).read_all()
    if response.status != 200:
        raise token_refusal(response.status, response.headers, body)
    return _session(body, login_url, credentials)


def _session(body: bytes, login_url: str, credentials: Credentials) -> Session:
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except (ValueError, RecursionError):
        # The cause is not chained: it could quote the body, which holds the token.
        raise UnavailableError("the token endpoint answered 200 without a token", code="NO_TOKEN") from None
    identity = _IDENTITY.fullmatch(answer.id)
    if identity is None or not _TOKEN.fullmatch(answer.access_token):
        raise SalesforceError(
            "the token endpoint's answer is malformed (id or access_token)", code="TOKEN_ANSWER"
        )
    session = Session(
        access_token=Secret(answer.access_token),
        instance_url=check_instance_url(answer.instance_url, login_url),
        org_id=_id18(identity[1]),
        user_id=_id18(identity[2]),
        fetched_at=datetime.now(UTC),
        rotated=Secret(answer.refresh_token) if answer.refresh_token else None,
    )
    if isinstance(credentials, RefreshToken) and session.rotated and credentials.save_rotated:
        credentials.save_rotated(session.rotated)
    return session


def _id18(one: str) -> str:
    return one + checksum(one) if len(one) == 15 else one


def _grant(credentials: Credentials, login_url: str) -> dict[str, str]:
    """Return the form of the token request."""
    match credentials:
        case JwtBearer():
            grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
            return {"grant_type": grant, "assertion": _assertion(credentials, login_url)}
        case ClientCredentials():
            return {
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret.reveal(),
            }
        case RefreshToken():
            form = {
                "grant_type": "refresh_token",
                "client_id": credentials.client_id,
                "refresh_token": credentials.refresh_token.reveal(),
            }
            if credentials.client_secret:
                form["client_secret"] = credentials.client_secret.reveal()
            return form
        case LegacyPassword():
            return {
                "grant_type": "password",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret.reveal(),
                "username": credentials.username,
                "password": credentials.password.reveal() + credentials.security_token.reveal(),
            }


def _assertion(credentials: JwtBearer, login_url: str) -> str:
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.username,
        "aud": credentials.audience or _audience(login_url),
        "exp": int(time.time()) + JWT_LIFETIME_S,
    }
    try:
        return jwt.encode(claims, credentials.private_key.reveal(), algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError):
        # Not chained: the cryptography library may quote what it could not read.
        raise ConfigError(
            "the private key cannot be read: an unencrypted RSA key in PEM form is expected"
        ) from None


def _origin(url: str) -> re.Match[str] | None:
    # Lower case only after the ASCII check: `lower` turns a Kelvin sign into a k.
    return _ORIGIN.fullmatch(url.lower()) if url.isascii() else None


def _audience(login_url: str) -> str:
    host = urlsplit(login_url).hostname or ""
    return SANDBOX_LOGIN if host == "test.salesforce.com" or ".sandbox." in host else PRODUCTION_LOGIN


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

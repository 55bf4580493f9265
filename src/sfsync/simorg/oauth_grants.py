"""The four ways to log in at the token endpoint, with the checks and refusals of Salesforce.

Why: a login that always works would let a client ship with a wrong audience, an unsigned assertion or a lost rotated
refresh token. The JWT's times are judged by the machine's clock as well as by the org's, because a client cannot know
that a test has moved the latter.

Source: Salesforce Help, "OAuth 2.0 JWT Bearer Flow", "Client Credentials Flow", "Refresh Token Flow",
"Username-Password Flow"; simple-salesforce (Basic header, `exp` as text).
"""

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from sfsync.simorg.oauth_errors import refusal

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_HOSTS = ("login.", "test.")
# Five minutes, and half a minute for clocks that differ.
ASSERTION_LIFETIME_S_MAX = 330


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint: its form, its Basic credentials in it, and the address it was sent to."""

    form: Mapping[str, str]
    url: str
    host: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A login that was granted."""

    user_id: str
    client_id: str
    refresh_token: str | None = None


def grant(org: "Org", request: TokenRequest) -> Grant:
    """Log in by the request's grant type. Raises OAuthError."""
    by_type: dict[str, Callable[[Org, TokenRequest], Grant]] = {
        "client_credentials": _client_credentials,
        "password": _password,
        "refresh_token": _refresh_token,
        JWT_BEARER: _jwt_bearer,
    }
    flow = by_type.get(request.form.get("grant_type", ""))
    if flow is None:
        raise refusal("unknown_grant")
    if org.settings.login_state != "ok":
        raise refusal(org.settings.login_state)
    return flow(org, request)


def basic_credentials(authorization: str | None) -> dict[str, str]:
    """Return client_id and client_secret of a Basic `Authorization` header, or nothing."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return {}
    return {"client_id": client_id, "client_secret": secret}


def user_named(org: "Org", username: str) -> str | None:
    """Return the id of an active user."""
    for user_id, fields in org.world.snapshot().by_id("User"):
        if str(fields.get("Username", "")).lower() == username.lower():
            return user_id
    return None


def check_password(org: "Org", username: str, password: str) -> str:
    """Return the user's id. Raises OAuthError; the security token may follow the password, for trusted networks not."""
    known = (org.credentials.password, org.credentials.password + org.credentials.security_token)
    user_id = user_named(org, username)
    if user_id is None or not any(_same(password, good) for good in known):
        raise refusal("authentication_failure")
    return user_id


def _client_credentials(org: "Org", request: TokenRequest) -> Grant:
    if request.host.startswith(LOGIN_HOSTS):
        raise refusal("wrong_domain")
    return Grant(org.credentials.user_id, _check_client(org, request.form))


def _password(org: "Org", request: TokenRequest) -> Grant:
    client_id = _check_client(org, request.form)
    user_id = check_password(org, request.form.get("username", ""), request.form.get("password", ""))
    return Grant(user_id, client_id)


def _refresh_token(org: "Org", request: TokenRequest) -> Grant:
    client_id = _check_client(org, request.form)
    old = request.form.get("refresh_token", "")
    user_id = org.sessions.refresh_user(old)
    if user_id is None:
        raise refusal("expired_refresh_token")
    if not org.settings.refresh_rotation:
        return Grant(user_id, client_id)
    org.sessions.retire_refresh_token(old)
    return Grant(user_id, client_id, org.sessions.issue_refresh_token(user_id))


def _jwt_bearer(org: "Org", request: TokenRequest) -> Grant:
    claims = _verified_claims(org, request.form.get("assertion", ""))
    if claims.get("iss") != org.credentials.client_id:
        raise refusal("unknown_client")
    if not _audiences(claims) & {
        "https://login.salesforce.com",
        "https://test.salesforce.com",
        org.url.rstrip("/"),
        request.url,
    }:
        raise refusal("wrong_audience")
    _check_expiry(org, claims.get("exp"))
    user_id = user_named(org, str(claims.get("sub", "")))
    if user_id is None:
        raise refusal("not_approved")
    return Grant(user_id, org.credentials.client_id)


def _verified_claims(org: "Org", assertion: str) -> dict[str, Any]:
    """Return the claims of an assertion whose RS256 signature is good."""
    if org.jwt_public_pem is None:
        raise refusal("invalid_assertion")
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion,
            org.jwt_public_pem,
            algorithms=["RS256"],
            options={
                "verify_signature": True,
                "verify_exp": False,
                "verify_aud": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_iss": False,
                "verify_sub": False,
            },
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise refusal("invalid_assertion") from error
    return claims


def _audiences(claims: Mapping[str, Any]) -> set[str]:
    audience = claims.get("aud")
    return {str(each).rstrip("/") for each in (audience if isinstance(audience, list) else [audience])}


def _check_expiry(org: "Org", claim: object) -> None:
    """Refuse an assertion that has ended, or that would live too long (such as one with milliseconds)."""
    try:
        expiry_s = float(str(claim))
    except ValueError as error:
        raise refusal("invalid_assertion") from error
    left = [expiry_s - now for now in (time.time(), org.clock.now_ms() / 1_000)]
    if all(seconds <= 0 for seconds in left):
        raise refusal("expired_assertion")
    if not any(0 < seconds <= ASSERTION_LIFETIME_S_MAX for seconds in left):
        raise refusal("invalid_assertion")


def _check_client(org: "Org", form: Mapping[str, str]) -> str:
    """Return the client id of a form with the right id and secret."""
    if form.get("client_id") != org.credentials.client_id:
        raise refusal("unknown_client")
    if not _same(form.get("client_secret", ""), org.credentials.client_secret):
        raise refusal("wrong_secret")
    return org.credentials.client_id


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())

"""What Salesforce refuses, translated into our errors: the only place that reads its codes.

Why: callers choose their reaction by class, so one table per protocol says which code means which reaction,
and a test lists every known code. Message texts are never read for a decision, with two exceptions that
Salesforce forces on everybody. Two 401s share `INVALID_SESSION_ID` with an expired session but mean missing
scopes, and logging in again for them would never end. And `REQUEST_LIMIT_EXCEEDED` stands for a day's calls that are
spent and for too many long requests at once, which call for very different waits; a text that says neither is
judged by the usage that Salesforce tells with every answer.

Source: Salesforce REST API guide "Status Codes and Error Responses", OAuth endpoint errors; jsforce for the two
fake 401s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import AuthError, LimitError, QueryError, SalesforceError, UnavailableError
from .transport import retry_after_s

ERROR_BY_CODE: Mapping[str, type[SalesforceError]] = {
    "INVALID_SESSION_ID": AuthError,
    "INVALID_AUTH_HEADER": AuthError,
    "API_DISABLED_FOR_ORG": AuthError,
    "API_CURRENTLY_DISABLED": AuthError,
    "REQUEST_LIMIT_EXCEEDED": LimitError,
    "INSUFFICIENT_ACCESS": QueryError,
    "FUNCTIONALITY_NOT_ENABLED": QueryError,
    "INVALID_FIELD": QueryError,
    "INVALID_TYPE": QueryError,
    "MALFORMED_QUERY": QueryError,
    "INVALID_QUERY_FILTER_OPERATOR": QueryError,
    "QUERY_TOO_COMPLICATED": QueryError,
    "NUMBER_OUTSIDE_VALID_RANGE": QueryError,
    "EXCEEDED_ID_LIMIT": QueryError,
    "INVALID_REPLICATION_DATE": QueryError,
    "MALFORMED_ID": QueryError,
    "NOT_FOUND": QueryError,
    "UNSUPPORTED_API_VERSION": QueryError,
    "ENTITY_IS_DELETED": SalesforceError,
    "QUERY_TIMEOUT": UnavailableError,
    "INVALID_QUERY_LOCATOR": UnavailableError,
    "UNABLE_TO_LOCK_ROW": UnavailableError,
    "UNKNOWN_EXCEPTION": UnavailableError,
    "SERVER_UNAVAILABLE": UnavailableError,
    "DUPLICATES_DETECTED": SalesforceError,
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": SalesforceError,
    "REQUIRED_FIELD_MISSING": SalesforceError,
    "STRING_TOO_LONG": SalesforceError,
}
"""errorCode of the data APIs to our class."""

ERROR_BY_STATUS: Mapping[int, type[SalesforceError]] = {
    401: AuthError,
    403: UnavailableError,
    406: UnavailableError,
    408: UnavailableError,
    410: QueryError,
    413: QueryError,
    414: QueryError,
    415: QueryError,
    420: UnavailableError,
    429: LimitError,
    431: QueryError,
}
"""HTTP status to our class where no known errorCode came with it; every 3xx and 5xx is `UnavailableError`."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,79}")
_NO_SUCH_FIELD = re.compile(r"No such column '([A-Za-z0-9_.]{1,80})' on entity '([A-Za-z0-9_]{1,80})'")
_FAKE_401 = ("This session is not valid for use with the", "Connected app is not attached to Agent")
_LIMIT_BY_TEXT = (("TotalRequests ", "daily"), ("Concurrent", "concurrent"))
_LIMIT_BY_USAGE = {True: "daily", False: "concurrent", None: "unsure"}
_RETRY_S = {"daily": 900.0, "concurrent": 30.0, "unsure": 300.0}


class RestError(msgspec.Struct):
    """One element of the data APIs' error array."""

    message: str = ""
    errorCode: str = ""  # noqa: N815 - Salesforce spells it so.


_decode_errors = msgspec.json.Decoder(list[RestError]).decode


def read_error_array(body: bytes) -> Sequence[RestError]:
    """Return the elements of an error array; none when *body* is something else (HTML, empty, cut)."""
    try:
        return _decode_errors(body)
    except (ValueError, RecursionError):
        return ()


def is_fake_401(errors: Sequence[RestError]) -> bool:
    """Tell whether a 401 means missing scopes, for which a new login is no cure."""
    return any(error.message.startswith(_FAKE_401) for error in errors)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, is_quota_spent: bool | None = None
) -> SalesforceError:
    """Return the error that an answer with *status* other than success means.

    *is_quota_spent* says whether the org's daily API calls are used up, where that is known; it decides about a
    limit whose text says nothing.
    """
    errors = read_error_array(body)
    known = next(
        (error for error in errors if error.errorCode in ERROR_BY_CODE), errors[0] if errors else RestError()
    )
    code = known.errorCode if _CODE.fullmatch(known.errorCode) else f"HTTP_{status}"
    wait_s = retry_after_s(headers)
    text = f"Salesforce answered {status} {code}{_detail(known)}"
    kind = ERROR_BY_CODE.get(code) or _class_by_status(status)
    if kind is LimitError:
        limit = _limit_of(known, is_quota_spent=is_quota_spent)
        retry_s = _RETRY_S[limit] if wait_s is None else wait_s
        return LimitError(f"{text} ({limit} limit)", code=code, retry_after_s=retry_s, limit=limit)
    if kind is UnavailableError:
        return UnavailableError(text, code=code, retry_after_s=wait_s)
    return kind(text, code=code)


def _limit_of(error: RestError, *, is_quota_spent: bool | None) -> str:
    """Name the limit that was met: daily, concurrent, or unsure."""
    told = (limit for begin, limit in _LIMIT_BY_TEXT if error.message.startswith(begin))
    return next(told, _LIMIT_BY_USAGE[is_quota_spent])


def _class_by_status(status: int) -> type[SalesforceError]:
    if status < 400 or status >= 500:
        return UnavailableError
    return ERROR_BY_STATUS.get(status, SalesforceError)


def _detail(error: RestError) -> str:
    """Name the field an INVALID_FIELD is about: an identifier, the one part of a message that holds no value."""
    if error.errorCode == "INVALID_FIELD" and (found := _NO_SUCH_FIELD.search(error.message)):
        return f": no field {found[1]} on {found[2]} for this user; it was removed, renamed or hidden"
    return ""


OAUTH_UNAVAILABLE = frozenset({"server_error", "temporarily_unavailable"})
OAUTH_LIMITED = frozenset({"rate_limit_exceeded"})
OAUTH_HINTS: Mapping[str, str] = {
    "authentication failure": "the user, password or token is wrong, or this flow is disabled in the org",
    "request not supported on this domain": "client credentials need the org's own My Domain as login URL",
    "no client credentials user enabled": "the app has no Run As user",
    "user hasn't approved this consumer": "the user is not pre-authorised for the app",
    "invalid assertion": "the private key does not belong to the app's certificate",
    "audience is invalid": "the audience must be https://login.salesforce.com or https://test.salesforce.com",
    "expired authorization code": "the JWT arrived expired: compare this machine's clock",
    "expired access/refresh token": "the refresh token was revoked or rotated away: authorise again",
    "ip restricted": "this machine's address is outside the allowed login ranges",
    "client identifier invalid": "the client id is wrong, or the app is younger than about 30 minutes",
    "invalid client credentials": "the client secret is wrong",
    "user is not admin approved to access this app": "assign the app to the user by profile or permission set",
    "grant type not supported": "the app does not allow this flow",
}
"""Known `error_description` texts and what to do; an unknown one is not repeated, somebody else wrote it."""


def token_refusal(status: int, headers: Mapping[str, str], body: bytes) -> SalesforceError:
    """Return the error that the token endpoint's answer means: refused, limited, or just away."""
    wait_s = retry_after_s(headers)
    try:
        answer: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        answer = None
    code = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        code = None
    if status == 429 or code in OAUTH_LIMITED:
        return LimitError(f"too many logins ({status} {code})", code=code, retry_after_s=wait_s or 300.0)
    if code is None or code in OAUTH_UNAVAILABLE or status >= 500:
        return UnavailableError(
            f"the token endpoint answered {status} {code or ''}".rstrip(), code=code, retry_after_s=wait_s
        )
    description = str(answer.get("error_description", ""))
    hint = OAUTH_HINTS.get(description)
    said = f" ({description}): {hint}" if hint else ""
    return AuthError(f"the token endpoint answered {status} {code}{said}", code=code)

"""Faults as the control API takes them: which kinds there are, and what each may be told.

Why: a misspelt or mistyped parameter would plant a harmless fault, and the test that relies on it would pass for
the wrong reason.
"""

import re
from typing import Any

from sfsync.simorg.control_input import ControlError, Input
from sfsync.simorg.faults import KINDS, Fault, Faults
from sfsync.simorg.push_faults import PUSH_FAULTS

REST_FAULTS = {
    "delay": 'answer "s" seconds later (1); subject of REST faults: "METHOD path?query", decoded',
    "hang": 'never answer, at most "s" seconds (3600), then cut',
    "cut": "drop the connection without an answer (some clients quietly repeat a GET: plant it twice for them)",
    "status": 'answer with "code" (503), "body" (text or JSON), "content_type" and "headers"',
    "limit_reached": 'REQUEST_LIMIT_EXCEEDED; "which"?: "daily" | "concurrent"',
    "stale_read": 'read the org as it was "s" seconds ago (3)',
    "truncate": 'announce the whole body, send its first "bytes" (20), drop the connection',
}
BULK_FAULTS = {
    "bulk_refuse": 'refuse to create a query job; "code"?: "LIMIT_EXCEEDED" | "INVALIDENTITY"; subject: "operation SOQL"',
    "bulk_fail": 'the job ends as Failed; "message"?: its errorMessage (none); same subject',
    "bulk_abort": "an administrator aborts the job while it runs; same subject",
    "bulk_stuck": 'the job stays InProgress "s" seconds longer (60), its rows read already; same subject',
    "bulk_forget": 'the job is gone, 404 from now on; subject: "METHOD path?query"',
    "bulk_slow": 'send a page at "bytes_s" bytes a second (10000); subject: "METHOD path?query"',
    "bulk_miscount": 'Sforce-NumberOfRecords is wrong "by" so many (-1); subject: "METHOD path?query"',
}
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_HEADER_NAME = re.compile(r"[\w.-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[ -~]*")
_PAGE = {"status": "a whole number", "body": "a string"}
PARAMETERS: dict[str, dict[str, str]] = {
    "delay": {"s": "a number"},
    "hang": {"s": "a number"},
    "status": {"code": "a whole number", "body": "any", "content_type": "a string", "headers": "an object"},
    "limit_reached": {"which": "daily or concurrent"},
    "stale_read": {"s": "a number"},
    "truncate": {"bytes": "a whole number"},
    "bulk_refuse": {"code": "LIMIT_EXCEEDED or INVALIDENTITY"},
    "bulk_fail": {"message": "a string"},
    "bulk_stuck": {"s": "a number"},
    "bulk_slow": {"bytes_s": "a number"},
    "bulk_miscount": {"by": "a whole number"},
    "cometd_delay": {"s": "a number"},
    "cometd_hang": {"s": "a number"},
    "cometd_html_503": _PAGE,
    "cometd_unknown_client": {"advice": "a string"},
    "cometd_concurrent_limit": {"scope": "a string"},
    "handshake_refuse": {"reason": "a string"},
    "subscribe_refuse": {"error": "a string"},
    "malformed_event": {"form": "a string"},
    "token_refuse": {
        "case": "a string",
        "error": "a string",
        "description": "a string",
        "status": "a whole number",
    },
    "token_status": {**_PAGE, "content_type": "a string"},
}


def fault_kinds() -> dict[str, str]:
    """Return what every kind does and takes, besides `times` and `match`."""
    return {**REST_FAULTS, **BULK_FAULTS, **PUSH_FAULTS}


def plant(faults: Faults, given: Input) -> Fault:
    """Plant the fault that *given* describes. Raises ControlError."""
    kind = given.chosen("kind", KINDS)
    parameters = PARAMETERS.get(kind, {})
    given.only("kind", "times", "match", *parameters)
    for name, wanted in parameters.items():
        _check(given, name, wanted)
    match = given.optional("match", "a string")
    times = given.optional("times", "a whole number") if "times" in given.members else 1
    params = {name: given.members[name] for name in parameters if name in given.members}
    try:
        return faults.add(kind, times=times, match=match, **params)
    except ValueError as error:
        raise ControlError(f"{given.where}: {error}") from error


def _check(given: Input, name: str, wanted: str) -> None:
    if wanted == "any" or name not in given.members:
        return
    if " or " in wanted:
        given.chosen(name, wanted.split(" or "))
        return
    value = given.required(name, wanted)
    if name == "bytes_s" and value < 1:
        raise ControlError(f"{given.where}: bytes_s must be at least 1; got {value}")
    if name in ("s", "bytes") and value < 0:
        raise ControlError(f"{given.where}: {name} must not be negative; got {value}")
    if name in ("code", "status") and not 200 <= value <= 599:
        raise ControlError(f"{given.where}: {name} must be an HTTP status that ends a request; got {value}")
    if name == "content_type" and not _CONTENT_TYPE.fullmatch(value):
        raise ControlError(f"{given.where}: content_type must look like text/html; got {value!r}")
    if name == "headers":
        _check_headers(given.where, value)


def _check_headers(where: str, headers: dict[str, Any]) -> None:
    for name, value in headers.items():
        if (
            not _HEADER_NAME.fullmatch(name)
            or not isinstance(value, str)
            or not _HEADER_VALUE.fullmatch(value)
        ):
            raise ControlError(f"{where}: headers must be names and printable texts; got {name!r}: {value!r}")

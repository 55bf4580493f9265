"""The list of faults waiting to happen, each taken by the request, channel or event it matches.

Why: a fault is data, put in through the control API and consumed by whoever it concerns, so that any client in any
language can be tried against it; patching the server from inside a test would only serve our own tests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

REST_KINDS = ("delay", "hang", "cut", "status", "limit_reached", "stale_read", "truncate")
COMETD_KINDS = (
    "cometd_unknown_client",
    "cometd_401",
    "cometd_503_busy",
    "cometd_html_503",
    "cometd_cut",
    "cometd_cut_mid_body",
    "cometd_hang",
    "cometd_delay",
    "cometd_daily_limit",
    "cometd_concurrent_limit",
    "subscribe_refuse",
    "subscribe_no_reply",
    "handshake_refuse",
)
EVENT_KINDS = (
    "lose_event",
    "duplicate_event",
    "withhold",
    "gap",
    "overflow",
    "wildcard",
    "malformed_event",
    "expire_replay",
)
BULK_KINDS = (
    "bulk_refuse",
    "bulk_fail",
    "bulk_abort",
    "bulk_stuck",
    "bulk_forget",
    "bulk_slow",
    "bulk_miscount",
)
TOKEN_KINDS = ("token_refuse", "token_status")
KINDS = frozenset(REST_KINDS + BULK_KINDS + COMETD_KINDS + EVENT_KINDS + TOKEN_KINDS)


@dataclass(slots=True)
class Fault:
    """One planted fault: it acts on subjects matching *match*, *times* more times (None: until cleared)."""

    number: int
    kind: str
    times: int | None
    match: re.Pattern[str] | None
    params: Mapping[str, Any] = field(default_factory=dict)
    taken: int = 0

    def concerns(self, kind: str, subject: str) -> bool:
        """Tell whether this fault acts on *subject* now."""
        spent = self.times is not None and self.times <= 0
        return self.kind == kind and not spent and (self.match is None or bool(self.match.search(subject)))


class Faults:
    """All planted faults, in the order they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = count(1)

    def add(self, kind: str, *, times: int | None = 1, match: str | None = None, **params: Any) -> Fault:
        """Plant a fault; *times* None means until cleared, *match* is a regular expression on the subject.

        Raises ValueError for an unknown kind, a non-positive *times* or an expression that does not compile.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown fault kind {kind!r}; known are {', '.join(sorted(KINDS))}")
        if times is not None and times <= 0:
            raise ValueError(f"times must be at least 1, or null for 'until cleared'; got {times}")
        try:
            pattern = re.compile(match) if match is not None else None
        except re.error as error:
            raise ValueError(f"match {match!r} is no regular expression: {error}") from error
        fault = Fault(next(self._numbers), kind, times, pattern, params)
        self._faults.append(fault)
        return fault

    def take(self, kind: str, subject: str) -> Fault | None:
        """Consume and return the first fault of *kind* that concerns *subject*, if any."""
        fault = self.peek(kind, subject)
        if fault is None:
            return None
        fault.taken += 1
        if fault.times is not None:
            fault.times -= 1
        return fault

    def peek(self, kind: str, subject: str) -> Fault | None:
        """Return what `take` would return, consuming nothing."""
        return next((fault for fault in self._faults if fault.concerns(kind, subject)), None)

    def clear(self, number: int | None = None) -> int:
        """Forget one fault, or all; return how many were forgotten."""
        kept = [fault for fault in self._faults if number is not None and fault.number != number]
        removed = len(self._faults) - len(kept)
        self._faults = kept
        return removed

    def is_planted(self, number: int) -> bool:
        """Tell whether the fault was not cleared yet (a hang lasts as long as this is true)."""
        return any(fault.number == number for fault in self._faults)

    def listing(self) -> list[dict[str, Any]]:
        """Describe all faults for the control API."""
        return [
            {
                "number": fault.number,
                "kind": fault.kind,
                "times": fault.times,
                "match": fault.match.pattern if fault.match else None,
                "taken": fault.taken,
                **fault.params,
            }
            for fault in self._faults
        ]

"""What is asked of the daemon and what it answers, as values that every handler of requests knows."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for. The meaning of `argument` is that of its `kind`.

    `deadline` is the monotonic instant after which nobody waits for the answer any more; None: whenever it comes.
    """

    id: int
    kind: str
    argument: str | None
    asked_by: str
    deadline: float | None = None

    @property
    def left_s(self) -> float:
        """How many seconds whoever asked still waits."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: one word, and details that are shown as JSON.

    `afterwards` is called once the answer is committed, for what would keep it from being committed.
    """

    outcome: str
    detail: Mapping[str, object]
    afterwards: Callable[[], None] | None = None


Handler = Callable[[Request], Awaitable[Answer]]
"""Serve one kind of request. `ValueError` says, without quoting values, what is wrong with the request."""

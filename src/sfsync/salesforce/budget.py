"""Whose API calls these are: every call is made in a lane, and is counted by it where it is sent.

Why: an org's calls of a day are shared by everything that talks to it, so what matters less must not spend what
matters more. The lane of a call is the job it belongs to, not an argument of every function on the way: it is a
context variable, which tasks inherit, and each job says once which lane it works in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Lane(StrEnum):
    """What API calls are made for, the most important first; `other` is what a daemon cannot begin without."""

    PULL = "pull"
    REFETCH = "refetch"
    SWEEP = "sweep"
    BACKFILL = "backfill"
    VERIFY = "verify"
    OTHER = "other"


_lane: ContextVar[Lane] = ContextVar("lane", default=Lane.OTHER)


def lane_in_use() -> Lane:
    """Return the lane that calls made here are counted in."""
    return _lane.get()


@contextmanager
def in_lane(lane: Lane) -> Iterator[None]:
    """Make the calls of the block, and of the tasks begun in it, in *lane*."""
    token = _lane.set(lane)
    try:
        yield
    finally:
        _lane.reset(token)

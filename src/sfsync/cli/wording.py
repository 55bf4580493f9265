"""Lengths of time as people read them."""

from __future__ import annotations

from datetime import datetime

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def age(since: str, now: datetime) -> str:
    """Say how long ago an ISO instant is, in its largest unit."""
    seconds = max(0.0, (now - datetime.fromisoformat(since)).total_seconds())
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

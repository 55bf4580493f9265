"""Read the configuration again on request: what SIGHUP asks for, from any machine and with an answer.

Why: whoever changes the mapping wants to know whether it was taken, and a signal cannot answer. So a request binds
the new mapping to the org before it says so; only then does the pipeline end, and the next one works by it. Who knows
the configuration is above this room, so it comes as a function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reload:
    """A configuration that was read again and found fit; nothing changes before `put_in_force` is called."""

    detail: Mapping[str, object]
    put_in_force: Callable[[], None]


Prepare = Callable[[], Awaitable[Reload]]
"""Read the configuration again. Raises `ConfigError` or `SchemaError` when it cannot be put in force."""

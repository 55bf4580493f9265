"""Whether this daemon is ready, and what is missing when it is not.

Why: readiness is a set of named claims, each kept by the part that knows ("stream", "sweep", "leadership"), not one
flag that many parts overwrite. A claim that nobody has made yet counts as missing, so that a part which died
before it spoke cannot leave the daemon green.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog


@dataclass(frozen=True, slots=True)
class Claim:
    """What one part says of itself. `detail` is shown to operators: no field value, no secret."""

    ok: bool
    detail: str


class Health:
    """The claims that readiness is made of. One event loop only; nothing here waits."""

    def __init__(self, *needed: str) -> None:
        """Start red: each of *needed* is missing until it is set."""
        self._claims = {name: Claim(ok=False, detail="not yet reached") for name in needed}
        self._log: Any = structlog.get_logger()

    @property
    def ready(self) -> bool:
        """Whether every claim holds; a daemon of which nothing is known is not ready."""
        return bool(self._claims) and not self.missing

    @property
    def missing(self) -> Mapping[str, str]:
        """The claims that do not hold, with their details."""
        return {name: claim.detail for name, claim in sorted(self._claims.items()) if not claim.ok}

    @property
    def claims(self) -> Mapping[str, Claim]:
        """All claims by name."""
        return dict(sorted(self._claims.items()))

    def set(self, name: str, *, ok: bool, detail: str = "") -> None:
        """State the claim *name*; log `health.changed` when the list of what is missing changes."""
        before = (self.ready, list(self.missing))
        self._claims[name] = Claim(ok=ok, detail=detail)
        after = (self.ready, list(self.missing))
        if after != before:
            self._log.info("health.changed", ready=after[0], reasons=after[1])

    def withdraw(self, name: str) -> None:
        """Drop a claim that no longer concerns this daemon."""
        if name in self._claims:
            self.set(name, ok=True)
            del self._claims[name]

"""What a recipe may do, in the words in which it is told: to the org by its control API, to processes as an operator.

Why: every call to the control API is written down, so what a play shows can be done by hand with curl.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..daemon_log import Entry
from .daemons import Daemon
from .fitting import MappedField
from .stage import Stage, Verdict

_LOOK_S = 0.03
_OLD_ENOUGH_S = 400
_ABSENT_S = 0.5
_FILLED: Mapping[str, Mapping[str, str]] = {
    "Lead": {"LastName": "Chaos", "Company": "Chaos KK"},
    "Contact": {"LastName": "Chaos"},
    "Account": {"Name": "Chaos KK"},
}


class NotSeenError(Exception):
    """What a recipe waited for did not happen in time."""


class Scene:
    """One recipe on a stage."""

    def __init__(self, stage: Stage, patience_s: float) -> None:
        self.stage = stage
        self._patience_s = patience_s
        self._marks = {daemon.log: len(daemon.entries()) for daemon in stage.daemons}
        self._struck_at = 0.0
        self._converged: tuple[Verdict, float] | None = None
        self.refused_after_s: float | None = None
        self.calls: list[str] = []
        self.operated: list[str] = []
        self.notes: list[str] = []
        self.idle_faults: list[str] = []

    # To the org --------------------------------------------------------------------------------------

    async def tell(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST to the control API."""
        self.calls.append(f"POST {path} {_json(body or {})}")
        return await self.stage.org.tell(path, body or {})

    async def plant(self, kind: str, **params: Any) -> None:
        """Plant a fault; without `times` it strikes once."""
        await self.tell("faults", {"kind": kind, **params})

    async def heal(self) -> None:
        """Forget all faults; those that never struck are remembered."""
        self.idle_faults += await self._unstruck()
        self.calls.append("DELETE faults")
        await self.stage.org.forget("faults")

    async def transact(self, *steps: Mapping[str, Any], **options: Any) -> dict[str, str]:
        """Run steps in one transaction; return the ids of the records that steps named."""
        ids: dict[str, str] = (await self.tell("transaction", {"steps": steps, **options}))["ids"]
        return ids

    async def create(self, entity: str, **fields: Any) -> str:
        """Create one record; return its id."""
        return (await self.transact(self.creation(entity, "it", **fields)))["it"]

    def creation(
        self, entity: str, name: str, *, without: MappedField | None = None, **fields: Any
    ) -> Mapping[str, Any]:
        """Return the step that creates a record, with the fields of the user's mapping filled in."""
        filled = {**_FILLED[entity], **self.stage.fit.values[entity], **fields}
        if without is not None and without.entity == entity:
            filled.pop(without.name, None)
        return {"op": "create", "entity": entity, "fields": filled, "as": name}

    async def update(self, record_id: str, *, duration_s: float = 0.0, **fields: Any) -> None:
        """Change one record; with *duration_s*, stamp it now, commit it later, and come back after that."""
        lasting = {"duration_s": duration_s, "wait": True} if duration_s else {}
        await self.transact({"op": "update", "id": record_id, "fields": fields}, **lasting)

    async def grow_old(self) -> None:
        """Move org time on, so that what was changed is old enough to have come by the stream."""
        await self.tell("clock", {"advance_s": _OLD_ENOUGH_S})

    # To processes ------------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Have the daemon begin anew, instead of waiting for as long as it would."""
        self.operated.append("kill -HUP, not to wait for its next attempt")
        self.stage.daemon.signal(signal.SIGHUP)

    async def live_on(self) -> None:
        """Let users work while no daemon runs, then let them rest."""
        await asyncio.sleep(_ABSENT_S)
        self.calls.append("DELETE life")
        await self.stage.org.rest()

    async def ended(self) -> int:
        """Wait until the daemon has ended by itself; return its exit code."""
        await self._until(lambda: self.stage.daemon.exit_code is not None, "the end of the daemon")
        return self.stage.daemon.exit_code or 0

    # What is seen ------------------------------------------------------------------------------------

    def struck(self) -> None:
        """Note that it has happened: the time to converge counts from here."""
        self._struck_at = time.monotonic()

    async def saw(self, event: str, *, times: int = 1, by: Daemon | None = None, **keys: Any) -> None:
        """Wait until a daemon has logged *event* with these keys. Raises `NotSeenError`."""

        def found() -> bool:
            entries = self.entries(by)
            hits = [e for e in entries if e.get("event") == event and keys.items() <= e.items()]
            return len(hits) >= times

        await self._until(found, event)

    def refused(self, remedy: str) -> None:
        """Note that a clear refusal is what had to come, and what an operator does about it now."""
        self.refused_after_s = time.monotonic() - self._struck_at
        self.operated.append(remedy)

    async def nothing_owed(self) -> None:
        """Wait until no record is dirty and no reading owed, or the next recipe would be shown what is left of this."""
        async with asyncio.timeout(self._patience_s):
            while await self.stage.owed():  # noqa: ASYNC110 - what is asked lies in a database
                await asyncio.sleep(_LOOK_S)

    async def calm(self) -> None:
        """Wait until a sweep of all entities has found nothing to do, since the last beginning of the pipeline."""

        def is_calm() -> bool:
            names = [entry.get("event") for entry in self.entries()]
            began = (
                len(names) - 1 - names[::-1].index("leadership.taken") if "leadership.taken" in names else 0
            )
            swept = [e for e in self.entries()[began:] if e.get("event") == "sweep.entity.completed"][-3:]
            return len(swept) == len(_FILLED) and not any(
                e["ahead"] or e["deferred"] or any(e["repaired"].values()) for e in swept
            )

        await self._until(is_calm, "sweep that found nothing to do")

    async def equal(self, without: Collection[str] = ()) -> Verdict:
        """Wait until the store equals the org. Raises `NotSeenError`, which says where they differ."""
        verdict = await self.stage.judge.ask(self._patience_s, without)
        if not verdict.is_equal:
            raise NotSeenError("the store differs: " + "; ".join(verdict.differences))
        return verdict

    async def settled(self) -> tuple[Verdict, float]:
        """Wait until the daemon is ready and the store equals the org; return the verdict and how long it took."""
        if self._converged is not None:
            return self._converged
        if not self._struck_at:
            self.struck()
        self.idle_faults += await self._unstruck()
        if not await self.stage.ready(self._patience_s):
            raise NotSeenError(f"the daemon is not ready: {self.stage.daemon.last_words()}")
        self._converged = await self.equal(), time.monotonic() - self._struck_at
        return self._converged

    def entries(self, by: Daemon | None = None) -> list[Entry]:
        """Return what the daemons have logged since the scene began, in order of time."""
        daemons = [by] if by else self.stage.daemons
        fresh = [e for d in daemons for e in d.entries()[self._marks.get(d.log, 0) :]]
        return sorted(fresh, key=lambda entry: str(entry.get("timestamp", "")))

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience_s
        while not condition():
            if time.monotonic() > deadline:
                raise NotSeenError(f"within {self._patience_s:g} s there was no {what}")
            await asyncio.sleep(_LOOK_S)

    async def _unstruck(self) -> list[str]:
        return [
            fault["kind"] for fault in (await self.stage.org.ask("faults"))["faults"] if not fault["taken"]
        ]


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)

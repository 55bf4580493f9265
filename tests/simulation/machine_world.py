"""A history that is told from outside, step by step, what happens: the ground under the state machine's rules.

Why: the machine must judge as the random histories do, so it is one of them. Only what they draw from their seed comes
from Hypothesis here: how the daemon and the org are set up, and what happens while they live.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sfsync.log import EVENTS
from sfsync.simorg.errors import ApiError
from sfsync.simorg.org import Org
from sfsync.simorg.transaction import Transaction

from .history import Ground, History, Told, begun
from .stage import Stage
from .store import Store

USUAL_SETTINGS: Mapping[str, Any] = {
    "SWEEP_INTERVAL_S": 200,
    "SETTLE_S": 5,
    "HOLD_MS": 0,
    "SWEEP_PAGE": 2000,
    "REFETCH_BATCH": 400,
    "BATCH_EVENTS_MAX": 5000,
    "QUEUE_EVENTS_MAX": 20000,
    "OTHER_HALF_WAIT_S": 0,
    "ADOPT": "all",
    "MIRROR": "all",
}
USUAL_ORG: Mapping[str, Any] = {
    "read_lag_s": 0.0,
    "batch_max": 100,
    "skew_share": 0.0,
    "merge_share": 0.0,
    "split_share": 0.0,
    "cleared_compound": "bare",
    "connect_place": "last",
    "commit_numbers": "ns",
    "replay_anywhere": False,
    "deliver_on_any": False,
    "terse_failures": False,
}
_NOISE = ("sql ", "line ", "field ")
_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Place:
    """A record, named by its place among those of its kind that live and are not locked, the oldest first."""

    entity: str
    number: int

    def __repr__(self) -> str:
        return f"{self.entity.lower()}({self.number})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


def lead(number: int) -> Place:
    """Name a lead."""
    return Place("Lead", number)


def contact(number: int) -> Place:
    """Name a contact."""
    return Place("Contact", number)


def account(number: int) -> Place:
    """Name an account."""
    return Place("Account", number)


class ViolationError(AssertionError):
    """Something was broken that never may be."""


class NobodyError(LookupError):
    """There is no record of the kind that a step asks for."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a world begins: *founded* of each kind of record, and what differs from the usual set-up."""

    founded: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    org: Mapping[str, Any] = field(default_factory=dict)
    chance: int = 0


class Driven(History):
    """The history under a machine: it lives until `over` is set, and then settles."""

    def __init__(self, told: Told, ground: Ground, beginning: Beginning) -> None:
        super().__init__(told, ground)
        self._beginning = beginning
        self.stage: Stage
        self.ready = asyncio.Event()
        self.over = asyncio.Event()
        self.is_abandoned = False

    async def _live(self, stage: Stage) -> None:
        self.stage = stage
        stage.acts = {}
        found(stage.org, self._beginning.founded)
        stage.host.start()
        self.ready.set()
        await self.over.wait()

    async def _settle(self, stage: Stage) -> None:
        if not self.is_abandoned:
            await super()._settle(stage)

    async def step(self, work: Coroutine[Any, Any, None], then_s: float) -> None:
        """Do *work*, let time pass, and look whether anything is broken."""
        try:
            await work
        except (ApiError, NobodyError) as refusal:
            # A record may have gone, or be locked by an open transaction, as for any user.
            self._ground.note(f"refused: {refusal}")
            self._told.met.note("refused", type(refusal).__name__)
        await asyncio.sleep(then_s)
        self._check(await self.stage.judge.broken())
        self._check(self.stage.host.findings + self.stage.standby.findings)

    def _settings(self, org: Org) -> dict[str, str]:
        chosen = {**USUAL_SETTINGS, **self._beginning.settings}
        return super()._settings(org) | environment(chosen)

    def _set_org(self, org: Org) -> None:
        super()._set_org(org)
        for name, value in {**USUAL_ORG, **self._beginning.org}.items():
            setattr(org.settings, name, value)


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings of the section `sync` as a process finds them in its environment."""
    return {f"SFSYNC_SYNC__{name}": str(value) for name, value in settings.items()}


def found(org: Org, count: int) -> None:
    """Let the org have some records, the contacts with an account each."""
    for number in range(count):
        with org.world.transaction() as tx:
            account_id = tx.create("Account", {"Name": f"company {number}"})
            tx.create("Contact", {"LastName": f"contact {number}", "AccountId": account_id})
            tx.create("Lead", {"LastName": f"lead {number}", "Company": f"firm {number}"})


class World:
    """One world from its beginning to its end, for whoever is not on its loop."""

    def __init__(self, store: Store, mode: str, beginning: Beginning, tell: Callable[[str], None]) -> None:
        self.told = Told(beginning.chance, mode)
        self._tell = tell
        self._shown = 0
        self._stack = ExitStack()
        self._is_over = False
        ground = self._stack.enter_context(begun(self.told, store))
        self._loop = ground.loop
        self.history = Driven(self.told, ground, beginning)
        self._life = self._loop.create_task(self.history.run(), name="history")
        self._run(self._begin())

    @property
    def stage(self) -> Stage:
        """What rules work on."""
        return self.history.stage

    def step(self, work: Coroutine[Any, Any, None], then_s: float) -> None:
        """Do one thing and look. Raises ViolationError."""
        self._run(self.history.step(work, then_s))
        self._judge()

    def finish(self) -> None:
        """End all trouble, settle, and compare the store with the org. Raises ViolationError."""
        self._end()
        self._judge()

    def abandon(self) -> None:
        """End it without asking what would have become of it."""
        self.history.is_abandoned = True
        self._end()

    def live(self, place: Place) -> str:
        """Return the id of the record at *place*, counted round. Raises NobodyError."""
        world = self.stage.org.world
        found = [
            record_id
            for record_id, fields in world.snapshot().by_id(place.entity)
            if not (fields["IsDeleted"] or fields.get("IsConverted") or record_id in world.locks)
        ]
        return _pick(found, place.number)

    def binned(self, number: int) -> str:
        """Return the id of a record in the recycle bin, counted round. Raises NobodyError."""
        world = self.stage.org.world
        kinds = ("Lead", "Contact", "Account")
        found = [i for kind in kinds for i, f in world.snapshot().by_id(kind) if f["IsDeleted"]]
        return _pick(found, number)

    async def transact(
        self, statements: Callable[[Transaction], object], spans_s: float, *, silent: bool = False
    ) -> None:
        """Run *statements* in a transaction that began *spans_s* ago, if negative, or commits as much later."""
        stage = self.stage
        began = stage.org.clock.now() + timedelta(seconds=spans_s) if spans_s < 0 else None
        tx = stage.org.world.transaction(started_at=began, silent=silent)
        try:
            statements(tx)
        except BaseException:
            tx.rollback()
            raise
        if spans_s <= 0:
            tx.commit()
            return

        async def commit_later() -> None:
            await asyncio.sleep(spans_s)
            tx.commit()

        stage.begin(commit_later())

    async def _begin(self) -> None:
        ready = asyncio.ensure_future(self.history.ready.wait())
        await asyncio.wait({ready, self._life}, return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    def _end(self) -> None:
        if self._is_over:
            return
        self.history.over.set()
        self._run(self._life)
        self._is_over = True
        self._stack.close()
        self._show()

    def _run(self, work: Awaitable[Any]) -> None:
        try:
            self._loop.run_until_complete(work)
        except BaseException:
            self._is_over = True
            if not self._stack.__exit__(*sys.exc_info()):
                raise
            # The loop was stuck, which is a violation like any other; nothing can run on it any more.
        self._show()

    def _show(self) -> None:
        for line in self.told.trace[self._shown :]:
            at_s, _, text = line.partition(" ")
            if at_s != "complaint" and not _is_usual(text):
                self._tell(f"    # {at_s} {text[:_WIDTH]}")
        self._shown = len(self.told.trace)

    def _judge(self) -> None:
        if self.told.violations:
            raise ViolationError("; ".join(self.told.violations))


def _pick(found: Sequence[str], number: int) -> str:
    if not found:
        raise NobodyError("there is no such record")
    return found[number % len(found)]


def _is_usual(text: str) -> bool:
    """Tell whether nobody needs to read this line of the trace."""
    if text.startswith("log "):
        return EVENTS[json.loads(text[4:])["event"]].level not in ("warning", "error")
    return text.startswith(_NOISE)

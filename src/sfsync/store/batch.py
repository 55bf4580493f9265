"""What is applied together, and what became of it.

Why: everybody who reads or listens hands over batches, and only the applier knows how they are made true; so the
words between them stand by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ..core.commands import Command
from ..core.events import Position
from ..core.ids import Entity, RecordId
from ..core.order import Clocks, Verdict
from .adoption import Adoption
from .consent import Provenance
from .database import Connection
from .projecting import Written

Progress = Callable[[Connection], Awaitable[None]]
"""What else a batch commits: a position, a watermark, a certificate. Runs last in the apply transaction."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be decoded, without any of its values."""

    reason: str
    entity: str | None = None
    record_id: RecordId | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands to apply together. `heard_ms` is the org's time when they were learned.

    `origin` goes to the change feed: event, sweep, backfill, refetch, pull (and mapping, by `reproject`), and so
    does `source`, which says which of them: a position of the stream, the id of a sweep or of a request.
    With `refetched` the reads were made because their records are dirty, and count as attempts. With `adopts`
    whoever is unknown was asked for, and becomes a person or company even where only those do.
    """

    commands: Sequence[Command]
    origin: str
    heard_ms: int
    progress: Progress | None = None
    dead_letters: Sequence[DeadLetter] = ()
    refetched: bool = False
    source: str = ""
    adopts: bool = False

    @property
    def provenance(self) -> Provenance:
        return self.origin, self.source


@dataclass(frozen=True, slots=True)
class Repair:
    """One row that a read had to change: what was wrong with it, and the stamp of what was missed.

    A row that was already known to need a read is none: the stream had said so.
    """

    entity: Entity
    record_id: RecordId
    reason: str
    modstamp_ms: int


@dataclass(slots=True)
class Outcome:
    """What a batch did: verdicts per command, repairs by reads, rows changed in crm, records parked.

    `unwanted` commands were about records that nobody adopted, where the mirror holds no others.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    repairs: list[Repair] = field(default_factory=list)
    people_changed: int = 0
    companies_changed: int = 0
    marked: int = 0
    parked: int = 0
    unwanted: int = 0

    @property
    def changed(self) -> int:
        return self.people_changed + self.companies_changed

    def count(self, written: Written) -> None:
        self.people_changed += written.people
        self.companies_changed += written.companies


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator may set of how records are written."""

    clocks: Clocks = field(default_factory=Clocks)
    other_half_wait_s: float = 5.0
    adoption: Adoption = field(default_factory=Adoption)

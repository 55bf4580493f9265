"""What histories met: faults that struck, verdicts of the ordering rule, causes of marks, shapes of groups, log events.

Why: a suite that never reached a fault has not tested it, and says so instead of passing. What is counted lies inside
sfsync, at the functions that know; they are wrapped, not changed.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import structlog

import sfsync.core.order
import sfsync.store.grouping
from sfsync.core.commands import Cause, Resweep
from sfsync.core.events import RawEvent
from sfsync.core.identity import Group, Member, rank_members, regroup
from sfsync.core.ids import Entity
from sfsync.store.apply import Applier
from sfsync.store.batch import Batch, Outcome
from sfsync.sync.subscription import EventKey, Subscription
from sfsync.sync.transactions import Received

from .versions import CANARY

RANKS = ("live", "complete", "contact", "unconverted", "converted later", "root", "larger id")


class Met:
    """Counts by group and name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, group: str, name: str, count: int = 1) -> None:
        """Count one thing of *group*."""
        self.counts[f"{group}: {name}"] += count

    def update(self, group: str, counts: Counter[str]) -> None:
        """Count many things of *group*."""
        for name, count in counts.items():
            self.note(group, name, count)


@contextmanager
def observed(met: Met, note: Callable[[str], None], broken: list[str]) -> Iterator[None]:
    """Count in *met* what happens inside the block, note what is logged, and tell in *broken* what may never be."""
    mark = sfsync.core.order.mark

    def counting_mark(row: Any, cause: Cause, instant_ms: int) -> None:
        met.note("mark", str(cause))
        mark(row, cause, instant_ms)

    def counting_regroup(members: Iterable[Member]) -> list[Group]:
        groups = regroup(members)
        for group in groups:
            met.note("identity", _shape(group))
            if len(group.members) > 1:
                met.note("speaks", _why(group))
        return groups

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _capture(met, note, broken)],
        cache_logger_on_first_use=False,
    )
    with ExitStack() as stack:
        stack.enter_context(patch.object(Applier, "apply", _counting_apply(met, broken)))
        stack.enter_context(patch.object(Subscription, "decided", _counting_decided(met)))
        stack.enter_context(patch.object(sfsync.core.order, "mark", counting_mark))
        stack.enter_context(patch.object(sfsync.store.grouping, "regroup", counting_regroup))
        yield


def _counting_apply(met: Met, broken: list[str]) -> Callable[[Applier, Batch], Awaitable[Outcome]]:
    apply, epoch = Applier.apply, 0

    async def counting(self: Applier, batch: Batch) -> Outcome:
        nonlocal epoch
        outcome = await apply(self, batch)
        if self.leadership.epoch < epoch:
            broken.append(f"a fenced daemon committed: epoch {self.leadership.epoch} after {epoch}")
        epoch = self.leadership.epoch
        given = sum(not isinstance(command, Resweep) for command in batch.commands)
        if given != sum(outcome.verdicts.values()) + outcome.unwanted:
            broken.append(f"{given} commands were given, another number has a verdict: {batch.origin}")
        for verdict, count in outcome.verdicts.items():
            met.note("verdict", str(verdict), count)
        met.note("batch", batch.origin)
        met.note("skipped", "unwanted", outcome.unwanted)
        met.note("batch", "empty", not batch.commands)
        return outcome

    return counting


def _capture(
    met: Met, note: Callable[[str], None], broken: list[str]
) -> Callable[[Any, str, MutableMapping[str, Any]], Any]:
    def capture(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Any:
        name = str(entry.get("event"))
        met.note("log", name)
        _note_details(met, name, entry)
        line = json.dumps(entry, sort_keys=True, default=str, ensure_ascii=False)
        note("log " + line)
        # Names and addresses of this org are Japanese, and our words are not.
        if not line.isascii() or CANARY.search(line):
            broken.append(f"a field's value was logged: {name}")
        raise structlog.DropEvent

    return capture


def _note_details(met: Met, name: str, entry: Mapping[str, Any]) -> None:
    """Count what only the log tells."""
    if name == "sweep.entity.completed":
        for reason in str(entry["reason"]).split(","):
            met.note("reading", reason.strip())
    elif name == "request.completed":
        met.note("answer", f"{entry['kind']} {entry['outcome']}")
    elif name == "import.completed":
        met.update("import", Counter(entry["fates"]))


def _counting_decided(met: Met) -> Callable[..., Received]:
    decided = Subscription.decided

    def counting(
        self: Subscription, raw: RawEvent, seen: OrderedDict[EventKey, None], arrived_s: float
    ) -> Received:
        before = len(seen)
        received = decided(self, raw, seen, arrived_s)
        kind = type(received.event).__name__
        met.note("event", kind)
        if not received.commands and kind != "MalformedEvent":
            met.note("skipped", "duplicate" if len(seen) == before else "nothing of it is mapped")
        return received

    return counting


def _why(group: Group) -> str:
    """Say by which place of the rank the speaker was chosen."""
    (_, rank), (_, behind) = rank_members(group.members)[:2]
    place = next(n for n, (one, two) in enumerate(zip(rank, behind, strict=True)) if one != two)
    return RANKS[place]


def _shape(group: Group) -> str:
    kinds = {member.entity for member in group.members}
    merged = sum(member.master_record_id is not None for member in group.members)
    converted = sum(member.converted_contact_id is not None for member in group.members)
    if len(group.members) == 1:
        return "alone, deleted" if group.is_deleted else "alone"
    noun = "company" if Entity.ACCOUNT in kinds else "person"
    how = "+".join(name for name, present in (("merged", merged), ("converted", converted)) if present)
    speaks = ", lead shows through" if group.lead_id else ""
    return f"{noun} {how or 'of old edges'}{', deleted' if group.is_deleted else ''}{speaks}"

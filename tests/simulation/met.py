"""What histories met: faults that struck, verdicts of the ordering rule, causes of marks, shapes of groups, log events.

Why: a suite that never reached a fault has not tested it, and says so instead of passing. What is counted lies inside
sfsync, at the functions that know; they are wrapped, not changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import structlog

import sfsync.core.order
import sfsync.store.grouping
from sfsync.core.commands import Cause
from sfsync.core.identity import Group, Member, regroup
from sfsync.core.ids import Entity
from sfsync.core.order import Verdict
from sfsync.store.apply import Applier
from sfsync.store.batch import Batch, Outcome


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
def observed(met: Met, note: Callable[[str], None]) -> Iterator[None]:
    """Count in *met* what happens inside the block, and note what is logged."""
    apply, mark = Applier.apply, sfsync.core.order.mark

    async def counting_apply(self: Applier, batch: Batch) -> Outcome:
        outcome = await apply(self, batch)
        for verdict, count in outcome.verdicts.items():
            met.note("verdict", str(verdict), count)
        met.note("batch", batch.origin)
        return outcome

    def counting_mark(row: Any, cause: Cause, instant_ms: int) -> None:
        met.note("mark", str(cause))
        mark(row, cause, instant_ms)

    def counting_regroup(members: Iterable[Member]) -> list[Group]:
        groups = regroup(members)
        for group in groups:
            met.note("identity", _shape(group))
        return groups

    def capture(_logger: Any, _method: str, entry: Any) -> Any:
        met.note("log", str(entry.get("event")))
        note("log " + json.dumps(entry, sort_keys=True, default=str, ensure_ascii=False))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, capture], cache_logger_on_first_use=False
    )
    with ExitStack() as stack:
        stack.enter_context(patch.object(Applier, "apply", counting_apply))
        stack.enter_context(patch.object(sfsync.core.order, "mark", counting_mark))
        stack.enter_context(patch.object(sfsync.store.grouping, "regroup", counting_regroup))
        yield


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


VERDICTS = tuple(str(verdict) for verdict in Verdict)

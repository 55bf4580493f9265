"""The ordering rule converges in every history of the model, and each way of weakening it is caught.

Why: a model that no wrong rule fails proves nothing. So the rule's own source is weakened in one place at a
time, and every such mutant must break some history within a budget. What a mutant replaces is quoted from
`sfsync/core/order.py`; a test fails when a quotation no longer fits, so the list cannot rot in silence.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from dataclasses import dataclass
from types import ModuleType

import pytest

from sfsync.core import order
from tests.core.order_model import Mode, play

SOURCE = inspect.getsource(order)
HISTORIES, HISTORIES_PER_MUTANT = 1_000, 1_500


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is wrong in one place, or in one and the `also` that would make up for it."""

    claim: str
    old: str
    new: str
    modes: tuple[Mode, ...] = (Mode.STREAM, Mode.BOTH)
    also: tuple[str, str] | None = None

    @property
    def edits(self) -> list[tuple[str, str]]:
        return [(self.old, self.new), *([self.also] if self.also else [])]


NO_OVERLAP = ("    if overlaps:", "    if False:")

MUTANTS = (
    Mutant(
        "events are applied over any read",
        "    if row.set_by_read:\n        if commit_ms",
        "    if False:\n        if commit_ms",
        also=NO_OVERLAP,
    ),
    Mutant(
        "an event in the read's own second is applied",
        "commit_ms <= row.seen_from_ms + clocks.fuzz_ms:\n            mark(row, Cause.AMBIGUOUS, commit_ms)\n"
        "            return Verdict.AMBIGUOUS",
        "commit_ms <= row.seen_from_ms + clocks.fuzz_ms:\n            return None",
        also=NO_OVERLAP,
    ),
    Mutant(
        "an event in the read's own second is taken for contained",
        "            mark(row, Cause.AMBIGUOUS, commit_ms)\n",
        "",
    ),
    Mutant(
        "an event is contained in a read that ended after it",
        "        if commit_ms < row.seen_from_ms - clocks.fuzz_ms:",
        "        if commit_ms < row.seen_to_ms - clocks.fuzz_ms:",
    ),
    Mutant(
        "an event within a read's span leaves no mark",
        *NO_OVERLAP,
    ),
    Mutant(
        "the span of a read ends at its stamp",
        "max(row.seen_to_ms, read.modstamp_ms, read.read_to_ms)",
        "max(row.seen_to_ms, read.modstamp_ms)",
    ),
    Mutant("reads are not guarded", "        not row.known\n        or", "        True\n        or"),
    Mutant(
        "a stamp within the fuzz makes a read newer",
        "read.modstamp_ms > row.seen_to_ms + clocks.fuzz_ms",
        "read.modstamp_ms >= row.seen_to_ms - clocks.fuzz_ms",
    ),
    Mutant(
        "a read passes without the settle time",
        "read.read_from_ms >= row.seen_to_ms + clocks.settle_ms",
        "read.read_from_ms >= row.seen_to_ms",
    ),
    Mutant(
        "a read that does not pass is forgotten, and only a newer stamp passes",
        "        or read.read_from_ms >= row.seen_to_ms + clocks.settle_ms\n    )",
        "    )\n    if not passes and not row.mark:\n        return Verdict.UNPROVEN",
        (Mode.BOTH,),
    ),
    Mutant(
        "a mark ends without the settle time",
        "row.mark if row.mark and read.read_from_ms >= row.mark.since_ms + clocks.settle_ms else None",
        "row.mark if row.mark and read.read_from_ms >= row.mark.since_ms else None",
    ),
    Mutant(
        "any passing read ends a mark",
        "        _write_whole(row, read)\n        if proven:",
        "        _write_whole(row, read)\n        if row.mark:",
    ),
    Mutant(
        "an equal read ends a mark, however early",
        "    if passes:\n        _write_whole",
        "    if equal:\n        _clear_mark(row)\n        return Verdict.SETTLED\n    if passes:\n        _write_whole",
    ),
    Mutant(
        "a proving read overwrites what events wrote after its cause",
        "if name not in row_mark.touched}",
        "}",
    ),
    Mutant(
        "a proving read decides over an Image that came since",
        "    if row_mark.image_touched:",
        "    if False:",
    ),
    Mutant(
        "a new cause leaves fields touched",
        "cause}, since_ms=since_ms)",
        "cause}, since_ms=since_ms, touched=old.touched if old else set())",
    ),
    Mutant(
        "a mark counts from its cause alone",
        "max(instant_ms, row.seen_to_ms, old.since_ms if old else 0)",
        "max(instant_ms, old.since_ms if old else 0)",
    ),
    Mutant(
        "an older cause moves a mark back",
        "max(instant_ms, row.seen_to_ms, old.since_ms if old else 0)",
        "instant_ms",
    ),
    Mutant(
        "a proving read that does not pass gives nothing",
        "        _write_untouched(row, read, proven)\n        _clear_mark",
        "        _clear_mark",
    ),
    Mutant(
        "a proof may be older than a read that passed meanwhile",
        "            _renew_mark(row, row.mark)\n",
        "            pass\n",
    ),
    Mutant(
        "events of before the mark touch its fields",
        "row.mark if row.mark and event.commit_ms > row.mark.since_ms else None",
        "row.mark",
    ),
    Mutant(
        "a mark counts from the last event, whatever reads showed",
        "max(instant_ms, row.seen_to_ms, old.since_ms if old else 0)",
        "max(instant_ms, row.last_commit_ms or 0, old.since_ms if old else 0)",
    ),
    Mutant(
        "gaps are ignored",
        "            mark(row, command.cause, heard_ms",
        "            command.cause is Cause.GAP or mark(row, command.cause, heard_ms",
    ),
    Mutant(
        "a patch of a deleted record leaves no mark",
        "        mark(row, Cause.PATCH_ON_DELETED, event.commit_ms)\n",
        "",
        (Mode.BOTH,),
    ),
    Mutant(
        "an early read fills over what an incomplete row has",
        "        row.under = {**read.fields, **row.under}\n        row.complete = announced",
        "        row.over = {**row.over, **read.fields}\n        row.complete = announced",
    ),
    Mutant(
        "one field completes a record",
        "            row.over.update(event.fields)\n            if touched_mark:",
        "            row.over.update(event.fields)\n            row.complete = True\n            if touched_mark:",
        (Mode.BOTH,),
    ),
    Mutant(
        "an early read decides whether a record is deleted",
        "    verdict = Verdict.UNPROVEN\n",
        "    verdict = Verdict.UNPROVEN\n    row.is_deleted = read.is_deleted\n    row.mark = None\n",
    ),
    Mutant(
        "an early absence ends a mark",
        "    is_proof = read.read_from_ms >= since_ms + clocks.settle_ms\n",
        "    is_proof = True\n",
    ),
    Mutant(
        "an Image does not revive",
        "_turn(row, is_deleted=False, master=None, instant_ms=event.commit_ms)",
        "None",
    ),
)


def weakened(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the rule as a module, with *mutant*'s fault in it."""
    module = ModuleType("sfsync.core.order_mutant")
    module.__package__ = "sfsync.core"
    monkeypatch.setitem(sys.modules, module.__name__, module)  # Dataclasses look their module up there.
    text = SOURCE
    for old, new in mutant.edits:
        text = text.replace(old, new)
    exec(compile(text, "order_mutant.py", "exec"), module.__dict__)  # noqa: S102 - our own source
    return module


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_every_history_ends_with_mirror_equal_to_org(mode: Mode) -> None:
    """This is what the rule is for."""
    broken = {seed: faults for seed in range(HISTORIES) if (faults := play(seed, mode, order).faults)}
    assert broken == {}


def test_histories_reach_every_verdict_of_the_rule() -> None:
    """A branch that no history takes is not tested by any."""
    verdicts: Counter[str] = Counter()
    for seed in range(150):
        verdicts += play(seed, Mode.BOTH, order).verdicts
    # Who was erased is known to the store, not to the rule.
    rare = {order.Verdict.ABSENT, order.Verdict.FILLED, order.Verdict.ERASED}
    assert {verdict for verdict in order.Verdict if verdicts[verdict] < 10} <= rare


def test_same_seed_is_the_same_history() -> None:
    """A failing seed in a report must fail again."""
    assert play(7, Mode.BOTH, order) == play(7, Mode.BOTH, order)


def test_reads_per_history_are_bounded() -> None:
    """A mark that costs reads without end would eat the org's API budget."""
    assert max(play(seed, Mode.STREAM, order).reads for seed in range(200)) < 200


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.claim.replace(" ", "-"))
def test_weakened_rule_breaks_a_history(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clause is there because some history needs it."""
    assert all(SOURCE.count(old) == 1 for old, _ in mutant.edits), (
        "the quotation no longer fits: adapt the mutant"
    )
    rule = weakened(mutant, monkeypatch)
    for seed in range(HISTORIES_PER_MUTANT):
        if any(play(seed, mode, rule).faults for mode in mutant.modes):
            return
    pytest.fail(f"no history of {HISTORIES_PER_MUTANT} notices that {mutant.claim}")

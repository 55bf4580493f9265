"""What becomes of an imported row, and how that is counted.

Why: importing asks one question per row, whose is this person now, and a rehearsal must give the same answer as the
real import. So the rule is a pure function of what the store knows, and both count with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .consent import Decision, Reason

EXAMPLES_MAX = 5


class Fate(StrEnum):
    """What became of one row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    OWNED = "owned"
    DECLINED = "declined"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows of a row's record, and of the person it belongs to (`sync` is None when there is none).

    `is_followed`: there is no row yet, but Salesforce has told of this person: it is about to get one.
    """

    decision: str | None = None
    sync: str | None = None
    sync_reason: str | None = None
    is_followed: bool = False


def fate_of(facts: Facts) -> Fate:
    """Say what an import may do with a row; `UPDATED` means that its values are to be compared.

    A person who was declined is not touched, nor one of whose records only some were.
    """
    if Decision.DECLINED in (facts.sync, facts.decision):
        return Fate.DECLINED
    if facts.sync == Decision.PENDING:
        return Fate.DECLINED if facts.sync_reason == Reason.MERGED else Fate.UPDATED
    if facts.sync == Decision.SYNCED or facts.is_followed:
        return Fate.OWNED
    return Fate.CREATED


@dataclass(slots=True)
class Tally:
    """How many rows met each fate, with the first few of each as examples; line, record id, and what there is to say."""

    counts: Counter[Fate] = field(default_factory=Counter)
    examples: dict[Fate, list[tuple[int, str, str]]] = field(default_factory=dict)

    def note(self, fate: Fate, line: int, record_id: str, why: str = "") -> None:
        self.counts[fate] += 1
        shown = self.examples.setdefault(fate, [])
        if len(shown) < EXAMPLES_MAX:
            shown.append((line, record_id, why))

    def add(self, other: Tally) -> None:
        """Count what *other* counted, too."""
        for fate, shown in other.examples.items():
            mine = self.examples.setdefault(fate, [])
            mine.extend(shown[: EXAMPLES_MAX - len(mine)])
        self.counts.update(other.counts)

    def copy(self) -> Tally:
        return Tally(Counter(self.counts), {fate: list(shown) for fate, shown in self.examples.items()})

    @property
    def rows(self) -> int:
        return self.counts.total()

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept in the detail of a request: without record ids, which somebody may have to forget."""
        return {
            "counts": {str(fate): self.counts[fate] for fate in Fate},
            "examples": {
                str(fate): [(line, "", why) for line, _, why in shown]
                for fate, shown in self.examples.items()
            },
        }

    @staticmethod
    def of_json(detail: Mapping[str, Any]) -> Tally:
        """Return what `as_json` made; an empty one for anything else."""
        counts = {Fate(fate): int(count) for fate, count in detail.get("counts", {}).items()}
        shown: Mapping[str, Sequence[tuple[int, str, str]]] = detail.get("examples", {})
        examples = {
            Fate(fate): [(line, record, why) for line, record, why in some] for fate, some in shown.items()
        }
        return Tally(Counter(counts), examples)

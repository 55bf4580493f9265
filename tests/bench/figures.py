"""Figures, and how they are told: one JSON line each, the median of several runs with its spread.

Why: the machine is never quiet, so an absolute figure says little. A ratio of two things that were measured in
turns, within one run, says much more; both come with the lowest and the highest of their runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of output; *more* are members that only this figure has."""

    name: str
    values: Sequence[float]
    unit: str
    ratios: Sequence[float] = ()
    ratio_to: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the figure as a JSON line."""
        told: dict[str, Any] = {
            "figure": self.name,
            "value": _rounded(median(self.values)),
            "unit": self.unit,
        }
        if self.ratios:
            told |= {"ratio": _rounded(median(self.ratios)), "ratio_to": self.ratio_to}
        if len(self.values) > 1:
            told |= {"low": _rounded(min(self.values)), "high": _rounded(max(self.values))}
        if len(self.ratios) > 1:
            told |= {"ratio_low": _rounded(min(self.ratios)), "ratio_high": _rounded(max(self.ratios))}
        return json.dumps(told | {"runs": len(self.values)} | self.more)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A figure that could not be taken here, and why."""

    name: str
    reason: str

    def line(self) -> str:
        """Return it as a JSON line."""
        return json.dumps({"figure": self.name, "skipped": self.reason})


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of *values* lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _rounded(value: float) -> float:
    """Keep three significant digits: more would be noise."""
    return float(f"{value:.3g}") if abs(value) < 1000 else round(value)

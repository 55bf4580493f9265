"""Run many histories and say what came of them, in one value that prints as one line of JSON."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from . import branches
from .coverage import not_tested
from .history import MODES, Told, play
from .met import Met
from .store import Store, serving_store

_perf_counter = time.perf_counter


@dataclass(slots=True)
class Tally:
    """The sum of many histories."""

    histories: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)
    met: Met = field(default_factory=Met)
    virtual_s: float = 0.0
    wall_s: float = 0.0
    unrepeated: list[int] = field(default_factory=list)

    @classmethod
    def of_lines(cls, lines: Iterable[Mapping[str, Any]]) -> Self:
        """Return the sum of what several runs printed, as far as it tells what was met."""
        tally = cls()
        for line in lines:
            tally.histories.update(line["by_mode"])
            tally.met.counts.update(line["coverage"])
        return tally

    def add(self, told: Told) -> None:
        """Count one history."""
        self.histories[told.mode] += 1
        self.virtual_s += told.virtual_s
        self.met.counts.update(told.met.counts)
        if told.violations:
            self.failed[told.seed] = told.violations

    def join(self, other: Self) -> None:
        """Add what another worker did."""
        self.histories.update(other.histories)
        self.failed |= other.failed
        self.met.counts.update(other.met.counts)
        self.virtual_s += other.virtual_s
        self.wall_s = max(self.wall_s, other.wall_s)
        self.unrepeated += other.unrepeated

    @property
    def not_tested(self) -> list[str]:
        """Name what a run of this size should have met and did not; a run of one mode cannot meet everything."""
        if len(self.histories) < len(MODES):
            return []
        return not_tested(self.met.counts, self.histories.total())

    @property
    def is_good(self) -> bool:
        """Whether nothing was broken, all was met, and every trace could be repeated."""
        return not (self.failed or self.not_tested or self.unrepeated)

    def line(self) -> dict[str, Any]:
        """Return what is printed."""
        return {
            "histories": self.histories.total(),
            "by_mode": dict(sorted(self.histories.items())),
            "violations": len(self.failed),
            "seeds": sorted(self.failed),
            "first": {str(seed): lines[0] for seed, lines in sorted(self.failed.items())[:20]},
            "unrepeated": self.unrepeated,
            "not_tested": self.not_tested,
            "virtual_hours": round(self.virtual_s / 3600, 1),
            "wall_s": round(self.wall_s, 1),
            "coverage": dict(sorted(self.met.counts.items())),
        }


def run(
    seeds: Iterable[int], store: Store, *, mode: str = "all", twice: bool = False, swarm: Collection[str] = ()
) -> Tally:
    """Play the history of each seed; *twice* to see whether the trace is the same."""
    logging.disable(logging.CRITICAL)
    branches.install()
    tally = Tally()
    # The first history makes the columns; what follows begins as every other does.
    play(0, store)
    gc.collect()
    gc.freeze()
    began = _perf_counter()
    for number, seed in enumerate(seeds, 1):
        if number % 50 == 0:
            sys.stderr.write(f"{number} histories, {len(tally.failed)} violated\n")
        branches.counts.clear()
        told = play(seed, store, mode, swarm=swarm)
        told.met.update("branch", branches.counts)
        tally.add(told)
        if told.violations:
            sys.stderr.write(f"seed {seed} ({told.mode}): {told.violations[0]}\n")
        if twice and play(seed, store, mode, swarm=swarm).trace != told.trace:
            tally.unrepeated.append(seed)
    tally.wall_s = _perf_counter() - began
    return tally


def run_alone(seeds: Iterable[int], mode: str, twice: bool, swarm: Collection[str] = ()) -> Tally:
    """Run with a server of one's own: the work of one process."""
    with serving_store() as store:
        return run(seeds, store, mode=mode, twice=twice, swarm=swarm)

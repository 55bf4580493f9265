"""Some histories in every run of the suite, in a process of their own, since a history takes this one's clock.

Why: `make histories N=1000` plays as many as one has time for. Here a few of each mode show that the simulation works
and repeats itself, and that its list of bad designs still quotes the source.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, try_mutant

ROOT = Path(__file__).parents[2]
QUICKLY_KILLED = "the lead speaks for a converted person"


def simulated(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout, done.stderr[-2_000:]
    return done.returncode, json.loads(done.stdout)


def test_no_history_is_violated_and_each_repeats_itself() -> None:
    """A seed that cannot be repeated finds nothing that anybody could mend."""
    code, told = simulated("--histories", "3", "--first-seed", "3", "--twice")
    assert told["violations"] == 0, told["first"]
    assert told["unrepeated"] == []
    assert code == 0
    assert set(told["by_mode"]) == {"stream", "sweep", "both"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.claim)
def test_bad_design_quotes_the_source(mutant: Mutant) -> None:
    """A mutant that no longer fits would survive for the wrong reason, or never be planted."""
    assert mutant.unfit == []


def test_bad_design_is_found() -> None:
    """The simulation can say no; `make mutants` asks it for every design."""
    mutant = next(one for one in MUTANTS if one.claim == QUICKLY_KILLED)
    verdict = try_mutant(mutant, 1, 3)
    assert verdict.seed is not None, verdict

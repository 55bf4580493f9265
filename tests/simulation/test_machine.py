"""The state machines in every run of the suite, each in a process of its own, since a world takes this one's clock.

They share 60 examples of 50 steps, for the time that a run of the suite may take. `SFSYNC_MACHINE=200:50` lets them try
so many in all, of so many steps, and `2000:100:7` through a night draws others, by that seed. A failing example is told
as steps, to be kept in `machine_found`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.simulation.history import MODES
from tests.simulation.machine_found import FOUND, Found
from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS
from tests.simulation.test_histories import ROOT

BY_CLAIM: Mapping[str, Mutant] = {mutant.claim: mutant for mutant in MUTANTS}
HASTY = ("--patience", "4")
"""How to look for what a mutant breaks: nothing that it breaks is mended later."""
QUICKLY_FOUND = "what an event does not name becomes empty"
STEPS = 20


def run_machine(*arguments: str, planted: str | None = None) -> dict[str, Any]:
    """Run the command, with the mutant of this claim planted, and return what it printed."""
    mutant = BY_CLAIM[planted] if planted else None
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.simulation.machine_run",
            *arguments,
            *(["--planted"] if mutant else []),
        ],
        input=json.dumps({"file": mutant.file, "edits": list(mutant.edits)}) if mutant else None,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr[-2_000:]
    # Hypothesis may have something to say before.
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (1 if told["failure"] or told.get("never") else 0), done.stderr[-2_000:]
    return told


def profile(mode: str) -> list[str]:
    """Return how many examples the machine of *mode* shall try, of all those that are asked for."""
    examples, steps, *seed = os.environ.get("SFSYNC_MACHINE", "60:50").split(":")
    share = len(range(MODES.index(mode), int(examples), len(MODES)))
    return ["--examples", str(share), "--steps", steps, *(["--seed", seed[0]] if seed else [])]


@pytest.mark.parametrize("mode", MODES)
def test_no_steps_break_anything(mode: str) -> None:
    """Whatever Hypothesis makes of an org, a daemon and their misfortunes, the store becomes what the org says."""
    told = run_machine("--mode", mode, *profile(mode))
    assert not told["failure"], "\n".join([told["failure"]["is"], *told["failure"]["steps"]])
    assert told["never"] == [], "rules that were never taken show nothing"
    assert told["worlds"] > 0


def test_what_was_found_once_holds() -> None:
    """A bug that was fixed must not come back."""
    told = run_machine("--found", "all")
    assert told["failure"] == {}
    assert told["found"] == [found.name for found in FOUND]


@pytest.mark.parametrize("found", [one for one in FOUND if one.kills], ids=lambda found: found.name)
def test_what_was_found_still_bites(found: Found) -> None:
    """An example that no longer breaks what it was found with tests something else."""
    told = run_machine("--found", found.name, *HASTY, planted=found.kills)
    assert list(told["failure"]) == [found.name]


def test_machine_finds_a_bad_design_and_says_how() -> None:
    """The machine can say no, and what it says is short enough to be read."""
    told = run_machine(
        "--mode", "stream", "--steps", str(STEPS), "--shrink-s", "30", *HASTY, planted=QUICKLY_FOUND
    )
    steps = [line for line in told["failure"]["steps"] if line.startswith("state.")]
    assert told["failure"]["is"].startswith("ViolationError: ")
    assert steps[0].startswith("state.begin(")
    assert 3 < len(steps) < STEPS

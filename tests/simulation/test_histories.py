"""Some histories in every run of the suite, in a process of their own, since a history takes this one's clock.

Why: `make histories N=1000` plays as many as one has time for. Here a few of each mode show that the simulation works
and repeats itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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

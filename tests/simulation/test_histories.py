"""Histories in every run of the suite, in processes of their own, since a history takes the clock of its process.

Why: a hundred histories find what nobody thought of, and a thousand what hardly ever happens; `make histories N=10000`
plays as many as one has time for. Here they are shared among the workers of the run in parts. Whoever ends last looks
whether all of them together met what they must: a suite that never reached a fault has not tested it.
`SFSYNC_SIMULATED=first:count` plays those seeds instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.run import Tally

ROOT = Path(__file__).parents[2]
PART = 25
REPEATED = 50


def chosen() -> range:
    """Return the seeds of this run."""
    first, _, count = os.environ.get("SFSYNC_SIMULATED", "1:200").partition(":")
    return range(int(first), int(first) + int(count or 200))


def parts() -> list[range]:
    """Return the seeds in parts that one test plays."""
    seeds = chosen()
    return [seeds[start : start + PART] for start in range(0, len(seeds), PART)]


def simulated(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )
    assert done.stdout, done.stderr[-2_000:]
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts of this run tell each other what they met, whichever worker plays them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = shared / "histories"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.mark.parametrize("seeds", parts(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_no_history_is_violated(seeds: range, told: Path) -> None:
    """The store equals the org after every history, and nothing that never may be was seen in between.

    The first of them are played twice: a seed that cannot be repeated finds nothing that anybody could mend.
    """
    twice = ["--twice"] if seeds[0] < chosen()[0] + REPEATED else []
    code, line = simulated("--first-seed", str(seeds[0]), "--histories", str(len(seeds)), *twice)
    part = told / f"{seeds[0]}.new"
    part.write_text(json.dumps(line), "utf-8")
    part.replace(part.with_suffix(".json"))
    assert line["violations"] == 0, line["first"]
    assert line["unrepeated"] == []
    assert code == 0
    found = sorted(told.glob("*.json"))
    if len(found) == len(parts()):
        whole = Tally.of_lines(json.loads(path.read_text("utf-8")) for path in found)
        assert set(whole.histories) == {"stream", "sweep", "both"}
        assert whole.not_tested == []

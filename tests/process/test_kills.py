"""Kills at random moments, and the command that plays them for a night."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.process.gauge import slope
from tests.process.room import open_room
from tests.process.server import OwnServer, why_no_server
from tests.process.soak import Tally, kill_round, play_rounds

ROUNDS, SEED = 8, 5


def test_ten_kills_lose_nothing(own_server: OwnServer, tmp_path: Path) -> None:
    """A daemon may die at any moment, also while it starts again and while its lines and its server fail."""
    tally = Tally(SEED, 0)
    with open_room(own_server, tmp_path) as room:
        play_rounds(room, tally, ROUNDS, kill_round)
        assert tally.verdict.is_clean, f"{tally.verdict}\n{room.running.log.tail()}"
    assert tally.next == ROUNDS
    assert tally.kills >= 10
    assert tally.faults.total() >= 3
    assert tally.excused < tally.snapshots / 10, "the reader has excused too much"


def test_soak_that_is_interrupted_says_so_and_judges_what_was_done() -> None:
    """Whoever stops it after an hour wants the hour's result, not a line that claims a night."""
    if missing := why_no_server():
        pytest.skip(missing)
    command = [sys.executable, "-m", "tests.process", "--minutes", "60", "--rate", "40", "--seed", "3"]
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, process_group=0) as soak:
        assert soak.stdout is not None and soak.stderr is not None
        progress = soak.stderr.readline()
        soak.send_signal(signal.SIGINT)
        out, err = soak.communicate(timeout=180)
    assert "min left" in progress
    assert soak.returncode == 0, err
    told = json.loads(out.splitlines()[-1])
    assert told["ended_early"] is True
    assert (told["lost"], told["divergent"], told["half_visible"]) == (0, 0, 0)
    assert told["changes"] > 0 and told["snapshots"] > 0 and told["next"] >= 1
    assert told["wall_s"] < 180
    assert 20 < told["rss_mb"]["end"] < 400
    assert 5 < told["open_files"]["end"] < 64


def test_slope_is_that_of_the_line_through_the_points() -> None:
    """A leak is told by this number alone."""
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == 2.0
    assert slope([(0.0, 4.0), (1.0, 4.0), (2.0, 4.0)]) == 0.0

"""Every failpoint once: the daemon is killed there and comes back, and then all is as if nothing had been.

Why: what a crash between two lines leaves behind is met by chance once in years. Each play proves that the point was
reached and that SIGKILL ended the process there; then the whole store is compared with the org, the feed with what
Postgres saw written, and nothing may be left dirty, owed or unanswered.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfsync.failpoint import VARIABLE, failpoints
from tests.acceptance.stage import STREAM_ONLY, until
from tests.postgres import PgFleet, available_servers
from tests.process.failpoint_ground import Ground, open_ground
from tests.process.failpoint_scenes import MORE, POINTS, QUICK, SCENES, Play
from tests.process.failpoints import Run, every, must_die_at, once, play

POSITION = "SELECT convert_from(replay, 'UTF8') FROM sfsync.position"


@pytest.fixture(scope="module")
def ground(pg_fleet: PgFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with open_ground(
        pg_fleet.server(available_servers()[0]), tmp_path_factory.mktemp("failpoints")
    ) as opened:
        yield opened


@pytest.mark.parametrize("run", once(), ids=str)
def test_daemon_killed_at_a_point_comes_back_as_if_nothing_had_been(ground: Ground, run: Run) -> None:
    """Whatever was half done is done again or is not there; nothing is lost, nothing is told twice."""
    play(ground, run)


@pytest.mark.parametrize(("point", "is_committed"), [("commit.ready", False), ("commit.sent", True)])
def test_commit_that_was_sent_is_kept_and_one_that_was_not_is_not(
    ground: Ground, point: str, is_committed: bool
) -> None:
    """Between the two a crash is at its worst: the daemon has heard nothing, and the store may have moved."""
    ground.make_ready(fresh=False)
    before = ground.value(POSITION)
    with ground.stage() as stage:
        SCENES["changes"].before(Play(ground, stage))
        killed = stage.daemon({**QUICK, **STREAM_ONLY, VARIABLE: point})
        must_die_at(Run(point, "changes"), killed)
        assert not killed.log.all("stream.batch.applied")
        until(lambda: no_daemon_is_connected(ground), "the end of its sessions")
        assert (ground.value(POSITION) != before) == is_committed
        stage.daemon({**QUICK, **STREAM_ONLY})
        ground.settle(stage)
    assert ground.mistold() == []


def no_daemon_is_connected(ground: Ground) -> bool:
    """Tell whether Postgres has ended the sessions of all that were killed."""
    query = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"
    found: bool = ground.value(query)
    return found


def test_every_point_of_the_source_has_a_scene() -> None:
    """A point that no test comes to is a place where nobody has looked at a crash."""
    assert {point.name for point in failpoints()} == POINTS.keys()
    assert {cast.scene for cast in POINTS.values()} | {cast.scene for _, cast in MORE} == SCENES.keys()


def test_playing_thrice_plays_every_point_thrice() -> None:
    """The long run must not leave out what comes only once in its scene."""
    counts = Counter(run.point for run in every(3))
    assert counts.keys() == POINTS.keys()
    assert min(counts.values()) == 3
    assert {run.n for run in every(3) if run.point == "commit.ready"} == {1, 2, 3}


LIES = {
    "told of nothing": """INSERT INTO sfsync.change (org, subject, subject_id, action, origin)
        VALUES ('x', 'person', 1, 'changed', 'x')""",
    "not told": """SET LOCAL sfsync.writer = 'on';
        UPDATE crm.person SET source = 'silent' WHERE id = (SELECT min(id) FROM crm.person)""",
    "created twice": """INSERT INTO sfsync.change (org, subject, subject_id, action, origin)
        SELECT org, subject, subject_id, action, origin FROM sfsync.change WHERE action = 'created' LIMIT 1""",
}


@pytest.mark.parametrize(
    ("lie", "word"), [("told of nothing", "told 1"), ("not told", "told 0"), ("created twice", "created 2")]
)
def test_feed_that_lies_is_found(ground: Ground, lie: str, word: str) -> None:
    """A judge that finds nothing proves nothing."""
    ground.make_ready(fresh=False)
    assert ground.mistold() == []
    ground.execute("BEGIN")
    try:
        ground.execute(LIES[lie])
        assert word in " ".join(ground.mistold())
    finally:
        ground.execute("ROLLBACK")


# Arming ------------------------------------------------------------------------------------------------------


def sfsync(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with these variables."""
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("comit.ready", "near it are commit.ready"),
        ("nothing.like.it", "python -m sfsync.failpoint lists all"),
        ("commit.ready:0", "NAME or NAME:N"),
        ("commit.ready:1:2", "NAME or NAME:N"),
        (":3", "NAME or NAME:N"),
    ],
)
def test_failpoint_that_is_none_is_a_fault_of_configuration(tmp_path: Path, asked: str, told: str) -> None:
    """A test that kills nowhere would pass, and prove nothing."""
    ended = sfsync("-m", "sfsync", "run", cwd=tmp_path, SFSYNC_FAILPOINT=asked)
    assert ended.returncode == 2
    assert VARIABLE in ended.stderr and told in ended.stderr


def test_points_are_listed(tmp_path: Path) -> None:
    """Whoever wants to kill must find out where."""
    listed = sfsync("-m", "sfsync.failpoint", cwd=tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [point.name for point in failpoints()]


def test_nothing_of_failpoints_is_loaded_without_the_variable(tmp_path: Path) -> None:
    """Nobody who tests no crash pays for those who do."""
    script = "import sys, sfsync.cli, sfsync.cli.run; print('sfsync.failpoint' in sys.modules, sys.meta_path)"
    told = sfsync("-c", script, cwd=tmp_path).stdout
    assert told.startswith("False") and "failpoint" not in told


def test_armed_module_leaves_no_compiled_file(tmp_path: Path) -> None:
    """A cached call of a failpoint would kill somebody who armed none."""
    script = (
        "from sfsync.failpoint import arm; arm('commit.ready')\n"
        "import sfsync.store.apply as it; print(it.__spec__.cached, it.Applier._apply.__code__.co_names)"
    )
    caching = {"PYTHONPYCACHEPREFIX": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": ""}
    told = sfsync("-c", script, cwd=tmp_path, **caching).stdout
    assert "__failpoint__" in told
    written = [path.name for path in (tmp_path / "cache").rglob("*.pyc")]
    assert any(name.startswith("batch.") for name in written)
    assert not any(name.startswith("apply.") for name in written)

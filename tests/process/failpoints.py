"""Play failpoints: kill the daemon at a point, start it again, judge the store and the feed.

`python -m tests.process.failpoints --times 3` plays every point at its first, second and third time (one that comes
only once in its scene is killed there as often) and ends with one JSON line. `--only NAME` plays one.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfsync.failpoint import VARIABLE
from tests.acceptance.stage import Daemon
from tests.postgres import PgFleet, available_servers
from tests.process.failpoint_ground import Ground, open_ground
from tests.process.failpoint_scenes import MORE, POINTS, QUICK, SCENES, Cast, Play, Scene

REACHED_S = 60.0


class NotReachedError(AssertionError):
    """The daemon did not come to the point, or did not die there."""


@dataclass(frozen=True, slots=True)
class Run:
    """One play: a point, its scene, and the time at which it is met."""

    point: str
    scene: str
    n: int = 1

    def __str__(self) -> str:
        return f"{self.point}:{self.n} in {self.scene}"


def once() -> list[Run]:
    """Return every point at its first time."""
    return list(_runs(list(POINTS.items()), 1))


def every(times: int) -> list[Run]:
    """Return every point *times* times, and those that are worth it in other scenes, too."""
    return [run for time_ in range(1, times + 1) for run in _runs([*POINTS.items(), *MORE], time_)]


def _runs(casts: Sequence[tuple[str, Cast]], time_: int) -> Iterator[Run]:
    for point, cast in casts:
        yield Run(point, cast.scene, (time_ - 1) % cast.times + 1)


def play(ground: Ground, run: Run) -> None:
    """Play *run*; the store is left right and ready for the next. Raises `AssertionError` with what is wrong."""
    try:
        _play(ground, run, SCENES[run.scene])
    except BaseException:
        ground.spoil()
        raise


def _play(ground: Ground, run: Run, scene: Scene) -> None:
    ground.make_ready(fresh=scene.fresh)
    with ground.stage() as stage:
        act = Play(ground, stage)
        scene.before(act)
        killed = stage.daemon({**QUICK, **scene.settings, VARIABLE: f"{run.point}:{run.n}"})
        if scene.meanwhile is not None:
            scene.meanwhile(act, killed)
        must_die_at(run, killed)
        ground.org.heal()
        scene.after(act)
        stage.daemon({**QUICK, **scene.then})
        ground.settle(stage)
    assert ground.mistold() == []
    assert ground.refused(act.requests) == []


def must_die_at(run: Run, daemon: Daemon) -> None:
    """Wait for the end of *daemon*, which must be SIGKILL, at the point that its last line names."""
    try:
        code = daemon.ended(REACHED_S)
    except AssertionError as error:
        raise NotReachedError(str(error)) from error
    reached = daemon.log.all("failpoint.reached")
    if code != -signal.SIGKILL or [(one["name"], one["n"]) for one in reached] != [(run.point, run.n)]:
        raise NotReachedError(f"exit {code}, reached {reached}:\n{daemon.log.tail()}")
    assert daemon.log.entries[-1] == reached[0]


def main() -> int:
    """Play what the arguments ask for; return 1 when something was not as it must be."""
    options = _parser().parse_args()
    runs = [run for run in every(options.times) if options.only in (None, run.point)]
    failed, reached, divergent = list[str](), 0, 0
    with PgFleet() as fleet, tempfile.TemporaryDirectory(prefix="sfsync-failpoints-") as directory:
        with open_ground(fleet.server(available_servers()[0]), Path(directory)) as ground:
            for number, run in enumerate(runs, 1):
                began = time.monotonic()
                try:
                    play(ground, run)
                except NotReachedError as error:
                    failed.append(_told(run, error))
                except AssertionError as error:
                    reached, divergent = reached + 1, divergent + 1
                    failed.append(_told(run, error))
                else:
                    reached += 1
                sys.stderr.write(f"{number}/{len(runs)} {run}: {time.monotonic() - began:.1f} s\n")
    points = len({run.point for run in runs})
    told = {
        "failpoints": points,
        "runs": len(runs),
        "reached": reached,
        "divergent": divergent,
        "failed": failed,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if failed else 0


def _told(run: Run, error: AssertionError) -> str:
    sys.stderr.write(f"{run}: {error}\n")
    return f"{run}: {str(error).partition(chr(10))[0]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.process.failpoints", description=__doc__)
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="how often each is played (default: 1)"
    )
    parser.add_argument("--only", metavar="NAME", help="play this failpoint only")
    return parser


if __name__ == "__main__":
    sys.exit(main())

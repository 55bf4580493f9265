"""Play failpoints: kill the daemon at a point, start it again, judge the store and the feed.

`python -m tests.process.failpoints --times 3` plays every point at its first, second and third time (one that comes
only once in its scene is killed there as often) and ends with one JSON line. `--only NAME` plays one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
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
        try:
            _kill(act, run, scene)
        except Exception as error:
            raise NotReachedError(str(error)) from error
        stage.daemon({**QUICK, **scene.then})
        ground.settle(stage)
    wrong = [*ground.mistold(), *ground.refused(act.requests)]
    assert not wrong, "\n".join(wrong)


def _kill(act: Play, run: Run, scene: Scene) -> None:
    """Play the scene until the daemon is killed, and what happens before the next one starts."""
    scene.before(act)
    killed = act.stage.daemon({**QUICK, **scene.settings, VARIABLE: f"{run.point}:{run.n}"})
    if scene.meanwhile is not None:
        scene.meanwhile(act, killed)
    must_die_at(run, killed)
    act.ground.org.heal()
    scene.after(act)


def must_die_at(run: Run, daemon: Daemon) -> None:
    """Wait for the end of *daemon*, which must be SIGKILL, at the point that its last line names."""
    code = daemon.ended(REACHED_S)
    reached = daemon.log.all("failpoint.reached")
    if code != -signal.SIGKILL or [(one["name"], one["n"]) for one in reached] != [(run.point, run.n)]:
        raise AssertionError(f"exit {code}, reached {reached}:\n{daemon.log.tail()}")
    assert daemon.log.entries[-1] == reached[0]


@dataclass(slots=True)
class Tally:
    """What came of some runs: how many reached their point, and how many of these left something wrong."""

    runs: int = 0
    reached: int = 0
    divergent: int = 0
    failed: list[str] = field(default_factory=list)

    def note(self, run: Run, error: Exception | None) -> None:
        """Count one run."""
        self.runs += 1
        self.reached += not isinstance(error, NotReachedError)
        if error is not None:
            self.divergent += not isinstance(error, NotReachedError)
            self.failed.append(f"{run}: {str(error).partition(chr(10))[0]}")


def play_all(runs: Sequence[Run]) -> Tally:
    """Play *runs* on ground of their own, and tell of each on standard error."""
    tally = Tally()
    with PgFleet() as fleet, tempfile.TemporaryDirectory(prefix="sfsync-failpoints-") as directory:
        with open_ground(fleet.server(available_servers()[0]), Path(directory)) as ground:
            for run in runs:
                began, error = time.monotonic(), None
                try:
                    play(ground, run)
                except Exception as raised:  # noqa: BLE001 - one that fails must not end the others
                    error = raised
                    sys.stderr.write(f"{run}: {error}\n")
                tally.note(run, error)
                sys.stderr.write(f"{tally.runs}/{len(runs)} {run}: {time.monotonic() - began:.1f} s\n")
    return tally


def main() -> int:
    """Play what the arguments ask for; return 1 when something was not as it must be."""
    options = _parser().parse_args()
    runs = [run for run in every(options.times) if options.only in (None, run.point)]
    shares = [runs[worker :: options.workers] for worker in range(min(options.workers, len(runs)))]
    with ProcessPoolExecutor(len(shares) or 1, multiprocessing.get_context("spawn")) as pool:
        tallies = list(pool.map(play_all, shares))
    failed = [line for tally in tallies for line in tally.failed]
    told = {
        "failpoints": len({run.point for run in runs}),
        "runs": sum(tally.runs for tally in tallies),
        "reached": sum(tally.reached for tally in tallies),
        "divergent": sum(tally.divergent for tally in tallies),
        "failed": failed,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if failed or not runs else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.process.failpoints", description=__doc__)
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="how often each is played (default: 1)"
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that play (default: 2)"
    )
    parser.add_argument("--only", metavar="NAME", help="play this failpoint only")
    return parser


if __name__ == "__main__":
    sys.exit(main())

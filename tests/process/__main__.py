"""Kills, faults and long lives of real processes: `python -m tests.process --help`, behind `make soak`.

The last line on stdout is one JSON object that tells what was done and what was found; the exit code is 1 if anything
was. Ctrl-C ends it early: the round is played to its end and judged, and the line says so.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.process import soak
from tests.process.postgres_faults import FAULTS, full_disk
from tests.process.room import Room, open_room
from tests.process.server import OwnServer, why_no_server

POPULATION, POPULATION_LONG = 40, 2_000
PAUSE_LONG_S = 0.02


def main() -> int:
    """Do what is asked; return the exit code."""
    asked = _parser().parse_args()
    if missing := why_no_server():
        sys.stderr.write(f"{missing}: make setup brings some\n")
        return 2
    tally = soak.Tally(asked.seed, asked.first)

    def stop(_number: int, _frame: object) -> None:
        soak.say("ending: the round is played to its end and judged; once more leaves at once")
        tally.is_stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    # What was started has groups of its own, which nobody else would end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfsync-soak-")))
        try:
            _play(asked, tally, directory, stack)
        except Exception as error:  # noqa: BLE001  # whatever ended it, the line of what was done must come
            traceback.print_exc(file=sys.stderr)
            tally.failure = f"{type(error).__name__}: {error}".splitlines()[0]
        # Before all is taken down, which may fail, too.
        sys.stdout.write(json.dumps(tally.told()) + "\n")
        sys.stdout.flush()
    return 0 if tally.verdict.is_clean and tally.failure is None else 1


def _play(asked: argparse.Namespace, tally: soak.Tally, directory: Path, stack: ExitStack) -> None:
    server = stack.enter_context(OwnServer())
    faults: dict[str, soak.Fault] = dict(FAULTS)
    tablespace = "pg_default"
    if asked.postgres_faults:
        try:
            faults["disk_full"] = full_disk(stack.enter_context(server.small_disk()))
            tablespace = "small"
        except OSError as error:
            soak.say(f"no full disk this time: {error}")
    room = stack.enter_context(
        open_room(
            server,
            directory,
            seed=asked.seed,
            population=POPULATION_LONG if asked.minutes else POPULATION,
            tablespace=tablespace,
        )
    )
    _choose(asked, tally, faults)(room)


def _choose(
    asked: argparse.Namespace, tally: soak.Tally, faults: dict[str, soak.Fault]
) -> Callable[[Room], None]:
    if asked.minutes:

        def live(room: Room) -> None:
            room.reader.pause_s = PAUSE_LONG_S
            soak.play_minutes(room, tally, asked.minutes, asked.rate)

        return live
    count, play = next(
        (count, play)
        for count, play in (
            (asked.kills, soak.kill_round),
            (asked.proxy_faults, soak.proxy_round),
            (asked.postgres_faults, soak.postgres_round(faults)),
        )
        if count
    )
    return lambda room: soak.play_rounds(room, tally, count, play)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.process", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--kills", type=_positive(int), metavar="N", help="N rounds with one kill or more each")
    what.add_argument(
        "--minutes", type=_positive(float), metavar="M", help="one daemon for M minutes, with faults"
    )
    what.add_argument("--postgres-faults", type=_positive(int), metavar="N", help="N faults of Postgres")
    what.add_argument("--proxy-faults", type=_positive(int), metavar="N", help="N faults of lines")
    parser.add_argument(
        "--rate",
        type=_positive(float),
        default=500,
        metavar="R",
        help="with --minutes: transactions a second (500)",
    )
    parser.add_argument("--seed", type=int, default=1, help="what everything is drawn from (1)")
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="begin with round N of the seed (0)"
    )
    return parser


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"must be above 0; got {text}")
        return number

    return positive


if __name__ == "__main__":
    sys.exit(main())

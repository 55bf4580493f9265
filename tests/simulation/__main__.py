"""Histories from the command line: `python -m tests.simulation --histories 1000 --first-seed 1`.

Prints one JSON line; the exit code is 1 when a history was violated, when a trace could not be repeated, or when
something that must be met was not. `--trace --histories 1` prints what happened in one history instead.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from .history import MODES, play
from .run import Tally, run_alone
from .store import serving_store


def main() -> int:
    """Run what the arguments ask for."""
    options = _parser().parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of texts follows it, so a seed means the same everywhere only with it.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606 - ourselves
    seeds = range(options.first_seed, options.first_seed + options.histories)
    if options.trace:
        return _tell(seeds, options)
    tally = _shared(seeds, options) if options.workers > 1 else _run(seeds, options)
    sys.stdout.write(json.dumps(tally.line(), ensure_ascii=False) + "\n")
    return 0 if tally.is_good else 1


def _run(seeds: Sequence[int], options: argparse.Namespace) -> Tally:
    return run_alone(seeds, options.mode, options.twice, options.swarm)


def _shared(seeds: range, options: argparse.Namespace) -> Tally:
    """Share the seeds among processes, each with a server of its own."""
    shares = [seeds[number :: options.workers] for number in range(options.workers)]
    tally = Tally()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        # Not _run: a spawned process cannot find what is defined in __main__.
        given = (options.mode, options.twice, options.swarm)
        for other in [pool.submit(run_alone, share, *given) for share in shares]:
            tally.join(other.result())
    return tally


def _tell(seeds: range, options: argparse.Namespace) -> int:
    with serving_store() as store:
        play(0, store)
        for seed in seeds:
            told = play(seed, store, options.mode, swarm=options.swarm)
            sys.stdout.write(
                "\n".join([*told.trace, *(f"VIOLATION {line}" for line in told.violations)]) + "\n"
            )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument(
        "--mode", choices=("all", *MODES), default="all", help="all: the seed chooses (default)"
    )
    parser.add_argument(
        "--swarm",
        type=lambda names: names.split(","),
        default=(),
        help="acts that every history has, by comma",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes to share the work (default 1)")
    parser.add_argument("--twice", action="store_true", help="play each twice and compare the traces")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Runs a state machine: `python -m tests.simulation.machine_run --mode stream --examples 67 --steps 50`.

Prints one JSON line. When an example failed, the exit code is 1 and the line tells the steps, as they can be copied to
`machine_found`; so it is when a rule was never taken. Without `--seed` the examples are the same in every run of one
state of the machine's source; with it, those of that seed.

With `--found NAME` examples that are kept in `machine_found` are played instead ("all": each of them). With
`--planted` a bad design is read from standard input, `{"file", "edits"}`, and put in place before anything of sfsync
is imported: so that a test can see the machine fail.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test

from .mutant_run import put_in_place

ENOUGH = 2_000
"""So many steps must have taken every rule that their machine has."""

_perf_counter, _process_time = time.perf_counter, time.process_time


def main() -> int:
    """Run what the arguments ask for."""
    options = _parser().parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of texts follows it, so an example means the same everywhere only with it.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.machine_run", *sys.argv[1:]])  # noqa: S606 - ourselves
    if options.planted:
        planted = json.load(sys.stdin)
        put_in_place(planted["file"], planted["edits"])
    logging.disable(logging.CRITICAL)
    began = _perf_counter()
    told = replay(options) if options.found else explore(options)
    told |= {"wall_s": round(_perf_counter() - began, 1), "cpu_s": round(_process_time(), 1)}
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    return 1 if told["failure"] or told.get("never") else 0


def explore(options: argparse.Namespace) -> dict[str, Any]:
    """Let Hypothesis look for steps that break something."""
    from .machine import MACHINES  # noqa: PLC0415 - only now: a bad design must be in place

    machine = next(one for one in MACHINES if one.mode == options.mode)
    if options.seed is not None:
        seed(options.seed)(machine)
    engine.MAX_SHRINKING_SECONDS = options.shrink_s
    chosen = settings(
        max_examples=options.examples,
        stateful_step_count=options.steps,
        derandomize=options.seed is None,
        database=None,
        deadline=None,
        # Explaining traces every line of it, for hours.
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    failure: dict[str, Any] | None = None
    with _stored(machine, options.patience):
        try:
            run_state_machine_as_test(machine, settings=chosen)
        except Exception as error:  # noqa: BLE001 - whatever it is, its steps must be told
            failure = {"is": f"{type(error).__name__}: {error}", "steps": getattr(error, "__notes__", [])}
    steps = machine.taken.total()
    never = sorted(machine.rule_names() - machine.taken.keys()) if steps > ENOUGH else []
    counts = {"steps": steps, **machine.spent, "rules": dict(sorted(machine.taken.items()))}
    return {"mode": machine.mode, "failure": failure, **counts, "never": never}


def replay(options: argparse.Namespace) -> dict[str, Any]:
    """Play examples that were found once; they must hold now."""
    from .machine_found import FOUND  # noqa: PLC0415 - as above
    from .machine_step import Machine  # noqa: PLC0415 - as above

    chosen = [one for one in FOUND if options.found in ("all", one.name)]
    failure = {}
    with _stored(Machine, options.patience):
        for one in chosen:
            try:
                one.play()
            except AssertionError as error:
                failure[one.name] = str(error)
    return {"found": [one.name for one in chosen], "failure": failure}


@contextmanager
def _stored(machine: Any, patience: int | None) -> Iterator[None]:
    """Serve a database to *machine* whose columns are made already; look at the end so often at most."""
    from .history import History, play  # noqa: PLC0415 - as above
    from .machine_world import Driven  # noqa: PLC0415 - as above
    from .store import serving_store  # noqa: PLC0415 - as above

    with serving_store() as store:
        play(0, store)
        gc.collect()
        gc.freeze()
        machine.store = store
        Driven.patience_s = History.patience_s[:patience]
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.machine_run", description=__doc__)
    parser.add_argument("--mode", choices=("stream", "sweep", "both"), default="both", help="which machine")
    parser.add_argument("--examples", type=int, default=67, help="how many (default 67)")
    parser.add_argument("--steps", type=int, default=50, help="in each, at most (default 50)")
    parser.add_argument("--seed", type=int, help="for other examples than those of every run")
    parser.add_argument("--shrink-s", type=int, default=300, help="how long to shrink (default 300)")
    parser.add_argument("--patience", type=int, help="how often to look at the end; fewer shrinks faster")
    parser.add_argument("--found", help="play a kept example instead, or all")
    parser.add_argument("--planted", action="store_true", help="read a bad design from standard input")
    return parser


if __name__ == "__main__":
    sys.exit(main())

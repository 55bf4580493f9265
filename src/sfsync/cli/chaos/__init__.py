"""`sfsync chaos`: what happens to my configuration when …; every fault is played against the real daemon.

Why: the suite shows that sfsync converges with our settings and our mapping; a user asks about theirs. So the daemon is
the real one as a process, its configuration is the user's, and the verdict comes from the judge of the simulated org,
who shares nothing with it. What each recipe does, it does by the control API and by signals, so it can be repeated by
hand: docs/simorg.md has the commands.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from ...log import configure_logging
from ..exits import FOUND, OK
from . import recipes_events, recipes_org, recipes_processes
from .fitting import typed
from .overlay import QUICK, overlay
from .play import Outcome, Play
from .recipe import Recipe, chosen
from .screen import Screen, list_recipes
from .stage import Plan
from .store import open_server

# Importing them is what fills the table of recipes, in the order in which they are played.
__all__ = ["main", "recipes_events", "recipes_org", "recipes_processes"]

_EPILOG = f"""\
what is tried:
  the configuration that `sfsync run` would take here (--config, else SFSYNC_CONFIG, else ./sfsync.toml, else what ships
  with sfsync), mapping included, against a simulated org and databases made for this. Your org and your database are
  not touched. Fields that your mapping names and the simulated org lacks are added to it, and that is said.
  Waits are shortened for the play, where yours are longer:
{textwrap.fill(", ".join(f"{key} {value:g}" for key, value in QUICK.items()), 110, initial_indent="    ", subsequent_indent="    ")}

examples:
  sfsync chaos
  sfsync chaos --config /etc/sfsync.toml --only gap --only hidden-field
  sfsync chaos --field Lead.Score__c=double --json | jq 'select(.converged == false)'

exit codes: 0 every recipe converged, 1 one did not, 2 something could not be started, 130 interrupted
"""


def main(argv: Sequence[str]) -> int:
    """Play the recipes; return 0 when each converged."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not 0 < arguments.patience < math.inf or arguments.people < 1:
        parser.error("--patience and --people must be positive")
    recipes = chosen(arguments.only)
    if arguments.list:
        list_recipes(recipes)
        return OK
    configure_logging(level="error")
    laid = overlay(arguments.config, os.environ)
    types = dict(map(typed, arguments.field))
    arguments.directory.mkdir(parents=True, exist_ok=True)
    # TERM is taken as Ctrl-C, and that also where a shell lets background jobs ignore it: nothing may stay behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    screen = Screen(as_json=arguments.json)
    with screen.watching():
        screen.enter("starting a Postgres" if arguments.dsn is None else "using the Postgres of --dsn")
        with open_server(arguments.dsn) as server:
            plan = Plan(laid, server, arguments.directory.resolve(), arguments.people, arguments.seed, types)
            outcomes, took_s = asyncio.run(_perform(Play(plan, arguments.patience), recipes, plan, screen))
    screen.tell(outcomes, one=laid, took_s=took_s)
    return OK if all(outcome.is_converged for outcome in outcomes) else FOUND


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sfsync chaos",
        description="Tell what happens to your configuration when …: play faults against the real daemon.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to read")
    parser.add_argument(
        "--list", action="store_true", help="name the recipes and what is expected, play nothing"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="play this recipe; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line per recipe, and one for all")
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="ENTITY.FIELD=TYPE",
        help="the type of a field that the simulated org lacks (default: by its column, else string); may be repeated",
    )
    parser.add_argument(
        "--dsn",
        default=os.environ.get("SFSYNC_CHAOS_DSN"),
        help="a server on which databases may be made, and are dropped again (default: SFSYNC_CHAOS_DSN, else a "
        "Postgres of our own)",
    )
    parser.add_argument("--people", type=int, default=40, help="people at the beginning (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="another number is another population")
    parser.add_argument(
        "--patience", type=float, default=30.0, metavar="S", help="longest wait for one thing (default: 30)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".chaos"),
        help="where the daemons' logs are kept (default: .chaos)",
    )
    return parser


async def _perform(
    play: Play, recipes: Sequence[Recipe], plan: Plan, screen: Screen
) -> tuple[list[Outcome], float]:
    """Play all; Ctrl-C cancels it, and what was started is ended on the way out."""
    began, outcomes = time.monotonic(), list[Outcome]()
    screen.enter("setting the stage: a simulated org, the daemon, the judge")
    async with play as stage:
        screen.begin(plan.overlay, stage.fit)
        screen.enter(f"{recipes[0].name} (1 of {len(recipes)})")
        async for outcome in play.outcomes(recipes):
            outcomes.append(outcome)
            screen.end(outcome)
            if len(outcomes) < len(recipes):
                screen.enter(f"{recipes[len(outcomes)].name} ({len(outcomes) + 1} of {len(recipes)})")
    return outcomes, time.monotonic() - began

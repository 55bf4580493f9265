"""`sfsync demo`: a simulated org lives, the daemon follows, and somebody else judges whether they are equal.

Why: the daemon, the org and the judge are processes of their own and meet only where they would meet in
production: HTTP, Postgres, a log. So what is shown is what an operator gets, and the verdict cannot share a
mistake with the daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import ConfigError
from .performance import Playbill, perform


def main(argv: Sequence[str]) -> int:
    """Run the demo; return 0 when the store equals the org at the end, 1 when it does not."""
    return asyncio.run(perform(_parse(argv)))


def _parse(argv: Sequence[str]) -> Playbill:
    parser = argparse.ArgumentParser(
        prog="sfsync demo",
        description="Show it all: a simulated org lives, the daemon follows, and the store becomes equal.",
        epilog="exit codes: 0 the store equals the org, 1 it does not, 2 something could not be started",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=_seconds_from_environment(),
        help="how long the org lives; 0 = until Ctrl-C (default: DEMO_SECONDS, else 60)",
    )
    parser.add_argument(
        "--people", type=int, default=400, help="people at the beginning, with a quarter as many companies"
    )
    parser.add_argument("--rate", type=float, default=4.0, help="steps of the org's life per second")
    parser.add_argument("--seed", type=int, default=1, help="another number is another life")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".demo"),
        help="where the daemon's log is kept (default: .demo)",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    arguments = parser.parse_args(argv)
    if not arguments.seconds >= 0 or not arguments.rate > 0 or arguments.people < 1:
        parser.error("--seconds must not be negative; --rate and --people must be positive")
    return Playbill(
        seconds=arguments.seconds,
        people=arguments.people,
        rate=arguments.rate,
        seed=arguments.seed,
        directory=arguments.directory,
        plain=arguments.plain or not _can_move_cursor(),
    )


def _can_move_cursor() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _seconds_from_environment() -> float:
    text = os.environ.get("DEMO_SECONDS", "60")
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"DEMO_SECONDS={text!r} is not a number of seconds") from None

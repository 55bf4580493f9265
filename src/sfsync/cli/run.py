"""`sfsync run`: the daemon, from settings to exit code.

Why: this is the last line of defence. Whatever ends the daemon is logged once, without text that others chose,
and becomes the exit code by which a supervisor knows whether to restart. A core dump would hold tokens and
personal data, so none is written.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import sys

import structlog

from ..config import find_file, load_settings
from ..daemon import run as run_daemon
from ..log import configure_logging, describe_error, where_raised
from .exits import exit_code


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is stopped; return its exit code."""
    settings = load_settings(arguments.config, os.environ)
    configure_logging(level=settings.log.level, pretty=settings.log.pretty)
    if failpoint := os.environ.get("SFSYNC_FAILPOINT"):
        structlog.get_logger().warning("failpoint.armed", name=failpoint)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    collect_seldom()
    try:
        return asyncio.run(run_daemon(settings, config_path=find_file(arguments.config, os.environ)))
    except Exception as error:  # noqa: BLE001 - the last line of defence
        structlog.get_logger().error("daemon.failed", error=describe_error(error), where=where_raised(error))
        if sys.stderr.isatty():
            print(f"sfsync: {describe_error(error)}", file=sys.stderr)
        return exit_code(error)


def collect_seldom() -> None:
    """Let the cyclic collector run once in many thousand values instead of once in seven hundred.

    A batch makes values by the ten thousand that live as long as it does and go without being collected: looking
    through them again and again took a third of the daemon's time at 10,000 records.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

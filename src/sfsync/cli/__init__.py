"""The `sfsync` command: find the subcommand, load it and nothing else, turn its errors into an exit code.

Why: `sfsync --help` answers at once, since what a subcommand needs (drivers, TLS, HTTP) is imported only when it
runs; argparse alone is loaded before. Errors that we raise on purpose say what to do and are printed without a
traceback; anything else is a fault of ours and keeps it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from ..errors import SfsyncError
from .arguments import COMMANDS, build_parser
from .exits import INTERRUPTED, exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except SfsyncError as error:
        print(_shown(error), file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left, for example `head`. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _shown(error: SfsyncError) -> str:
    """Return what to print of *error*; a name in it may be one that an org chose."""
    from .findings import printable  # noqa: PLC0415 - it is slow to load, and most commands raise nothing

    return "sfsync: " + "\n".join(map(printable, str(error).split("\n")))


def _run(words: list[str]) -> int:
    command = COMMANDS.get(words[0]) if words else None
    if command is not None and command.parses_itself:
        return _load(command.target)(words[1:])
    arguments = build_parser().parse_args(words or ["--help"])
    command = COMMANDS[arguments.command]
    if failpoint := os.environ.get("SFSYNC_FAILPOINT"):
        from ..failpoint import arm  # noqa: PLC0415 - nobody pays for what only tests ask for

        arm(failpoint)
    return _load(command.target)(*command.unpack(arguments))


def _load(target: str) -> Callable[..., int]:
    module, _, function = target.partition(":")
    found: Callable[..., int] = getattr(import_module(module), function)
    return found

"""What the command line understands.

Why: every subcommand's arguments stand here rather than beside its work, so that help needs no import but argparse.
`demo` and `simorg` parse their own words: what they take is nobody else's business.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from .exits import MEANING

_CONFIGURATION = """configuration:
  One TOML file (--config, else SFSYNC_CONFIG, else ./sfsync.toml), overlaid by environment variables
  SFSYNC_SECTION__KEY. Secrets only by environment or by files (KEY_file). All keys: docs/configuration.md
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: the function that does it, what help says of it, and how it gets its words.

    `unpack` turns the parsed arguments into those of the function. A command that parses itself gets its words raw.
    """

    target: str
    summary: str
    examples: str = ""
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    unpack: Callable[[argparse.Namespace], Sequence[object]] = lambda arguments: (arguments,)
    parses_itself: bool = False
    needs_settings: bool = True


def _with_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def _reconcile(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=3600.0,
        metavar="S",
        help="longest wait for the sweep (default: 3600)",
    )


def _rebind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes", metavar="ORGID", help="confirm without asking, by the new org's 18-character id"
    )


def _purge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="RECORD|PERSON",
        help="a Lead's or Contact's id, or ours of a person: the whole person; an Account's id or company:ID: the company",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--reason", metavar="TEXT", help="kept with the request; may not name whom it is about"
    )
    parser.add_argument(
        "--forget-hash", action="store_true", help="let a record come back that was erased, as somebody new"
    )
    parser.add_argument(
        "--timeout-s", type=float, default=300.0, metavar="S", help="longest wait for a daemon (default: 300)"
    )
    _with_json(parser)


def _decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="captured messages: whole CometD replies, single messages, their data, bare payloads; - is standard input",
    )


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "sfsync.cli.run:run",
        "keep the store equal to the org until stopped",
        examples="""examples:
  sfsync run --config /etc/sfsync.toml
  SFSYNC_LOG__FORMAT=json sfsync run 2>sfsync.log

signals:
  USR1 sweep now · USR2 verify now · HUP reload the configuration · TERM, INT finish and leave, twice: at once
""",
    ),
    "check": Command(
        "sfsync.cli.check:run",
        "tell what would stop or hurt a daemon, changing nothing",
        examples="examples:\n  sfsync check\n  sfsync check --json | jq '.findings[] | select(.level != \"ok\")'\n",
        add_arguments=_with_json,
    ),
    "status": Command(
        "sfsync.cli.status:run",
        "show what the store knows: leader, position, sweeps, dirty records, dead letters",
        examples="examples:\n  sfsync status\n  sfsync status --json | jq .people\n",
        add_arguments=_with_json,
    ),
    "reconcile": Command(
        "sfsync.cli.reconcile:run",
        "sweep now, wait for the end, print the certificates",
        examples="examples:\n  sfsync reconcile\n  sfsync reconcile --timeout-s 60 --json\n",
        add_arguments=_reconcile,
    ),
    "rebind": Command(
        "sfsync.cli.rebind:run",
        "bind the store to another org, after a sandbox refresh or a migration",
        examples="examples:\n  sfsync rebind\n  sfsync rebind --yes 00D5i000000DemoEAC\n",
        add_arguments=_rebind,
    ),
    "purge": Command(
        "sfsync.cli.purge:run",
        "erase a person or a company: every row that names or describes it, for good",
        examples="examples:\n  sfsync purge 0035i00000AbCdEFGH --dry-run\n  sfsync purge 42 --reason 'request 17 of 2026'\n",
        add_arguments=_purge,
    ),
    "decode": Command(
        "sfsync.cli.decode:decode_files",
        "print captured change events as one JSON line each",
        examples="examples:\n  sfsync decode captured.json\n  tail -n 1 captured.jsonl | sfsync decode -\n",
        add_arguments=_decode,
        unpack=lambda arguments: (arguments.files, sys.stdout),
        needs_settings=False,
    ),
    "simorg": Command(
        "sfsync.cli.simorg:main", "run a simulated Salesforce org on loopback", parses_itself=True
    ),
    "demo": Command(
        "sfsync.cli.demo:main",
        "show it all: a simulated org, a daemon and a store that becomes equal",
        parses_itself=True,
    ),
}


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="sfsync",
        description="Keep a Postgres store of people and companies equal to Salesforce.",
        epilog=f"`sfsync COMMAND --help` tells more.\n\n{_CONFIGURATION}\n{MEANING}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sfsync {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        _add_command(commands, name, command)
    return parser


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Command,
) -> None:
    parser = commands.add_parser(
        name,
        help=command.summary,
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog="\n".join(
            filter(None, [command.examples, _CONFIGURATION if command.needs_settings else "", MEANING])
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if command.needs_settings:
        parser.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to read")
    if command.add_arguments:
        command.add_arguments(parser)

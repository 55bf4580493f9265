"""`sfsync decide`: say whether people follow Salesforce from now on.

Why: to decline writes nothing that Salesforce says, so it is done at once, whether or not a daemon runs; to sync means
to overwrite the person, which only the leader does.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
from pathlib import Path

from ..config import Settings, load_settings
from ..config.place import open_store
from ..errors import StoreError
from ..log import configure_logging
from ..store.report import known_org
from ..store.requests import Answered
from .asking import Wish, ask_each
from .exits import FOUND, OK

_NO_SUCH_PERSON = "P0002"
_SYNC = Wish("decide", None, verb="let people follow Salesforce", done="synced")


def run(arguments: argparse.Namespace) -> int:
    """Take the decision for each person; return 1 when it was not taken for one of them."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    by = arguments.by or getpass.getuser()
    if arguments.choice == "decline":
        told = asyncio.run(_decline(settings, arguments.people, by))
    else:
        told = asyncio.run(
            _sync(settings, arguments.config, arguments.people, by, timeout_s=arguments.timeout_s)
        )
    for person, (outcome, error) in zip(arguments.people, told, strict=True):
        if error:
            print(f"sfsync: person {person}: {error}", file=sys.stderr)
        else:
            print(f"person {person} is {outcome}")
    return FOUND if any(error for _, error in told) else OK


async def _decline(settings: Settings, people: list[int], by: str) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    async with open_store(settings.store) as database:
        await known_org(database)
        for person in people:
            try:
                async with database.transaction() as connection:
                    await connection.execute(
                        database.sql("take_decision"), person, "decline", by, "cli", None
                    )
                told.append(("declined", ""))
            except StoreError as error:
                if error.sqlstate != _NO_SUCH_PERSON:
                    raise
                told.append(("", "there is no person of this id"))
    return told


async def _sync(
    settings: Settings, config: Path | None, people: list[int], by: str, *, timeout_s: float
) -> list[tuple[str, str]]:
    arguments = [
        json.dumps({"person_id": person, "choice": "sync", "via": "cli", "by": by}) for person in people
    ]
    told = await ask_each(settings, config, _SYNC, arguments, timeout_s=timeout_s)
    return [_outcome(one) for one in told]


def _outcome(told: Answered | str) -> tuple[str, str]:
    return (told.outcome, told.error) if isinstance(told, Answered) else ("", told)

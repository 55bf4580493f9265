"""`sfsync pending`: who waits for a decision, and what would change if they followed Salesforce."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime

from ..config import load_settings
from ..config.place import open_store
from ..log import configure_logging
from ..store.people import Page, Told, list_questions, open_reader
from ..store.report import known_org
from .exits import OK
from .findings import shown
from .wording import age

_REASONS = {
    "unread": "its record was not read yet",
    "absent": "Salesforce has no such record, or hides it from our user",
    "differs": "differs from Salesforce",
    "merged": "was joined in Salesforce with somebody who was decided otherwise",
}


def run(arguments: argparse.Namespace) -> int:
    """Print the open questions, by person id."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)

    async def read() -> list[Told]:
        async with open_store(settings.store) as database:
            await known_org(database)
            async with open_reader(database) as reader:
                return await list_questions(reader, Page(arguments.after, arguments.limit))

    questions = asyncio.run(read())
    if arguments.json:
        print(json.dumps(questions, indent=2, default=datetime.isoformat))
    else:
        print("\n".join(_lines(questions, arguments.limit, datetime.now(UTC))))
    return OK


def _lines(questions: list[Told], limit: int, now: datetime) -> Iterator[str]:
    if not questions:
        yield "nobody waits for a decision"
    for one in questions:
        deleted = "; deleted in Salesforce" if one["is_deleted"] else ""
        since = age(one["since"], now)
        yield f"person {one['person_id']} ({one['speaker']}), for {since}: {_REASONS[one['reason']]}{deleted}"
        for column in one["columns"]:
            stored, told = shown(column["stored_value"]), shown(column["salesforce_value"])
            yield f"  {column['column_name']}: {stored} here, {told} in Salesforce"
    if len(questions) == limit:
        yield f"there may be more: sfsync pending --after {questions[-1]['person_id']}"

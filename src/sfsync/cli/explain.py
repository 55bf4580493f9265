"""`sfsync explain`: why a person or company is as it is.

Why: the facts are gathered in `store/explanation.py`, where the HTTP API gets them too; here they are put into lines.
Values are shown, since whoever may read the store asks, but nothing in them that a terminal would obey.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from ..config import Settings, load_settings
from ..config.place import open_store
from ..errors import ConfigError
from ..log import configure_logging
from ..store.explanation import explain
from ..store.people import Reference, Told, find, open_reader, parse_reference
from ..store.report import known_org
from .exits import FOUND, OK
from .findings import printable, printable_json
from .wording import age

_VALUE_WIDTH = 40
_NOT_KEPT = "nothing is kept of what wrote it"


def run(arguments: argparse.Namespace) -> int:
    """Explain whom an id means today; return 1 when it means nobody."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    try:
        reference = parse_reference(arguments.id)
    except ValueError as error:
        raise ConfigError(f"ID is {error}") from error
    told = asyncio.run(_explain(settings, reference))
    if told is None:
        print(f"sfsync: {reference} is nobody here: neither a person nor a company", file=sys.stderr)
        return FOUND
    if arguments.json:
        print(printable_json(msgspec.json.format(msgspec.json.encode(told), indent=2).decode()))
    else:
        # A number with more digits than a double has is shown with all of them.
        plain = msgspec.json.Decoder(float_hook=str).decode(msgspec.json.encode(told))
        print("\n".join(_lines(plain, datetime.now(UTC))))
    return OK


async def _explain(settings: Settings, reference: Reference) -> Told | None:
    async with open_store(settings.store) as database:
        await known_org(database)
        async with open_reader(database) as reader:
            found = await find(reader, reference)
            if found is None:
                return None
            told = await explain(reader, found)
    return {"requested_id": reference, "kept_days": settings.store.change_retention_days} | told


def _lines(told: Told, now: datetime) -> Iterator[str]:
    also = f", also {', '.join(map(str, told['aliases']))}" if told["aliases"] else ""
    yield f"{told['kind']} {told['id']}{also}{_state(told['row'])}"
    if told["speaker"]:
        yield f"speaks      {told['speaker']['salesforce_id']}: {told['speaker']['reason']}"
    if told["company"]:
        yield f"company     {told['company']['id'] or 'none'}: {told['company']['reason']}"
    yield ""
    for record in told["records"]:
        yield f"record      {_record(record)}"
    yield from _open_lines(told, now)
    yield ""
    width = max(len(column["name"]) for column in told["columns"])
    for column in told["columns"]:
        yield f"{column['name']:<{width}}  {_shown(column['value'])}"
        yield f"{'':<{width}}  └ {_origin(column, now)}"
    yield ""
    yield f"history and provenance are kept {told['kept_days']} days"


def _state(row: Told) -> str:
    states = [row["sync"] if row.get("sync", "synced") != "synced" else ""]
    states += [f"because {row['sync_reason']}" if row.get("sync_reason") else ""]
    states += [f"deleted at {row['deleted_at']}" if row["deleted_at"] else ""]
    states += [f"merged into {row['merged_into']}" if row["merged_into"] else ""]
    return "".join(f", {state}" for state in states if state)


def _record(record: Told) -> str:
    facts = [
        record["entity"],
        f"own id {record['own_id']}" if record["own_id"] else "never live",
        record["decision"],
        "deleted" if record["is_deleted"] else "",
        "" if record["is_complete"] else "known in part",
        f"converted to {record['converted_to']}" if record["converted_to"] else "",
        f"merged into {record['merged_into']}" if record["merged_into"] else "",
        f"of account {record['account_id']}" if record["account_id"] else "",
        f"absent since {record['unseen_since']}" if record["unseen_since"] else "",
    ]
    return f"{record['salesforce_id']}: {', '.join(fact for fact in facts if fact)}"


def _open_lines(told: Told, now: datetime) -> Iterator[str]:
    """Tell what waits for a reading or a decision, and what was decided."""
    for mark in told["dirty"]:
        causes = ", ".join(mark["causes"])
        yield f"dirty       {mark['record_id']}: {causes}; {mark['attempts']} attempts, the next at {mark['next_try']}"
    for letter in told["dead_letters"]:
        yield f"dead letter {letter['record_id']}: {printable(letter['reason'])}, {age(letter['parked_at'], now)} ago"
    if told["pending"]:
        question = told["pending"]
        yield f"pending     for {age(question['since'], now)}: {question['reason']}"
        for column in question["columns"]:
            stored, said = _shown(column["stored_value"]), _shown(column["salesforce_value"])
            yield f"            {column['column_name']}: {stored} here, {said} in Salesforce"
    for taken in told["decisions"]:
        by = f"{printable(taken['decided_by'])} via {taken['via']}"
        yield f"decided     {taken['choice']} by {by}, {age(taken['decided_at'], now)} ago"


def _origin(column: Told, now: datetime) -> str:
    """Say where a column's value comes from and what wrote it last."""
    source = column["source"]
    fed = f"{source['field']} of {source['record_id']}; " if source else ""
    held = f" (suspended since {column['suspended_since']})" if column["suspended_since"] else ""
    return f"{fed}{_written(column['written'], now)}{held}"


def _written(written: Told | None, now: datetime) -> str:
    if written is None:
        return _NOT_KEPT
    what = f"{written['action']} by {written['origin']}"
    if written["source"]:
        what += f" {printable(written['source'])}"
    if written["certificate"]:
        what += f" (certificate {written['certificate']['id']}, equal as of {written['certificate']['equal_as_of']})"
    if written["commit"]:
        what += f" of {written['commit']}"
    what += f", written {age(written['at'], now)} ago"
    return what if written["is_named"] else f"{what}; which columns it wrote was not kept then"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"

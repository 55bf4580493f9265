"""A malicious record author: whoever can fill in a form chooses texts, and gets nothing for them but texts.

Why: from the event to the store, to the application, to the API and to the operator's screen, in one go, because each
door alone is tested in its room and an author walks through all of them.
"""

from __future__ import annotations

import asyncio
import csv
import json
import unicodedata
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sfsync.cli import pull
from sfsync.core.commands import Command
from sfsync.core.decide import decide
from sfsync.core.decode import decode
from sfsync.core.events import Position, RawEvent
from sfsync.core.ids import Entity, RecordId
from sfsync.salesforce.rest import Page
from sfsync.sync.reading import read_commands
from tests.cli.conftest import Cli
from tests.cli.test_explain import SALESFORCE
from tests.cli.test_import import Here
from tests.console.caller import calling
from tests.hostile import TEXTS
from tests.store.harness import CONTACT, CONTACT2, CONTACT3, MAPPING, Store, at, open_store, whole
from tests.store.harness import read as read_again
from tests.store.test_importing import row, taken

PLAN = MAPPING.plans[Entity.CONTACT]
COLUMNS = {
    column.name: column.sources[Entity.CONTACT]
    for column in MAPPING.person
    if column.pg_type == "text" and Entity.CONTACT in column.sources and column.name != "owner_id"
}


def cleaned(text: str) -> str:
    """What no database can hold is replaced in one declared way; everything else stays as it is."""
    return text.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")


def hostile(start: int) -> dict[str, str]:
    """A text for each column, beginning with another one for each *start*."""
    return dict(zip(COLUMNS, islice(cycle(TEXTS.values()), start, None), strict=False))


AUTHORED = {CONTACT: hostile(0), CONTACT2: hostile(len(COLUMNS))}


def fields(texts: Mapping[str, str]) -> dict[str, Any]:
    return {COLUMNS[name]: text for name, text in texts.items()}


def event(of: RecordId, texts: Mapping[str, str]) -> bytes:
    """A creation as it comes over the stream."""
    flat = fields(texts)
    address = {name.removeprefix("Mailing"): flat.pop(name) for name in [*flat] if name.startswith("Mailing")}
    names = {name: flat.pop(name) for name in ("LastName", "FirstName", "Salutation")}
    header = {
        "entityName": "Contact",
        "recordIds": [of],
        "changeType": "CREATE",
        "transactionKey": f"key of {of}",
        "sequenceNumber": 1,
        "commitTimestamp": at(0),
    }
    return json.dumps(
        {"ChangeEventHeader": header, "Name": names, "MailingAddress": address, **flat}
    ).encode()


def commands() -> list[Command]:
    payloads = [event(of, texts) for of, texts in AUTHORED.items()]
    return [one for raw in payloads for one in decide(decode(RawEvent(Position(b"1"), raw)), MAPPING.plans)]


def is_tame(shown: str) -> bool:
    """Whether a terminal prints all of it and obeys none of it."""
    return all(
        char == "\n"
        or (unicodedata.category(char)[0] != "C" and unicodedata.category(char) not in ("Zl", "Zp"))
        for char in shown
    )


async def stored(store: Store) -> dict[str, dict[str, str]]:
    return {row["salesforce_id"]: {name: row[name] for name in COLUMNS} for row in await store.people()}


def test_every_text_is_authored() -> None:
    """A text that no column carries would prove nothing."""
    assert {text for texts in AUTHORED.values() for text in texts.values()} == set(TEXTS.values())


async def test_event_and_sweep_store_a_hostile_text_as_text(pg_dsn: str) -> None:
    """Byte for byte, with nobody else's row touched, nothing in the log, and no drift when it is read again."""
    expected = {of: {name: cleaned(text) for name, text in texts.items()} for of, texts in AUTHORED.items()}
    async with open_store(pg_dsn) as store:
        with capture_logs() as entries:
            outcome = await store.apply(*commands())
            assert outcome.parked == 0
            assert await stored(store) == expected
            rows = [
                dict.fromkeys(PLAN.select)
                | whole(of, **fields(texts))
                | {"Id": of, "IsDeleted": False, "SystemModstamp": "2026-11-24T03:05:00.000+0000"}
                for of, texts in AUTHORED.items()
            ]
            found, letters = read_commands(Page(rows, True, 2, None, at(900), at(901)), PLAN)
            assert letters == []
            await store.apply(*found, refetched=True)
            assert await stored(store) == expected
    assert not [text for text in TEXTS.values() if text in str(entries)]


async def test_api_tells_a_hostile_text_as_json(pg_dsn: str) -> None:
    """A browser that is pointed at it runs nothing, and every program that reads JSON reads the text."""
    async with open_store(pg_dsn) as store, calling(pg_dsn) as api:
        await store.apply(*commands())
        for of, texts in AUTHORED.items():
            answer = await api.call("GET", f"/v1/people/{of}", 200)
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
            person = answer.body["columns"]
            assert {name: person[name] for name in COLUMNS} == {n: cleaned(t) for n, t in texts.items()}


async def test_no_command_gives_a_terminal_something_to_obey(pg_dsn: str, tmp_path: Path) -> None:
    """Titles, colours, cleared screens, and lines that read backwards: whatever a command shows is only shown."""
    capture = tmp_path / "captured.json"
    capture.write_bytes(b"\n".join(event(of, texts) for of, texts in AUTHORED.items()))
    async with open_store(pg_dsn) as store:
        await store.apply(*commands())
        # Somebody who waits: what is here and what Salesforce says are both the author's.
        await taken(store, row(2, CONTACT3, last_name=cleaned(TEXTS["ansi"]), email=cleaned(TEXTS["bidi"])))
        other = {COLUMNS["last_name"]: TEXTS["8-bit ansi"], COLUMNS["email"]: TEXTS["other line ends"]}
        await store.apply(read_again(CONTACT3, 5, begun=900, **other), refetched=True)  # type: ignore[arg-type]
        cli = Cli(SALESFORCE | {"SFSYNC_STORE__DSN": pg_dsn}, tmp_path)
        asked = [
            *(["explain", of, *more] for of in AUTHORED for more in ([], ["--json"])),
            *(["pending", *more] for more in ([], ["--json"])),
            ["decode", str(capture)],
        ]
        ended = dict(
            zip(map(tuple, asked), await asyncio.gather(*(cli(*words) for words in asked)), strict=True)
        )
    for words, end in ended.items():
        assert (end.code, end.err) == (0, ""), words
        assert is_tame(end.out), (words, [char for char in end.out if not is_tame(char)])
    # They were there to be shown.
    assert '"\ufffd2J\ufffd0;owned\ufffd" in Salesforce' in ended["pending",].out
    told = ended["explain", CONTACT, "--json"].json
    assert TEXTS["8-bit ansi"] in {column["value"] for column in told["columns"]}


def test_verdict_of_a_pull_gives_a_terminal_nothing_to_obey() -> None:
    """It is read by whoever is about to write to that person."""
    for text in TEXTS.values():
        column = {"column": "last_name", "stored": text, "salesforce": text}
        verdict = {"id": text, "outcome": "pending", "reason": text, "error": text, "columns": [column]}
        assert is_tame("".join(pull._lines(verdict)))


async def test_import_takes_hostile_cells_as_text(
    pg_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in its report, which holds the cells as they came: whoever opens it in a spreadsheet is warned in the documents."""
    file = tmp_path / "people.csv"
    names = [text for text in TEXTS.values() if text != TEXTS["half an emoji"]]
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["crm_id", "last_name", "number_of_nothing"])
        writer.writerows([f"0035i000{n:07}", name, "x"] for n, name in enumerate(names))
        writer.writerows(["'; DROP TABLE crm.person; --", name, "x"] for name in names)
    report = tmp_path / "rejected.csv"
    async with open_store(pg_dsn):
        here = Here(SALESFORCE | {"SFSYNC_STORE__DSN": pg_dsn}, tmp_path, capsys)
        code, shown = await here("people.csv", "--dry-run", "--ignore-unknown", "--report", "rejected.csv")
    assert code == 1
    assert f"created     {len(names):>9,}" in shown
    assert f"rejected    {len(names):>9,}" in shown
    assert is_tame(shown)
    with report.open(encoding="utf-8-sig", newline="") as found:
        _, *rejected = csv.reader(found)
    assert [cells[3] for cells in rejected] == [cleaned(name) for name in names]
    assert not [name for name in names for cells in rejected if len(name) > 4 and name in cells[1]]

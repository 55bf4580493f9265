"""`sfsync import` as a user has it: files, reports, exit codes, and people in the store."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sfsync.cli import import_people, progress
from sfsync.cli.arguments import build_parser
from sfsync.cli.exits import exit_code
from sfsync.cli.import_report import Report
from sfsync.cli.import_source import Source, form_of
from sfsync.config import load_settings
from sfsync.core.ids import record_id
from sfsync.errors import SfsyncError
from sfsync.store.import_files import Feeds
from tests.cli.conftest import PATIENCE_S, Cli, control
from tests.cli.test_with_daemon import QUICK, daemon, nothing_owed, value
from tests.simorg.site import eventually
from tests.store.harness import open_store

CONTACT, CONTACT2, LEAD = (
    record_id(short) for short in ("0035i00000Con01", "0035i00000Con02", "00Q5i00000Lea01")
)


@dataclass(frozen=True, slots=True)
class Here:
    """Runs the command in this process, which takes a tenth of the time of one of its own."""

    environ: Mapping[str, str]
    directory: Path
    capsys: pytest.CaptureFixture[str]

    async def __call__(self, file: str, *words: str, **changes: str) -> tuple[int, str]:
        """Import a file; return the exit code and what was printed."""
        arguments = build_parser().parse_args(["import", file, *words])
        for name in ("file", "report", "columns"):
            if getattr(arguments, name) is not None:
                setattr(arguments, name, self.directory / getattr(arguments, name))
        settings = load_settings(None, {**self.environ, **changes})
        self.capsys.readouterr()
        try:
            code = await import_people.import_file(settings, arguments)
        except SfsyncError as error:
            return exit_code(error), str(error)
        return code, self.capsys.readouterr().out

    async def json(self, file: str, *words: str) -> Any:
        return json.loads((await self(file, *words, "--json"))[1])


@pytest.fixture
async def here(pg_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Here]:
    """The command, beside a store that a daemon has set up, and an org that is not there."""
    environ = {
        "SFSYNC_SALESFORCE__LOGIN_URL": "https://127.0.0.1:9",
        "SFSYNC_SALESFORCE__FLOW": "client_credentials",
        "SFSYNC_SALESFORCE__CLIENT_ID": "nobody",
        "SFSYNC_SALESFORCE__CLIENT_SECRET": "nothing",
        "SFSYNC_STORE__DSN": pg_dsn,
    }
    async with open_store(pg_dsn):
        yield Here(environ, tmp_path, capsys)


def written(cli: Cli | Here, *lines: str, name: str = "people.csv", encoding: str = "utf-8") -> Path:
    """Write a file of people; return its path."""
    path = cli.directory / name
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode(encoding))
    return path


def report_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


async def test_dry_run_tells_what_would_happen_and_changes_nothing(here: Here, pg_dsn: str) -> None:
    """Whoever has one list and one store looks before they leap."""
    lines = (f"{CONTACT},山田,=a@b.example", f"{LEAD[:15]},B,", ",C,c@c.example", "x,D,")
    written(here, "crm_id,last_name,email", *lines)
    code, text = await here("people.csv", "--dry-run")
    assert code == 1
    assert "people.csv would be imported: 4 rows, utf-8, delimiter ," in text
    assert "created             2" in text
    assert f"line 2  {CONTACT}" in text
    assert "line 4  crm_id: missing" in text
    assert await value(pg_dsn, "SELECT count(*) FROM crm.person") == 0
    assert os.listdir(here.directory) == ["people.csv"], "a rehearsal makes no report unless it is asked for"
    told = await here.json("people.csv", "--dry-run", "--report", "bad.csv")
    assert (told["rows"], told["created"], told["rejected"], told["dry_run"]) == (4, 2, 2, True)
    assert told["columns"] == ["crm_id", "last_name", "email"]
    assert report_of(here.directory / "bad.csv") == [
        ["line", "reason", "crm_id", "last_name", "email"],
        ["4", "crm_id: missing", "", "C", "c@c.example"],
        ["5", told["examples"]["rejected"][1]["why"], "x", "D", ""],
    ]


async def test_file_of_excel_in_japan_is_read(here: Here) -> None:
    """CP932, semicolons, and numbers of lines as the editor shows them."""
    lines = (f"{CONTACT};髙橋①;-", f"{CONTACT2};表示;2026/11/24 9:30 +09:00")
    written(here, "sep=;", "CRM_ID;last_name;created_at", *lines, encoding="cp932")
    told = await here.json("people.csv", "--dry-run")
    assert (told["encoding"], told["delimiter"], told["created"], told["rejected"]) == ("cp932", ";", 2, 0)
    refused = await here.json("people.csv", "--dry-run", "--encoding", "utf-8")
    assert refused["rejected"] == 2
    assert "not utf-8, the first at byte offset" in refused["examples"]["rejected"][0]["why"]


@pytest.mark.parametrize(
    ("lines", "options", "told"),
    [
        ((), (), "the file is empty"),
        (("crm_id,last_nmae",), (), "'last_nmae' is no column; did you mean last_name"),
        (("last_name",), (), "no column is crm_id"),
        (("crm_id,crm_id",), (), "all feed crm_id"),
        (("crm_id",), ("--delimiter", "ab"), "--delimiter: one character"),
        (("crm_id",), ("--columns", "absent.toml"), "absent.toml cannot be read (No such file or directory)"),
        (("crm_id",), ("--columns", "people.csv"), "people.csv is not TOML"),
        (("crm_id",), ("--report", "people.csv"), "people.csv is the file that is imported"),
        (("crm_id",), ("--report", "there.csv"), "there.csv is there already"),
    ],
)
async def test_file_that_cannot_be_used_ends_with_2(
    here: Here, lines: Sequence[str], options: Sequence[str], told: str
) -> None:
    """And says what is wrong with it."""
    written(here, *lines)
    written(here, "line,reason,crm_id", name="there.csv")
    code, text = await here("people.csv", *options)
    assert (code, told in text) == (2, True), text


async def test_file_that_is_none_ends_with_2(here: Here, empty_dsn: str) -> None:
    """A folder, nothing at all, or a store that nobody has set up."""
    assert "is no file" in (await here("."))[1]
    assert "cannot be read (No such file" in (await here("absent.csv"))[1]
    written(here, "crm_id")
    code, text = await here("people.csv", SFSYNC_STORE__DSN=empty_dsn)
    assert (code, "sfsync run makes it" in text) == (2, True)


async def test_labels_that_cannot_be_asked_for_are_said_so(here: Here) -> None:
    """The header might be good; the org is away."""
    written(here, "crm_id,Last Name")
    code, _ = await here("people.csv")
    assert code == 2
    assert "labels of fields could not be asked for" in here.capsys.readouterr().err


async def test_columns_may_be_chosen_or_left_out(here: Here) -> None:
    """Lists have headers of their own."""
    written(here, "ID,お名前,memo", f"{CONTACT},山田,x")
    chosen = here.directory / "columns.toml"
    chosen.write_text('"お名前" = "last_name"\n"ID" = "crm_id"\n', "utf-8")
    words = ("people.csv", "--dry-run", "--columns", "columns.toml", "--ignore-unknown")
    told = await here.json(*words)
    assert (told["columns"], told["created"]) == (["crm_id", "last_name"], 1)
    chosen.write_text('"お名前" = "surname"\n', "utf-8")
    assert "no such column: surname" in (await here(*words))[1]


async def test_two_spellings_of_one_id_are_one_record(here: Here) -> None:
    """Exports have 18 characters, reports 15."""
    written(here, "crm_id,last_name", f"{CONTACT},A", f"{CONTACT[:15]},B")
    told = await here.json("people.csv", "--dry-run")
    assert (told["created"], told["duplicate"]) == (1, 1)
    assert told["examples"]["duplicate"] == [{"line": 2, "record_id": CONTACT, "why": "line 3 counts"}]


async def test_row_that_the_leader_rejects_is_reported_with_its_cells(here: Here, tmp_path: Path) -> None:
    """The store knows its line only; the file still has its cells."""
    path = written(here, "last_name,crm_id,memo", f"=A,{CONTACT},x", f'"B\r\nC",{CONTACT2},y')
    form = form_of(path, "auto", None)
    feeds = ["last_name", "crm_id", None]
    source = Source(form, ["last_name", "crm_id", "memo"], feeds, {"last_name": "text"}, Feeds([], [], None))
    with Report(tmp_path / "late.csv", source.header, feeds, force=False) as report:
        source.report_late(report, {3: "erased"})
        assert report.keep() == tmp_path / "late.csv"
    assert report_of(tmp_path / "late.csv") == [
        ["line", "reason", "crm_id", "last_name", "memo"],
        ["3", "erased", CONTACT2, "B\r\nC", "y"],
    ]
    assert not (tmp_path / "late.csv.part").exists()


async def test_import_that_fails_leaves_no_report(here: Here) -> None:
    """Half a report would pass for a whole one, and stand in the way of the next."""
    written(here, "crm_id", "x")
    code, _ = await here("people.csv", "--timeout-s", "0.2")
    assert code == 1
    assert os.listdir(here.directory) == ["people.csv"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_terminal: bool
) -> None:
    """A bar where people watch; elsewhere lines, not too many."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.showing("importing") as show:
        show(1_000, 20_000)
    told = capsys.readouterr().err
    assert ("importing: 1,000 of 20,000" in told) is not is_terminal
    assert "importing" in told


async def test_import_beside_a_daemon_and_without_one(cli: Cli, pg_dsn: str, org: dict[str, str]) -> None:
    """The whole way: labels of the org, the leader, the reading behind it, the report, and all of it again."""
    async with daemon(cli, pg_dsn):
        # The sweep that is owed for beginning at the tip must not find what this one is not to know.
        await eventually(lambda: nothing_owed(pg_dsn), PATIENCE_S)
        ids = await control(
            org,
            "transaction",
            steps=[{"op": "create", "entity": "Contact", "fields": {"LastName": "New"}, "as": "c"}],
            silent=True,
        )
        contact = ids["ids"]["c"]
        owned = await value(pg_dsn, "SELECT salesforce_id FROM crm.person WHERE sync = 'synced' LIMIT 1")
        written(
            cli,
            "crm_id,Last Name,Birthdate",
            f"{contact},Old,",
            f"{owned},Old,",
            "zzz,=1+1,",
            name="a.csv",
        )
        ended = await cli("import", "a.csv", "--ignore-unknown", "--json", "--default-address", "person")
        assert ended.code == 1, ended.err
        told = ended.json
        assert (told["created"], told["owned"], told["rejected"], told["dry_run"]) == (1, 1, 1, False)
        assert told["report"] == "a.csv.rejected.csv"
        assert report_of(cli.directory / "a.csv.rejected.csv")[1][2:] == ["zzz", "=1+1", ""]
        assert "asking it to import" in ended.err
        state = "SELECT (last_name, sync, sync_reason, address_preference)::text FROM crm.person WHERE salesforce_id = $1"

        async def compared() -> Any:
            return await value(pg_dsn, state, contact) == "(Old,pending,differs,person)"

        await eventually(compared, PATIENCE_S)
        ended = await cli("import", "a.csv", "--ignore-unknown")
        assert (ended.code, "is there already" in ended.err) == (2, True), (
            "what was reported is not overwritten"
        )
    assert await value(pg_dsn, "SELECT count(*) FROM sfsync.import_row") == 0

    mended = cli.directory / "a.csv.rejected.csv"
    mended.write_text(mended.read_text("utf-8-sig").replace("zzz", LEAD), "utf-8-sig")
    ended = await cli("import", mended.name, "--ignore-unknown", "--json", **QUICK)
    assert ended.code == 0, ended.err
    assert "running one to import" in ended.err
    assert (ended.json["created"], ended.json["report"]) == (1, None)
    assert await value(pg_dsn, "SELECT last_name FROM crm.person WHERE salesforce_id = $1", LEAD) == "=1+1"

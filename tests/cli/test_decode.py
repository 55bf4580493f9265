"""`sfsync decode`: captured files in, one JSON line per event out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sfsync.cli.decode import decode_files

SAMPLES = Path(__file__).parent.parent / "samples"
CONTACT = "0035i00000Con01AAB"


def event(
    change: str = "UPDATE", entity: str = "Contact", ids: tuple[str, ...] = (CONTACT,), **body: Any
) -> Any:
    header = {
        "entityName": entity,
        "recordIds": ids,
        "changeType": change,
        "changedFields": [],
        "transactionKey": "tx",
        "sequenceNumber": 1,
        "commitTimestamp": 1795489505000,
    }
    return {"ChangeEventHeader": header, **body}


def run(*paths: Path | str) -> tuple[int, list[dict[str, Any]]]:
    out = io.StringIO()
    status = decode_files([str(path) for path in paths], out)
    return status, [json.loads(line, parse_float=Decimal) for line in out.getvalue().splitlines()]


def decoded(tmp_path: Path, captured: Any) -> tuple[int, list[dict[str, Any]]]:
    file = tmp_path / "captured.json"
    file.write_bytes(captured if isinstance(captured, bytes) else json.dumps(captured).encode())
    return run(file)


def test_line_says_what_changed_and_what_would_be_done() -> None:
    """The whole line for a real message of an enriched channel."""
    assert run(SAMPLES / "043-cometd-account-update-enriched-custom-channel.json") == (
        0,
        [
            {
                "entity": "Account",
                "change_type": "UPDATE",
                "record_ids": ["001RM000005a9tGYAQ"],
                "fields": {"Fax": "4155551212", "LastModifiedDate": "2022-05-11T16:20:59.000Z"},
                "commands": [
                    {
                        "record_id": "001RM000005a9tGYAQ",
                        "command": "patch",
                        "fields": ["Fax", "LastModifiedDate"],
                    }
                ],
            }
        ],
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda payload: payload,
        lambda payload: [payload],
        lambda payload: {"schema": "x", "payload": payload, "event": {"replayId": 1}},
        lambda payload: {"channel": "/data/ChangeEvents", "data": {"payload": payload}},
        lambda payload: [
            {"channel": "/meta/connect", "successful": True, "id": "3"},
            {"channel": "/data/ChangeEvents", "data": {"payload": payload, "event": {"replayId": 1}}},
        ],
        lambda payload: [
            [{"data": {"payload": payload}}],
            [{"channel": "/meta/connect", "successful": True}],
        ],
        lambda payload: {"detail-type": "ContactChangeEvent", "detail": payload},
        lambda payload: {"detail": {"payload": payload, "schemaId": "x"}},
    ],
)
def test_every_form_of_a_capture_is_unwrapped(tmp_path: Path, wrap: Any) -> None:
    """People paste whatever their tool showed them."""
    status, lines = decoded(tmp_path, wrap(event(Fax=None)))
    assert status == 0
    assert [line["fields"] for line in lines] == [{"Fax": None}]


def test_one_message_on_each_line_is_read_past_a_bad_one(tmp_path: Path) -> None:
    """Logs are kept like this, and logs get cut."""
    good = json.dumps(event(Fax="1")).encode()
    status, lines = decoded(tmp_path, good + b'\n{"data":\n\n' + good)
    assert status == 1
    assert [sorted(line) for line in lines][1] == ["error", "file"]
    assert [line.get("fields") for line in lines] == [{"Fax": "1"}, None, {"Fax": "1"}]


def test_commands_are_told_per_record(tmp_path: Path) -> None:
    """A delete of two records is two tombstones, each with its question to the recycle bin."""
    second = "0035i00000Con02AAB"
    _, lines = decoded(tmp_path, event("DELETE", ids=(CONTACT, second)))
    assert lines[0]["commands"] == [
        {"record_id": record, **command}
        for record in (CONTACT, second)
        for command in ({"command": "tombstone"}, {"command": "refetch", "cause": "delete"})
    ]


def test_diff_is_missing_and_refetched(tmp_path: Path) -> None:
    """It must not be shown as a value."""
    _, lines = decoded(tmp_path, event("CREATE", LastName="x", Title={"diff": "-a\n+b"}))
    assert lines[0]["fields"] == {"LastName": "x"}
    assert lines[0]["missing"] == ["Title"]
    assert [c["command"] for c in lines[0]["commands"]] == ["image", "refetch"]
    assert "Title" not in lines[0]["commands"][0]["fields"]


@pytest.mark.parametrize(
    ("captured", "record_ids", "commands"),
    [
        (
            event("GAP_OVERFLOW", ids=("000000000000000AAA",)),
            [],
            [{"command": "resweep", "entity": "Contact", "in_full": False}],
        ),
        (event(ids=("003*",)), ["003*"], [{"command": "resweep", "entity": "Contact", "in_full": True}]),
        (
            event("GAP_DELETE"),
            [CONTACT],
            [{"record_id": CONTACT, "command": "refetch", "cause": "gap"}],
        ),
        (event("GAP_UPDATE", "Case", ("50025000009vJE9AAM",)), ["50025000009vJE9AAM"], []),
    ],
)
def test_events_without_a_body(tmp_path: Path, captured: Any, record_ids: Any, commands: Any) -> None:
    """They have no fields and still something to do."""
    status, lines = decoded(tmp_path, captured)
    assert status == 0
    assert lines[0]["fields"] == {}
    assert lines[0]["record_ids"] == record_ids
    assert lines[0]["commands"] == commands


def test_numbers_and_text_come_out_as_they_went_in(tmp_path: Path) -> None:
    """The output is data for the next program: exact numbers, and nothing a terminal would obey."""
    body = json.dumps(event(entity="Employee__c", ids=("a00xx0000004GvqAAE",), T__c="東京\u202e\x9b"))[:-1]
    file = tmp_path / "captured.json"
    file.write_text(body + ',"N__c":1.23456789012345678E17,"B__c":9007199254740993}', encoding="utf-8")
    out = io.StringIO()
    assert decode_files([str(file)], out) == 0
    assert "東京\\u202e\\u009b" in out.getvalue()
    fields = json.loads(out.getvalue(), parse_float=Decimal)["fields"]
    assert fields == {
        "T__c": "東京\u202e\x9b",
        "N__c": Decimal("123456789012345678"),
        "B__c": 9007199254740993,
    }


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*pubsub*.json")))
def test_pubsub_form_is_named_not_guessed_at(sample: str) -> None:
    """Its nulls mean "unchanged" and its dates are numbers: read as CometD it would be garbage."""
    status, lines = run(SAMPLES / sample)
    assert status == 1
    assert lines
    assert all("Pub/Sub" in line["error"] for line in lines)


@pytest.mark.parametrize(
    "sample",
    [
        "064-bayeux-handshake-ok-2026",
        "068-bayeux-connect-403-unknown-client-none",
        "070-bayeux-rehandshake-subscribe-then-403",
    ],
)
def test_bayeux_replies_are_passed_over(sample: str) -> None:
    """A capture of a session holds them between the events."""
    assert run(SAMPLES / f"{sample}.json") == (0, [])


@pytest.mark.parametrize(
    ("captured", "said"),
    [
        (b"", "empty"),
        (b"{", "not JSON at line 1"),
        (b"[5]", "not a change event"),
        (b'{"records": []}', "not a change event"),
        (b"\xff\xfe\x00", "not"),
        (b"[" * 100_000, "deep"),
        (b'{"payload": {"Fax": "1"}}', "ChangeEventHeader"),
        (json.dumps([[[[[[event()]]]]]]).encode(), "not a change event"),
    ],
)
def test_unreadable_file_is_one_clear_line(tmp_path: Path, captured: bytes, said: str) -> None:
    """And the exit code tells a script."""
    status, lines = decoded(tmp_path, captured)
    assert status == 1
    assert len(lines) == 1
    assert said in lines[0]["error"]


def test_malformed_event_tells_which_records_would_be_read(tmp_path: Path) -> None:
    """That is what the daemon would do about it."""
    status, lines = decoded(tmp_path, event("MOVED"))
    assert status == 1
    assert lines[0]["record_ids"] == [CONTACT]
    assert lines[0]["commands"] == [{"record_id": CONTACT, "command": "refetch", "cause": "malformed_event"}]


def test_bad_files_do_not_hide_good_ones(tmp_path: Path) -> None:
    """A folder of captures is read to its end."""
    good = SAMPLES / "050-cometd-lead-update-status.json"
    status, lines = run(tmp_path / "none.json", good, tmp_path, good)
    assert status == 1
    assert [line.get("entity") for line in lines] == [None, "Lead", None, "Lead"]
    assert lines[0]["file"].endswith("none.json")
    assert "No such file" in lines[0]["error"]


def test_command_reads_standard_input_and_prints_utf8_in_any_locale() -> None:
    """As it is used: in a pipe, on a server without a locale."""
    done = subprocess.run(
        [sys.executable, "-m", "sfsync", "decode", "-"],
        input=json.dumps(event(LastName="山田")).encode(),
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path), "LC_ALL": "C"},
        timeout=60,
        check=False,
    )
    assert done.stderr == b""
    assert done.returncode == 0
    assert json.loads(done.stdout)["fields"] == {"LastName": "山田"}

"""What looks on must see what it is there for: each kind of damage, done on purpose, is found."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import until
from tests.process.choir import Choir, Deed
from tests.process.reader import Findings, judge
from tests.process.room import SETTINGS, Room, open_room
from tests.process.server import OwnServer, run_sql

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TOLD_TWICE = """
INSERT INTO sfsync.change (org, subject, subject_id, action, origin)
SELECT c.org, c.subject, c.subject_id, c.action, c.origin FROM sfsync.change AS c
WHERE c.action = 'created' LIMIT 1
"""
VOICES = ("001A", "003C", "00QL")


@dataclass
class Seen:
    """A snapshot of one choir, to be spoilt."""

    choir: Choir = field(default_factory=lambda: Choir(*VOICES, random.Random(1)))
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {voice: self._row("voice", voice, phone="7", synced_at=NOW) for voice in VOICES}

    def deed(self, deed: Deed, **told: Any) -> None:
        """Add a deed."""
        self.choir.deeds.append(deed)
        self.rows[deed.record_id] = self._row(
            deed.kind, deed.record_id, verse=deed.verse, other=deed.other_id, **told
        )

    def judged(self) -> Findings:
        findings = Findings()
        judge([self.choir], list(self.rows.values()), findings)
        return findings

    @staticmethod
    def _row(kind: str, record_id: str, **told: Any) -> dict[str, Any]:
        blank = dict.fromkeys(("phone", "synced_at", "speaker", "company", "other_phone", "other"))
        flags = {"is_deleted": False, "set_by_read": False, "is_dirty": False}
        return {
            "place": 0,
            "verse": 0,
            "kind": kind,
            "id": record_id,
            "position": 500,
            **blank,
            **flags,
            **told,
        }


def test_whole_transaction_is_nothing_to_tell() -> None:
    """A reader that cries wolf is switched off."""
    seen = Seen()
    seen.choir.sung += [(6, 400), (7, 500)]
    seen.deed(Deed(7, "convert", "00Q1", "0031"), speaker="0031", company="001A")
    seen.deed(Deed(8, "merge", "00Q2", "00Q3"), other_phone="5")
    found = seen.judged()
    assert (found.half_visible, found.position_ahead, found.excused) == (set(), set(), 0)


@pytest.mark.parametrize(
    ("voice", "spoilt", "is_excused"),
    [
        ("003C", {"phone": "6"}, False),
        ("003C", {"phone": None}, False),
        ("003C", {"phone": "6", "is_dirty": True}, True),
        ("003C", {"phone": "8", "set_by_read": True}, True),
        ("003C", {"synced_at": NOW + timedelta(microseconds=1)}, False),
        ("003C", {"synced_at": NOW + timedelta(microseconds=1), "set_by_read": True}, True),
    ],
)
def test_voice_that_differs_is_seen_unless_it_is_told(
    voice: str, spoilt: Mapping[str, Any], *, is_excused: bool
) -> None:
    """Half a transaction is a lie; a mark on what is behind, or a read that is ahead, is the truth."""
    seen = Seen()
    seen.rows[voice] |= spoilt
    found = seen.judged()
    assert len(found.half_visible) == (not is_excused)
    assert found.excused == is_excused


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        (Deed(7, "convert", "00Q1", "0031"), {"speaker": "00Q1"}),
        (Deed(8, "convert", "00Q1", "0031"), {"speaker": "0031", "company": "001A"}),
        (Deed(7, "convert", "00Q1", "0031"), {"speaker": "0031"}),
        (Deed(7, "merge", "00Q2", "00Q3"), {"is_deleted": False, "other_phone": "7"}),
        (Deed(8, "merge", "00Q2", "00Q3"), {"is_deleted": True, "other_phone": "7"}),
        (Deed(8, "merge", "00Q2", "00Q3"), {"is_deleted": True, "other_phone": "8"}),
    ],
)
def test_deed_is_seen_from_its_verse_on_and_not_before(deed: Deed, told: Mapping[str, Any]) -> None:
    """A converted lead without its contact, a loser of a merge without its winner."""
    seen = Seen()
    seen.deed(deed, **told)
    assert len(seen.judged().half_visible) == 1


def test_position_ahead_of_the_data_is_seen() -> None:
    """What the position says was applied would never come again."""
    seen = Seen()
    seen.choir.sung += [(7, 400), (8, 500), (9, 501)]
    assert {verse for _, verse in seen.judged().position_ahead} == {8}
    for row in seen.rows.values():
        row["is_dirty"] = True
    assert seen.judged().position_ahead == set()


@pytest.fixture(scope="module")
def room(own_server: OwnServer) -> Iterator[Room]:
    """A room whose daemon takes transactions apart: each event is a reply of its own, and nothing is held back."""
    with (
        tempfile.TemporaryDirectory() as directory,
        open_room(own_server, Path(directory)) as opened,
    ):
        opened.settings = {**SETTINGS, "SFSYNC_SYNC__HOLD_MS": "0"}
        opened.org.set(batch_max=1)
        opened.begin()
        yield opened


def test_daemon_that_takes_transactions_apart_is_seen(room: Room) -> None:
    """The same check that finds nothing elsewhere, on a daemon that does it wrong."""
    with room.living(seed=1):
        room.sing()
        until(lambda: room.reader.findings.half_visible, "half a transaction")
        room.wait_heard()
    verdict = room.verdict()
    assert verdict.half_visible > 0
    assert (verdict.lost, verdict.divergent, verdict.feed_wrong) == (0, 0, 0)


def test_damage_to_the_store_is_found(room: Room) -> None:
    """A lost row, a wrong value, a position that ran ahead, a change told twice: the verdict names each."""
    with room.living(seed=2):
        room.sing()
        room.wait_heard()
    assert room.verdict().divergent == 0
    room.running.kill()
    room.reader.findings = Findings()
    lead, spoilt = room.choirs[0].lead, room.choirs[1].contact
    for statement, arguments in (
        ("DELETE FROM crm.person WHERE salesforce_id = $1", [lead]),
        ("UPDATE crm.person SET title = 'no' WHERE salesforce_id = $1", [spoilt]),
        ("UPDATE sfsync.position SET replay = convert_to('99999999', 'UTF8')", []),
        (_TOLD_TWICE, []),
    ):
        _write(room, statement, *arguments)
    room.sing()
    until(lambda: room.reader.findings.position_ahead, "the position that ran ahead")
    verdict = room.verdict(within_s=0.5)
    assert verdict.lost >= 1
    assert any(f"{spoilt}): title" in line for line in verdict.words)
    assert any("created twice in the feed" in line for line in verdict.words)
    assert verdict.position_ahead >= 1


def _write(room: Room, statement: str, *arguments: object) -> None:
    """Write to the store as only sfsync may."""
    run_sql(f"{room.dsn}?options=-csfsync.writer%3Don", statement, *arguments)

"""Whatever the stream brings is an event or says why it is none; nothing that is damaged stops or floods us."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfsync.core.commands import Command, Image, Patch
from sfsync.core.decide import decide
from sfsync.core.decode import decode
from sfsync.core.events import MalformedEvent, Position, RawEvent
from sfsync.core.ids import Entity, record_id
from sfsync.core.mapping import bind
from sfsync.core.mapping_file import default_mapping
from sfsync.core.standard_fields import standard_describe
from tests.hostile import FUZZ, TEXTS, anything, as_json, damaged, torn

PLANS = bind(default_mapping(), {entity: standard_describe(entity) for entity in Entity}).plans
CANARY = "c4n4ry"
MIB = 1 << 20
CONTACT, CONTACT2, ACCOUNT = (
    record_id(one) for one in ("0035i00000Con01", "0035i00000Con02", "0015i00000Acc01")
)
GOOD_HEADER: dict[str, Any] = {
    "entityName": "Contact",
    "recordIds": [CONTACT, CONTACT2],
    "changeType": "UPDATE",
    "changeOrigin": "com/salesforce/api/rest/66.0",
    "transactionKey": "000ed0a8-6f9f-9c5f-9ab9-d7d5a2e6f4b5",
    "sequenceNumber": 1,
    "commitTimestamp": 1795489445000,
    "commitNumber": 11245815214301,
    "commitUser": "0055i000000SyncAAE",
    "changedFields": ["Name.FirstName", "Name.LastName", "MailingAddress.City", "Email", "Description"],
}
GOOD: dict[str, Any] = {
    "LastModifiedDate": "2026-11-24T03:04:05.000Z",
    "Name": {"FirstName": CANARY, "LastName": CANARY, "Salutation": None},
    "MailingAddress": {"Street": CANARY, "City": CANARY, "Latitude": 35.68},
    "Email": f"{CANARY}@example.test",
    "AccountId": ACCOUNT,
    "Birthdate": "2001-02-03",
    "Description": {"diff": f"--- {CANARY}"},
    "ChangeEventHeader": GOOD_HEADER,
}
TYPES = ["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE", "GAP_OVERFLOW", "SNAPSHOT", "x"]


@st.composite
def events(draw: st.DrawFn) -> Any:
    header = GOOD_HEADER | {
        "changeType": draw(st.sampled_from(TYPES)),
        "recordIds": draw(st.sampled_from([[CONTACT, CONTACT2], [CONTACT[:15]], ["003*"], []])),
    }
    if draw(st.booleans()):
        del header["changedFields"]
    return GOOD | {"ChangeEventHeader": header}


def must_be_sound(payload: bytes) -> list[Command]:
    """Decode and decide; what comes out names real records and can be stored."""
    event = decode(RawEvent(Position(b"1"), payload))
    commands = decide(event, PLANS)
    if isinstance(event, MalformedEvent):
        assert CANARY not in event.reason
        assert all(record_id(one) == one for one in event.record_ids)
    for command in commands:
        if isinstance(command, Patch | Image):
            assert record_id(command.record_id) == command.record_id
            assert command.fields.keys() <= PLANS[command.entity].fields.keys()
            for value in command.fields.values():
                assert "\0" not in str(value)
                str(value).encode()
    return commands


def test_what_is_damaged_here_was_good() -> None:
    """Damage to something that nobody took in the first place would test nothing."""
    assert len(must_be_sound(as_json(GOOD))) == len(GOOD_HEADER["recordIds"])


@FUZZ
@given(damaged(events()))
def test_damaged_event_is_decoded_or_refused(event: Any) -> None:
    """An org that was taken over may send any shape; each is an event, or malformed with the ids that are sound."""
    must_be_sound(as_json(event))


@FUZZ
@given(torn(events().map(as_json)))
def test_torn_event_is_decoded_or_refused(payload: bytes) -> None:
    """A proxy or a bug of Salesforce's may tear the text anywhere, in the middle of a character too."""
    must_be_sound(payload)


@FUZZ
@given(st.one_of(st.binary(max_size=200), anything.map(as_json)))
@example(b"")
@example(b"\xff\xfe")
def test_noise_is_malformed(payload: bytes) -> None:
    """What is nothing like an event asks for nothing."""
    assert must_be_sound(payload) == []


@pytest.mark.parametrize("kind", TEXTS)
def test_text_of_a_hostile_author_arrives_as_it_is(kind: str) -> None:
    """It is data: cleaned of what no database holds, and otherwise neither obeyed nor improved."""
    header = GOOD_HEADER | {"changedFields": ["Name.LastName"]}
    event = {"ChangeEventHeader": header, "Name": {"LastName": TEXTS[kind]}}
    patches = [one for one in must_be_sound(json.dumps(event).encode()) if isinstance(one, Patch)]
    cleaned = TEXTS[kind].replace("\0", "\ufffd").replace("\ud83d", "\ufffd")
    assert [one.fields["LastName"] for one in patches] == [cleaned] * 2


HEADER = as_json(GOOD_HEADER)
MONSTERS = {
    "10,000 deep": b'{"ChangeEventHeader":' + HEADER + b',"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "objects 100,000 deep": b'{"ChangeEventHeader":' + b'{"a":' * 100_000,
    "a header 10,000 times": b"{" + b",".join([b'"ChangeEventHeader":' + HEADER] * 2000) + b"}",
    "a number of a million digits": b'{"ChangeEventHeader":' + HEADER + b',"a":' + b"9" * MIB + b"}",
    "an exponent of a million": b'{"ChangeEventHeader":' + HEADER + b',"a":1e' + b"9" * 18 + b"}",
    "empty lists": b'{"ChangeEventHeader":' + HEADER + b',"a":[' + b"[]," * (MIB // 3) + b"[]]}",
    "blanks before a colon": (b'"ChangeEventHeader"' + b" " * 2000) * 500,
    "ids without end": as_json({"ChangeEventHeader": GOOD_HEADER | {"recordIds": [CONTACT[:15]] * 100_000}}),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_monster_is_over_soon_and_fits(name: str) -> None:
    """Cost is linear in what came: two megabytes at most are let in, and neither seconds nor a container may go for them."""
    payload = MONSTERS[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        must_be_sound(payload)
        spent_s, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert spent_s < 10
    assert peak < 64 * MIB


def test_names_of_fields_are_not_hoarded() -> None:
    """A cache keyed by what an org sends must not hold its megabytes for ever."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(32):
            long = f"A{n}" + "x" * MIB
            created = GOOD_HEADER | {"changeType": "CREATE"}
            body = {"Name": {long: "a"}, f"{long}__c": {"City": "b"}, "MailingAddress": {long: "c"}}
            must_be_sound(as_json({"ChangeEventHeader": created} | body))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 4 * MIB

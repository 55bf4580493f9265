"""Decoding: every rule by name, and the promise that nothing a stream sends can stop the daemon."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.decode import ADDRESS, PERSON_NAME, decode
from sfsync.core.events import (
    ChangeEvent,
    ChangeType,
    Event,
    GapEvent,
    MalformedEvent,
    OverflowEvent,
    Position,
    RawEvent,
    WildcardEvent,
)
from sfsync.core.ids import PREFIXES, Entity, record_id

LEAD, CONTACT, ACCOUNT = "00Q5i00000Lea01EAB", "0035i00000Con01AAB", "0015i00000Acc01AAB"
PREFIX_OF = {entity: prefix for prefix, entity in PREFIXES.items()}


def header(entity: str = "Contact", change: str = "UPDATE", *ids: str, **more: Any) -> dict[str, Any]:
    """A header as Salesforce sends it; a member given as ... is left out."""
    some = {"Lead": LEAD, "Contact": CONTACT, "Account": ACCOUNT}.get(entity, CONTACT)
    members = {
        "entityName": entity,
        "recordIds": list(ids) or [some],
        "changeType": change,
        "changedFields": [],
        "changeOrigin": "",
        "transactionKey": "0002f0a2-9b1c-77d0-3c5e-5a0b7e1d2f34",
        "sequenceNumber": 1,
        "commitTimestamp": 1795489505000,
        "commitNumber": 1773696751765225473,
        "commitUser": "0055i00000Rep01AAB",
    }
    return {name: value for name, value in (members | more).items() if value is not ...}


def read(payload: bytes | dict[str, Any]) -> Event:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode(RawEvent(Position(b"1"), raw))


def change(head: dict[str, Any], **body: Any) -> ChangeEvent:
    event = read({"ChangeEventHeader": head, **body})
    assert isinstance(event, ChangeEvent), event
    return event


def update(entity: str, changed: list[str], **body: Any) -> ChangeEvent:
    return change(header(entity, changedFields=changed), **body)


def refused(payload: bytes | dict[str, Any]) -> MalformedEvent:
    event = read(payload)
    assert isinstance(event, MalformedEvent), event
    return event


# What the header says


def test_header_is_read_wherever_it_stands() -> None:
    """CometD puts it in the middle of the body."""
    head = json.dumps(header(changedFields=["Fax", "Title"])).encode()
    event = read(b'{"Fax":"1","ChangeEventHeader":' + head + b',"Title":"x"}')
    assert isinstance(event, ChangeEvent)
    assert event.fields == {"Fax": "1", "Title": "x"}
    assert event.header.record_ids == (CONTACT,)
    assert event.header.change_type is ChangeType.UPDATE
    assert event.header.transaction_key == "0002f0a2-9b1c-77d0-3c5e-5a0b7e1d2f34"
    assert (event.header.sequence_number, event.header.commit_ms) == (1, 1795489505000)


def test_all_record_ids_are_kept_once_and_in_order() -> None:
    """A merged event names many; taking the first loses the rest. Two spellings are one record."""
    second = record_id("0035i00000Con02")
    event = change(header("Contact", "DELETE", second, CONTACT, CONTACT[:15]))
    assert event.header.record_ids == (second, CONTACT)


@pytest.mark.parametrize("gap", ["GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE"])
def test_gap_keeps_its_records(gap: str) -> None:
    """It has no body and still something happened."""
    event = read({"ChangeEventHeader": header("Account", gap, transactionKey="0Mcxx000000000B")})
    assert isinstance(event, GapEvent)
    assert event.header.record_ids == (ACCOUNT,)


def test_overflow_event_has_no_records() -> None:
    """Its dummy id must never reach the database."""
    event = read({"ChangeEventHeader": header("Lead", "GAP_OVERFLOW", "000000000000000AAA")})
    assert isinstance(event, OverflowEvent)
    assert event.header.record_ids == ()


@pytest.mark.parametrize("ids", [("001*",), (ACCOUNT, "001*")])
def test_wildcard_speaks_of_the_entity(ids: tuple[str, ...]) -> None:
    """`001*` is no record; a field's type was converted in all of them, whoever is named beside it."""
    event = read({"ChangeEventHeader": header("Account", "UPDATE", *ids)})
    assert isinstance(event, WildcardEvent)
    assert event.header.record_ids == ()


def test_changed_fields_count_in_updates_only() -> None:
    """A creation is taken whole, even if a header should list something."""
    assert change(header("Lead", "CREATE", changedFields=["Fax"]), Title="x").fields == {"Title": "x"}


def test_delete_ignores_the_enriched_body() -> None:
    """An enriched channel adds fields to a DELETE that did not change."""
    assert change(header("Account", "DELETE"), Industry="Biotechnology").fields == {}


def test_unknown_header_members_are_ignored() -> None:
    """Old events say isTransactionEnd, new ones will say something else."""
    assert change(header(isTransactionEnd=True, novelty={"a": [1]}, changedFields=...), Fax="1").fields == {
        "Fax": "1"
    }


def test_other_entities_are_decoded_too() -> None:
    """Whether they matter is for `decide` to say."""
    event = update("Employee__c", ["Tenure__c"], Tenure__c=2.0)
    assert event.fields == {"Tenure__c": Decimal("2.0")}


# What the body says


def test_create_takes_all_fields_and_flattens_compounds() -> None:
    """Events nest what REST keeps flat; the mapping speaks REST."""
    event = change(
        header("Lead", "CREATE"),
        Name={"LastName": "山田", "FirstName": "太郎"},
        Address={"City": "千代田区", "Street": "丸の内1-2-3\r\nビル5F", "Latitude": 35.6812362},
        Company="株式会社サンプル",
        IsConverted=False,
    )
    assert event.fields == {
        "LastName": "山田",
        "FirstName": "太郎",
        "City": "千代田区",
        "Street": "丸の内1-2-3\r\nビル5F",
        "Latitude": Decimal("35.6812362"),
        "Company": "株式会社サンプル",
        "IsConverted": False,
    }
    assert event.missing == frozenset()


def test_update_merges_components_and_nulls() -> None:
    """One component changed, one field was cleared; the other components are not mentioned and not touched."""
    event = update(
        "Contact",
        ["LastModifiedDate", "Name.FirstName", "MailingAddress.City", "OtherAddress.State", "Fax"],
        LastModifiedDate="2026-11-24T03:05:05.000Z",
        Name={"FirstName": "花子"},
        MailingAddress={"City": "横浜市"},
        OtherAddress={"State": None},
        Fax=None,
    )
    assert event.fields == {
        "LastModifiedDate": "2026-11-24T03:05:05.000Z",
        "FirstName": "花子",
        "MailingCity": "横浜市",
        "OtherState": None,
        "Fax": None,
    }
    assert event.missing == frozenset()


def test_changed_fields_are_trusted_over_the_body() -> None:
    """An enriched channel repeats unchanged fields, read at delivery time: perhaps newer than the event."""
    event = update(
        "Account",
        ["Fax", "BillingAddress.City"],
        Fax="1",
        Industry="Biotechnology",
        BillingAddress={"City": "X", "State": "CA"},
    )
    assert event.fields == {"Fax": "1", "BillingCity": "X"}


@pytest.mark.parametrize("changed", [[], ..., None])
def test_update_without_changed_fields_trusts_the_body(changed: Any) -> None:
    """Events of 2018 have none."""
    event = change(header(changedFields=changed), Fax="1", MailingAddress={"City": "X"})
    assert event.fields == {"Fax": "1", "MailingCity": "X"}


def test_changed_name_without_a_value_is_missing_not_null() -> None:
    """The field may be hidden from this user: null would empty it for ever."""
    event = update("Contact", ["Fax", "Name.FirstName", "MailingAddress.City"], Name={"LastName": "x"})
    assert event.fields == {}
    assert event.missing == {"Fax", "FirstName", "MailingCity"}


@pytest.mark.parametrize(
    ("entity", "compound", "prefix", "parts"),
    [
        ("Contact", "MailingAddress", "Mailing", ADDRESS),
        ("Account", "ShippingAddress", "Shipping", ADDRESS),
        ("Lead", "Address", "", ADDRESS),
        ("Lead", "Name", "", PERSON_NAME),
    ],
)
def test_compound_cleared_as_a_whole_clears_its_components(
    entity: str, compound: str, prefix: str, parts: tuple[str, ...]
) -> None:
    """One documented shape is a bare null; the city must go with it."""
    event = update(entity, [compound], **{compound: None})
    assert event.fields == {prefix + part: None for part in parts}
    assert event.missing == frozenset()


def test_component_of_a_nulled_compound_is_null() -> None:
    """The other shape: dotted names, and null where the object would be."""
    event = update("Contact", ["MailingAddress.City", "MailingAddress.Street"], MailingAddress=None)
    assert event.fields == {"MailingCity": None, "MailingStreet": None}


def test_compound_named_whole_with_some_components_leaves_the_others_missing() -> None:
    """All of it changed and not all of it came: the rest is neither known nor null."""
    event = update("Contact", ["MailingAddress"], MailingAddress={"City": "X"})
    assert event.fields == {"MailingCity": "X"}
    assert event.missing == {"Mailing" + part for part in ADDRESS} - {"MailingCity"}


def test_changed_compound_that_did_not_come_is_missing_in_all_components() -> None:
    """The mapping knows components only."""
    assert update("Contact", ["MailingAddress"]).missing == {"Mailing" + part for part in ADDRESS}


def test_custom_location_is_flattened() -> None:
    """REST names the parts of `Site__c` with `__s`."""
    whole = update("Contact", ["ns__Site__c"], ns__Site__c={"Latitude": 1.5, "Longitude": None})
    assert whole.fields == {"ns__Site__Latitude__s": Decimal("1.5"), "ns__Site__Longitude__s": None}
    assert whole.missing == frozenset()
    part = update("Contact", ["Site__c.Latitude"], Site__c={"Latitude": 2})
    assert part.fields == {"Site__Latitude__s": 2}
    half = update("Contact", ["Site__c"], Site__c={"Latitude": 2})
    assert half.missing == {"Site__Longitude__s"}


def test_account_name_is_a_text_or_a_person() -> None:
    """A person account's name comes in parts; the text that REST gives is then unknown."""
    assert change(header("Account", "CREATE"), Name="Redpanda").fields == {"Name": "Redpanda"}
    for event in (
        change(header("Account", "CREATE"), Name={"FirstName": "John", "LastName": "Doe"}),
        update("Account", ["Name.FirstName", "Name.LastName"], Name={"FirstName": "John", "LastName": "Doe"}),
        update("Account", ["Name"], Name={"FirstName": "John", "LastName": "Doe"}),
    ):
        assert event.fields == {"FirstName": "John", "LastName": "Doe"}
        assert event.missing == {"Name"}


@pytest.mark.parametrize(
    "shape",
    [{"diff": "--- \n+++ 68\n@@ -2,1 +2,1 @@"}, ["A", "B"], {"string": "Hot"}, {}, {"value": {"deep": 1}}],
)
def test_value_without_a_flat_reading_is_missing(shape: object) -> None:
    """A diff in a text column, or a list joined by guess, would be garbage for ever."""
    for event in (
        update("Lead", ["Description"], Description=shape),
        change(header("Lead", "CREATE"), Description=shape),
    ):
        assert event.fields == {}
        assert event.missing == {"Description"}


def test_nested_value_inside_a_compound_is_missing() -> None:
    """Only the component is doubtful, its siblings are not."""
    event = update("Lead", ["Address.City", "Address.Street"], Address={"City": {"diff": "x"}, "Street": "s"})
    assert event.fields == {"Street": "s"}
    assert event.missing == {"City"}


def test_numbers_are_exact() -> None:
    """A float loses the last digits of an amount."""
    body = b'{"ChangeEventHeader":' + json.dumps(header("Account", "CREATE")).encode()
    event = read(body + b',"A__c":1.23456789012345678E17,"B__c":9007199254740993,"C__c":0.0}')
    assert isinstance(event, ChangeEvent)
    assert event.fields == {
        "A__c": Decimal("123456789012345678"),
        "B__c": 9007199254740993,
        "C__c": Decimal("0.0"),
    }


@pytest.mark.parametrize(("text", "kept"), [("a\0", "a�"), ("\ud83d", "�")])
def test_unstorable_text_is_mended_and_counted(text: str, kept: str) -> None:
    """The whole message would otherwise be lost for half an emoji."""
    event = update("Lead", ["Title", "Fax"], Title=text, Fax="1")
    assert event.fields == {"Title": kept, "Fax": "1"}
    assert event.cleaned == 1
    assert update("Lead", ["Title"], Title="😀").cleaned == 0


# What is no change event


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (header(change="MOVED"), "changeType"),
        (header(change="SNAPSHOT"), "changeType"),
        (header("Contact", "UPDATE", LEAD), "not of the event's entity"),
        (header("Contact", "UPDATE", "001*"), "not of the event's entity"),
        (header("Contact", "UPDATE", CONTACT[:15] + "AAA"), "checksum"),
        (header("Contact", "UPDATE", "003"), "not a Salesforce record id"),
        (header("Case", "UPDATE", "000000000000000AAA"), "dummy id"),
        (header(recordIds=[]), "recordIds is empty"),
        (header(recordIds=...), "recordIds"),
        (header(recordIds="003"), "recordIds"),
        (header(entityName=5), "entityName"),
        (header(entityName="Con tact"), "entityName"),
        (header(commitTimestamp=...), "commitTimestamp"),
        (header(commitTimestamp=10**30), "commitTimestamp"),
        (header(commitTimestamp=-1), "commitTimestamp"),
        (header(transactionKey=""), "transactionKey"),
        (header(sequenceNumber=-1), "sequenceNumber"),
        (header(changedFields=["0x400800", "4-0x01"]), "Pub/Sub"),
    ],
)
def test_unsound_header_is_refused_with_its_reason(head: dict[str, Any], reason: str) -> None:
    """Acting on half a header would order or address a change wrongly."""
    assert reason in refused({"ChangeEventHeader": head, "Fax": "1"}).reason


def test_malformed_event_keeps_what_can_be_trusted() -> None:
    """These records are read again; the sweep alone would find them a quarter of an hour later."""
    event = refused(
        {"ChangeEventHeader": header("Contact", "MOVED", CONTACT, LEAD, "bad", "000000000000000AAA")}
    )
    assert (event.entity, event.record_ids, event.commit_ms) == ("Contact", (CONTACT,), 1795489505000)


@pytest.mark.parametrize(
    "broken",
    [b'"Fax":NaN}', b'"Fax":"', b'"Fax":"\xff"}', b'"Fax":' + b"[" * 100_000, b'"Fax":' + b"9" * 5000 + b"}"],
)
def test_ids_are_salvaged_from_a_message_that_is_broken_elsewhere(broken: bytes) -> None:
    """A cut or poisoned body still says whom it was about."""
    event = refused(b'{"ChangeEventHeader":' + json.dumps(header()).encode() + b"," + broken)
    assert event.record_ids == (CONTACT,)
    assert "unreadable" in event.reason


def test_header_that_says_a_thing_twice_is_refused() -> None:
    """Two parsers would believe different halves."""
    head = json.dumps(header()).encode()
    twice = head.replace(b'"recordIds"', b'"recordIds": ["%s"], "recordIds"' % LEAD.encode())
    assert "twice" in refused(b'{"ChangeEventHeader":' + twice + b"}").reason
    assert "twice" in refused(b'{"ChangeEventHeader":' + head + b',"ChangeEventHeader":' + head + b"}").reason


def test_body_may_speak_of_header_members() -> None:
    """Somebody may well write "recordIds" into a text field."""
    event = update("Lead", ["Title"], Title='"recordIds": ["x"], "ChangeEventHeader": {}')
    assert event.fields == {"Title": '"recordIds": ["x"], "ChangeEventHeader": {}'}
    assert update("Lead", ["Title"], Title="recordIds").fields == {"Title": "recordIds"}


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b"5", b"{}", b'{"ChangeEventHeader":null}', b"\xff\xfe"]
)
def test_what_is_no_object_is_malformed(payload: bytes) -> None:
    """Whatever a proxy in between puts in place of a message."""
    assert refused(payload).record_ids == ()


# Properties


def json_values(*, finite: bool = False) -> st.SearchStrategy[Any]:
    floats = st.floats(allow_nan=not finite, allow_infinity=not finite)
    return st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), floats, st.text(st.characters())),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )


NAMES = st.sampled_from(
    ["Name", "MailingAddress", "Site__c", "Fax", "Name.FirstName", "MailingAddress.City", "X.Y.Z"]
)


@given(st.binary())
def test_no_bytes_can_raise(payload: bytes) -> None:
    """One message must never stop the stream."""
    read(payload)


@given(
    st.dictionaries(st.sampled_from(sorted(header())), json_values()), st.dictionaries(NAMES, json_values())
)
def test_no_json_can_raise(members: dict[str, Any], body: dict[str, Any]) -> None:
    """Nor can a header of which anything is wrong, over any body."""
    read({"ChangeEventHeader": header() | members, **body})


@given(
    st.sampled_from(["CREATE", "UPDATE", "UNDELETE"]),
    st.lists(NAMES),
    st.dictionaries(NAMES, json_values(finite=True)),
)
def test_every_changed_name_is_answered_and_nothing_nested_remains(
    kind: str, changed: list[str], body: dict[str, Any]
) -> None:
    """A field is known, or missing, never both and never a structure; what changed is never passed over."""
    event = change(header("Contact", kind, changedFields=changed), **body)
    assert not event.missing & event.fields.keys()
    assert all(not isinstance(value, dict | list) for value in event.fields.values())
    if kind == "UPDATE" and "Fax" in changed:
        assert "Fax" in event.fields or "Fax" in event.missing


@given(st.binary(max_size=40), st.integers(min_value=0))
def test_reason_quotes_nothing(secret: bytes, cut: int) -> None:
    """The reason is stored and logged; a web-to-lead form chooses what values contain."""
    marker = "Zq" + secret.hex() + "qZ"
    whole = json.dumps(
        {"ChangeEventHeader": header(change=marker, changedFields=[marker]), marker: marker}
    ).encode()
    for payload in (whole, whole[: cut % len(whole)]):
        assert marker not in refused(payload).reason


def flat_records() -> st.SearchStrategy[tuple[Entity, dict[str, Any]]]:
    """Records as REST gives them: some components of each compound, and plain fields beside."""
    text = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    prefixes = {
        Entity.LEAD: [""],
        Entity.CONTACT: ["Mailing", "Other"],
        Entity.ACCOUNT: ["Billing", "Shipping"],
    }

    def names(entity: Entity) -> list[str]:
        person = PERSON_NAME if entity is not Entity.ACCOUNT else ("Name",)
        return [*person, *(p + part for p in prefixes[entity] for part in ADDRESS), "Phone", "Fax", "Rating"]

    return st.sampled_from(list(Entity)).flatmap(
        lambda entity: st.tuples(
            st.just(entity), st.dictionaries(st.sampled_from(names(entity)), text, min_size=1)
        )
    )


def nest(entity: Entity, flat: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Write a flat record as Salesforce writes an event, independently of how we read it."""
    changed, body = [], {}
    for name, value in flat.items():
        part = next((p for p in sorted(ADDRESS, key=len, reverse=True) if name.endswith(p)), None)
        if entity is not Entity.ACCOUNT and name in PERSON_NAME:
            compound, part = "Name", name
        elif part is not None:
            compound = name[: -len(part)] + "Address"
        else:
            changed.append(name)
            body[name] = value
            continue
        changed.append(f"{compound}.{part}")
        body.setdefault(compound, {})[part] = value
    return changed, body


@given(flat_records())
def test_flattening_undoes_nesting(record: tuple[Entity, dict[str, Any]]) -> None:
    """Decode after encode is the identity, for an update and for a creation."""
    entity, flat = record
    changed, body = nest(entity, flat)
    for event in (update(entity, changed, **body), change(header(entity, "CREATE"), **body)):
        assert event.fields == flat
        assert event.missing == frozenset()

"""Real captured messages decode to what their collectors say of them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sfsync.core.decode import decode
from sfsync.core.events import ChangeEvent, ChangeType, Event, GapEvent, MalformedEvent, Position, RawEvent

SAMPLES = Path(__file__).parent.parent / "samples"


def sample(name: str) -> Event:
    """Decode the payload of a captured CometD message, inner object or EventBridge envelope."""
    message = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    payload = message.get("data", message).get("payload") or message["detail"]
    return decode(RawEvent(Position(b"1"), json.dumps(payload).encode()))


CASES: list[tuple[str, str, ChangeType, str, dict[str, Any], set[str]]] = [
    (
        "043-cometd-account-update-enriched-custom-channel", "Account", ChangeType.UPDATE, "001RM000005a9tGYAQ",
        {"Fax": "4155551212", "LastModifiedDate": "2022-05-11T16:20:59.000Z"}, set(),
    ),
    (
        "044-cometd-inner-account-update-enriched", "Account", ChangeType.UPDATE, "001RM000004UF9sYAG",
        {"Fax": "4155551212", "LastModifiedDate": "2020-12-15T23:09:18.000Z"}, set(),
    ),
    (
        "047-cometd-person-account-create-account-partial", "Account", ChangeType.CREATE, "001xx000003DI77AAG",
        {
            "FirstName": "John", "LastName": "Doe", "RecordTypeId": "012xx000000238RAAQ", "Phone": "(415) 555-1212",
            "OwnerId": "005xx000001SwlRAAS", "CreatedDate": "2018-04-26T18:08:14.000Z",
            "CreatedById": "005xx000001SwlRAAS", "LastModifiedDate": "2018-04-26T18:08:14.000Z",
            "LastModifiedById": "005xx000001SwlRAAS", "PersonContactId": "003xx000004TtDhAAK",
            "PersonHasOptedOutOfEmail": False, "PersonHasOptedOutOfFax": False, "PersonDoNotCall": False,
            "CustomContactField__pc": "001",
        },
        {"Name"},
    ),
    (
        "049-cometd-inner-custom-object-create-trailhead", "Employee__c", ChangeType.CREATE, "a00xx0000004GvqAAE",
        {
            "First_Name__c": "Jane", "Last_Name__c": "Smith", "Name": "e-100", "Tenure__c": Decimal("2.0"),
            "LastModifiedDate": "2018-08-01T21:54:58Z", "OwnerId": "005xx000001SwSiAAK",
            "CreatedById": "005xx000001SwSiAAK", "CreatedDate": "2018-08-01T21:54:58Z",
            "LastModifiedById": "005xx000001SwSiAAK",
        },
        set(),
    ),
    (
        "050-cometd-lead-update-status", "Lead", ChangeType.UPDATE, "00QgL00000Bc8HZUAZ",
        {"Status": "Closed - Not Converted", "LastModifiedDate": "2026-03-16T21:32:31.000Z"}, set(),
    ),
    (
        "053-cometd-contact-update-name-parts", "Contact", ChangeType.UPDATE, "003Zz0000Ex4mplIQA",
        {
            "LastModifiedDate": "2024-07-02T08:28:26.000Z", "LastModifiedById": "00550000007AJKNAA4",
            "pi__score__c": Decimal("1184.0"), "Insurance_Last_Verified_by_Id__c": "00550000007AJKNAA4",
            "FirstName": "marla", "LastName": "Example",
        },
        set(),
    ),
    (
        "054-cometd-update-nulled-field", "ServiceAppointment", ChangeType.UPDATE, "08pRj000005mEIjIAM",
        {
            "LastModifiedDate": "2024-09-02T09:25:29.000Z", "EarliestStartTime": "2024-08-31T08:59:00.000Z",
            "DueDate": "2024-09-01T12:59:00.000Z", "Status": "Checked In",
            "ServiceTerritoryId": "0HhRj0000000B8LKAU", "StatusCategory": "InProgress",
            "AdditionalInformation": "0000/EXAMPLE NOTE", "Service_Resource__c": None,
        },
        set(),
    ),
    (
        "055-cometd-account-create-go-bridge", "Account", ChangeType.CREATE, "00106000029G61DAAS",
        {
            "LastModifiedDate": "2023-07-18T14:15:24.000Z", "Name": "Redpanda", "OwnerId": "0050600000H0tB5AAJ",
            "CreatedById": "0050600000H0tB5AAJ", "CleanStatus": "Pending", "CreatedDate": "2023-07-18T14:15:24.000Z",
            "LastModifiedById": "0050600000H0tB5AAJ",
        },
        set(),
    ),
    (
        "056-cometd-account-update-go-bridge", "Account", ChangeType.UPDATE, "00106000029G61DAAS",
        {"Rating": "Hot", "LastModifiedDate": "2023-07-18T14:46:50.000Z"}, set(),
    ),
    (
        "058-eventbridge-appflow-account-update", "Account", ChangeType.UPDATE, "0016g00000MLhLeAAL",
        {"LastModifiedDate": "2020-08-20T18:25:35.000Z", "Region__c": "America"}, set(),
    ),
    (
        "059-cometd-inner-case-update-accountid", "Case", ChangeType.UPDATE, "50025000009vJE9AAM",
        {"AccountId": "0012500001DNi0FAAT", "LastModifiedDate": "2019-09-25T10:32:28Z"}, set(),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "entity", "change_type", "record", "fields", "missing"), CASES)
def test_capture_decodes_as_described(
    name: str, entity: str, change_type: ChangeType, record: str, fields: dict[str, Any], missing: set[str]
) -> None:
    """Invented messages would only show that we understand ourselves."""
    event = sample(name)
    assert isinstance(event, ChangeEvent)
    assert (event.header.entity, event.header.change_type) == (entity, change_type)
    assert event.header.record_ids == (record,)
    assert event.fields == fields
    assert event.missing == missing


def test_contact_with_sixty_custom_fields_keeps_every_type() -> None:
    """Booleans, doubles, dates, instants and two compounds in one body of a real org."""
    event = sample("052-cometd-contact-create-many-custom-fields")
    assert isinstance(event, ChangeEvent)
    # 61 plain fields, two parts of the name, five of the address.
    assert len(event.fields) == 68
    assert event.fields["FirstName"] == "marla"
    assert event.fields["MailingCity"] == "Sampletown"
    assert event.fields["pi__score__c"] == Decimal("119.0")
    assert event.fields["Date_of_Birth__c"] == "1980-01-01"
    assert event.fields["Recall_List__c"] is False
    assert not event.missing


def test_gap_of_the_database_layer_keeps_its_record() -> None:
    """Its transaction key is no UUID and its commit has milliseconds."""
    event = sample("046-cometd-event-gap-update-partial")
    assert isinstance(event, GapEvent)
    assert event.header.record_ids == ("00Uxx000000fvRQEAY",)
    assert event.header.transaction_key == "0Mcxx000000000B"
    assert event.header.commit_ms == 1509502088161


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("061-cometd-inner-merged-3-records-partial", "recordIds"),
        ("062-cometd-diff-description-partial", "ChangeEventHeader"),
    ],
)
def test_cut_capture_says_what_is_missing(name: str, reason: str) -> None:
    """These were cut by whoever stored them; half a message is no message."""
    event = sample(name)
    assert isinstance(event, MalformedEvent)
    assert reason in event.reason

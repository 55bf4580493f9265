"""Change events: what a commit announces, in which shape and order, held against captured payloads."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sfsync.simorg.app import make_org
from sfsync.simorg.convert import Conversion, convert
from sfsync.simorg.feed import Feed
from sfsync.simorg.org import Org
from sfsync.simorg.schema import FieldDef
from sfsync.simorg.text_diff import diff_of

SAMPLES = Path(__file__).parents[1] / "samples"
UI = "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/"
ADDRESS = {"MailingStreet": "丸の内1-2-3", "MailingCity": "千代田区", "MailingPostalCode": "100-0005"}
HEADER_NAMES = {
    "commitNumber", "commitUser", "sequenceNumber", "entityName", "changeType", "changedFields",
    "changeOrigin", "transactionKey", "commitTimestamp", "recordIds",
}  # fmt: skip


class Told:
    """An org whose events are read back from its bus."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self._cursor = org.bus.tip

    def news(self) -> list[dict[str, Any]]:
        """Return the payloads published since the last call."""
        retained, self._cursor = self.org.bus.read(self._cursor, 10_000, self.org.world.schema.entities)
        return [json.loads(each.body)["payload"] for each in retained]

    def one(self) -> dict[str, Any]:
        """Return the only payload published since the last call."""
        (payload,) = self.news()
        return payload

    def create(self, entity: str, **fields: Any) -> str:
        """Commit one new record."""
        with self.org.world.transaction(origin=UI) as transaction:
            return transaction.create(entity, fields)

    def update(self, *record_ids: str, user: str | None = None, **fields: Any) -> None:
        """Commit the same update of several records in one transaction."""
        with self.org.world.transaction(user, UI) as transaction:
            for record_id in record_ids:
                transaction.update(record_id, fields)


@pytest.fixture
def told() -> Told:
    """An org that announces without chance, but for the order of members."""
    org = make_org(seed=11)
    org.settings.skew_share = org.settings.split_share = org.settings.merge_share = 0.0
    feed = Feed(org)
    org.world.on_commit(feed.announce)
    org.world.on_schema_change(feed.announce_schema)
    return Told(org)


def header(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the header of *payload*."""
    found: dict[str, Any] = payload["ChangeEventHeader"]
    return found


def summary(payloads: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Return entity, change type and sequence number of each."""
    heads = [header(payload) for payload in payloads]
    return [(head["entityName"], head["changeType"], head["sequenceNumber"]) for head in heads]


def body(payload: dict[str, Any]) -> dict[str, Any]:
    """Return *payload* without its header."""
    return {name: value for name, value in payload.items() if name != "ChangeEventHeader"}


@pytest.mark.parametrize(
    "sample",
    [
        "050-cometd-lead-update-status.json",
        "053-cometd-contact-update-name-parts.json",
        "054-cometd-update-nulled-field.json",
        "052-cometd-contact-create-many-custom-fields.json",
    ],
)
def test_header_has_the_members_and_types_of_captured_ones(told: Told, sample: str) -> None:
    """The simulated header must be what a decoder meets in production, no member more or less."""
    captured = header(json.loads((SAMPLES / sample).read_text())["data"]["payload"])
    told.create("Lead", LastName="山田", Company="C")

    ours = header(told.one())

    assert set(ours) == set(captured) == HEADER_NAMES
    assert {name: type(value) for name, value in ours.items()} == {
        name: type(value) for name, value in captured.items()
    }
    assert ours["commitTimestamp"] % 1000 == captured["commitTimestamp"] % 1000 == 0
    assert ours["commitNumber"] > 2**53


def test_create_carries_every_field_that_is_not_empty(told: Told) -> None:
    """Absent means empty; the record id is in the header only."""
    contact = told.create("Contact", LastName="山田", FirstName="太郎", Email="t@example.jp", **ADDRESS)

    payload = told.one()

    assert header(payload)["recordIds"] == [contact]
    assert header(payload)["changedFields"] == []
    assert header(payload)["changeOrigin"] == UI
    assert payload["Name"] == {"LastName": "山田", "FirstName": "太郎"}
    assert payload["MailingAddress"] == {
        "Street": "丸の内1-2-3",
        "City": "千代田区",
        "PostalCode": "100-0005",
    }
    assert payload["HasOptedOutOfEmail"] is False
    assert {"CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "OwnerId"} <= set(payload)
    assert None not in body(payload).values()
    assert not set(payload) & {
        "Id",
        "IsDeleted",
        "SystemModstamp",
        "MasterRecordId",
        "LastName",
        "MailingCity",
    }
    assert not set(payload) & {"Account_Tier__c", "Private_Note__c", "DoNotCall"}


def test_account_name_is_text_and_lead_address_has_no_prefix(told: Told) -> None:
    """Each entity nests in its own way."""
    told.create("Account", Name="Acme", BillingCity="Reno")
    told.create("Lead", LastName="L", Company="C", City="Kyoto", Country="Japan")

    account, lead = told.news()

    assert account["Name"] == "Acme"
    assert account["BillingAddress"] == {"City": "Reno"}
    assert lead["Address"] == {"City": "Kyoto", "Country": "Japan"}


def test_update_names_changed_fields_and_nulls_cleared_ones(told: Told) -> None:
    """Only what changed, the stamp, and null for what was emptied."""
    contact = told.create("Contact", LastName="山田", FirstName="太郎", Fax="03-1", **ADDRESS)
    told.news()
    told.org.clock.advance(60)

    told.update(contact, FirstName="花子", MailingCity="横浜市", Fax=None)
    payload = told.one()

    assert set(header(payload)["changedFields"]) == {
        "LastModifiedDate", "Name.FirstName", "MailingAddress.City", "Fax",
    }  # fmt: skip
    stamp = payload.pop("LastModifiedDate")
    assert datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=UTC) <= told.org.clock.now()
    assert body(payload) == {"Name": {"FirstName": "花子"}, "MailingAddress": {"City": "横浜市"}, "Fax": None}


def test_modifier_is_announced_only_when_it_changes(told: Told) -> None:
    """The captured update names LastModifiedById because another user made it."""
    lead = told.create("Lead", LastName="L", Company="C")
    told.news()
    admin = next(key for key, user in told.org.world.snapshot().by_id("User") if "admin" in user["Username"])

    told.update(lead, Title="部長")
    told.update(lead, Title="課長", user=admin)
    mine, theirs = told.news()

    assert "LastModifiedById" not in mine
    assert theirs["LastModifiedById"] == header(theirs)["commitUser"] == admin


@pytest.mark.parametrize(
    ("style", "value", "names"),
    [
        ("bare", None, {"MailingAddress"}),
        (
            "dotted",
            {"Street": None, "City": None, "PostalCode": None},
            {"MailingAddress.Street", "MailingAddress.City", "MailingAddress.PostalCode"},
        ),
    ],
)
def test_wholly_cleared_compound_has_two_forms(
    told: Told, style: str, value: dict[str, None] | None, names: set[str]
) -> None:
    """Nobody knows which form Salesforce sends; a client must read both."""
    told.org.settings.cleared_compound = style
    contact = told.create("Contact", LastName="L", **ADDRESS)
    told.news()

    told.update(contact, **dict.fromkeys(ADDRESS))
    payload = told.one()

    assert payload["MailingAddress"] == value
    assert set(header(payload)["changedFields"]) == names | {"LastModifiedDate"}


def test_delete_is_a_header_only_and_cascades(told: Told) -> None:
    """Deleting an account announces its contacts too, in the same transaction."""
    account = told.create("Account", Name="Acme")
    contact = told.create("Contact", LastName="L", AccountId=account)
    told.news()

    with told.org.world.transaction() as transaction:
        transaction.delete(account)
    events = told.news()

    assert {(head["entityName"], *head["recordIds"]) for head in map(header, events)} == {
        ("Account", account),
        ("Contact", contact),
    }
    assert {header(event)["changeType"] for event in events} == {"DELETE"}
    assert all(body(event) == {} for event in events)
    assert len({header(event)["transactionKey"] for event in events}) == 1


def test_undelete_carries_the_whole_record_and_its_children(told: Told) -> None:
    """The full body says that the record is live again; CreatedDate is the original one."""
    account = told.create("Account", Name="Acme", Phone="1")
    told.create("Contact", LastName="L", AccountId=account)
    created = told.news()[0]["CreatedDate"]
    with told.org.world.transaction() as transaction:
        transaction.delete(account)
    told.news()
    told.org.clock.advance(3600)

    with told.org.world.transaction() as transaction:
        transaction.undelete(account)
    events = {header(event)["entityName"]: event for event in told.news()}

    assert {header(event)["changeType"] for event in events.values()} == {"UNDELETE"}
    assert set(events) == {"Account", "Contact"}
    assert (events["Account"]["Name"], events["Account"]["Phone"]) == ("Acme", "1")
    assert events["Account"]["CreatedDate"] == created
    assert events["Account"]["LastModifiedDate"] != created


def test_purge_and_silent_commit_say_nothing(told: Told) -> None:
    """Emptying the recycle bin makes no event: only a full comparison can find it."""
    lead = told.create("Lead", LastName="L", Company="C")
    with told.org.world.transaction() as transaction:
        transaction.delete(lead)
    told.news()
    with told.org.world.transaction() as transaction:
        transaction.purge(lead)
    with told.org.world.transaction(silent=True) as transaction:
        transaction.create("Lead", {"LastName": "S", "Company": "C"})

    assert told.news() == []


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        (
            ["Lead", "Contact", "Account"],
            [("Account", "CREATE", 1), ("Contact", "CREATE", 2), ("Lead", "UPDATE", 4)],
        ),
        (
            ["Lead", "Contact", "Account", "Opportunity"],
            [
                ("Account", "CREATE", 1),
                ("Contact", "CREATE", 2),
                ("Opportunity", "CREATE", 3),
                ("Lead", "UPDATE", 4),
            ],
        ),
    ],
)
def test_conversion_goes_account_contact_opportunity_lead(
    told: Told, selected: list[str], expected: list[tuple[str, str, int]]
) -> None:
    """The sequence number of an entity that is not selected is missing from what arrives."""
    told.org.settings.cdc_entities = selected
    lead = told.create("Lead", LastName="山田", Company="株式会社")
    told.news()

    with told.org.world.transaction() as transaction:
        converted = convert(told.org.world, transaction, Conversion(lead))
    events = told.news()

    assert summary(events) == expected
    assert len({header(event)["transactionKey"] for event in events}) == 1
    last = events[-1]
    assert (last["IsConverted"], last["ConvertedContactId"]) == (True, converted.contact_id)
    assert len(last["ConvertedDate"]) == len("2026-11-24")
    assert {"Status", "IsConverted", "ConvertedDate", "ConvertedAccountId", "ConvertedContactId"} <= set(
        header(last)["changedFields"]
    )


def test_commit_seconds_within_a_transaction_may_differ_by_one(told: Told) -> None:
    """The captured conversion has its last event a second later; grouping by time would split it."""
    differences = set()
    for number in range(40):
        lead = told.create("Lead", LastName=str(number), Company="C")
        told.news()
        with told.org.world.transaction() as transaction:
            convert(told.org.world, transaction, Conversion(lead))
        stamps = [header(event)["commitTimestamp"] for event in told.news()]
        differences.add(stamps[-1] - stamps[0])
        assert all(stamp % 1000 == 0 for stamp in stamps)

    assert differences == {0, 1000}


def test_skewed_event_lies_one_second_below_its_stamp(told: Told) -> None:
    """Captured: commitTimestamp one second below LastModifiedDate; never more, for clients allow for one."""
    told.org.settings.skew_share = 1.0
    told.create("Lead", LastName="L", Company="C")

    payload = told.one()

    stamp = datetime.strptime(payload["LastModifiedDate"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert header(payload)["commitTimestamp"] in (stamp.timestamp() * 1000, stamp.timestamp() * 1000 - 1000)


def test_merge_deletes_losers_and_moves_children_without_naming_the_winner(told: Told) -> None:
    """No event says merge: MasterRecordId is found by queryAll only."""
    winner = told.create("Account", Name="Winner")
    loser = told.create("Account", Name="Loser")
    child = told.create("Contact", LastName="L", AccountId=loser)
    told.news()

    with told.org.world.transaction() as transaction:
        transaction.merge(winner, [loser])
    events = told.news()

    assert {(*header(event)["recordIds"], header(event)["changeType"]) for event in events} == {
        (loser, "DELETE"),
        (winner, "UPDATE"),
        (child, "UPDATE"),
    }
    assert all("MasterRecordId" not in event for event in events)
    moved = next(event for event in events if header(event)["recordIds"] == [child])
    assert moved["AccountId"] == winner


def test_equal_changes_are_merged_into_one_event(told: Told) -> None:
    """Reading the first record id only loses the others."""
    told.org.settings.merge_share = 1.0
    leads = [told.create("Lead", LastName=str(number), Company="C") for number in range(3)]
    odd = told.create("Lead", LastName="odd", Company="C", Title="部長")
    told.news()

    with told.org.world.transaction() as transaction:
        for lead in (*leads, odd):
            transaction.update(lead, {"Status": "Closed - Not Converted", "Title": "部長"})
    merged, single = told.news()
    with told.org.world.transaction() as transaction:
        for lead in leads:
            transaction.delete(lead)
    deleted = told.one()

    assert header(merged)["recordIds"] == leads
    assert header(single)["recordIds"] == [odd]
    assert [header(event)["sequenceNumber"] for event in (merged, single)] == [1, 2]
    assert header(deleted)["recordIds"] == leads


def test_update_may_be_split_into_two_events(told: Told) -> None:
    """Captured: one with the stamp alone, then one with the rest and without a stamp."""
    told.org.settings.split_share = 1.0
    lead = told.create("Lead", LastName="L", Company="C")
    told.news()

    told.update(lead, Title="部長")
    first, second = told.news()

    assert header(first)["changedFields"] == ["LastModifiedDate"]
    assert header(second)["changedFields"] == ["Title"]
    assert body(second) == {"Title": "部長"}
    assert header(first)["transactionKey"] == header(second)["transactionKey"]


def test_automation_changes_a_record_without_its_stamp(told: Told) -> None:
    """Captured: geocoding a second after an address edit announces coordinates and no LastModifiedDate."""
    account = told.create("Account", Name="Acme", BillingCity="Reno")
    told.news()
    told.org.clock.advance(5)

    with told.org.world.transaction() as transaction:
        transaction.update(account, {"BillingLatitude": 39.5, "BillingLongitude": -119.8}, system=True)
    payload = told.one()

    assert body(payload) == {"BillingAddress": {"Latitude": 39.5, "Longitude": -119.8}}


def test_too_many_changes_become_one_overflow_event_per_entity(told: Told) -> None:
    """The dummy id must never be taken for a record."""
    told.org.settings.overflow_at = 3
    with told.org.world.transaction() as transaction:
        for number in range(6):
            transaction.create("Lead", {"LastName": str(number), "Company": "C"})
        transaction.create("Contact", {"LastName": "C"})
    events = told.news()

    assert [header(event)["changeType"] for event in events] == ["CREATE"] * 3 + ["GAP_OVERFLOW"] * 2
    assert [header(event)["entityName"] for event in events[3:]] == ["Lead", "Contact"]
    assert all(header(event)["recordIds"] == ["000000000000000AAA"] for event in events[3:])


@pytest.mark.parametrize("kind", ["CREATE", "UPDATE", "DELETE", "UNDELETE"])
def test_every_kind_of_gap_is_a_header_without_body(told: Told, kind: str) -> None:
    """The captured gap event has no body and an empty origin."""
    lead = "" if kind == "CREATE" else told.create("Lead", LastName="L", Company="C")
    if kind == "UNDELETE":
        _change(told, "DELETE", lead)
    told.news()
    told.org.faults.add("gap", match="Lead")

    _change(told, kind, lead)
    payload = told.one()

    assert header(payload)["changeType"] == f"GAP_{kind}"
    assert header(payload)["changeOrigin"] == ""
    assert header(payload)["changedFields"] == []
    assert body(payload) == {}


def _change(told: Told, kind: str, lead: str) -> None:
    with told.org.world.transaction(origin=UI) as transaction:
        match kind:
            case "CREATE":
                transaction.create("Lead", {"LastName": "L", "Company": "C"})
            case "UPDATE":
                transaction.update(lead, {"Title": "部長"})
            case "DELETE":
                transaction.delete(lead)
            case _:
                transaction.undelete(lead)


def test_overflow_and_wildcard_by_fault(told: Told) -> None:
    """The whole entity's part of the transaction collapses; the wildcard stands for any record of the prefix."""
    told.org.faults.add("overflow", match="Lead")
    with told.org.world.transaction() as transaction:
        transaction.create("Lead", {"LastName": "a", "Company": "C"})
        transaction.create("Lead", {"LastName": "b", "Company": "C"})
    overflow = told.one()
    told.org.faults.add("wildcard")
    told.create("Account", Name="Acme")
    wildcard = told.one()

    assert header(overflow)["changeType"] == "GAP_OVERFLOW"
    assert header(wildcard)["recordIds"] == ["001*"]
    assert header(wildcard)["changeType"] == "GAP_UPDATE"


def test_event_above_a_megabyte_becomes_a_gap(told: Told) -> None:
    """A cause of gaps that a client can produce by itself."""
    for number in range(40):
        told.org.world.schema.add_field("Lead", FieldDef(f"Long{number}__c", "textarea", length=131_072))
    told.create(
        "Lead", LastName="L", Company="C", **{f"Long{number}__c": "x" * 32_000 for number in range(40)}
    )

    payload = told.one()

    assert header(payload)["changeType"] == "GAP_CREATE"


def test_schema_id_follows_the_fields(told: Told) -> None:
    """A field that is added, hidden or retyped changes the schema id of its entity, and of no other."""
    told.create("Lead", LastName="L", Company="C")
    told.create("Account", Name="A")
    schema = told.org.world.schema
    schema.add_field("Lead", FieldDef("New__c", "string", length=10))
    told.create("Lead", LastName="L", Company="C", New__c="x")
    told.create("Account", Name="A")
    schema.set_hidden("Lead", "New__c", hidden=True)
    told.create("Lead", LastName="L", Company="C")

    retained, _ = told.org.bus.read(0, 100, schema.entities)
    lead1, account1, lead2, account2, lead3 = [each.schema_id for each in retained]

    assert lead1 == lead3 != lead2
    assert account1 == account2
    assert all(len(each) == 22 for each in (lead1, account1))
    assert "New__c" in told.news()[2]


def test_hidden_field_changes_without_being_named(told: Told) -> None:
    """Field-level security leaves no trace but the stamp."""
    contact = told.create("Contact", LastName="L")
    told.news()
    with told.org.world.transaction() as transaction:
        transaction.privileged = True
        transaction.update(contact, {"Private_Note__c": "secret"})

    assert header(told.one())["changedFields"] == ["LastModifiedDate"]


def test_numbers_are_written_as_java_does(told: Told) -> None:
    """A double keeps its point, a great one its exponent, an int has neither."""
    told.create("Account", Name="A", AnnualRevenue=1_234_567_890, NumberOfEmployees=12)
    retained, _ = told.org.bus.read(0, 10, {"Account"})

    assert b'"AnnualRevenue":1.23456789E9' in retained[0].body
    assert b'"NumberOfEmployees":12' in retained[0].body
    assert told.one()["AnnualRevenue"] == 1_234_567_890.0


def test_members_come_in_any_order_when_shuffled(told: Told) -> None:
    """A client that expects the header first meets it elsewhere."""
    for number in range(30):
        told.create("Lead", LastName=str(number), Company="C")

    places = {list(payload).index("ChangeEventHeader") for payload in told.news()}

    assert len(places) > 3


def test_long_text_comes_as_a_diff_with_the_hash_of_the_new_value(told: Told) -> None:
    """A client that stores the diff as the value destroys the text."""
    lines = [f"Line {number} of a long description." for number in range(60)]
    lead = told.create("Lead", LastName="L", Company="C", Description="\r\n".join(lines))
    told.news()
    changed = "\r\n".join([*lines[:10], "Another line.", *lines[11:]])

    told.update(lead, Description=changed)
    diff = told.one()["Description"]["diff"]
    told.org.settings.diff_text = False
    told.update(lead, Description="\r\n".join(lines))

    digest = hashlib.sha256(changed.encode()).hexdigest()
    assert diff == f"--- \n+++ {digest}\n@@ -11,1 +11,1 @@\n-{lines[10]}\n+Another line."
    assert told.one()["Description"] == "\r\n".join(lines)


def test_diff_has_the_form_of_the_captured_one() -> None:
    """Header lines, counts in both ranges, no context, line feeds only."""
    captured = json.loads((SAMPLES / "062-cometd-diff-description-partial.json").read_text())
    theirs = captured["payload"]["Description"]["diff"].split("\n")
    old = [f"{number} " + "text " * 30 for number in range(20)]
    new = [*old[:1], "1 changed", *old[2:6], "6 changed", *old[7:]]

    ours = str(diff_of("\r\n".join(old), "\r\n".join(new))).split("\n")

    assert ours[0] == theirs[0] == "--- "
    assert len(ours[1]) == len(theirs[1])
    assert (ours[2], ours[5]) == (theirs[2], theirs[5])
    assert [line[0] for line in ours] == [line[0] for line in theirs]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("short", "short too"),
        ("x\n" * 600, "y\n" * 600),
        ("x" * 2_000, "y" * 2_000),
        (None, "x" * 2_000),
    ],
)
def test_text_is_sent_whole_when_a_diff_does_not_pay(old: str | None, new: str) -> None:
    """Short texts, mostly changed texts, and diffs longer than the text."""
    assert diff_of(old, new) is None


def test_retyped_field_announces_a_wildcard(told: Told) -> None:
    """Any record may have lost a value, and nobody says which."""
    schema = told.org.world.schema
    field = schema.entities["Account"].field("Tier__c")
    assert field is not None
    retyped = replace(field, type="double", precision=5, scale=1)
    schema.retype_field("Account", retyped)

    told.org.world.announce_schema("Account", "retype", retyped)

    assert header(told.one())["recordIds"] == ["001*"]

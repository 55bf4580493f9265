"""Deciding: what each kind of event asks of each record, and what a read record becomes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.commands import Cause, Command, Image, Patch, Refetch, Resweep, Tombstone
from sfsync.core.decide import decide, snapshot
from sfsync.core.events import (
    ChangeEvent,
    ChangeType,
    Event,
    GapEvent,
    Header,
    MalformedEvent,
    OverflowEvent,
    WildcardEvent,
)
from sfsync.core.ids import Entity, RecordId
from sfsync.core.mapping import EntityPlan, SourceField
from sfsync.errors import DecodeError

ONE, TWO = RecordId("0035i00000Con01AAB"), RecordId("0035i00000Con02AAB")
COMMIT_MS = 1795489505000


def plan(**types: str) -> EntityPlan:
    """A plan for Contact; a type that ends in ? is of a field that events do not announce."""
    fields = {n: SourceField(n, t.rstrip("?"), announced=not t.endswith("?")) for n, t in types.items()}
    return EntityPlan(Entity.CONTACT, fields)


PLAN = plan(LastName="string", Fax="phone", NumberOf__c="int", ModifiedAt="datetime")


def header(change: ChangeType, *ids: RecordId, entity: str = "Contact") -> Header:
    return Header(entity, ids or (ONE,), change, "tx", 1, COMMIT_MS)


def asked(event: Event, entity_plan: EntityPlan = PLAN) -> list[Command]:
    return decide(event, {entity_plan.entity: entity_plan})


def change(
    change_type: str, fields: dict[str, Any], *ids: RecordId, missing: frozenset[str] = frozenset()
) -> ChangeEvent:
    return ChangeEvent(header(ChangeType(change_type), *ids), fields, missing)


def refetch(record: RecordId, cause: Cause) -> Refetch:
    return Refetch(Entity.CONTACT, record, COMMIT_MS, cause)


def patch(record: RecordId, fields: dict[str, Any]) -> Patch:
    return Patch(Entity.CONTACT, record, COMMIT_MS, fields)


def image(record: RecordId, fields: dict[str, Any]) -> Image:
    return Image(Entity.CONTACT, record, COMMIT_MS, fields)


def test_update_patches_every_record_with_planned_fields_in_one_spelling() -> None:
    """A merged event speaks of many records; what nobody mapped is not stored."""
    event = change("UPDATE", {"ModifiedAt": "2026-11-24T03:04:05+0000", "Fax": "", "Other": "x"}, ONE, TWO)
    fields = {"ModifiedAt": "2026-11-24T03:04:05.000Z", "Fax": None}
    assert asked(event) == [patch(ONE, fields), patch(TWO, fields)]


def test_update_without_planned_fields_asks_for_nothing() -> None:
    """Most updates of a busy org are of fields that nobody mapped."""
    assert asked(change("UPDATE", {"Other": "x"}, missing=frozenset({"Another"}))) == []


def test_missing_field_is_refetched_after_the_patch() -> None:
    """The patch holds what is certain; the diff is read, not applied."""
    event = change("UPDATE", {"LastName": "x"}, ONE, TWO, missing=frozenset({"Fax", "Other"}))
    assert asked(event) == [
        patch(ONE, {"LastName": "x"}),
        refetch(ONE, Cause.DIFF),
        patch(TWO, {"LastName": "x"}),
        refetch(TWO, Cause.DIFF),
    ]
    assert asked(change("UPDATE", {}, missing=frozenset({"Fax"}))) == [refetch(ONE, Cause.DIFF)]


def test_value_that_its_type_refuses_is_refetched_as_malformed() -> None:
    """A converted field sends texts where describe still says number; the others are sound."""
    event = change("UPDATE", {"LastName": "x", "NumberOf__c": "many", "ModifiedAt": "now"})
    assert asked(event) == [patch(ONE, {"LastName": "x"}), refetch(ONE, Cause.MALFORMED)]


@pytest.mark.parametrize("kind", ["CREATE", "UNDELETE"])
def test_image_states_absent_fields_as_null(kind: str) -> None:
    """A creation leaves empty fields out: without the null a restored record would keep an old value."""
    fields = {"LastName": "x", "Fax": None, "NumberOf__c": None, "ModifiedAt": None}
    assert asked(change(kind, {"LastName": "x"}, ONE, TWO)) == [image(ONE, fields), image(TWO, fields)]


def test_image_leaves_out_what_is_missing() -> None:
    """A name that is absent from an image is unknown, not null."""
    event = change("CREATE", {"LastName": "x", "NumberOf__c": "many"}, missing=frozenset({"Fax"}))
    assert asked(event) == [
        image(ONE, {"LastName": "x", "ModifiedAt": None}),
        refetch(ONE, Cause.DIFF),
        refetch(ONE, Cause.MALFORMED),
    ]


def test_image_fetches_unannounced_fields_behind_it() -> None:
    """A formula never comes by event; a new record would lack it until somebody changed it."""
    entity_plan = plan(LastName="string", Score__c="double?")
    assert asked(change("CREATE", {"LastName": "x"}), entity_plan) == [
        image(ONE, {"LastName": "x"}),
        refetch(ONE, Cause.UNANNOUNCED),
    ]


def test_unannounced_field_that_comes_nevertheless_is_taken() -> None:
    """Roll-ups are announced, and describe does not tell them from formulas."""
    entity_plan = plan(LastName="string", Total__c="double?")
    assert asked(change("UPDATE", {"Total__c": Decimal("7.0")}), entity_plan) == [
        patch(ONE, {"Total__c": Decimal(7)})
    ]


def test_delete_is_a_tombstone_and_a_question() -> None:
    """An event never says "merge": the recycle bin must be asked for every record."""
    assert asked(change("DELETE", {}, ONE, TWO)) == [
        Tombstone(Entity.CONTACT, ONE, COMMIT_MS),
        refetch(ONE, Cause.DELETE),
        Tombstone(Entity.CONTACT, TWO, COMMIT_MS),
        refetch(TWO, Cause.DELETE),
    ]


@pytest.mark.parametrize("gap", ["GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE"])
def test_gap_reads_every_record(gap: str) -> None:
    """It says that something happened, and nothing of what."""
    event = GapEvent(header(ChangeType(gap), ONE, TWO))
    assert asked(event) == [refetch(ONE, Cause.GAP), refetch(TWO, Cause.GAP)]


def test_overflow_sweeps_the_entity() -> None:
    """There are more than 100,000 changes and no ids."""
    event = OverflowEvent(header(ChangeType.GAP_OVERFLOW))
    assert asked(event) == [Resweep(Entity.CONTACT, COMMIT_MS, "overflow")]


def test_wildcard_reads_the_entity_in_full() -> None:
    """A type conversion changes values without moving any stamp."""
    event = WildcardEvent(header(ChangeType.UPDATE))
    assert asked(event) == [Resweep(Entity.CONTACT, COMMIT_MS, "wildcard", in_full=True)]


def test_malformed_event_reads_the_records_it_named() -> None:
    """The message is parked; its records need not wait for the sweep."""
    event = MalformedEvent("broken", "Contact", (ONE, TWO), None)
    assert asked(event) == [
        Refetch(Entity.CONTACT, ONE, None, Cause.MALFORMED),
        Refetch(Entity.CONTACT, TWO, None, Cause.MALFORMED),
    ]
    assert asked(MalformedEvent("broken")) == []
    of_all = MalformedEvent("broken", "Contact", (), 5, names_all=True)
    assert asked(of_all) == [Resweep(Entity.CONTACT, 5, "malformed", in_full=True)]


@pytest.mark.parametrize("entity", ["Lead", "Case", "Foo__c", "contact"])
def test_entity_without_a_plan_asks_for_nothing(entity: str) -> None:
    """The general channel delivers every object of the org."""
    for event in (
        ChangeEvent(header(ChangeType.UPDATE, entity=entity), {"LastName": "x"}),
        GapEvent(header(ChangeType.GAP_UPDATE, entity=entity)),
        OverflowEvent(header(ChangeType.GAP_OVERFLOW, entity=entity)),
        WildcardEvent(header(ChangeType.UPDATE, entity=entity)),
        MalformedEvent("broken", entity, (ONE,)),
    ):
        assert asked(event) == []


def test_custom_location_cleared_or_missing_as_a_whole_reaches_its_components() -> None:
    """Only the plan knows that `Site__c` has components."""
    entity_plan = plan(Site__Latitude__s="double", Site__Longitude__s="double")
    both = {"Site__Latitude__s": None, "Site__Longitude__s": None}
    assert asked(change("UPDATE", {"Site__c": None}), entity_plan) == [patch(ONE, both)]
    assert asked(change("UPDATE", {}, missing=frozenset({"Site__c"})), entity_plan) == [
        refetch(ONE, Cause.DIFF)
    ]
    assert asked(change("UPDATE", {"Site__Latitude__s": 1}), entity_plan) == [
        patch(ONE, {"Site__Latitude__s": Decimal(1)})
    ]


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.decimals())
NAMES = st.sampled_from([*PLAN.fields, "Other"])


@given(
    st.sampled_from(["CREATE", "UPDATE", "UNDELETE"]),
    st.dictionaries(NAMES, VALUES),
    st.frozensets(NAMES),
)
def test_no_planned_change_is_passed_over(kind: str, fields: dict[str, Any], missing: frozenset[str]) -> None:
    """Each planned name that the event holds is stored, or the record is read again."""
    event = change(kind, fields, missing=missing - fields.keys())
    commands = asked(event)
    stored = {name for command in commands if isinstance(command, Patch | Image) for name in command.fields}
    is_read_again = any(isinstance(command, Refetch) for command in commands)
    said = (fields.keys() | missing) & PLAN.fields.keys()
    assert is_read_again or said <= stored
    assert stored <= PLAN.fields.keys()


# Reads

ROW: dict[str, Any] = {
    "attributes": {"type": "Contact"},
    "Id": "0035i00000Con01",
    "IsDeleted": False,
    "MasterRecordId": None,
    "SystemModstamp": "2026-11-24T03:04:05.123+0000",
    "LastName": "山田\0",
    "Fax": "",
    "NumberOf__c": 3.0,
    "ModifiedAt": "2026-11-24T03:04:05.000+0000",
}


def test_row_becomes_a_snapshot_in_the_spelling_of_events() -> None:
    """A sweep compares rows with what events left: the same value must look the same."""
    read = snapshot(ROW, PLAN, read_from_ms=1, read_to_ms=2)
    assert read.record_id == ONE
    assert read.fields == {
        "LastName": "山田�",
        "Fax": None,
        "NumberOf__c": 3,
        "ModifiedAt": "2026-11-24T03:04:05.000Z",
    }
    assert (read.is_deleted, read.master_record_id) == (False, None)
    assert (read.modstamp_ms, read.read_from_ms, read.read_to_ms) == (1795489445123, 1, 2)


def test_deleted_row_says_what_it_was_merged_into() -> None:
    """The one place where Salesforce tells a merge from a deletion."""
    read = snapshot(ROW | {"IsDeleted": True, "MasterRecordId": TWO[:15]}, PLAN, read_from_ms=1, read_to_ms=2)
    assert read.is_deleted
    assert read.master_record_id == TWO


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"Id": "secret"}, "a Contact row has an unreadable Id"),
        ({"NumberOf__c": "secret"}, "has an unreadable NumberOf__c"),
        ({"SystemModstamp": None}, "has an unreadable SystemModstamp"),
        ({"IsDeleted": None}, "has an unreadable IsDeleted"),
        ({"MasterRecordId": "secret"}, "has an unreadable MasterRecordId"),
        ({"LastName": {"secret": 1}}, "has an unreadable LastName"),
    ],
)
def test_unreadable_row_names_record_and_field_never_the_value(row: dict[str, Any], said: str) -> None:
    """The reason goes into a dead letter and a log line."""
    with pytest.raises(DecodeError, match=said) as refused:
        snapshot(ROW | row, PLAN, read_from_ms=1, read_to_ms=2)
    assert "secret" not in str(refused.value)
    assert "Id" in row or "Contact 0035i00000Con01" in str(refused.value)


@pytest.mark.parametrize("name", ["Id", "SystemModstamp", "Fax"])
def test_row_that_lacks_a_field_is_refused(name: str) -> None:
    """A field that was not asked for or is gone must never be taken for null."""
    row = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(DecodeError, match=f"lacks {name}"):
        snapshot(row, PLAN, read_from_ms=1, read_to_ms=2)

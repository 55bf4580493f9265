"""A suggested mapping is sound for the org it was made for, and lists everything that can be mapped."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import MappingFile, default_mapping, parse_mapping
from sfsync.core.mapping_suggest import suggest
from tests.core.test_mapping import SAMPLES, describes

CAPTURED = {
    Entity.LEAD: "077-rest-describe-lead",
    Entity.CONTACT: "076-rest-describe-contact",
    Entity.ACCOUNT: "078-rest-describe-account",
}


def real_org() -> dict[Entity, Any]:
    return {
        entity: json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
        for entity, name in CAPTURED.items()
    }


def bound(text: str, described: Mapping[Entity, Any]) -> BoundMapping:
    return bind(parse_mapping(tomllib.loads(text)), described)


def uncommented(text: str) -> str:
    """The mapping with every field that was left out taken in."""
    return re.sub(r"^# (?=[a-z0-9_]+ = [{\"])", "", text, flags=re.MULTILINE)


def test_suggestion_for_a_real_org_is_sound() -> None:
    """Captured describes, not ones that were made to fit."""
    mapping = bound(suggest(real_org(), default_mapping()), real_org())
    assert {"last_name", "created_at", "postal_code"} <= {column.name for column in mapping.person}
    assert mapping.warnings == ()


def test_every_line_of_it_can_be_taken() -> None:
    """A line that breaks the file when it is uncommented is a trap."""
    described = describes()
    mapping = bound(uncommented(suggest(described, default_mapping())), described)
    fields = {name for entity in Entity for name in mapping.plans[entity].fields}
    assert {"Birthdate", "Rating", "OtherCity", "MailingStateCode", "TickerSymbol"} <= fields


def test_custom_fields_are_taken_once_for_both_entities() -> None:
    """A field that stands on leads and contacts is one thing of one person."""
    text = {"type": "string", "label": "ふりがな"}
    described = describes(
        Lead={"Furigana__c": text, "Level__c": {"type": "string"}, "Class__c": {"type": "string"}},
        Contact={
            "Furigana__c": text,
            "Level__c": {"type": "double"},
            "Site__Latitude__s": {"type": "double"},
        },
        Account={"Class__c": {"type": "multipicklist"}, "Photo__c": {"type": "base64"}},
    )
    written = suggest(described, default_mapping())
    person = {c.name: dict(c.sources) for c in bound(written, described).person}
    assert person["furigana"] == {Entity.CONTACT: "Furigana__c", Entity.LEAD: "Furigana__c"}
    assert (person["level"], person["level_2"]) == ({Entity.CONTACT: "Level__c"}, {Entity.LEAD: "Level__c"})
    assert person["site_latitude"] == {Entity.CONTACT: "Site__Latitude__s"}
    assert "# ふりがな; string as text, announced" in written
    assert "Photo__c" not in written


def test_names_that_are_taken_are_not_given_again() -> None:
    """`Id__c`, `Sync__c` and `City__c` are fields that orgs have, and columns that sfsync has."""
    names = ["Id__c", "Sync__c", "City__c", "Last_Name__c", "XMLHttpRequest__c"]
    described = describes(Contact={name: {"type": "string"} for name in names})
    person = {
        c.sources[Entity.CONTACT]: c.name
        for c in bound(suggest(described, default_mapping()), described).person
        if Entity.CONTACT in c.sources
    }
    assert [person[name] for name in names] == [
        "id_2", "sync_2", "city_2", "last_name_2", "xml_http_request",
    ]  # fmt: skip


def test_label_cannot_break_out_of_its_comment() -> None:
    """An administrator types what he likes."""
    label = "a\nid = 3\r# \u2028x\x1b[31m"
    described = describes(Contact={"F__c": {"type": "string", "label": label}})
    written = suggest(described, default_mapping())
    assert "\x1b" not in written
    assert {c.name for c in bound(written, described).person} == {
        c.name
        for c in bound(
            suggest(describes(Contact={"F__c": {"type": "string"}}), default_mapping()), described
        ).person
    }


def test_existing_mapping_comes_first_and_loses_only_what_the_org_lacks() -> None:
    """An operator's own names are kept; a field that is gone is told and not silently dropped."""
    own = parse_mapping(
        tomllib.loads(
            """[person]
            surname = { contact = "LastName", lead = "LastName" }
            rank = { contact = "Rank__c", lead = "Rating" }
            gone = { contact = "Gone__c" }
            firm = { lead = "Company", role = "company", optional = true }
            """
        )
    )
    assert isinstance(own, MappingFile)
    written = suggest(describes(), own)
    mapping = {c.name: c for c in bound(written, describes()).person}
    assert mapping["surname"].sources == {Entity.CONTACT: "LastName", Entity.LEAD: "LastName"}
    assert mapping["rank"].sources == {Entity.LEAD: "Rating"}
    assert mapping["firm"].role == "company"
    assert "last_name" not in mapping
    assert "# Contact.Gone__c is not there, or hidden from this user" in written
    assert '# gone = { contact = "Gone__c" }' in written


def test_what_events_leave_out_is_said() -> None:
    """A column that is only as fresh as the last reading surprises whoever expects milliseconds."""
    formula = {"type": "double", "calculated": True}
    written = suggest(describes(Contact={"Score__c": formula}), default_mapping())
    assert "# Score__c; double as numeric, calculated, not announced" in written
    assert "# LastActivityDate; date as date, not announced" in written

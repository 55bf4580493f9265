"""A mapping that meets an org again: what was fed before is paused, what never was is a fault."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, KnownColumn, Memory, bind
from sfsync.core.mapping_file import Table, parse_mapping
from sfsync.errors import ConfigError
from tests.core.test_mapping import describes

TOML = """[person]
last_name = { contact = "LastName", lead = "LastName" }
level = { contact = "Level__c" }
"""
NUMBER = {"type": "double"}
KNOWN: dict[tuple[Table, str], KnownColumn] = {
    ("person", "last_name"): KnownColumn(
        "text", "plain", {Entity.CONTACT: "LastName", Entity.LEAD: "LastName"}
    ),
    ("person", "level"): KnownColumn("numeric", "plain", {Entity.CONTACT: "Level__c"}),
}


def rebound(toml: str, memory: Memory, **more: dict[str, Any]) -> BoundMapping:
    return bind(parse_mapping(tomllib.loads(toml)), describes(**more), memory)


def paused(mapping: BoundMapping) -> list[tuple[str, str, str]]:
    return [(one.column.name, one.reason, one.field) for one in mapping.paused]


def test_lost_field_holds_its_column_and_is_not_read() -> None:
    """A query for it would fail, and a null in its place would look like an empty field."""
    mapping = rebound(TOML, Memory(KNOWN))
    assert paused(mapping) == [("level", "gone", "Contact.Level__c")]
    assert [column.name for column in mapping.person] == ["last_name"]
    assert [column.name for column in mapping.stored("person")] == ["last_name", "level"]
    assert "Level__c" not in mapping.plans[Entity.CONTACT].fields
    assert mapping.paused[0].column == mapping.stored("person")[1]


def test_field_that_never_fed_the_column_is_a_fault() -> None:
    """What is misspelt must be told, whatever else was lost."""
    with pytest.raises(ConfigError, match=r"person\.level: Contact\.Levl__c is not there"):
        rebound(TOML.replace("Level__c", "Levl__c"), Memory(KNOWN))


def test_lost_side_holds_the_whole_column() -> None:
    """Half a column, fresh for leads and stale for contacts, is one that nobody can explain."""
    toml = (
        '[person]\nlast_name = { contact = "LastName" }\nlevel = { contact = "Level__c", lead = "Level__c" }'
    )
    known = KnownColumn("numeric", "plain", {Entity.CONTACT: "Level__c", Entity.LEAD: "Level__c"})
    mapping = rebound(toml, Memory({("person", "level"): known}), Lead={"Level__c": NUMBER})
    assert paused(mapping) == [("level", "gone", "Contact.Level__c")]
    assert "Level__c" in mapping.plans[Entity.LEAD].fields


def test_optional_field_that_was_there_is_held_and_not_left_out() -> None:
    """Optional says that an org may lack it, not that its values may be forgotten."""
    toml = TOML.replace('"Level__c" }', '"Level__c", optional = true }')
    assert paused(rebound(toml, Memory(KNOWN))) == [("level", "gone", "Contact.Level__c")]
    first = rebound(toml, Memory())
    assert (paused(first), len(first.warnings)) == ([], 1)


@pytest.mark.parametrize("kind", ["string", "location", "base64"])
def test_retyped_field_holds_its_column(kind: str) -> None:
    """Its values do not fit, or cannot be kept at all."""
    mapping = rebound(TOML, Memory(KNOWN), Contact={"Level__c": {"type": kind}})
    assert paused(mapping) == [("level", "retyped", "Contact.Level__c")]


def test_new_source_of_another_type_is_a_fault() -> None:
    """That is the operator's own change, and another column name is the way."""
    toml = TOML.replace("Level__c", "Title")
    with pytest.raises(ConfigError, match=r"level: is numeric in the store, Contact\.Title is text"):
        rebound(toml, Memory(KNOWN))


def test_same_type_under_another_name_holds_nothing() -> None:
    """A text that became a picklist is a text."""
    mapping = rebound(TOML, Memory(KNOWN), Contact={"Level__c": {"type": "currency"}})
    assert paused(mapping) == []


def test_unread_field_holds_its_column_until_its_entity_was_read() -> None:
    """Projected before, a null would stand where nothing is known."""
    whole = rebound(TOML, Memory(), Contact={"Level__c": NUMBER})
    covered = frozenset(whole.plans[Entity.CONTACT].coverage.split())
    lesser = Memory(KNOWN, {Entity.CONTACT: covered - {"Level__c:numeric"}})
    waiting = rebound(TOML, lesser, Contact={"Level__c": NUMBER})
    assert paused(waiting) == [("level", "unread", "Contact.Level__c")]
    assert not waiting.paused[0].is_suspended
    assert "Level__c" in waiting.plans[Entity.CONTACT].fields
    done = rebound(TOML, Memory(KNOWN, {Entity.CONTACT: covered}), Contact={"Level__c": NUMBER})
    assert paused(done) == []
    assert len({whole.fingerprint, waiting.fingerprint}) == 2
    assert done.fingerprint == whole.fingerprint


def test_hidden_structural_field_is_a_fault_whatever_is_remembered() -> None:
    """Identity cannot be kept without it."""
    with pytest.raises(ConfigError, match=r"Lead: IsConverted is needed"):
        rebound(TOML, Memory(KNOWN), Lead={"IsConverted": None}, Contact={"Level__c": NUMBER})

"""The checker of JSON against schemas: an API believes what it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from sfsync.console.schema import faults
from sfsync.console.schemas import SCHEMAS, nullable, record, ref


@pytest.mark.parametrize(
    ("schema", "value", "pointers"),
    [
        ({"type": "integer"}, 1, []),
        ({"type": "integer"}, True, ["#"]),
        ({"type": "integer"}, 1.5, ["#"]),
        ({"type": "number", "minimum": 0}, 0, []),
        ({"type": "number", "minimum": 0}, -0.1, ["#"]),
        ({"type": "number", "maximum": 2}, 3, ["#"]),
        ({"type": "boolean"}, 0, ["#"]),
        ({"type": ["string", "null"], "maxLength": 1}, None, []),
        ({"type": ["string", "null"], "maxLength": 1}, "ab", ["#"]),
        ({"type": "string", "minLength": 1}, "", ["#"]),
        ({"type": "string", "pattern": "^[a-z]*$"}, "ab", []),
        ({"type": "string", "pattern": "^[a-z]*$"}, "ab\n", ["#"]),
        ({"type": "string", "enum": ["a"]}, "b", ["#"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, ["a", 1], ["#/1"]),
        ({"type": "array", "minItems": 1}, [], ["#"]),
        ({"type": "array", "maxItems": 1}, [1, 2], ["#"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a/b": "c"}, ["#/a~1b"]),
        (record("", {"a": {"type": "string"}}), {"a": "x"}, []),
        (record("", {"a": {"type": "string"}}), {"b": "x"}, ["#/a", "#/b"]),
        (record("", {"a": {"type": "string"}}, optional=("a",)), {}, []),
        (nullable(record("", {"a": {"type": "string"}})), None, []),
        (nullable(record("", {"a": {"type": "string"}})), {"a": 1}, ["#/a"]),
        (nullable({"type": "string", "enum": ["a"]}), None, []),
        (nullable(ref("DeadLetter")), None, []),
        (nullable(ref("DeadLetter")), {}, ["#"]),
        (ref("DeadLetter"), {}, ["#/id", "#/record_id", "#/reason", "#/parked_at"]),
        ({}, {"any": [None]}, []),
    ],
)
def test_faults_are_found_where_they_are(schema: dict[str, Any], value: Any, pointers: list[str]) -> None:
    """A word that is not checked is one that is believed."""
    assert [fault.pointer for fault in faults(schema, value, SCHEMAS)] == pointers


def test_word_that_is_not_understood_is_an_error() -> None:
    """Better no schema than one that says more than is checked."""
    with pytest.raises(KeyError):
        list(faults({"type": "array", "uniqueItems": True}, [1, 1], SCHEMAS))
    with pytest.raises(KeyError):
        list(faults(ref("Nothing"), 1, SCHEMAS))


def test_no_fault_repeats_a_value() -> None:
    """It is told to whoever asks, and may be logged by them."""
    told = repr(list(faults({"type": "string", "enum": ["a"]}, "c4n4ry", SCHEMAS)))
    told += repr(list(faults({"type": "string", "pattern": "^a$"}, "c4n4ry", SCHEMAS)))
    assert "c4n4ry" not in told

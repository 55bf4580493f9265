"""Check JSON against the schemas that the API declares.

Why: what the OpenAPI document says of a body is what is checked, because both are the same value; a check written
beside it would drift from it. Only the words of JSON Schema that are listed here are understood, and any other is an
error, so that none is believed to be checked that is not. Source: JSON Schema 2020-12, as OpenAPI 3.1 uses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .problems import Fault

Schema = Mapping[str, Any]


def _matches(shape: str, text: str) -> bool:
    """Tell whether a whole text has this shape; Python's `$` also stands before a last line end."""
    return re.fullmatch(shape.removeprefix("^").removesuffix("$"), text) is not None


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
# A word holds for values of one type; for others it says nothing.
_WORDS: Mapping[str, tuple[str, Callable[[Any, Any], bool], str]] = {
    "minLength": ("string", lambda limit, text: len(text) >= limit, "must have {} characters or more"),
    "maxLength": ("string", lambda limit, text: len(text) <= limit, "must have {} characters or fewer"),
    "pattern": ("string", _matches, "must match {}"),
    "minimum": ("number", lambda limit, number: number >= limit, "must be {} or more"),
    "maximum": ("number", lambda limit, number: number <= limit, "must be {} or less"),
    "minItems": ("array", lambda limit, values: len(values) >= limit, "must have {} entries or more"),
    "maxItems": ("array", lambda limit, values: len(values) <= limit, "must have {} entries or fewer"),
}
_SPOKEN = frozenset(["description", "default", "format", "examples", "title"])
"""Words for people and programs that read the document; nothing is checked by them."""
_STRUCTURAL = frozenset(["type", "enum", "properties", "required", "additionalProperties", "items"])


def faults(schema: Schema, value: object, known: Mapping[str, Schema], pointer: str = "#") -> Iterator[Fault]:
    """Yield what is wrong with *value*, quoting none of it; *known* are the schemas that `$ref` names.

    Raises `KeyError` when the schema uses a word or a name that is not known.
    """
    if "$ref" in schema:
        yield from faults(known[schema["$ref"].rpartition("/")[2]], value, known, pointer)
    elif "anyOf" in schema:
        if all(any(faults(one, value, known, pointer)) for one in schema["anyOf"]):
            yield Fault("is none of what it may be", pointer)
    elif (problem := _fault(schema, value)) is not None:
        yield Fault(problem, pointer)
    elif isinstance(value, dict):
        yield from _property_faults(schema, value, known, pointer)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from faults(schema.get("items", {}), one, known, f"{pointer}/{place}")


def _fault(schema: Schema, value: object) -> str | None:
    """Say what is wrong with the value itself, not with what it holds."""
    types = schema.get("type", list(_TYPES))
    types = [types] if isinstance(types, str) else types
    if not any(_TYPES[name](value) for name in types):
        return f"must be of type {' or '.join(types)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of: {', '.join(map(str, schema['enum']))}"
    for word, limit in schema.items():
        if word not in _SPOKEN | _STRUCTURAL:
            kind, holds, problem = _WORDS[word]
            if _TYPES[kind](value) and not holds(limit, value):
                return problem.format(limit)
    return None


def _property_faults(
    schema: Schema, value: Mapping[str, object], known: Mapping[str, Schema], pointer: str
) -> Iterator[Fault]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield Fault("is missing", f"{pointer}/{_escaped(name)}")
    for name, one in value.items():
        place = f"{pointer}/{_escaped(name)}"
        if name in properties:
            yield from faults(properties[name], one, known, place)
        elif others is False:
            yield Fault("is not known here", place)
        elif others is not True:
            yield from faults(others, one, known, place)


def _escaped(name: str) -> str:
    """Write a name as a JSON pointer does (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")

"""How each Salesforce field type is stored and read: one declared table, type by type.

Why: the same value has several spellings (an instant ends in `Z` in an event and in `+0000` in a query, a
number is `1.2E7` or `12000000.0`). Everything past this module sees one spelling per value, so that "equal"
can be decided by `==`, and Postgres never meets a value it must refuse. Types come from describe, never from
the look of a value: "01234" in a text field stays text. Text is kept exactly, but for what no database
can hold (`jsontext.clean_text`); Salesforce itself does not tell an empty text from null, so neither do we.
Source: Salesforce "Field Types" and "Primitive Data Types"; Postgres "Date/Time Types", "Numeric Types".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any

from .events import Value
from .ids import record_id
from .jsontext import clean_text

Reader = Callable[[Any], Value]
"""Turn a raw JSON value into the one spelling of it; `ValueError` (which quotes nothing) when it cannot."""

_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T00:00:00(?:\.0+)?(?:Z|[+-]00:?00))?", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?Z?", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
# The two spellings that Salesforce itself uses, on a day that every month has: no calendar is needed.
_PLAIN_INSTANT = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}(?:Z|\+0000)",
    re.ASCII,
)
# A double has at most 309 digits before the point and 17 that mean something; Postgres holds far more.
_DIGITS_MAX = 340
_exact = Context(prec=2 * _DIGITS_MAX)


@dataclass(frozen=True, slots=True)
class ValueType:
    """What one describe type becomes in Postgres, and how its JSON is read."""

    pg_type: str
    read: Reader


def _text(raw: Any) -> Value:
    if isinstance(raw, str):
        return clean_text(raw) or None
    if raw is None:
        return None
    raise ValueError("a text is expected")


def _reference(raw: Any) -> Value:
    return None if raw is None or raw == "" else record_id(raw)


def _boolean(raw: Any) -> Value:
    if raw is None or raw is True or raw is False:
        return raw
    raise ValueError("true or false is expected")


def _numeric(raw: Any) -> Value:
    if raw is None:
        return None
    if isinstance(raw, float):
        raw = Decimal(repr(raw))
    if isinstance(raw, int | Decimal) and not isinstance(raw, bool):
        return _plain(Decimal(raw))
    raise ValueError("a number is expected")


def _plain(number: Decimal) -> Decimal:
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS_MAX:
        raise ValueError("the number is outside what numeric holds sanely")
    if not number:
        return Decimal(0)
    if len(number.as_tuple().digits) > 2 * _DIGITS_MAX:
        raise ValueError("the number has too many digits")
    plain = number.normalize(_exact)
    exponent = plain.as_tuple().exponent
    return plain.quantize(Decimal(1), context=_exact) if isinstance(exponent, int) and exponent > 0 else plain


def _whole_reader(bits: int) -> Reader:
    bound = 1 << (bits - 1)

    def read_whole(raw: Any) -> Value:
        if type(raw) is not int:
            number = _numeric(raw)
            if number is None:
                return None
            if not isinstance(number, Decimal) or number != number.to_integral_value(context=_exact):
                raise ValueError("a whole number is expected")
            raw = int(number)
        if not -bound <= raw < bound:
            raise ValueError(f"the number needs more than {bits} bits")
        return int(raw)

    return read_whole


def _instant(raw: Any) -> Value:
    if raw is None or raw == "":
        return None
    if isinstance(raw, str) and _PLAIN_INSTANT.fullmatch(raw):
        return raw[:23] + "Z"
    if not isinstance(raw, str) or not _INSTANT.fullmatch(raw):
        raise ValueError("an instant like 2026-11-24T03:04:05.000Z is expected")
    try:
        instant = datetime.fromisoformat(raw)
        if instant.tzinfo is not UTC:
            instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("no such instant between the years 0001 and 9999") from None
    return instant.isoformat(timespec="milliseconds")[:23] + "Z"


def _date(raw: Any) -> Value:
    if raw is None or raw == "":
        return None
    shape = _DATE.fullmatch(raw) if isinstance(raw, str) else None
    if shape is None:
        raise ValueError("a date like 2026-11-24 is expected")
    try:
        return date.fromisoformat(shape[1]).isoformat()
    except ValueError:
        raise ValueError("no such date between the years 0001 and 9999") from None


def _time(raw: Any) -> Value:
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str) or not _TIME.fullmatch(raw):
        raise ValueError("a time of day like 10:30:45.000Z is expected")
    try:
        return time.fromisoformat(raw.rstrip("Z")).isoformat(timespec="milliseconds")
    except ValueError:
        raise ValueError("no such time of day") from None


_TEXT = ValueType("text", _text)
_REFERENCE = ValueType("text", _reference)
_NUMERIC = ValueType("numeric", _numeric)

TYPES: Mapping[str, ValueType] = {
    "string": _TEXT,
    "textarea": _TEXT,
    "email": _TEXT,
    "phone": _TEXT,
    "url": _TEXT,
    "picklist": _TEXT,
    "multipicklist": _TEXT,
    "combobox": _TEXT,
    "encryptedstring": _TEXT,
    "id": _REFERENCE,
    "reference": _REFERENCE,
    "boolean": ValueType("boolean", _boolean),
    "int": ValueType("integer", _whole_reader(32)),
    "long": ValueType("bigint", _whole_reader(64)),
    "double": _NUMERIC,
    "currency": _NUMERIC,
    "percent": _NUMERIC,
    "date": ValueType("date", _date),
    "datetime": ValueType("timestamptz", _instant),
    "time": ValueType("time", _time),
}
"""Describe type → storage and reading. A type that is not here cannot be mapped."""


def value_type_name(field: Mapping[str, Any]) -> str:
    """Return the name under which `TYPES` knows a describe field: its type, or `long` for a wide `int`."""
    name = str(field.get("type"))
    return "long" if name == "int" and int(field.get("digits") or 0) > 9 else name


def read_value(type_name: str, raw: Any) -> Value:
    """Return the one spelling of *raw*, a JSON value of a field of this type; reading it again changes nothing.

    Texts and ids are `str`, instants `YYYY-MM-DDTHH:MM:SS.mmmZ`, dates `YYYY-MM-DD`, times `HH:MM:SS.mmm`,
    whole numbers `int`, others `Decimal` without trailing zeros.
    Raises `ValueError`, which quotes nothing of the value, when it is none of that type or Postgres could not
    hold it, and `KeyError` for a type that cannot be stored.
    """
    return TYPES[type_name].read(raw)

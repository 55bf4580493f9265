"""How each Salesforce field type is stored and read: one declared table, type by type and form by form.

Why: the same value has several spellings (an instant ends in `Z` in an event and in `+0000` in a query, a
number is `1.2E7` or `12000000.0`). Everything past this module sees one spelling per value, so that "equal"
can be decided by `==`, and Postgres never meets a value it must refuse. Types come from describe, never from
the look of a value: "01234" in a text field stays text. Text is kept exactly, but for what no database
can hold (`jsontext.clean_text`); Salesforce itself does not tell an empty text from null, so neither do we.

A value travels in three forms: JSON (REST and CometD spell it so much alike that one reader serves both), the text
of a Bulk API 2.0 result, and Avro of the Pub/Sub API. Each type has one reader per form, all with one outcome.
`docs/types.md` is made from this table.
Source: Salesforce "Field Types" and "Primitive Data Types"; Pub/Sub API "Event Deserialization"; Bulk API 2.0
"Prepare CSV Files"; Postgres "Date/Time Types", "Numeric Types".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any, Literal

from .events import Value
from .ids import record_id
from .jsontext import clean_text

Reader = Callable[[Any], Value]
"""Turn a raw value of one form into the one spelling of it; `ValueError` (which quotes nothing) when it cannot."""
Form = Literal["json", "bulk", "avro"]

_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T00:00:00(?:\.0+)?(?:Z|[+-]00:?00))?", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?Z?", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
# The two spellings that Salesforce itself uses, on a day that every month has: no calendar is needed.
_PLAIN_INSTANT = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}(?:Z|\+0000)",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
# A double has at most 309 digits before the point and 17 that mean something; Postgres holds far more.
_DIGITS_MAX = 340
_exact = Context(prec=2 * _DIGITS_MAX)


@dataclass(frozen=True, slots=True)
class ValueType:
    """What one describe type becomes in Postgres, and how each of its forms is read.

    `examples` shows one value in JSON (REST, CometD), in Bulk text and in Avro.
    """

    pg_type: str
    read: Reader
    read_bulk: Reader
    read_avro: Reader
    examples: tuple[str, str, str]


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


def _empty_as_null(read: Reader) -> Reader:
    """Read Bulk text by the reader of JSON texts: an empty cell is null."""

    def read_cell(raw: Any) -> Value:
        return None if raw is None or raw == "" else read(raw)

    return read_cell


def _bulk_boolean(raw: Any) -> Value:
    if raw is None or raw == "":
        return None
    if isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    raise ValueError("true or false is expected")


def _number_cell(read: Reader) -> Reader:
    def read_cell(raw: Any) -> Value:
        if raw is None or raw == "":
            return None
        if not isinstance(raw, str) or not _NUMBER.fullmatch(raw):
            raise ValueError("a number is expected")
        return read(Decimal(raw))

    return read_cell


def _avro_instant(raw: Any) -> Value:
    if raw is None:
        return None
    moment = _moment(raw)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _avro_date(raw: Any) -> Value:
    """Read a day, which is the instant of its midnight; another instant of it would be no date of Salesforce's."""
    if raw is None:
        return None
    moment = _moment(raw)
    if moment.time() != time():
        raise ValueError("a date is expected as the instant of its midnight in UTC")
    return moment.date().isoformat()


def _avro_time(raw: Any) -> Value:
    if raw is None:
        return None
    if type(raw) is not int or not 0 <= raw < _DAY_MS:
        raise ValueError("a time of day is expected in ms since midnight")
    return (_EPOCH + timedelta(milliseconds=raw)).time().isoformat(timespec="milliseconds")


def _moment(raw: Any) -> datetime:
    if type(raw) is not int:
        raise ValueError("an instant is expected in ms since 1970")
    try:
        return _EPOCH + timedelta(milliseconds=raw)
    except OverflowError:
        raise ValueError("no such instant between the years 0001 and 9999") from None


def _text_type(example: str) -> ValueType:
    return ValueType("text", _text, _text, _text, (f'"{example}"', example, f'"{example}"'))


def _whole_type(pg_type: str, bits: int, example: str) -> ValueType:
    read = _whole_reader(bits)
    return ValueType(pg_type, read, _number_cell(read), read, (example, example, example))


_REFERENCE = ValueType(
    "text",
    _reference,
    _reference,
    _reference,
    ('"0035i00000Con01AAB"', "0035i00000Con01AAB", '"0035i00000Con01AAB"'),
)
_NUMERIC = ValueType("numeric", _numeric, _number_cell(_numeric), _numeric, ("12.5", "12.5", "12.5"))

TYPES: Mapping[str, ValueType] = {
    "string": _text_type("01234"),
    "textarea": _text_type("line 1\\nline 2"),
    "email": _text_type("a@example.com"),
    "phone": _text_type("03-1234-5678"),
    "url": _text_type("https://example.com"),
    "picklist": _text_type("Hot"),
    "multipicklist": _text_type("A;B"),
    "combobox": _text_type("Call"),
    "encryptedstring": _text_type("secret"),
    "id": _REFERENCE,
    "reference": _REFERENCE,
    "boolean": ValueType("boolean", _boolean, _bulk_boolean, _boolean, ("true", "true", "true")),
    "int": _whole_type("integer", 32, "42"),
    "long": _whole_type("bigint", 64, "4200000000"),
    "double": _NUMERIC,
    "currency": _NUMERIC,
    "percent": _NUMERIC,
    "date": ValueType(
        "date",
        _date,
        _empty_as_null(_date),
        _avro_date,
        ('"2026-11-24"', "2026-11-24", "1795478400000 (ms since 1970 of midnight UTC)"),
    ),
    "datetime": ValueType(
        "timestamptz",
        _instant,
        _empty_as_null(_instant),
        _avro_instant,
        (
            '"2026-11-24T03:04:05.000+0000" (REST), "2026-11-24T03:04:05.000Z" (CometD)',
            "2026-11-24T03:04:05.000Z",
            "1795489445000 (ms since 1970)",
        ),
    ),
    "time": ValueType(
        "time",
        _time,
        _empty_as_null(_time),
        _avro_time,
        ('"10:30:45.000Z"', "10:30:45.000Z", "37845000 (ms since midnight)"),
    ),
}
"""Describe type → storage and reading. A type that is not here cannot be mapped: see `UNMAPPED`."""

UNMAPPED: Mapping[str, str] = {
    "address": "a compound; its components are mapped",
    "location": "a compound; its components are mapped",
    "base64": "the address of a file, not its content",
    "anyType": "of no one type",
    "complexvalue": "of no one type",
    "json": "of no one type",
}
"""Describe types that no column can hold, and why. A person's `Name` is a string in describe and a compound as well."""


def value_type_name(field: Mapping[str, Any]) -> str:
    """Return the name under which `TYPES` knows a describe field: its type, or `long` for a wide `int`."""
    name = str(field.get("type"))
    return "long" if name == "int" and int(field.get("digits") or 0) > 9 else name


def read_value(type_name: str, raw: Any, form: Form = "json") -> Value:
    """Return the one spelling of *raw*, a value of a field of this type; JSON: reading it again changes nothing.

    Texts and ids are `str`, instants `YYYY-MM-DDTHH:MM:SS.mmmZ`, dates `YYYY-MM-DD`, times `HH:MM:SS.mmm`,
    whole numbers `int`, others `Decimal` without trailing zeros.
    Raises `ValueError`, which quotes nothing of the value, when it is none of that type or Postgres could not
    hold it, and `KeyError` for a type that cannot be stored.
    """
    kind = TYPES[type_name]
    return {"json": kind.read, "bulk": kind.read_bulk, "avro": kind.read_avro}[form](raw)

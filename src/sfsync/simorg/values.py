"""Field values between their stored form, JSON and CSV.

Why: an instant is stored as an aware datetime and a date as a date, so that comparing is exact; each door (REST,
Bulk, change events) writes them its own way.

Source: REST API Developer Guide, "Valid Date and DateTime Formats"; Bulk API 2.0 guide, "Query Results".
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sfsync.simorg.errors import DmlError
from sfsync.simorg.ids import normalize
from sfsync.simorg.schema import NUMBER_TYPES, REFERENCE_TYPES, FieldDef

DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)", re.ASCII | re.IGNORECASE
)
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def parse_datetime(text: str) -> datetime | None:
    """Read an ISO instant with `Z` or an offset; None if it is none."""
    match = DATETIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone if ":" in zone else zone[:3] + ":" + zone[3:]
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_date(text: str) -> date | None:
    """Read `YYYY-MM-DD`; None if it is no date."""
    try:
        return date.fromisoformat(text) if DATE.fullmatch(text) else None
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def rest_datetime(instant: datetime) -> str:
    """Write an instant as REST does: `+0000` without a colon."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}+0000"


@lru_cache(maxsize=65536)
def zulu_datetime(instant: datetime) -> str:
    """Write an instant as Bulk and change events do: with `Z`."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def to_json(value: Any) -> Any:
    """Return the JSON form of a stored value."""
    if isinstance(value, datetime):
        return rest_datetime(value)
    return value.isoformat() if isinstance(value, date) else value


def csv_text(value: Any) -> str:
    """Return one value as Bulk writes it inside the quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace('"', '""') if '"' in value else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return zulu_datetime(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def full_name(fields: Mapping[str, Any]) -> str:
    """Compose the Name of a person; family name first when it is written in East Asian script."""
    first, last = fields.get("FirstName"), fields.get("LastName") or ""
    if not first:
        return last
    is_east_asian = any("\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3" for char in last + first)
    return f"{last} {first}" if is_east_asian else f"{first} {last}"


def store_value(field: FieldDef, value: Any) -> Any:
    """Return the stored form of a value written through the API.

    Blank text becomes None, blanks around text are cut. Raises DmlError when the value does not fit the field.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return False if field.type == "boolean" else None
    if field.type in ("date", "datetime"):
        return _temporal(field, value, parse_date if field.type == "date" else parse_datetime)
    if field.type == "boolean":
        return _boolean(field, value)
    return _number(field, value) if field.type in NUMBER_TYPES else _text(field, value)


def _boolean(field: FieldDef, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong_type(field, value, "boolean")
    return value


def _number(field: FieldDef, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong_type(field, value, field.type)
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _wrong_type(field, value, field.type) from error
    digits = field.length if field.type == "int" else (field.precision or 18) - field.scale
    if not abs(number) < 10**digits:
        message = f"{label(field.name)}: value outside of valid range on numeric field: {value}"
        raise DmlError("NUMBER_OUTSIDE_VALID_RANGE", message, [field.name])
    return int(number) if field.type == "int" else round(number, field.scale)


def _temporal(field: FieldDef, value: Any, parse: Any) -> Any:
    parsed = value if isinstance(value, date) else parse(value) if isinstance(value, str) else None
    if parsed is None:
        raise _wrong_type(field, value, field.type)
    return parsed


def _text(field: FieldDef, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong_type(field, value, "string")
    text = value.strip()
    if field.type in REFERENCE_TYPES:
        record_id = normalize(text)
        if record_id is None:
            message = f"{label(field.name)}: id value of incorrect type: {text}"
            raise DmlError("MALFORMED_ID", message, [field.name])
        return record_id
    if field.length and len(text) > field.length:
        message = f"{label(field.name)}: data value too large: {text[:255]} (max length={field.length})"
        raise DmlError("STRING_TOO_LONG", message, [field.name])
    if field.type == "email" and not EMAIL.fullmatch(text):
        message = f"{label(field.name)}: invalid email address: {text}"
        raise DmlError("INVALID_EMAIL_ADDRESS", message, [field.name])
    return text


def _wrong_type(field: FieldDef, value: Any, wanted: str) -> DmlError:
    token = "VALUE_STRING" if isinstance(value, str) else f"VALUE_{type(value).__name__.upper()}"
    message = (
        f"Cannot deserialize instance of {wanted} from {token} value {value!s:.80} for field {field.name}"
    )
    return DmlError("JSON_PARSER_ERROR", message, [field.name])


@lru_cache(maxsize=4096)
def label(name: str) -> str:
    """Return the English label of a field name: `MailingCity` is `Mailing City`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("__c").replace("_", " "))
    return words.removesuffix(" Id") if name != "Id" else "Record ID"

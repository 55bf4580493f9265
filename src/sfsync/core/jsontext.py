"""Read JSON into exact, storable values, at the one door through which Salesforce's text comes in.

Why: msgspec is two to three times faster than `json`, but refuses a whole message for one lone surrogate,
which Salesforce stores and sends. So what it refuses is read again by `json`, and text that Postgres or UTF-8
cannot hold is cleaned here in one declared way: NUL and lone surrogates become U+FFFD, and the number of
texts touched is returned to be counted. Rejected: stripping them silently, and parking the record for ever.
Numbers with a fraction become `Decimal` (a float loses 1.23456789012345678E17), NaN and Infinity are refused.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_REPLACEMENT = "�"
_NUL_ESCAPE = b"\\u0000"

_decoder = msgspec.json.Decoder(float_hook=Decimal)


def parse_json(payload: bytes | str) -> tuple[Any, int]:
    """Return the value of a JSON text, and how many of its texts had to be cleaned.

    Raises `ValueError`, which quotes nothing of the text, when it is not JSON or too deep or too long to be.
    """
    raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    try:
        value = _decoder.decode(raw)
    except (ValueError, RecursionError, InvalidOperation):
        return _parse_slowly(raw)
    return clean_tree(value) if _NUL_ESCAPE in raw else (value, 0)


def clean_text(text: str) -> str:
    """Return *text* with NUL and lone surrogates replaced by U+FFFD; the same object when there are none."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(_REPLACEMENT, text) if _UNSTORABLE.search(text) else text


def clean_tree(value: Any) -> tuple[Any, int]:
    """Return a JSON value with all its texts and keys cleaned, and how many were."""
    if isinstance(value, str):
        cleaned = clean_text(value)
        return cleaned, int(cleaned is not value)
    if isinstance(value, dict):
        keys, dirty_keys = clean_tree(list(value))
        values, dirty_values = clean_tree(list(value.values()))
        return dict(zip(keys, values, strict=True)), dirty_keys + dirty_values
    if isinstance(value, list):
        pairs = [clean_tree(element) for element in value]
        return [element for element, _ in pairs], sum(dirty for _, dirty in pairs)
    return value, 0


def _parse_slowly(raw: bytes) -> tuple[Any, int]:
    try:
        return clean_tree(json.loads(raw, parse_float=Decimal, parse_constant=_refuse_constant))
    except RecursionError:
        fault = "nested too deeply"
    except UnicodeDecodeError as error:
        fault = f"not UTF-8 at byte {error.start}"
    except json.JSONDecodeError as error:
        fault = f"not JSON at line {error.lineno}, column {error.colno}"
    except (ValueError, InvalidOperation):
        fault = "a number that cannot be held exactly"
    raise ValueError(fault)


def _refuse_constant(_name: str) -> Any:
    raise ValueError

"""JSON between the org and whoever talks to it, read strictly and always writable again.

Why: what one client may send, another must be able to read. The standard library lets NaN and half of a surrogate pair
in, and a record holding either could never be answered again; here they are refused at the door.
"""

import json
from typing import Any

import msgspec


def read_json(body: bytes) -> Any:
    """Return what *body* says. Raises ValueError for what is no JSON, no UTF-8 or nested too deeply."""
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(value: Any) -> bytes:
    """Return *value* as JSON; integers may have any size, as in what clients send."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, ensure_ascii=False).encode()

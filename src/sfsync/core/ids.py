"""Salesforce record ids: check them, bring them to 18 characters, tell their entity.

Why: 15-character ids are case-sensitive and 18-character ones carry a checksum of that case, so the same
record has two spellings. Everything inside sfsync uses the 18-character one; this module is the only door.
Source: Salesforce "ID Field Type"; key prefixes from the object reference.
"""

from __future__ import annotations

import re
import string
from enum import StrEnum
from functools import lru_cache
from typing import NewType

RecordId = NewType("RecordId", str)

OVERFLOW_ID = "000000000000000AAA"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
# Five letters' case, as a text of "1" for upper case, stands for one letter; its first place counts least.
_CASE = str.maketrans(
    {char: "1" if char in string.ascii_uppercase else "0" for char in string.ascii_letters + string.digits}
)
_LETTERS = {f"{bits:05b}"[::-1]: letter for bits, letter in enumerate(_ALPHABET)}
_ID = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")


class Entity(StrEnum):
    """The entities that sfsync follows."""

    LEAD = "Lead"
    CONTACT = "Contact"
    ACCOUNT = "Account"


PREFIXES = {"00Q": Entity.LEAD, "003": Entity.CONTACT, "001": Entity.ACCOUNT}


def checksum(id15: str) -> str:
    """Return the three characters that make a 15-character id safe against case folding."""
    case = id15.translate(_CASE)
    return _LETTERS[case[:5]] + _LETTERS[case[5:10]] + _LETTERS[case[10:]]


def record_id(text: object) -> RecordId:
    """Return *text* as an 18-character id.

    Raises `ValueError` when it is no id, or when its checksum does not fit (an id that was case-folded).
    """
    if isinstance(text, str):
        return _to_18(text)
    raise ValueError("not a Salesforce record id: a text is expected")


# The same owners and accounts come with every second record.
@lru_cache(maxsize=4096)
def _to_18(text: str) -> RecordId:
    if not _ID.fullmatch(text):
        raise ValueError("not a Salesforce record id: 15 or 18 letters and digits are expected")
    whole = RecordId(text[:15] + checksum(text[:15]))
    if text not in (whole, whole[:15]) and text[:15] + text[15:].upper() != whole:
        raise ValueError("the record id's checksum does not fit: its letters' case was probably changed")
    return whole


def entity_of(text: str) -> Entity | None:
    """Tell from the key prefix which entity an id belongs to; None when it is not one of ours."""
    return PREFIXES.get(text[:3])


def is_wildcard(text: str) -> bool:
    """Tell whether a change event's id stands for a whole entity (`001*`)."""
    return len(text) == 4 and text.endswith("*")

"""Choose the address to write to, say why, and say what of it is missing.

Why: a person has two addresses, the company's and an own one, kept by different people in Salesforce. The preferred
one is used as long as anything of it is filled: a company's street without its city is a company that somebody
must complete, not a reason to write to a private home. Nothing is mixed from both, and nothing is guessed. The views
`crm.person_address` and `crm.address_candidate` compute the same in SQL (store/address_views.py).
Source: for the seven digits of a postal code and how they are written, Japan Post.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Characters that fill nothing: the white space of Unicode, and its spaces without width."""

REQUIRED_PARTS = ("postal_code", "prefecture", "city", "street")
"""Parts without which a letter does not arrive."""

FILLING_PARTS = (*REQUIRED_PARTS, "building")
"""Parts that make an address one; countries and the codes of states do not, because they are set by default."""

HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\u2500\ufe63\uff0d"
"""What people type for a hyphen, after NFKC or before."""

JAPAN = frozenset(["japan", "jp", "jpn", "日本", "日本国"])
"""How a country says that it is Japan, in lower case."""

_POSTAL_CODE = re.compile(r"([0-9]{3})-?([0-9]{4})")
_PLAIN_CODE = str.maketrans(dict.fromkeys(HYPHENS, "-") | dict.fromkeys(BLANKS + "〒", ""))


class Side(StrEnum):
    """Whose address it is."""

    COMPANY = "company"
    PERSON = "person"

    @property
    def other(self) -> Side:
        return Side.PERSON if self is Side.COMPANY else Side.COMPANY


class Reason(StrEnum):
    """Why this side: chosen for this person or the default; the other one because that was empty; or none."""

    CHOSEN = "chosen"
    DEFAULT = "default"
    CHOSEN_IS_EMPTY = "chosen_is_empty"
    DEFAULT_IS_EMPTY = "default_is_empty"
    BOTH_EMPTY = "both_empty"


Parts = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The address to write to; with anything `missing` somebody must enter it in Salesforce."""

    side: Side
    reason: Reason
    missing: tuple[str, ...]

    @property
    def needs_entry(self) -> bool:
        return bool(self.missing)


def choose(
    sides: Mapping[Side, Parts],
    preference: Side | None,
    default: Side,
    mapped: Mapping[Side, Collection[str]],
) -> Choice:
    """Choose between the two sides of a person; *mapped* names the parts that the mapping feeds, by side."""
    preferred = preference or default
    side, reason = preferred, Reason.DEFAULT if preference is None else Reason.CHOSEN
    if not is_filled(sides[preferred]):
        if is_filled(sides[preferred.other]):
            side = preferred.other
            reason = Reason.DEFAULT_IS_EMPTY if preference is None else Reason.CHOSEN_IS_EMPTY
        else:
            reason = Reason.BOTH_EMPTY
    return Choice(side, reason, missing(sides[side], mapped[side]))


def required(mapped: Collection[str]) -> tuple[str, ...]:
    """Return the parts to ask for, of a side whose mapping feeds *mapped*.

    A part that is not mapped would be missing in everybody; without any of them every address has to be entered.
    """
    return tuple(part for part in REQUIRED_PARTS if part in mapped) or REQUIRED_PARTS


def missing(parts: Parts, mapped: Collection[str]) -> tuple[str, ...]:
    """Return the required parts that are blank."""
    return tuple(part for part in required(mapped) if is_blank(parts.get(part)))


def is_filled(parts: Parts) -> bool:
    """Tell whether anything of an address is there."""
    return any(not is_blank(parts.get(part)) for part in FILLING_PARTS)


def is_blank(text: str | None) -> bool:
    """Tell whether a text is null or only white space, of whatever width."""
    return text is None or not text.strip(BLANKS)


def is_japanese(parts: Parts) -> bool:
    """Tell whether an address is in Japan: its country or code says so, or neither says anything."""
    stated = [text.strip(BLANKS).lower() for name in ("country", "country_code") if (text := parts.get(name))]
    return any(text in JAPAN for text in stated) or not any(stated)


def displayed_postal_code(parts: Parts) -> str | None:
    """Return the postal code as Japan Post writes it, `NNN-NNNN`; what is none, or not Japanese, as it is."""
    text = parts.get("postal_code")
    if text is None or not is_japanese(parts):
        return text
    code = _POSTAL_CODE.fullmatch(unicodedata.normalize("NFKC", text).translate(_PLAIN_CODE))
    return f"{code[1]}-{code[2]}" if code else text

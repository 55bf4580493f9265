"""Where to write to a person, said again in plain Python: which side, why, and what is missing.

Why: the store says it in views over its own rows. Those rows are judged elsewhere; here the choice is made anew
from them, part by part, without looking at how the views do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sfsync.simorg.oracle_state import Row, Side

PARTS = ("postal_code", "prefecture", "city", "street")
SIDES = ("company", "person")
# str.strip() takes the white space of Unicode; these are the spaces without width that it leaves.
WIDTHLESS = "\u200b\u2060\ufeff"


@dataclass(frozen=True, slots=True)
class Address:
    """The chosen side of one person."""

    side: str
    reason: str
    missing: tuple[str, ...]


Asked = Mapping[str, tuple[str, ...]]
"""The parts to ask for, by side."""


def choose(rows: Mapping[str, Row], asked: Asked, preference: str | None, default: str) -> Address:
    """Choose: the preferred side if anything of it is filled, else the other, else the preferred one, empty."""
    preferred = preference or default
    other = "person" if preferred == "company" else "company"
    why = "default" if preference is None else "chosen"
    if _is_filled(rows[preferred]):
        side, reason = preferred, why
    elif _is_filled(rows[other]):
        side, reason = other, f"{why}_is_empty"
    else:
        side, reason = preferred, "both_empty"
    return Address(side, reason, tuple(part for part in asked[side] if is_blank(rows[side].get(part))))


def is_blank(text: str | None) -> bool:
    """Tell whether nothing can be read in a text."""
    return not plain(text)


def plain(text: str | None) -> str:
    """Return what can be read of a text: neither white space around it nor the kind of its line ends counts."""
    lines = (text or "").replace("\r\n", "\n").replace("\r", "\n")
    before = None
    while lines != before:
        before, lines = lines, lines.strip().strip(WIDTHLESS)
    return lines


def address_differences(people: Side, companies: Side, default: str) -> Iterator[str]:
    """Compare the views with the rows of all people."""
    asked = {"company": _asked(companies), "person": _asked(people)}
    shown, candidates = people.addresses, people.candidates
    active = {i for i, row in people.rows.items() if row["merged_into"] is None and row["deleted_at"] is None}
    for stranger in sorted((shown.keys() | candidates.keys()) - active):
        yield f"address of person {stranger}: nobody active has this id"
    for person_id in sorted(active):
        row = people.rows[person_id]
        rows = {"company": _company_of(row, companies.rows), "person": row}
        wanted = choose(rows, asked, row["address_preference"], default)
        place = f"address of person {person_id}"
        if person_id not in shown:
            yield f"{place}: is missing"
            continue
        yield from _differences(place, shown[person_id], wanted)
        chosen = [one["side"] for one in candidates.get(person_id, ()) if one["is_chosen"]]
        offered = sorted(one["side"] for one in candidates.get(person_id, ()))
        if offered != [*SIDES] or chosen != [wanted.side]:
            yield f"{place}: candidates {offered} with {chosen} chosen; it must be both with {wanted.side}"


def _asked(side: Side) -> tuple[str, ...]:
    """Return the parts that the mapping feeds: one that nothing feeds would be missing in everybody."""
    return tuple(part for part in PARTS if part in side.columns) or PARTS


def _company_of(person: Row, companies: Mapping[int, Row]) -> Row:
    company = companies.get(person["company_id"], {})
    return companies.get(company["merged_into"], company) if company.get("merged_into") else company


def _differences(place: str, shown: Row, wanted: Address) -> Iterator[str]:
    found = Address(shown["side"], shown["reason"], tuple(shown["missing"]))
    if found != wanted:
        yield f"{place}: store {found}, by the rule {wanted}"
    if shown["needs_address_entry"] != bool(wanted.missing):
        yield f"{place}: needs_address_entry is {shown['needs_address_entry']}, missing is {wanted.missing}"


def _is_filled(parts: Row) -> bool:
    return any(not is_blank(parts.get(part)) for part in (*PARTS, "building"))

"""The address rule: which side, why, and what is missing."""

from __future__ import annotations

import pytest

from sfsync.core.address import (
    FILLING_PARTS,
    Choice,
    Reason,
    Side,
    choose,
    displayed_postal_code,
    is_blank,
    required,
)

WHOLE = {"postal_code": "100-0005", "prefecture": "東京都", "city": "千代田区", "street": "丸の内1-9-1"}
BOTH = dict.fromkeys(Side, FILLING_PARTS)
Row = dict[str, str | None]


def chosen(company: Row, person: Row, preference: Side | None = None, default: Side = Side.COMPANY) -> Choice:
    return choose({Side.COMPANY: company, Side.PERSON: person}, preference, default, BOTH)


def test_preferred_side_is_used_and_the_other_when_it_is_empty() -> None:
    """Company unless configured, changeable per person; each reason says who preferred it."""
    other: Row = {"city": "横浜市"}
    assert chosen({**WHOLE}, other) == Choice(Side.COMPANY, Reason.DEFAULT, ())
    assert chosen(other, {**WHOLE}, default=Side.PERSON) == Choice(Side.PERSON, Reason.DEFAULT, ())
    assert chosen(other, {**WHOLE}, Side.PERSON) == Choice(Side.PERSON, Reason.CHOSEN, ())
    assert chosen({}, {**WHOLE}) == Choice(Side.PERSON, Reason.DEFAULT_IS_EMPTY, ())
    assert chosen({**WHOLE}, {}, Side.PERSON) == Choice(Side.COMPANY, Reason.CHOSEN_IS_EMPTY, ())


def test_half_an_address_is_completed_rather_than_left() -> None:
    """A company's building without its city is for somebody to complete, not a reason to write home."""
    found = chosen({"building": "丸ビル"}, {**WHOLE})
    assert found == Choice(Side.COMPANY, Reason.DEFAULT, ("postal_code", "prefecture", "city", "street"))
    assert found.needs_entry


@pytest.mark.parametrize("preference", [None, *Side])
def test_both_empty_is_the_preferred_side_to_be_entered(preference: Side | None) -> None:
    """Country and state codes stand in every form by default; they make no address."""
    coded: Row = {"country": "日本", "country_code": "JP", "prefecture_code": "13", "latitude": "35.7"}
    found = chosen(coded, coded, preference)
    assert found.side == (preference or Side.COMPANY)
    assert (found.reason, found.needs_entry) == (Reason.BOTH_EMPTY, True)


@pytest.mark.parametrize("text", [None, "", " ", "\t\r\n", "\u3000", " \u3000\u00a0\u2003\u200b\ufeff"])
def test_white_space_of_any_width_is_blank(text: str | None) -> None:
    """Web forms send full-width blanks and pasted spaces without width."""
    assert is_blank(text)
    assert chosen({"city": text}, {**WHOLE}).side is Side.PERSON


def test_part_that_is_not_mapped_is_not_asked_for() -> None:
    """An org that keeps no prefecture must not have everybody flagged; one that keeps nothing has all to enter."""
    assert required(["postal_code", "city", "street", "building"]) == ("postal_code", "city", "street")
    assert required(["building", "country"]) == ("postal_code", "prefecture", "city", "street")


@pytest.mark.parametrize(
    ("written", "country", "shown"),
    [
        ("100-0005", None, "100-0005"),
        ("1000005", "日本", "100-0005"),
        ("１００−０００５", "Japan", "100-0005"),
        ("〒100ー0005", "JP", "100-0005"),
        (" 100‐0005\u3000", "\u3000", "100-0005"),
        ("100-000", None, "100-000"),
        ("１００-０００", None, "１００-０００"),
        ("SW1A 1AA", "", "SW1A 1AA"),
        ("9190401", "Israel", "9190401"),
        (None, None, None),
    ],
)
def test_japanese_postal_code_is_displayed_as_the_post_writes_it(
    written: str | None, country: str | None, shown: str | None
) -> None:
    """What is no Japanese code stays as it is: Israel's have seven digits too."""
    assert displayed_postal_code({"postal_code": written, "country": country}) == shown

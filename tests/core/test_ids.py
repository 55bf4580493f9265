"""Record ids: one spelling inside, whatever came from outside."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.ids import Entity, checksum, entity_of, is_wildcard, record_id

STEMS = st.text(alphabet=string.ascii_letters + string.digits, min_size=15, max_size=15)


@pytest.mark.parametrize(
    ("id15", "suffix"),
    [("001D000000IqhSL", "IAZ"), ("0035i00000con01", "AAA"), ("0035i00000CON01", "AAH"), ("0" * 15, "AAA")],
)
def test_checksum_matches_ids_of_real_orgs(id15: str, suffix: str) -> None:
    """The suffix is Salesforce's; one wrong bit and no id of an org would be accepted."""
    assert checksum(id15) == suffix


@given(STEMS)
def test_both_spellings_become_the_same_id(stem: str) -> None:
    """Reports hand out 15 characters, APIs 18; two rows for one record would be the result."""
    whole = record_id(stem)
    assert record_id(whole) == whole
    assert record_id(stem + whole[15:].lower()) == whole
    assert whole.startswith(stem)


@given(STEMS.filter(lambda stem: stem != stem.upper()))
def test_case_folded_id_is_refused(stem: str) -> None:
    """A spreadsheet that upper-cased its ids would otherwise name other people's records."""
    suffix = checksum(stem)
    with pytest.raises(ValueError, match="checksum"):
        record_id(stem.upper() + suffix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "001",
        "001*",
        "0035i00000Con01A",
        "0035i00000Con01AABB",
        "0035i00000Con0１AAB",
        None,
        3,
        ["0"],
        "a\n" * 9,
    ],
)
def test_anything_else_is_refused_without_quoting_it(text: object) -> None:
    """The message may be logged, the text may be anything."""
    with pytest.raises(ValueError, match="not a Salesforce record id") as refused:
        record_id(text)
    assert str(text) not in str(refused.value) or text == ""


def test_prefix_tells_the_entity() -> None:
    """Custom objects and other standard ones are nobody of ours."""
    assert entity_of("0035i00000Con01AAB") is Entity.CONTACT
    assert entity_of("a00xx0000004GvqAAE") is None


def test_wildcard_is_a_prefix_and_a_star() -> None:
    """A star anywhere else is no wildcard and no id."""
    assert is_wildcard("001*")
    assert not is_wildcard("*")
    assert not is_wildcard("0035i00000Con01AA*")

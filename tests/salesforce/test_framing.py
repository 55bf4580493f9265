"""Framing finds the elements of any JSON array, however it is cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.salesforce.framing import HEAD_BYTES, ArrayFramer, Element, FramingError, Oversize

TEXT = st.text(st.sampled_from('ab"\\[]{},: \n山😀\u2028')) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def frame(pieces: list[bytes], *, limit: int = 1 << 20) -> list[Element]:
    framer = ArrayFramer(element_bytes_max=limit)
    elements = [element for piece in pieces for element in framer.feed(piece)]
    framer.finish()
    return elements


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


@given(
    st.lists(JSON, max_size=6),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_elements_are_those_that_a_parser_finds(
    values: list[Any], ascii_only: bool, indent: int | None, cuts: list[int]
) -> None:
    """A bracket inside a string, or an escape cut in two, must never end an element."""
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = frame(pieces_of(text, cuts))
    assert [json.loads(one) for one in found if isinstance(one, bytes)] == json.loads(text)
    assert len(found) == len(values)


@given(st.lists(JSON, min_size=1, max_size=3))
def test_every_split_into_single_bytes_is_the_same(values: list[Any]) -> None:
    """The network may deliver byte by byte."""
    text = b" " + json.dumps(values).encode() + b"\n"
    assert frame([text[place : place + 1] for place in range(len(text))]) == frame([text])


@given(st.lists(JSON, max_size=4), st.integers(0, 1000))
def test_a_cut_array_is_never_whole(values: list[Any], cut: int) -> None:
    """A truncated reply that looks whole would lose events without a trace."""
    text = json.dumps(values).encode()
    with pytest.raises(FramingError):
        frame([text[: cut % len(text)]])


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[1,]", "[,1]", "[1,,2]", "[1]]", "[1] x", "[1}", "x[1]", "[}]", "[1"]
)
def test_what_is_no_array_is_refused(text: str) -> None:
    """An error page or a broken proxy must not pass for an empty poll."""
    with pytest.raises(FramingError):
        frame([text.encode()])


def test_element_at_the_limit_passes_and_one_beyond_is_cut() -> None:
    """The limit is a boundary, and neighbours of a monster live."""
    texts = ["a" * 98, "b" * 99, "c" * 98]
    found = frame([json.dumps(texts, separators=(",", ":")).encode()], limit=100)
    assert found == [b'"' + b"a" * 98 + b'"', Oversize(b'"' + b"b" * 99 + b'"', 101), b'"' + b"c" * 98 + b'"']


def test_monster_is_dropped_while_it_passes() -> None:
    """Memory is bounded by the limit, whatever the size of the element."""
    framer = ArrayFramer(element_bytes_max=2 << 20)
    framer.feed(b'["')
    for _ in range(200):
        framer.feed(b"x" * 100_000)
        assert len(framer._element) <= 2 << 20
    assert len(framer._element) <= HEAD_BYTES
    found = framer.feed(b'",{"a":1}]')
    framer.finish()
    assert isinstance(found[0], Oversize)
    assert len(found[0].head) == HEAD_BYTES
    assert found[0].size == 20_000_002
    assert found[1] == b'{"a":1}'

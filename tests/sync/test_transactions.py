"""Events of one Salesforce transaction stay together, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.events import ChangeEvent, ChangeType, Header, MalformedEvent, Position
from sfsync.sync.transactions import TAIL_BYTES_MAX, Received, TransactionBuffer

_numbers = count(1)


def event(key: str) -> Received:
    position = Position(str(next(_numbers)).encode())
    return Received(position, ChangeEvent(Header("Lead", (), ChangeType.UPDATE, key, 1, 0), {}), [])


def large(key: str, size: int) -> Received:
    return replace(event(key), size=size)


def malformed() -> Received:
    return Received(Position(b"0"), MalformedEvent("no header"), [])


def keys(received: Sequence[Received]) -> list[str | None]:
    return [one.transaction_key for one in received]


def test_tail_is_held_until_another_transaction_begins() -> None:
    """The rest of a conversion may come with the next reply."""
    buffer = TransactionBuffer()
    assert keys(buffer.add([event("a"), event("b"), event("b")])[0]) == ["a"]
    assert keys(buffer.add([event("b"), event("c")])[0]) == ["b", "b", "b"]
    assert buffer.holds


def test_cut_tail_is_given_out_and_a_late_half_is_noticed() -> None:
    """A timer that cut too early must be visible, or nobody would raise hold_ms."""
    buffer = TransactionBuffer()
    buffer.add([event("a")])
    assert keys(buffer.cut()) == ["a"]
    assert not buffer.holds
    finished, split = buffer.add([event("a"), event("b")])
    assert (keys(finished), split) == (["a"], "a")


def test_next_transaction_after_a_cut_is_no_split() -> None:
    """The usual case: the cut tail was complete."""
    buffer = TransactionBuffer()
    buffer.add([event("a")])
    buffer.cut()
    assert buffer.add([event("b")])[1] is None


def test_malformed_event_belongs_to_no_transaction() -> None:
    """It must neither hold its neighbours back nor be held for a key it does not have."""
    buffer = TransactionBuffer()
    assert keys(buffer.add([event("a"), malformed(), malformed()])[0]) == ["a", None]


def test_transaction_beyond_all_memory_comes_in_parts() -> None:
    """A tail is held for as long as events of its key come, and nothing says how large they may be together."""
    buffer = TransactionBuffer()
    full = []
    for size in (TAIL_BYTES_MAX - 1, 1):
        buffer.add([large("a", size)])
        full.append(buffer.is_full)
    assert full == [False, True]
    assert keys(buffer.cut()) == ["a", "a"]
    assert not buffer.is_full


def test_finished_transaction_takes_no_room() -> None:
    """What was given out is no longer held."""
    buffer = TransactionBuffer()
    buffer.add([large("a", TAIL_BYTES_MAX), event("b")])
    assert not buffer.is_full


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=8))
def test_nothing_is_lost_or_reordered_however_replies_are_cut(replies: list[list[str]]) -> None:
    """What comes in comes out, in order."""
    buffer = TransactionBuffer()
    sent, got = [], []
    for reply in replies:
        events = [event(key) for key in reply]
        sent += events
        got += buffer.add(events)[0]
    got += buffer.cut()
    assert [one.position for one in got] == [one.position for one in sent]

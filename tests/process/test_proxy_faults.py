"""Each way to break a line, once on each link of the daemon."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.lines import LINKS
from tests.process.proxy_faults import KINDS, Traffic, broken
from tests.process.room import Room, open_room
from tests.process.server import OwnServer


@pytest.fixture(scope="module")
def room(own_server: OwnServer) -> Iterator[Room]:
    """One room for all links, with a daemon that has begun."""
    with (
        tempfile.TemporaryDirectory() as directory,
        open_room(own_server, Path(directory)) as opened,
    ):
        opened.begin()
        yield opened


@pytest.mark.parametrize("link", LINKS)
def test_broken_link_loses_nothing_and_shows_nothing_by_halves(link: str, room: Room) -> None:
    """The network fails at the worst moment sooner or later: after the server has done what the client never hears of."""
    with room.living(seed=LINKS.index(link)):
        traffic = Traffic(room)
        for kind, how in KINDS.items():
            with broken(room, traffic, kind, link, random.Random(kind)):
                if how.lasts:
                    room.sing(0.3)
            room.sing()
            room.wait_heard()
        traffic.wait_pulled()
    verdict = room.verdict()
    assert verdict.is_clean, f"{verdict}\n{room.running.log.tail()}"
    assert room.reader.findings.excused < room.reader.snapshots / 10, "the reader has excused too much"

"""What happens to a line: nine kinds of faults, on each link that the daemon has.

Why: a fault means something only if the daemon was using that link then. So each is set, traffic is made on the link until
the fault has struck, and only then it lasts its time. Salesforce's Bulk API would be a fifth link; sfsync does not use it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.acceptance.stage import LOOK_S
from tests.fault_proxy import Link
from tests.process.lines import LINKS
from tests.process.room import PATIENCE_S, Room
from tests.process.server import run_sql

ASK_AGAIN_S = 0.5
_PULLED = "SELECT outcome, detail FROM crm.await_sync($1, $2)"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a link is broken, what the link counts when it has struck, and whether it lasts until it is healed."""

    strike: Callable[[Link, random.Random], None]
    counted: str
    lasts: bool = False


KINDS: Mapping[str, Kind] = {
    "latency": Kind(lambda link, draw: link.latency(draw.uniform(0.02, 0.2)), "latency", lasts=True),
    "slow": Kind(lambda link, draw: link.slow(draw.uniform(2e4, 2e5)), "slow", lasts=True),
    "slice": Kind(lambda link, draw: link.slice(draw.choice([1, 3, 17])), "slice", lasts=True),
    "black_hole": Kind(lambda link, _draw: link.black_hole(), "black_hole", lasts=True),
    "refuse": Kind(lambda link, _draw: link.refuse(), "refuse", lasts=True),
    # Whoever is reset was in the middle of something.
    "reset": Kind(lambda link, _draw: link.black_hole(), "black_hole"),
    "cut_mid_answer": Kind(lambda link, draw: link.cut_after(draw.randint(1, 400)), "cut_after"),
    "cut_unheard": Kind(lambda link, _draw: link.cut_unheard(), "cut_unheard"),
    "cut_unanswered": Kind(lambda link, _draw: link.cut_unanswered(), "cut_unanswered"),
}
COMBINATIONS = tuple((kind, link) for link in LINKS for kind in KINDS)


class Traffic:
    """Makes the daemon use a link, whether or not it gets through."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pulled = room.org.create("Contact", LastName="Pulled")
        self._asked: dict[str, float] = {}

    def make(self, link: str) -> None:
        """Give the daemon a reason to use *link*; the choirs sing in any case."""
        self._room.sing()
        if time.monotonic() - self._asked.get(link, 0.0) < ASK_AGAIN_S:
            return
        self._asked[link] = time.monotonic()
        if link == "login":
            self._room.org.control("POST", "revoke", {})
        if link in ("login", "rest"):
            self.pull()

    def pull(self) -> int:
        """Ask the daemon to read one record now; return the request's id."""
        return int(run_sql(self._room.dsn, "SELECT crm.request_sync($1) AS id", self._pulled)[0]["id"])

    def wait_pulled(self) -> None:
        """Ask for the record and wait for a verdict: then login, REST and Postgres all work."""
        verdict = run_sql(self._room.dsn, _PULLED, self.pull(), PATIENCE_S)[0]
        assert verdict["outcome"] is not None, f"{verdict['detail']}\n{self._room.running.log.tail()}"


@contextmanager
def broken(room: Room, traffic: Traffic, kind: str, name: str, draw: random.Random) -> Iterator[None]:
    """Break the link *name* in one way; the block begins when it has struck and ends with the fault."""
    link, how = room.lines.link(name), KINDS[kind]
    before = link.struck[how.counted]
    room.lines.now(lambda: how.strike(link, draw))
    try:
        _until_struck(room, traffic, link, how.counted, before)
        if kind == "reset":
            room.lines.now(link.cut)
            room.lines.now(link.heal)
        yield
    finally:
        room.lines.now(link.heal)


def _until_struck(room: Room, traffic: Traffic, link: Link, counted: str, before: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while link.struck[counted] == before:
        if time.monotonic() > deadline:
            raise AssertionError(f"{counted} on {link.name} never struck; log:\n{room.running.log.tail()}")
        traffic.make(link.name)
        time.sleep(LOOK_S)

"""Kills and faults for as long as one likes, drawn from a seed, and what was found.

Why: a restart must be right after any kill, so kills come at random moments of random histories, in the middle of
starting again too, with lines and server failing meanwhile. Round N of a seed draws the same whatever came before it: a
run that was cut short is resumed by saying where to begin. (What the operating system does at that moment is not drawn.)
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.stage import LIVELY
from tests.process.gauge import Gauge
from tests.process.postgres_faults import FAULTS
from tests.process.proxy_faults import COMBINATIONS, KINDS, Traffic, broken
from tests.process.room import PATIENCE_S, Room, Verdict

ROUNDS_TO_REST = 10
KILL_RATE = 30
# Few records are made, or the org and the judge would need all the memory before an hour is over.
STEADY = {
    "create": 2.0,
    "update": 80.0,
    "reparent": 10.0,
    "convert": 1.0,
    "merge": 1.0,
    "delete": 2.0,
    "undelete": 2.0,
}
SUDDEN = ("stop", "terminate", "crash")
VERSES_EVERY_S = 0.5
REST_S = 600.0

Fault = Callable[[Room], AbstractContextManager[None]]


@dataclass(slots=True)
class Tally:
    """What was done and what was found; `next` is the round with which to go on."""

    seed: int
    next: int
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    changes: int = 0
    snapshots: int = 0
    excused: int = 0
    ready_s: list[float] = field(default_factory=list)
    gauge: Gauge = field(default_factory=Gauge)
    is_stopped: bool = False
    failure: str | None = None
    _began: float = field(default_factory=time.monotonic)

    def told(self) -> dict[str, Any]:
        """Return the line of figures; `failure` says what ended the play before it was judged."""
        verdict, ready = self.verdict, self.ready_s
        return {
            "kills": self.kills,
            "faults": dict(sorted(self.faults.items())),
            "lost": verdict.lost,
            "divergent": verdict.divergent,
            "half_visible": verdict.half_visible,
            "position_ahead": verdict.position_ahead,
            "feed_wrong": verdict.feed_wrong,
            "seed": self.seed,
            "next": self.next,
            "ended_early": self.is_stopped,
            "failure": self.failure,
            "changes": self.changes,
            "snapshots": self.snapshots,
            "excused": self.excused,
            "wall_s": round(time.monotonic() - self._began, 1),
            "restart_ready_s": {"median": round(statistics.median(ready), 2), "max": round(max(ready), 2)}
            if ready
            else None,
            **self.gauge.told(),
        }

    def goes_on(self) -> bool:
        """Tell whether nobody has stopped it; a signal may, at any time."""
        return not self.is_stopped

    def rest(self, room: Room, within_s: float = PATIENCE_S) -> bool:
        """Judge the store at rest; return whether it is what it must be."""
        self.verdict = room.verdict(within_s)
        self.changes, self.snapshots = room.changes(), room.reader.snapshots
        self.excused = room.reader.findings.excused
        if not self.verdict.is_clean:
            say(f"seed {self.seed}, before round {self.next}:\n{self.verdict}\n{room.running.log.tail()}")
        return self.verdict.is_clean


def say(text: str) -> None:
    """Tell the person who watches."""
    sys.stderr.write(f"{text}\n")


def play_rounds(
    room: Room, tally: Tally, count: int, play: Callable[[Room, Tally, Traffic, random.Random], None]
) -> None:
    """Play *count* rounds, and judge after every few; ends early when something is found or when told to."""
    room.begin()
    last = tally.next + count
    while tally.next < last and tally.goes_on():
        with room.living(tally.seed * 100_000 + tally.next, KILL_RATE, LIVELY):
            traffic = Traffic(room)
            for number in range(tally.next, min(tally.next + ROUNDS_TO_REST, last)):
                play(room, tally, traffic, random.Random(f"{tally.seed}:{number}"))
                tally.next = number + 1
                if not tally.goes_on():
                    break
            room.sing()
            room.wait_heard()
        if not tally.rest(room):
            return
        say(f"round {tally.next} of {last}: {tally.kills} kills, {tally.faults.total()} faults, all is well")


# Rounds ---------------------------------------------------------------------------------------------------


def kill_round(room: Room, tally: Tally, traffic: Traffic, draw: random.Random) -> None:
    """Kill the daemon at some moment, with or without a fault around it, and perhaps again while it starts."""
    with _perhaps(room, tally, traffic, draw):
        room.sing(draw.uniform(0, 1.5))
        _kill(room, tally)
        if draw.random() < 0.3:
            room.start()
            room.sing(draw.uniform(0, 2.5))
            _kill(room, tally)
        is_restarted = draw.random() < 0.3
        if is_restarted:
            room.start()
            room.sing(draw.uniform(0, 2.0))
    if is_restarted:
        room.running.wait_ready(PATIENCE_S)
        return
    began = time.monotonic()
    room.start().wait_ready(PATIENCE_S)
    tally.ready_s.append(time.monotonic() - began)


def _kill(room: Room, tally: Tally) -> None:
    room.running.kill()
    tally.kills += 1


def proxy_round(room: Room, tally: Tally, traffic: Traffic, draw: random.Random) -> None:
    """Break one link in one way; the first rounds go through all there are."""
    kind, link = COMBINATIONS[tally.next % len(COMBINATIONS)]
    with _counted(tally, f"{link}.{kind}", broken(room, traffic, kind, link, draw)):
        if KINDS[kind].lasts:
            room.sing(draw.choice([0.3, 0.3, 1.0, 6.0]))
    room.sing()
    room.wait_heard()
    traffic.wait_pulled()


def postgres_round(faults: dict[str, Fault]) -> Callable[[Room, Tally, Traffic, random.Random], None]:
    """Return the round that lets one of *faults* happen; the first rounds go through all there are."""
    names = sorted(faults)

    def play(room: Room, tally: Tally, _traffic: Traffic, draw: random.Random) -> None:
        name = names[tally.next % len(names)]
        with _counted(tally, f"postgres.{name}", faults[name](room)):
            room.sing(draw.choice([0.0, 0.5, 3.0]))
        room.sing()
        room.wait_heard()

    return play


def _perhaps(room: Room, tally: Tally, traffic: Traffic, draw: random.Random) -> AbstractContextManager[None]:
    """Draw a fault of a line or of the server, or none."""
    chosen = draw.random()
    kind, link = draw.choice(COMBINATIONS)
    name = draw.choice(SUDDEN)
    if chosen < 0.45:
        return _counted(tally, f"{link}.{kind}", broken(room, traffic, kind, link, draw))
    if chosen < 0.6:
        return _counted(tally, f"postgres.{name}", FAULTS[name](room))
    return nullcontext()


@contextmanager
def _counted(tally: Tally, name: str, fault: AbstractContextManager[None]) -> Iterator[None]:
    with fault:
        tally.faults[name] += 1
        yield


# A long life ----------------------------------------------------------------------------------------------


def play_minutes(room: Room, tally: Tally, minutes: float, rate: float) -> None:
    """Let one daemon live through *minutes* of *rate* transactions a second, with a fault now and then."""
    room.begin()
    deadline = time.monotonic() + minutes * 60
    with room.living(tally.seed, rate, STEADY):
        traffic = Traffic(room)
        tally.gauge.look(room.running.pid)
        while time.monotonic() < deadline and tally.goes_on():
            draw = random.Random(f"{tally.seed}:{tally.next}")
            _live(room, tally, min(time.monotonic() + draw.uniform(5, 20), deadline))
            with _perhaps(room, tally, traffic, draw):
                _live(room, tally, time.monotonic() + draw.choice([0.3, 1.0, 3.0]))
            tally.next += 1
            told = tally.gauge.told()["rss_mb"]["end"]
            say(f"{(deadline - time.monotonic()) / 60:.1f} min left: {room.changes()} changes, {told} MB")
    room.sing()
    room.wait_heard(REST_S)
    tally.gauge.look(room.running.pid)
    tally.rest(room, REST_S)


def _live(room: Room, tally: Tally, until: float) -> None:
    while time.monotonic() < until and tally.goes_on():
        room.sing()
        tally.gauge.look(room.running.pid)
        time.sleep(VERSES_EVERY_S)

"""Events decoded and decided per second, against JSON parsing alone."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from sfsync.core.decide import decide
from sfsync.core.decode import decode
from sfsync.core.events import RawEvent
from tests.bench.figures import Figure
from tests.bench.settings import Bench
from tests.bench.workload import raw_events
from tests.store.harness import MAPPING

RUNS = 7


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield the rate of decode and decide together, on nine updates to one create."""
    events = raw_events(1_000 if bench.quick else 5_000, random.Random(1))
    ours, parsing = [], []
    for _ in range(RUNS):
        parsing.append(_rate(_parse, events))
        ours.append(_rate(_decode_and_decide, events))
    yield Figure(
        "events.decoded_s",
        ours,
        "events/s",
        [mine / theirs for mine, theirs in zip(ours, parsing, strict=True)],
        "msgspec.json.decode",
        {
            "us_per_event": round(1e6 / sorted(ours)[RUNS // 2], 1),
            "bytes_per_event": sum(len(e.payload) for e in events) // len(events),
        },
    )


def _rate(run: Callable[[Sequence[RawEvent]], None], events: Sequence[RawEvent]) -> float:
    began = time.perf_counter()
    run(events)
    return len(events) / (time.perf_counter() - began)


def _parse(events: Sequence[RawEvent]) -> None:
    for raw in events:
        msgspec.json.decode(raw.payload)


def _decode_and_decide(events: Sequence[RawEvent]) -> None:
    for raw in events:
        decide(decode(raw), MAPPING.plans)

"""Acts that spoil what passes between the org and the daemon: faults of the org's events and answers, and weather."""

from __future__ import annotations

import asyncio
from typing import Any

from sfsync.simorg.bus import EventBus
from sfsync.simorg.faults import EVENT_KINDS

from .network import Weather
from .stage import Act, Stage

SOME = ("[05AKUe].{3}$", "^Lead", "^Contact", "^Account", ".")


def planting(kind: str, times: tuple[int, ...] = (1, 3, 10), **params: Any) -> Act:
    """Return the act that plants a fault of the org for some requests or events."""

    async def plant(s: Stage) -> None:
        is_event = kind in EVENT_KINDS and kind not in ("withhold", "expire_replay")
        match = s.rng.choice(SOME) if is_event else params.get("match")
        drawn = {
            name: s.rng.choice(v) if isinstance(v, tuple) else v
            for name, v in params.items()
            if name != "match"
        }
        s.org.faults.add(kind, times=s.rng.choice(times), match=match, **drawn)

    return plant


async def withheld(s: Stage) -> None:
    """The stream stands, and nothing comes through it, for a while or until the end."""
    fault = s.org.faults.add("withhold", times=None)
    if s.rng.random() < 0.7:
        s.later(s.rng.choice([30.0, 600.0, 3000.0]), s.org.faults.clear, fault.number)


async def delayed(s: Stage) -> None:
    """Events come seconds late while the records that they tell of are read."""
    s.org.bus.shut_gate()
    s.met.note("fault", "events delayed")
    for _ in range(s.rng.randint(1, 4)):
        s.life.step()
    for entity in ("Lead", "Contact"):
        for record_id in s.live(entity, 2):
            await s.judge.connection.execute("SELECT crm.request_sync($1)", record_id)
            s.wants({record_id})
    s.later(s.rng.choice([2.0, 6.0, 25.0, 100.0]), s.org.bus.open_gate)


async def repeated(s: Stage) -> None:
    """The next session is given again what came last: delivery is at least once."""
    give_again(s, s.rng.choice([1, 3, 10]))


def give_again(s: Stage, count: int) -> None:
    """Let the next session begin so many events before the place that it asks for."""
    bus = s.org.bus

    def earlier(replay_id: int, *, anywhere: bool = False) -> int | None:
        del bus.cursor_after  # once is enough
        cursor = EventBus.cursor_after(bus, replay_id, anywhere=anywhere)
        if cursor is None:
            return None
        again = max(bus.oldest, cursor - count)
        s.met.note("fault", "suffix repeated", cursor - again)
        s.judge.may_go_back(again, replay_id)
        return again

    bus.cursor_after = earlier  # type: ignore[method-assign]
    s.org.faults.add("cometd_unknown_client", times=1)


async def expired(s: Stage) -> None:
    """The stream's past is gone when it is asked for next."""
    s.org.faults.add("expire_replay", times=1)
    s.org.faults.add("cometd_unknown_client", times=1)


async def days_pass(s: Stage) -> None:
    """The org goes on for days while the daemon is down."""
    s.host.kill()
    s.org.clock.advance(s.rng.choice([3_600.0, 80 * 3_600.0]))


async def revoked(s: Stage) -> None:
    """Every token is void."""
    s.org.sessions.revoke()
    s.met.note("fault", "revoked")


async def bad_weather(s: Stage) -> None:
    """The network slices, cuts, swallows and delays for a while."""
    s.network.weather = Weather(
        latency_s=s.rng.choice([(0.001, 0.02), (0.05, 0.8)]),
        slice_share=s.rng.choice([0.0, 0.5]),
        cut_share=s.rng.choice([0.0, 0.02, 0.1]),
        hole_share=s.rng.choice([0.0, 0.0, 0.01]),
        slow_share=s.rng.choice([0.0, 0.02]),
        is_down=s.rng.random() < 0.2,
    )
    s.met.note("fault", "weather")
    s.later(s.rng.choice([5.0, 60.0, 400.0]), clear_up, s)


def clear_up(s: Stage) -> None:
    """Let the sun shine."""
    s.network.weather = Weather()


async def cut_everywhere(s: Stage) -> None:
    """Each of the next exchanges of a session is cut: at the handshake, the subscribe, the connect, the answer."""
    s.org.faults.add("cometd_unknown_client", times=1)
    for _ in range(s.rng.randint(1, 4)):
        s.network.weather = Weather(cut_share=0.4)
        await asyncio.sleep(s.rng.uniform(0.0, 3.0))
    clear_up(s)
    s.met.note("fault", "reconnects cut")

"""Rules of what goes wrong: with events, lines, the org, Postgres, and the machines that the daemon runs on.

Why: acts of the random histories whose choices matter to a reader are said again here with arguments; all others,
those to come included, are reached by name, and Hypothesis throws the dice for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from . import chaos
from .acts_links import SOME, expired
from .loop import Process
from .machine_step import DICE, Machine, step
from .machine_world import environment
from .network import Weather
from .postgres_wire import Session
from .stage import Act, arrives

SAID_AGAIN = frozenset(
    (
        *(
            "burst",
            "long transaction",
            "back-dated",
            "long text",
            "hard delete",
            "silent",
            "asked",
            "decline",
        ),
        *("decide", "duplicate", "gap", "overflow", "wildcard", "malformed but marked", "malformed", "lost"),
        *("withheld", "expired", "days pass", "weather", "kill", "stop", "signals", "statement lost"),
        *("postgres down", "second daemon", "clock jump"),
    )
)
"""Acts of the random histories that have a rule of their own."""


def others(acts: Mapping[str, Act], room: str) -> st.SearchStrategy[str]:
    """Draw the name of an act of the module *room* that has no rule of its own."""
    found = [name for name, act in acts.items() if act.__module__.endswith(room) and name not in SAID_AGAIN]
    return st.sampled_from(sorted(found))


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "SETTLE_S": st.sampled_from([10, 60]),
        "HOLD_MS": st.just(20),
        "SWEEP_INTERVAL_S": st.sampled_from([60, 900]),
        "SWEEP_PAGE": st.sampled_from([5, 50]),
        "REFETCH_BATCH": st.just(3),
        "BATCH_EVENTS_MAX": st.just(3),
        "QUEUE_EVENTS_MAX": st.just(10),
        "OTHER_HALF_WAIT_S": st.just(5),
    },
)
_MATCHES = st.sampled_from(SOME)
_SPOILT = {
    "gap": "gap",
    "duplicate_event": "duplicate",
    "overflow": "overflow",
    "wildcard": "wildcard",
}
_TIMES = st.sampled_from([1, 3, 10])
_FATES = st.sampled_from(["lost", "unanswered"])
_SOONS_S = st.sampled_from([1.0, 20.0, 200.0])
_WEATHERS = st.fixed_dictionaries(
    {},
    optional={
        "latency_s": st.just((0.05, 0.8)),
        "slice_share": st.just(0.5),
        "cut_share": st.sampled_from([0.02, 0.1]),
        "hole_share": st.just(0.01),
        "slow_share": st.just(0.02),
        "is_down": st.just(True),
    },
)


class EventRules(Machine):
    """What becomes of events on their way."""

    @step("stream", "both", kind=st.sampled_from(sorted(_SPOILT)), match=_MATCHES, times=_TIMES)
    async def spoil(self, kind: str, match: str, times: int) -> None:
        """Events become gaps, or tell only that something happened to an entity, or come twice."""
        stage = self.happened(_SPOILT[kind])
        stage.org.faults.add(kind, times=times if kind in ("gap", "duplicate_event") else 1, match=match)

    @step("stream", form=st.sampled_from(chaos.PARKED_BUT_MARKED), match=_MATCHES, times=_TIMES)
    async def malform(self, form: str, match: str, times: int) -> None:
        """Events are malformed, but name their records."""
        stage = self.happened("malformed but marked")
        stage.org.faults.add("malformed_event", times=times, match=match, form=form)

    @step("both", form=st.sampled_from(chaos.SPOILT), match=_MATCHES, times=_TIMES)
    async def malform_badly(self, form: str, match: str, times: int) -> None:
        """Events are malformed."""
        stage = self.happened("malformed")
        stage.org.faults.add("malformed_event", times=times, match=match, form=form)

    @step("both", match=_MATCHES, times=_TIMES)
    async def lose(self, match: str, times: int) -> None:
        """Events are lost."""
        self.happened("lost").org.faults.add("lose_event", times=times, match=match)

    @step("stream", "both", lasts_s=st.sampled_from([30.0, 600.0]))
    async def withhold(self, lasts_s: float) -> None:
        """The stream stands, and nothing comes through it for a while."""
        faults = self.happened("withheld").org.faults
        fault = faults.add("withhold", times=None)
        asyncio.get_running_loop().call_later(lasts_s, faults.clear, fault.number)


class PostgresRules(Machine):
    """What becomes of the store's server and of lines to it."""

    @step(number=st.integers(1, 40), fate=_FATES)
    async def lose_statement(self, number: int, fate: str) -> None:
        """The line breaks at the *number*-th statement from now, before it arrives or before its answer does."""
        stage, left = self.happened("statement lost"), number

        def decide(session: Session) -> str:
            nonlocal left
            left -= session.process is not None
            if left > 0 or session.process is None:
                return "arrive"
            stage.postgres.fate = arrives
            return fate

        stage.postgres.fate = decide

    @step(down_s=_SOONS_S)
    async def stop_postgres(self, down_s: float) -> None:
        """Postgres is stopped at once, and comes back."""
        postgres = self.happened("postgres down").postgres
        postgres.restart()
        postgres.is_down = True

        def come_back() -> None:
            postgres.is_down = False

        asyncio.get_running_loop().call_later(down_s, come_back)


class DaemonRules(Machine):
    """What happens to the processes and to their machines."""

    @step(steps=st.integers(0, 1_000))
    async def kill(self, steps: int) -> None:
        """The daemon is killed after so many steps of its loop; its supervisor starts it again."""
        host = self.happened("kill").host
        if steps == 0 or host.process is None or host.process.is_dead:
            host.kill()
        else:
            host.process.dies_at = host.process.steps + steps

    @step(number=st.integers(1, 25), fate=st.sampled_from(["arrive", "lost"]))
    async def kill_in_transaction(self, number: int, fate: str) -> None:
        """The daemon is killed at its *number*-th statement from now within a transaction."""
        stage, left = self.happened("kill"), number
        process = stage.host.process

        def decide(session: Session) -> str:
            nonlocal left
            left -= session.process is process and session.status == b"T"
            if left > 0 or process is None:
                return "arrive"
            stage.postgres.fate = arrives
            asyncio.get_running_loop().call_soon(process.kill)
            return fate

        stage.postgres.fate = decide

    @step()
    async def stop(self) -> None:
        """The daemon is asked to end; asked again, it ends at once."""
        host = self.happened("stop").host
        if host.process is not None and host.process is self._asked_to_end:
            # The second signal ends a process by itself, which here would be this one.
            host.kill()
        else:
            self._asked_to_end = host.process
            host.signal(signal.SIGTERM)

    @step(names=st.lists(st.sampled_from(["SIGHUP", "SIGUSR1", "SIGUSR2"]), min_size=1, max_size=5))
    async def send(self, names: Sequence[str]) -> None:
        """Signals arrive at once: to read the configuration, to sweep now, to sweep everything (where sweeps may be)."""
        host = self.happened("signals").host
        for name in names:
            if name != "SIGUSR2" or self.mode != "stream":
                host.signal(signal.Signals[name])

    @step(settings=SETTINGS | st.just({"SETTLE_S": "soon"}))
    async def reload(self, settings: Mapping[str, Any]) -> None:
        """The configuration is edited and read again; a faulty one is refused, and mended before the next start."""
        stage, told = self.here.stage, environment(settings)
        before = {name: os.environ[name] for name in told}
        os.environ.update(told)
        stage.host.signal(signal.SIGHUP)
        if "soon" in settings.values():
            os.environ.update(before)
        else:
            stage.host.settings |= told
            stage.standby.settings |= told

    @step()
    async def start_second(self) -> None:
        """Another machine runs a daemon for the same org from now on."""
        self.happened("second daemon").standby.start()

    @step(seconds=st.sampled_from([0.0, -5.0, 3.0, 600.0, -7_200.0, 86_400.0]))
    async def jump(self, seconds: float) -> None:
        """The daemon's machine shows a wrong time."""
        self.happened("clock jump").host.jump(seconds)

    @step(hours=st.sampled_from([0, 1, 80]))
    async def miss(self, hours: int) -> None:
        """The stream's past is gone when it is asked for next, or the org goes on for hours while the daemon is down."""
        if hours == 0:
            await expired(self.happened("expired"))
            return
        stage = self.happened("days pass")
        if stage.open:
            # No transaction lasts for hours: a sweep looks back only as far as one may.
            await asyncio.wait(stage.open)
        stage.host.kill()
        stage.org.clock.advance(hours * 3_600.0)

    _asked_to_end: Process | None = None


class OtherRules(Machine):
    """Time, weather, and what else may happen."""

    @step(seconds=st.sampled_from([100.0, 300.0, 1_000.0]))
    async def wait(self, seconds: float) -> None:
        """Nothing happens for long."""
        await asyncio.sleep(seconds)

    @step(weather=_WEATHERS, lasts_s=_SOONS_S)
    async def worsen(self, weather: Mapping[str, Any], lasts_s: float) -> None:
        """The network slices, cuts, swallows and delays for a while."""
        network = self.happened("weather").network
        network.weather = Weather(**weather)

        def clear_up() -> None:
            network.weather = Weather()

        asyncio.get_running_loop().call_later(lasts_s, clear_up)

    @step(name=others(chaos.EVERYWHERE, "acts_org"), dice=DICE)
    async def live(self, name: str, dice: Sequence[int]) -> None:
        """Something else happens in the org."""
        await self.happen(name, dice)

    @step(name=others(chaos.EVERYWHERE, "acts_links"), dice=DICE)
    async def trouble(self, name: str, dice: Sequence[int]) -> None:
        """Something else happens between the org and the daemon."""
        await self.happen(name, dice)

    @step(name=others(chaos.EVERYWHERE, "acts_host"), dice=DICE)
    async def shake(self, name: str, dice: Sequence[int]) -> None:
        """Something else happens to the machines."""
        await self.happen(name, dice)

    @step(name=others(chaos.EVERYWHERE, "acts_store"), dice=DICE)
    async def use(self, name: str, dice: Sequence[int]) -> None:
        """Something else happens at the store."""
        await self.happen(name, dice)

    @step("sweep", "both", name=others(chaos.WHERE_SWEPT, "acts_org"), dice=DICE)
    async def administer(self, name: str, dice: Sequence[int]) -> None:
        """Something else happens in the org of which no event tells."""
        await self.happen(name, dice)

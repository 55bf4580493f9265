"""Acts on the machines: kills, signals, a second daemon, wrong clocks, another configuration, and Postgres away."""

from __future__ import annotations

import asyncio
import os
import signal

from .postgres_wire import Session
from .stage import Stage, arrives

MAPPING = "SFSYNC_MAPPING__FILE"


async def killed(s: Stage) -> None:
    """The daemon is killed at a step that comes soon, or within a transaction."""
    s.met.note("fault", "kill")
    if s.rng.random() < 0.5:
        s.host.kill(within_steps=s.rng.choice([30, 300, 3_000]))
        return
    process, left = s.host.process, s.rng.randint(1, 25)

    def decide(session: Session) -> str:
        nonlocal left
        if session.process is process and session.status == b"T":
            left -= 1
        if left > 0 or process is None:
            return "arrive"
        s.postgres.fate = arrives
        s.met.note("fault", "kill in a transaction")
        asyncio.get_running_loop().call_soon(process.kill)
        return s.rng.choice(["arrive", "lost"])

    s.postgres.fate = decide


async def killed_at_start(s: Stage) -> None:
    """The daemon is killed, and again soon after each of its next starts."""
    s.met.note("fault", "kill at the start")
    s.host.dies_young += s.rng.randint(1, 3)
    s.host.kill()


async def stopped(s: Stage) -> None:
    """The daemon is asked to end."""
    s.met.note("fault", "SIGTERM")
    s.host.signal(signal.SIGTERM)


async def signals(s: Stage) -> None:
    """A storm of signals."""
    s.met.note("fault", "signal storm")
    numbers = (
        [signal.SIGUSR1, signal.SIGHUP]
        if s.mode == "stream"
        else [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]
    )
    for _ in range(s.rng.randint(1, 30)):
        s.host.signal(s.rng.choice(numbers))


async def statement_lost(s: Stage) -> None:
    """The line to Postgres breaks at a statement that comes soon, before it arrives or before its answer does."""
    left, fate = s.rng.randint(1, s.rng.choice([4, 40])), s.rng.choice(["lost", "unanswered"])

    def decide(session: Session) -> str:
        nonlocal left
        if session.process is None:
            return "arrive"
        left -= 1
        if left > 0:
            return "arrive"
        s.postgres.fate = arrives
        return fate

    s.postgres.fate = decide


async def postgres_down(s: Stage) -> None:
    """Postgres is stopped at once, and comes back."""
    s.met.note("fault", "postgres down")
    s.postgres.restart()
    s.postgres.is_down = True
    s.later(s.rng.choice([1.0, 20.0, 200.0]), _come_back, s)


def _come_back(s: Stage) -> None:
    s.postgres.is_down = False


async def second_daemon(s: Stage) -> None:
    """Another machine runs a daemon for the same org from now on; sometimes it is believed dead wrongly."""
    s.met.note("fault", "second daemon")
    s.standby.start()
    if s.rng.random() < 0.5:
        # The leader's session with the lock ends on the server, and the leader learns of it late or never.
        await statement_lost(s)


async def second_daemon_in_an_outage(s: Stage) -> None:
    """Another daemon starts while Postgres is down, so that two wait for it."""
    s.met.note("fault", "second daemon in an outage")
    await postgres_down(s)
    s.standby.start()


async def clock_jump(s: Stage) -> None:
    """The daemon's machine shows a wrong time."""
    s.met.note("fault", "clock jump")
    s.host.jump(s.rng.choice([-7_200.0, -5.0, 3.0, 600.0, 86_400.0, 0.0]))


async def mapping_changed(s: Stage) -> None:
    """An operator puts another mapping in force on both machines, by a signal or by a request, or by new starts."""
    name = s.rng.choice([name for name, path in s.mappings.items() if path != os.environ[MAPPING]])
    how = s.rng.choice(["SIGHUP", "request", "start"])
    put_mapping(s, name)
    s.met.note("fault", f"mapping changed by {how}")
    if how == "start":
        s.host.kill()
        s.standby.kill()
        return
    if how == "request":
        # It reaches whoever leads.
        await s.judge.ask("reload", None)
    else:
        s.host.signal(signal.SIGHUP)
    s.standby.signal(signal.SIGHUP)


def put_mapping(s: Stage, name: str) -> None:
    """Let whoever reads the configuration next find this mapping."""
    s.note(f"mapping {name}")
    os.environ[MAPPING] = s.mappings[name]
    for host in (s.host, s.standby):
        host.settings[MAPPING] = s.mappings[name]

"""What may happen in a history besides an org's ordinary life: one method for each kind, drawn by the swarm.

Why: each history gets some kinds and not others, since a fault that always comes hides those that come after it
(a sweep repairs what the stream got wrong, a restart forgets it). Which kinds a mode may have follows from what it
must show: the stream alone must lose nothing, so nothing is lost there that only a sweep could find.

Source of the idea: Groce et al., "Swarm Testing", ISSTA 2012.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sfsync.simorg.control_input import Input
from sfsync.simorg.errors import ApiError
from sfsync.simorg.faults import EVENT_KINDS
from sfsync.simorg.fields_change import change_field
from sfsync.simorg.life import Life
from sfsync.simorg.org import Org

from .host import Host
from .judge import Judge
from .loop import PROCESS
from .met import Met
from .network import Network, Weather
from .postgres_wire import PostgresServer, Session

SOME = ("[05AKUe].{3}$", "^Lead", "^Contact", "^Account", ".")
SPOILT = ("no_header", "null_payload", "no_record_ids", "bad_record_id", "unknown_change_type", "wrong_type")
PARKED_BUT_MARKED = ("wrong_type", "unknown_change_type")
HIDEABLE = (("Contact", "Title"), ("Contact", "Department"), ("Account", "Phone"), ("Lead", "Website"))
LONG_TEXTS = {"Lead": "Street", "Contact": "MailingStreet", "Account": "BillingStreet"}
_DECLINED = """
SELECT p.id, to_jsonb(p)::text AS row FROM crm.person AS p
WHERE p.sync = 'declined' AND p.merged_into IS NULL AND crm.resolve_person(p.id) = crm.resolve_person($1)
"""


Act = Callable[["Stage"], Awaitable[None]]


@dataclass(slots=True)
class Stage:
    """All that acts work on."""

    mode: str
    rng: random.Random
    org: Org
    life: Life
    host: Host
    standby: Host
    network: Network
    postgres: PostgresServer
    judge: Judge
    met: Met
    note: Callable[[str], None]
    frozen: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    hidden: set[tuple[str, str]] = field(default_factory=set)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    acts: Mapping[str, Act] = field(default_factory=dict)

    @property
    def loses_events(self) -> bool:
        """Whether a deletion may stay unheard."""
        return self.mode != "stream" or not LOSSY.isdisjoint(self.acts)


async def burst(s: Stage) -> None:
    """Several transactions within one second."""
    for _ in range(s.rng.randint(2, 8)):
        s.life.step()


async def long_transaction(s: Stage) -> None:
    """A transaction that stamps its records now and commits minutes later."""
    tx = s.org.world.transaction()
    try:
        for entity in ("Lead", "Contact", "Account"):
            for record_id in _live(s, entity, s.rng.randint(0, 2)):
                tx.update(record_id, {"Phone": f"+81-3-{s.rng.randint(1000, 9999)}"})
    except ApiError:
        tx.rollback()
        return

    async def commit_later(after_s: float) -> None:
        await asyncio.sleep(after_s)
        tx.commit()

    task = asyncio.get_running_loop().create_task(commit_later(s.rng.choice([3.0, 40.0, 400.0])))
    s.open.add(task)
    task.add_done_callback(s.open.discard)


async def back_dated(s: Stage) -> None:
    """A transaction that was stamped minutes ago and commits now."""
    age = timedelta(seconds=s.rng.choice([2, 30, 500]))
    tx = s.org.world.transaction(started_at=s.org.clock.now() - age)
    try:
        for record_id in _live(s, s.rng.choice(["Lead", "Contact"]), 2):
            tx.update(record_id, {"Phone": f"+81-6-{s.rng.randint(1000, 9999)}"})
        tx.commit()
    except ApiError:
        tx.rollback()


async def long_text(s: Stage) -> None:
    """A change of a long text, which events tell as a difference."""
    entity = s.rng.choice(["Lead", "Contact", "Account"])
    for record_id in _live(s, entity, 1):
        line = "東京都千代田区丸の内 1-2-3\n" * s.rng.randint(1, 6)
        with s.org.world.transaction() as tx:
            tx.update(record_id, {LONG_TEXTS[entity]: f"{line}{s.rng.randint(1, 99)}F"})


async def hard_delete(s: Stage) -> None:
    """A live record is gone without a word."""
    for record_id in _live(s, s.rng.choice(["Lead", "Contact"]), 1):
        with s.org.world.transaction() as tx:
            tx.purge(record_id)


async def silent(s: Stage) -> None:
    """A transaction that no event tells of."""
    with s.org.world.transaction(silent=True) as tx:
        for record_id in _live(s, s.rng.choice(["Lead", "Contact", "Account"]), 2):
            tx.update(record_id, {"Phone": f"+1-{s.rng.randint(1000, 9999)}"})


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
        asyncio.get_running_loop().call_later(
            s.rng.choice([30.0, 600.0, 3000.0]), s.org.faults.clear, fault.number
        )


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
    asyncio.get_running_loop().call_later(s.rng.choice([5.0, 60.0, 400.0]), _clear_up, s)


def _clear_up(s: Stage) -> None:
    s.network.weather = Weather()


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
        s.postgres.fate = _arrives
        s.met.note("fault", "kill in a transaction")
        asyncio.get_running_loop().call_soon(process.kill)
        return s.rng.choice(["arrive", "lost"])

    s.postgres.fate = decide


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
        s.postgres.fate = _arrives
        return fate

    s.postgres.fate = decide


def _arrives(_session: Session) -> str:
    return "arrive"


async def postgres_down(s: Stage) -> None:
    """Postgres is stopped at once, and comes back."""
    s.met.note("fault", "postgres down")
    s.postgres.restart()
    s.postgres.is_down = True
    asyncio.get_running_loop().call_later(s.rng.choice([1.0, 20.0, 200.0]), _come_back, s)


def _come_back(s: Stage) -> None:
    s.postgres.is_down = False


async def second_daemon(s: Stage) -> None:
    """Another machine runs a daemon for the same org from now on; sometimes it is believed dead wrongly."""
    s.met.note("fault", "second daemon")
    s.standby.start()
    if s.rng.random() < 0.5:
        # The leader's session with the lock ends on the server, and the leader learns of it late or never.
        await statement_lost(s)


async def clock_jump(s: Stage) -> None:
    """The daemon's machine shows a wrong time."""
    s.met.note("fault", "clock jump")
    s.host.jump(s.rng.choice([-7_200.0, -5.0, 3.0, 600.0, 86_400.0, 0.0]))


async def field_hidden(s: Stage) -> None:
    """An administrator hides a mapped field from the integration user, or shows it again."""
    entity, name = s.rng.choice(HIDEABLE)
    action = "show" if (entity, name) in s.hidden else "hide"
    show_or_hide(s, entity, name, action)


def show_or_hide(s: Stage, entity: str, name: str, action: str) -> None:
    """Change who may see a field."""
    change_field(
        s.org.world, Input("simulation", {"entity": entity, "action": action, "field": {"name": name}})
    )
    s.met.note("fault", f"field {action}")
    (s.hidden.discard if action == "show" else s.hidden.add)((entity, name))


async def field_added(s: Stage) -> None:
    """An administrator adds a field that nobody mapped, and perhaps removes it again."""
    entity = s.rng.choice(["Lead", "Contact", "Account"])
    name = f"Extra{s.rng.randint(1, 4)}__c"
    exists = s.org.world.schema.entities[entity].field(name) is not None
    action = "remove" if exists else "add"
    given = {"name": name} if exists else {"name": name, "type": "string"}
    change_field(s.org.world, Input("simulation", {"entity": entity, "action": action, "field": given}))
    s.met.note("fault", f"field {action}")


async def declined(s: Stage) -> None:
    """An application decides that somebody is not to be followed, and knows how the row was."""
    people = await s.judge.connection.fetch("SELECT id FROM crm.active_person ORDER BY id")
    for person in s.rng.sample(people, min(2, len(people))):
        async with s.judge.connection.transaction():
            await s.judge.connection.execute("SELECT crm.decide($1, 'decline')", person["id"])
            rows = await s.judge.connection.fetch(_DECLINED, person["id"])
        s.met.note("fault", "decline")
        for row in rows:
            s.frozen.setdefault(row["id"], json.loads(row["row"]))


async def asked(s: Stage) -> None:
    """Applications ask for records."""
    for entity in ("Lead", "Contact", "Account"):
        for record_id in _live(s, entity, 2):
            await s.judge.connection.execute("SELECT crm.request_sync($1)", record_id)
            s.met.note("fault", "pull asked for")


def _live(s: Stage, entity: str, count: int) -> list[str]:
    """Draw records that live and are not locked by an open transaction."""
    world = s.org.world
    found = [
        record_id
        for record_id, fields in world.snapshot().by_id(entity)
        if not fields["IsDeleted"] and not fields.get("IsConverted") and record_id not in world.locks
    ]
    return s.rng.sample(found, min(count, len(found)))


EVERYWHERE: Mapping[str, Act] = {
    "burst": burst,
    "long transaction": long_transaction,
    "back-dated": back_dated,
    "long text": long_text,
    "duplicate": planting("duplicate_event"),
    "gap": planting("gap"),
    "overflow": planting("overflow", (1,)),
    "wildcard": planting("wildcard", (1,)),
    "malformed but marked": planting("malformed_event", (1, 2), form=PARKED_BUT_MARKED),
    "unknown client": planting("cometd_unknown_client", (1, 2), advice=("handshake", "none", "absent")),
    "cometd 401": planting("cometd_401", (1,)),
    "busy": planting("cometd_503_busy", (1, 2)),
    "html": planting("cometd_html_503", (1, 2)),
    "cut with events": planting("cometd_cut", (1, 3), match="events=[1-9]"),
    "cut in a body": planting("cometd_cut_mid_body", (1, 3), match="events=[1-9]"),
    "cometd hang": planting("cometd_hang", (1,), s=(30, 300)),
    "subscribe refused": planting("subscribe_refuse", (1,)),
    "subscribe unanswered": planting("subscribe_no_reply", (1,)),
    "handshake refused": planting("handshake_refuse", (1,)),
    "expired": expired,
    "days pass": days_pass,
    "stale read": planting("stale_read", (5, 30), s=(1.0, 2.0, 3.0)),
    "rest error": planting("status", (1, 3), code=(500, 503)),
    "rest cut": planting("cut", (1, 3)),
    "rest truncated": planting("truncate", (1, 3)),
    "rest delayed": planting("delay", (1, 3), s=(1.0, 20.0)),
    "rest limit": planting("limit_reached", (1,), which=("daily", "concurrent")),
    "token refused": planting("token_status", (1,), status=(503,)),
    "revoked": revoked,
    "weather": bad_weather,
    "kill": killed,
    "stop": stopped,
    "signals": signals,
    "statement lost": statement_lost,
    "postgres down": postgres_down,
    "second daemon": second_daemon,
    "clock jump": clock_jump,
    "field added": field_added,
    "decline": declined,
    "asked": asked,
    "hard delete": hard_delete,
}
LOSSY = frozenset({"overflow", "wildcard", "malformed but marked", "gap", "expired", "days pass"})
WHERE_SWEPT: Mapping[str, Act] = {
    "lost": planting("lose_event", (3, 20)),
    "malformed": planting("malformed_event", (1, 3), form=SPOILT),
    "silent": silent,
    "withheld": withheld,
    "field hidden": field_hidden,
}


def acts_for(mode: str, rng: random.Random, swarm: Collection[str] = ()) -> dict[str, Act]:
    """Draw the kinds that one history may have; those of *swarm* that this mode knows are always among them."""
    if unknown := sorted(set(swarm) - {*EVERYWHERE, *WHERE_SWEPT}):
        raise ValueError(
            f"no act is called {', '.join(unknown)}; choose from: {', '.join((*EVERYWHERE, *WHERE_SWEPT))}"
        )
    possible = {**EVERYWHERE, **(WHERE_SWEPT if mode != "stream" else {})}
    share = rng.choice([0.15, 0.3, 0.6])
    drawn = {name: act for name, act in possible.items() if rng.random() < share} | {"burst": burst}
    if mode == "stream" and "malformed but marked" in drawn:
        # An event of both kinds names no record that could be marked, and no sweep would find it.
        drawn = {name: act for name, act in drawn.items() if name not in ("wildcard", "overflow")}
    return drawn | {name: possible[name] for name in swarm if name in possible}


__all__ = ["PROCESS", "Stage", "acts_for", "show_or_hide"]

"""Measured load: many real update transactions prepared behind a gate, then let through at a chosen rate.

Why: a benchmark of the daemon must not measure the org. Every event is a transaction that the world really committed
and is encoded before the clock starts; releasing it costs moving one number. The instant of each release is kept, so
that a latency is measured from when an event could first be delivered, not from when it was made.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg.bus import Message, Retained
from sfsync.simorg.event_shapes import Shapes

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

ROUTES = {
    "POST /control/burst": 'prepare N updates: {"events", "rate"?: per second, "entity"?, "release"?: true, "seed"?}',
    "POST /control/burst/release": 'let prepared events through: {"rate"?: per second, null = all at once}',
    "GET /control/burst": "state, and [replay id, release instant in epoch microseconds] of each event",
    "DELETE /control/burst": "open the gate for everything at once",
    "POST /control/publish": 'put payloads on the bus as they are: {"events": [{"entity", "payload", "record_ids"?}]}',
}
FIELDS = {
    "Lead": ("Title", "Phone", "City", "Company"),
    "Contact": ("Title", "Phone", "MailingCity", "Department"),
    "Account": ("Phone", "BillingCity", "Website", "Site"),
}
CHUNK = 200
TICK_S = 0.001
EVENTS_MAX = 2_000_000


class OrderError(Exception):
    """A request that cannot be done; its text says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a burst shall consist of; a rate of None means all at once."""

    events: int
    rate: float | None
    entities: tuple[str, ...]
    release: bool
    seed: int


class Burst:
    """The load of one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._prepared: list[Retained] = []
        self._released: list[tuple[int, int]] = []
        self._task: asyncio.Task[None] | None = None

    async def prepare(self, order: Order) -> dict[str, Any]:
        """Commit the updates behind the gate, and begin to let them through if the order says so."""
        await self.stop()
        rng = random.Random(order.seed)
        records = self._live_records(order.entities)
        if not records:
            raise OrderError(f"no live record of {', '.join(order.entities)} to update; create some first")
        self._org.bus.shut_gate()
        began = time.perf_counter()
        for number in range(order.events):
            entity, record_id = rng.choice(records)
            field = rng.choice(FIELDS[entity])
            with self._org.world.transaction(
                origin="com/salesforce/api/rest/66.0;client=Burst"
            ) as transaction:
                transaction.update(record_id, {field: f"{field} {order.seed}-{number}"})
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        self._prepared, self._released = self._org.bus.behind_gate(), []
        if order.release:
            self.release(order.rate)
        ids = [retained.replay_id for retained in self._prepared]
        return {
            "prepared": len(ids),
            "first_replay_id": ids[0] if ids else None,
            "last_replay_id": ids[-1] if ids else None,
            "prepare_s": round(time.perf_counter() - began, 3),
        }

    def release(self, rate: float | None) -> None:
        """Begin to let events through."""
        self._task = asyncio.get_running_loop().create_task(self._release(rate), name="burst")

    async def stop(self) -> None:
        """Stop pacing and open the gate."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._org.bus.open_gate()

    def report(self) -> dict[str, Any]:
        """Say how far the burst is, and when each event was let through."""
        is_busy = self._task is not None and not self._task.done()
        released: list[list[int]] = []
        for instant_us, count in self._released:
            events = self._prepared[len(released) : len(released) + count]
            released += [[retained.replay_id, instant_us] for retained in events]
        return {
            "is_releasing": is_busy,
            "events": len(self._prepared),
            "behind_gate": len(self._org.bus.behind_gate()),
            "released_us": released,
        }

    async def _release(self, rate: float | None) -> None:
        total, done = len(self._prepared), 0
        began = time.perf_counter()
        while done < total:
            due = total if rate is None else min(int((time.perf_counter() - began) * rate) + 1, total)
            if due > done:
                self._released.append((time.time_ns() // 1_000, due - done))
                self._org.bus.move_gate(due - done)
                done = due
            await asyncio.sleep(TICK_S)
        self._org.bus.open_gate()

    def _live_records(self, entities: tuple[str, ...]) -> list[tuple[str, str]]:
        snapshot = self._org.world.snapshot()
        return [
            (entity, record_id)
            for entity in entities
            for record_id, fields in snapshot.by_id(entity)
            if not fields.get("IsDeleted") and not fields.get("IsConverted")
        ]


def add_burst_routes(app: web.Application, org: "Org") -> None:
    """Serve the control routes of load and of payloads published as they are."""
    burst = Burst(org)

    async def prepare(request: web.Request) -> web.Response:
        return web.json_response(await burst.prepare(_order(org, await _body(request))))

    async def release(request: web.Request) -> web.Response:
        burst.release(_rate(await _body(request)))
        return web.json_response({"releasing": True})

    async def report(_request: web.Request) -> web.Response:
        return web.json_response(burst.report())

    async def stop(_request: web.Request) -> web.Response:
        await burst.stop()
        return web.json_response(burst.report())

    async def publish(request: web.Request) -> web.Response:
        messages = _messages(org, await _body(request))
        org.bus.publish(messages)
        return web.json_response({"published": len(messages), "last_replay_id": org.bus.last_replay_id})

    async def close(_app: web.Application) -> None:
        await burst.stop()

    app.router.add_post("/control/burst", _refusing(prepare))
    app.router.add_post("/control/burst/release", _refusing(release))
    app.router.add_get("/control/burst", report)
    app.router.add_delete("/control/burst", stop)
    app.router.add_post("/control/publish", _refusing(publish))
    app.on_shutdown.append(close)


def _refusing(handler: Any) -> Any:
    """Answer 400 with what is wrong where *handler* refuses what it was given."""

    async def refusing(request: web.Request) -> web.Response:
        try:
            response: web.Response = await handler(request)
        except (OrderError, ValueError) as error:
            return web.json_response({"error": f"{request.path}: {error}"}, status=400)
        return response

    return refusing


async def _body(request: web.Request) -> Mapping[str, Any]:
    text = await request.text()
    body = json.loads(text) if text.strip() else {}
    if not isinstance(body, dict):
        raise OrderError("the body must be a JSON object")
    return body


def _order(org: "Org", body: Mapping[str, Any]) -> Order:
    unknown = sorted(set(body) - {"events", "rate", "entity", "release", "seed"})
    if unknown:
        raise OrderError(f"unknown key {unknown[0]!r}; known are events, rate, entity, release, seed")
    events = body.get("events")
    if not isinstance(events, int) or not 0 < events <= EVENTS_MAX:
        raise OrderError(f"events must be a whole number from 1 to {EVENTS_MAX}; got {events!r}")
    entity = body.get("entity")
    selected = tuple(name for name in FIELDS if name in org.settings.cdc_entities)
    entities = selected if entity is None else (str(entity),)
    if any(name not in FIELDS for name in entities):
        raise OrderError(f"entity must be one of {', '.join(FIELDS)}; got {entity!r}")
    return Order(events, _rate(body), entities, body.get("release", True) is True, int(body.get("seed", 1)))


def _rate(body: Mapping[str, Any]) -> float | None:
    rate = body.get("rate")
    if rate is None:
        return None
    if not isinstance(rate, int | float) or rate <= 0:
        raise OrderError(f"rate must be a positive number of events per second, or null; got {rate!r}")
    return float(rate)


def _messages(org: "Org", body: Mapping[str, Any]) -> list[Message]:
    events = body.get("events")
    if not isinstance(events, list):
        raise OrderError('events must be a list of {"entity", "payload", "record_ids"?}')
    shapes = Shapes(org.world.schema)
    messages = []
    for event in events:
        if not isinstance(event, dict) or event.get("entity") not in org.world.schema.entities:
            raise OrderError(
                f"each event needs an entity of {', '.join(org.world.schema.entities)}; got {event!r}"
            )
        payload = json.dumps(event.get("payload"), ensure_ascii=False).encode()
        record_ids = tuple(map(str, event.get("record_ids", ())))
        messages.append(Message(event["entity"], record_ids, shapes.of(event["entity"]).schema_id, payload))
    return messages

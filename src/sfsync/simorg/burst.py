"""Measured load: many real update transactions prepared behind a gate, then let through at a chosen rate.

Why: a benchmark of the daemon must not measure the org. Every event is a transaction that the world really committed
and is encoded before the clock starts; releasing it costs moving one number. The instant of each release is kept, so
that a latency is measured from when an event could first be delivered, not from when it was made.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg.bus import Message, Retained
from sfsync.simorg.control_input import ControlError, Input, answering, input_of
from sfsync.simorg.errors import ApiError
from sfsync.simorg.event_shapes import Shapes
from sfsync.simorg.json_body import write_json

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
RATE_MAX = 1e9
ORIGIN = "com/salesforce/api/rest/66.0;client=Burst"
# How many refused updates in a row mean that nothing can be updated.
DRAWS_MAX = 100
# Among so many records of each entity those to update are drawn.
DRAWN_MAX = 100_000


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
        self._preparing = asyncio.Lock()

    async def prepare(self, order: Order) -> dict[str, Any]:
        """Commit the updates behind the gate, and begin to let them through if the order says so.

        Records that another transaction holds are passed over. Raises ControlError if nothing can be updated; then, as
        after any other failure, the gate is open again.
        """
        async with self._preparing:
            await self.stop()
            began = time.perf_counter()
            self._org.bus.shut_gate()
            try:
                await self._commit_updates(order)
            except BaseException:
                self._org.bus.open_gate()
                raise
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
        """Begin to let events through, at *rate* a second from now on."""
        if self._task is not None:
            self._task.cancel()
        left = len(self._org.bus.behind_gate())
        self._task = asyncio.get_running_loop().create_task(self._release(left, rate), name="burst")

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

    async def _commit_updates(self, order: Order) -> None:
        rng = random.Random(order.seed)
        records = self._live_records(order.entities)
        if not records:
            raise ControlError(f"no live record of {', '.join(order.entities)} to update; create some first")
        for number in range(order.events):
            self._update_one(rng, records, f"{order.seed}-{number}")
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)

    def _update_one(self, rng: random.Random, records: list[tuple[str, str]], value: str) -> None:
        refusal: ApiError | None = None
        for _ in range(DRAWS_MAX):
            entity, record_id = rng.choice(records)
            field = rng.choice(FIELDS[entity])
            try:
                with self._org.world.transaction(origin=ORIGIN) as transaction:
                    transaction.update(record_id, {field: f"{field} {value}"})
            except ApiError as error:
                refusal = error
            else:
                return
        raise ControlError(f"{DRAWS_MAX} records in a row refused an update, the last with: {refusal}")

    async def _release(self, total: int, rate: float | None) -> None:
        done = 0
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
            for record_id, fields in islice(snapshot.by_id(entity), DRAWN_MAX)
            if not fields.get("IsDeleted") and not fields.get("IsConverted")
        ]


def add_burst_routes(app: web.Application, org: "Org") -> None:
    """Serve the control routes of load and of payloads published as they are."""
    burst = Burst(org)

    async def prepare(request: web.Request) -> Any:
        return await burst.prepare(_order(org, await input_of(request)))

    async def release(request: web.Request) -> Any:
        burst.release(_rate((await input_of(request)).only("rate")))
        return {"releasing": True}

    async def report(_request: web.Request) -> Any:
        return burst.report()

    async def stop(_request: web.Request) -> Any:
        await burst.stop()
        return burst.report()

    async def publish(request: web.Request) -> Any:
        messages = _messages(org, await input_of(request))
        org.bus.publish(messages)
        return {"published": len(messages), "last_replay_id": org.bus.last_replay_id}

    async def close(_app: web.Application) -> None:
        await burst.stop()

    for method, path, handler in (
        ("POST", "burst", prepare),
        ("POST", "burst/release", release),
        ("GET", "burst", report),
        ("DELETE", "burst", stop),
        ("POST", "publish", publish),
    ):
        app.router.add_route(method, f"/control/{path}", answering(handler))
    app.on_shutdown.append(close)


def _order(org: "Org", given: Input) -> Order:
    given.only("events", "rate", "entity", "release", "seed")
    events = given.required("events", "a whole number")
    if not 0 < events <= EVENTS_MAX:
        raise ControlError(
            f"{given.where}: events must be a whole number from 1 to {EVENTS_MAX}; got {events}"
        )
    entities = tuple(name for name in FIELDS if name in org.settings.cdc_entities)
    if given.members.get("entity") is not None:
        entities = (given.chosen("entity", FIELDS),)
    release = given.optional("release", "true or false") is not False
    return Order(events, _rate(given), entities, release, given.optional("seed", "a whole number") or 1)


def _rate(given: Input) -> float | None:
    rate = given.optional("rate", "a number")
    if rate is not None and not 0 < rate <= RATE_MAX:
        wanted = f"a positive number of events per second, at most {RATE_MAX:g}, or null for all at once"
        raise ControlError(f"{given.where}: rate must be {wanted}; got {rate}")
    return rate  # type: ignore[no-any-return]  # a number


def _messages(org: "Org", given: Input) -> list[Message]:
    given.only("events")
    shapes = Shapes(org.world.schema)
    messages = []
    for place, event in enumerate(given.required("events", "a list")):
        if not isinstance(event, dict):
            raise ControlError(f"{given.where}: events[{place}] must be an object; got {event!r}")
        each = Input(f"{given.where}: events[{place}]", event).only("entity", "payload", "record_ids")
        entity = each.chosen("entity", org.world.schema.entities)
        record_ids = tuple(each.texts("record_ids")) if "record_ids" in event else ()
        payload = write_json(event.get("payload"))
        messages.append(Message(entity, record_ids, shapes.of(entity).schema_id, payload))
    return messages

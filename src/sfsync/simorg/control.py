"""The control API: what a test or a user may do to the org besides what its clients may.

Why: it lies beside the simulated protocols, not inside them, so that no client can tell it exists; `GET /control/`
documents every route.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sfsync.simorg import burst
from sfsync.simorg.control_faults import fault_kinds, plant
from sfsync.simorg.control_input import NUMBER_MAX, ControlError, Input, answering, change_settings, input_of
from sfsync.simorg.control_state import commit_json, commits, records
from sfsync.simorg.control_steps import Steps, hold_open
from sfsync.simorg.fields_change import change_field
from sfsync.simorg.life import Life, Pace

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

CLOCK_MIN_S, CLOCK_MAX_S = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2010, 2100))
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)
YEAR_S = 366 * 86_400
# More records than this are told in pages only.
STATE_MAX = 100_000
Handler = Callable[["_Control", web.Request], Awaitable[Any]]


def add_control_routes(app: web.Application, org: "Org") -> None:
    """Serve the control API of *org*."""
    control = _Control(org)
    app.router.add_get("/control", answering(control.document))
    for (method, path), (handler, _) in _ROUTES.items():
        app.router.add_route(method, path, answering(partial(handler, control)))
    app.on_shutdown.append(control.close)


class _Control:
    def __init__(self, org: "Org") -> None:
        self._org = org
        self._open: dict[str, asyncio.Task[None]] = {}

    async def close(self, _app: web.Application) -> None:
        """Stop what runs in the background."""
        await self._stop_life()
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    async def document(self, _request: web.Request) -> Any:
        own = {f"{method} {path}": text for (method, path), (_, text) in _ROUTES.items()}
        return {"routes": own | burst.ROUTES, "fault_kinds": fault_kinds()}

    async def state(self, request: web.Request) -> Any:
        query = _query(request, "entity", "after", "limit")
        org_world = self._org.world
        entity = query.members.get("entity")
        if entity is not None:
            query.chosen("entity", org_world.schema.entities)
        limit = _whole(query, "limit")
        generated = sum(base.count for base in org_world.generated.entities.values())
        if limit is None and generated > STATE_MAX:
            message = (
                f"{generated:,} records were generated: ask for pages, with limit and after=<the last id>"
            )
            raise ControlError(f"{query.where}: {message}")
        listed = records(org_world, entity, query.members.get("after", ""), limit)
        return {"org_id": org_world.org_id, "now": org_world.clock.now().isoformat(), "records": listed}

    async def log(self, request: web.Request) -> Any:
        query = _query(request, "after", "limit")
        return {"commits": commits(self._org.world, _whole(query, "after") or 0, _whole(query, "limit"))}

    async def stats(self, _request: web.Request) -> Any:
        org = self._org
        told = {
            name: part.stats() for name in ("bus", "sessions") if hasattr(part := getattr(org, name), "stats")
        }
        numbers = {"api_requests": org.stats.api.total, "commits": org.world.number}
        return {**numbers, "calls": dict(org.stats.calls), "details": org.stats.details, **told}

    async def clock(self, _request: web.Request) -> Any:
        return {"now": self._org.clock.now().isoformat(), "offset_s": self._org.clock.offset_s}

    async def move_clock(self, request: web.Request) -> Any:
        given = (await input_of(request)).only("advance_s")
        seconds = given.required("advance_s", "a number")
        if not CLOCK_MIN_S <= self._org.clock.now_ms() / 1_000 + seconds <= CLOCK_MAX_S:
            raise ControlError(
                f"{given.where}: advance_s: org time must stay between the years 2010 and 2100"
            )
        self._org.clock.advance(seconds)
        return await self.clock(request)

    async def transact(self, request: web.Request) -> Any:
        given = await input_of(request)
        given.only("user", "origin", "duration_s", "age_s", "silent", "wait", "steps")
        age_s, duration_s = given.within("age_s", 0, YEAR_S), given.within("duration_s", 0, YEAR_S)
        started_at = self._org.clock.now() - timedelta(seconds=age_s) if age_s else None
        tx = self._org.world.transaction(
            given.optional("user", "a string"),
            given.optional("origin", "a string") or "",
            started_at=started_at,
            silent=given.optional("silent", "true or false") is True,
        )
        steps = Steps(self._org, tx)
        try:
            results = steps.run(given.required("steps", "a list"), given.where)
        except BaseException:
            tx.rollback()
            raise
        answer: dict[str, Any] = {"transaction_key": tx.key, "results": results, "ids": steps.names}
        if duration_s:
            task = self._open[tx.key] = asyncio.create_task(
                hold_open(self._org, tx, duration_s), name=f"open {tx.key}"
            )
            task.add_done_callback(lambda _: self._open.pop(tx.key, None))
            if given.optional("wait", "true or false") is not True:
                return {**answer, "commit": None}
            await task
        else:
            tx.commit()
        return {**answer, "commit": commit_json(tx.result) if tx.result else None}

    async def faults(self, _request: web.Request) -> Any:
        return {"faults": self._org.faults.listing()}

    async def plant(self, request: web.Request) -> Any:
        fault = plant(self._org.faults, await input_of(request))
        return {"number": fault.number}

    async def clear_faults(self, request: web.Request) -> Any:
        number = _whole(_query(request, "number"), "number")
        return {"cleared": self._org.faults.clear(number)}

    async def fields(self, request: web.Request) -> Any:
        return change_field(self._org.world, await input_of(request))

    async def settings(self, _request: web.Request) -> Any:
        settings = self._org.settings
        return {name: getattr(settings, name) for name in settings.__dataclass_fields__}

    async def change_settings(self, request: web.Request) -> Any:
        change_settings(self._org.settings, await input_of(request))
        return await self.settings(request)

    async def usage(self, _request: web.Request) -> Any:
        stats, now_ms = self._org.stats, self._org.clock.now_ms()
        return {"api_requests": stats.api.today(now_ms), "bulk_jobs": stats.bulk_jobs.today(now_ms)}

    async def set_usage(self, request: web.Request) -> Any:
        given = (await input_of(request)).only("api_requests", "bulk_jobs")
        stats, now_ms = self._org.stats, self._org.clock.now_ms()
        for name, counted in (("api_requests", stats.api), ("bulk_jobs", stats.bulk_jobs)):
            given.within(name, 0, NUMBER_MAX)
            count = given.optional(name, "a whole number")
            if count is not None:
                counted.set_today(now_ms, count)
        return await self.usage(request)

    async def revoke(self, request: web.Request) -> Any:
        given = (await input_of(request)).only("token")
        return {"revoked": self._org.sessions.revoke(given.optional("token", "a string"))}

    async def begin_life(self, request: web.Request) -> Any:
        given = (await input_of(request)).only("rate", "seed", "mix")
        pace = Pace.of(given)
        await self._stop_life()
        self._org.life = Life(self._org, pace)
        self._org.life.start()
        return {"rate": pace.rate, "seed": pace.seed, "mix": pace.mix}

    async def life(self, _request: web.Request) -> Any:
        life = self._org.life
        if life is None:
            return {"running": False, "done": {}}
        pace = {"rate": life.pace.rate, "seed": life.pace.seed, "mix": life.pace.mix}
        return {"running": life.is_running, **pace, "done": dict(life.done), "failure": life.failure}

    async def end_life(self, _request: web.Request) -> Any:
        await self._stop_life()
        return {"done": dict(self._org.life.done) if self._org.life else {}}

    async def refresh_org(self, request: web.Request) -> Any:
        (await input_of(request)).only()
        self._org.world.org_id = self._org.world.ids.next("Organization")
        self._org.sessions.revoke()
        self._org.bus.reset()
        return {"org_id": self._org.world.org_id}

    async def _stop_life(self) -> None:
        if self._org.life is not None:
            await self._org.life.stop()


_ROUTES: dict[tuple[str, str], tuple[Handler, str]] = {
    ("GET", "/control/"): (_Control.document, "this list"),
    ("GET", "/control/state"): (
        _Control.state,
        "every record that ever was, with all fields; ?entity= &after=<record id> &limit=",
    ),
    ("GET", "/control/log"): (_Control.log, "commits after ?after=<number>, at most &limit="),
    ("GET", "/control/stats"): (_Control.stats, "what was asked and delivered, by kind"),
    ("GET", "/control/clock"): (_Control.clock, "org time"),
    ("POST", "/control/clock"): (_Control.move_clock, 'move org time: {"advance_s": seconds}'),
    ("POST", "/control/transaction"): (
        _Control.transact,
        (
            'one transaction: {"steps": [{"op": "create", "entity", "fields", "as"?} | {"op": "update", "id", "fields", '
            '"system"?} | {"op": "delete"|"undelete"|"purge", "id"} | {"op": "merge", "winner", "losers", "fields"?} | '
            '{"op": "convert", "lead", "account"?, "contact"?, "status"?, "opportunity"?: true}], "user"?, "origin"?, '
            '"silent"?: true = no events, "duration_s"?: stamped now and committed later, "wait"?: answer after that, '
            '"age_s"?: stamped that long ago and committed now}; "$x" stands for the record that a step named "as": "x"'
        ),
    ),
    ("GET", "/control/faults"): (_Control.faults, "planted faults"),
    ("POST", "/control/faults"): (
        _Control.plant,
        (
            'plant one: {"kind", "times"?: 1 (null = until cleared), "match"?: regular expression on "METHOD path?query", '
            "channel or entity and id, and what the kind takes: see fault_kinds}"
        ),
    ),
    ("DELETE", "/control/faults"): (_Control.clear_faults, "forget all faults, or ?number="),
    ("POST", "/control/fields"): (
        _Control.fields,
        (
            'change a field while the org runs: {"entity", "action": "add"|"remove"|"retype"|"hide"|"show", "field": '
            '{"name", "type"?, "length"?, "precision"?, "scale"?, "formula"?: "Account.Tier__c", '
            '"external_id"?, "standard"?: true = its name need not end in __c}}'
        ),
    ),
    ("GET", "/control/settings"): (_Control.settings, "all settings"),
    ("POST", "/control/settings"): (_Control.change_settings, "change settings, all or nothing"),
    ("GET", "/control/usage"): (
        _Control.usage,
        "what was used of the day's API requests and Bulk query jobs",
    ),
    ("POST", "/control/usage"): (
        _Control.set_usage,
        'say how much of them was used: {"api_requests"?, "bulk_jobs"?}; the limits are settings',
    ),
    ("POST", "/control/revoke"): (_Control.revoke, 'void all tokens, or {"token"}'),
    ("GET", "/control/life"): (_Control.life, "what background life has done"),
    ("POST", "/control/life"): (
        _Control.begin_life,
        (
            'let the org live: {"rate": steps per second, "seed"?: 1, "mix"?: {"create", "update", "reparent", "convert", '
            '"merge", "delete", "undelete", "purge"?: weights}}'
        ),
    ),
    ("DELETE", "/control/life"): (_Control.end_life, "stop it and tell what was done"),
    ("POST", "/control/org_id"): (
        _Control.refresh_org,
        "another org id, tokens void, bus empty (sandbox refresh)",
    ),
}


def _query(request: web.Request, *names: str) -> Input:
    return Input(f"{request.method} {request.path}", dict(request.query)).only(*names)


def _whole(query: Input, name: str) -> int | None:
    text = query.members.get(name)
    if text is None:
        return None
    if not _WHOLE.fullmatch(str(text)):
        raise ControlError(f"{query.where}: {name} must be a whole number; got {text!r}")
    return int(text)

"""What the API asks of the daemon: decisions and pulls.

Why: only the leader of an org writes, and it may be on another machine or be down just now, so what is asked becomes a
request in the store, as from the command line and from SQL. Who asked waits as long as it likes; after that the
answer is the request's address, and the request goes on waiting without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import hdrs

from ..store.database import Database
from ..store.people import Told, load_requests, load_row, parse_reference
from ..store.requests import answers, put_requests
from .calls import Call, Reply
from .problems import Fault, Problem
from .reading import find_subject
from .source import Source

_DECISION_WAIT_S, _PULL_WAIT_S = 10.0, 30.0
_ANONYMOUS = "holder of the API token"


async def decide(source: Source, call: Call) -> Reply:
    """Decide whether a person follows Salesforce."""
    async with source.reader() as reader:
        found = await find_subject(reader, call.id, "person")
    database = await source.database()
    decision = {
        "person_id": found.id,
        "choice": call.body["choice"],
        "via": "http",
        "by": call.body.get("by", _ANONYMOUS),
    }
    requests = await put_requests(database, found.org, "decide", [json.dumps(decision)])
    [answered] = await answers(database, requests, timeout_s=call.body.get("wait_s", _DECISION_WAIT_S))
    [told] = await _tell(database, requests)
    if answered is None:
        return Reply(told, 202, {hdrs.LOCATION: told["url"]})
    if answered.outcome == "refused":
        raise Problem(409, answered.error)
    async with source.reader() as reader:
        person = await load_row(reader, await find_subject(reader, found.id, "person"))
    return Reply({"request": told, "person": person})


async def pull(source: Source, call: Call) -> Reply:
    """Read records from Salesforce now."""
    ids = _wanted(call.body["ids"])
    database, org = await source.bound()
    wanted = [f"{one} with company" for one in ids] if call.body.get("with_company") else ids
    requests = await put_requests(database, org, "pull", wanted)
    await answers(database, requests, timeout_s=call.body.get("wait_s", _PULL_WAIT_S))
    told = await _tell(database, requests)
    is_done = all(one["outcome"] is not None for one in told)
    return Reply({"is_done": is_done, "requests": told}, 200 if is_done else 202)


async def request(source: Source, call: Call) -> Reply:
    """Tell what became of a request."""
    if not isinstance(call.id, int):
        raise Problem(400, "a request's id is a number", faults=[Fault("must be a number", parameter="id")])
    told = await _tell(await source.database(), [call.id])
    if not told:
        raise Problem(404, "there is no such request; answered ones are forgotten with the change feed")
    return Reply(told[0])


def _wanted(ids: Sequence[str]) -> list[str]:
    """Return the ids as a pull takes them. Raises `Problem` pointing to each that is none."""
    wanted: list[str] = []
    found: list[Fault] = []
    for place, text in enumerate(ids):
        try:
            wanted.append(str(parse_reference(text)))
        except ValueError as error:
            found.append(Fault(str(error), pointer=f"#/ids/{place}"))
    if found:
        raise Problem(400, f"{found[0].pointer} {found[0].detail}", faults=found)
    return wanted


async def _tell(database: Database, requests: Sequence[int]) -> list[Told]:
    return [
        one | {"url": f"/v1/requests/{one['id']}"} for one in await load_requests(database, list(requests))
    ]

"""A request to read the configuration again: answered first, done then, and refused with the reason."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from sfsync.errors import ConfigError
from sfsync.store.requests import put_requests
from sfsync.sync.handlers import handlers
from sfsync.sync.reload import Prepare, Reload
from sfsync.sync.requests import Requests
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def answer(
    room: Room, prepare: Prepare | None, *, done: list[bool] | None = None
) -> tuple[str, dict[str, Any]]:
    """Ask for a reload that *prepare* prepares; return the answer, once *done* holds something."""
    work = replace(room.work, reload=prepare)
    requests = Requests(work, handlers(work, room.sweeper))
    [asked] = await put_requests(work.database, work.org, "reload", [None])
    async with room.doing(requests.run()):
        query = "SELECT outcome, detail FROM sfsync.request WHERE id = $1 AND done_at IS NOT NULL"
        [row] = await eventually(lambda: room.rows(query, asked))
        if done is not None:
            await eventually(lambda: seen(done))
    return row["outcome"], json.loads(row["detail"])


async def test_reload_is_answered_before_it_is_done(room: Room) -> None:
    """It ends the pipeline: a request that it left open would end every next one."""
    open_then: list[int] = []
    done: list[bool] = []

    async def prepare() -> Reload:
        # The room's own connection is looking for the answer meanwhile.
        mine = await room.work.database.connect_alone()
        open_then.append(await mine.fetchval("SELECT count(*) FROM sfsync.request WHERE done_at IS NULL"))
        await mine.close()
        return Reload({"changed": ["mapping"]}, lambda: done.append(True))

    assert await answer(room, prepare, done=done) == ("reloaded", {"changed": ["mapping"]})
    assert open_then == [1]


async def seen(done: list[bool]) -> bool:
    return bool(done)


async def test_faulty_configuration_is_refused_with_its_faults(room: Room) -> None:
    """Whoever asked must see what to mend; the old configuration stays."""

    async def prepare() -> Reload:
        raise ConfigError("person.rank: Contact.Rank__c is not there")

    outcome, detail = await answer(room, prepare)
    assert outcome == "refused"
    assert "person.rank: Contact.Rank__c is not there" in detail["error"]
    assert (await answer(room, None))[0] == "refused"

"""Whatever an event or a row says, once it is read it can be stored: it parks nobody and no position stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from hypothesis import example, given, settings

from sfsync.core.commands import Refetch, Resweep
from sfsync.core.decide import decide
from sfsync.core.decode import decode
from sfsync.core.events import Position, RawEvent
from sfsync.core.ids import Entity
from sfsync.salesforce.rest import Page
from sfsync.store.batch import Batch
from sfsync.sync.reading import read_commands
from tests.core.test_fuzz_decode import GOOD, GOOD_HEADER, events
from tests.hostile import FUZZ, as_json, damaged
from tests.postgres import PgFleet, available_servers
from tests.store.harness import MAPPING, Store, at, open_store
from tests.sync.test_fuzz_reading import ROWS

CHANNEL = "/data/ChangeEvents"


@asynccontextmanager
async def stored(fleet: PgFleet) -> AsyncIterator[Store]:
    async with fleet.server(available_servers()[0]).database(migrated=True) as dsn, open_store(dsn) as store:
        yield store


EXTREMES: list[dict[str, Any]] = [
    {"Birthdate": "0001-01-01", "CreatedDate": "9999-12-31T23:59:59.999Z"},
    {"CreatedDate": "0001-01-01T00:00:00.000Z", "LastModifiedDate": "0001-01-01T00:00:00.000+0000"},
    {"HasOptedOutOfEmail": None, "OwnerId": "", "AccountId": "", "Title": ""},
    {"Title": "\ufffe\U0010ffff\u2028\x01", "Department": "a\0b"},
]


def test_damaged_events_and_rows_are_stored_or_asked_for(pg_fleet: PgFleet) -> None:
    """Poison that an org can make at will would stop the applier: more than a tenth of a batch does."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        store = runner.run(stack.enter_async_context(stored(pg_fleet)))
        seconds = iter(range(1, 1_000_000))

        @settings(FUZZ, max_examples=60)
        @given(damaged(events()))
        @example(GOOD)
        @example(GOOD | {"ChangeEventHeader": GOOD_HEADER | {"commitTimestamp": 1}})
        @example(GOOD | {"ChangeEventHeader": GOOD_HEADER | {"commitTimestamp": 253_402_300_799_999}})
        def hear(event: Any) -> None:
            commands = decide(decode(RawEvent(Position(b"1"), as_json(event))), MAPPING.plans)
            outcome = runner.run(store.applier.apply(Batch(commands, "event", at(next(seconds)))))
            assert outcome.parked == 0

        @settings(FUZZ, max_examples=60)
        @given(damaged(ROWS))
        def read(rows: Any) -> None:
            sound = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            now = at(next(seconds) + 100_000)
            found, _ = read_commands(
                Page(sound, True, len(sound), None, now, now), MAPPING.plans[Entity.CONTACT]
            )
            outcome = runner.run(store.applier.apply(Batch(found, "sweep", now)))
            assert outcome.parked == 0

        try:
            for extreme in EXTREMES:
                created = GOOD | extreme | {"ChangeEventHeader": GOOD_HEADER | {"changeType": "CREATE"}}
                commands = decide(decode(RawEvent(Position(b"1"), as_json(created))), MAPPING.plans)
                assert any(not isinstance(one, Refetch | Resweep) for one in commands)
                assert runner.run(store.applier.apply(Batch(commands, "event", at(0)))).parked == 0
            hear()
            read()
        finally:
            runner.run(stack.aclose())

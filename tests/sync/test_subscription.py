"""The stream, session by session: what ends one, and where the next begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from sfsync.core.ids import Entity
from sfsync.store.readings import load_owed
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


async def until_known(room: Room, *last_names: str) -> None:
    """Wait until people of these names are in the store."""

    async def are_known() -> bool:
        return set(last_names) <= await room.last_names()

    await eventually(are_known)


async def position(room: Room) -> bytes | None:
    replay: bytes | None = await room.value("SELECT replay FROM sfsync.position")
    return replay


async def test_position_that_moved_under_a_quiet_stream_is_noticed_at_once(room: Room) -> None:
    """What the old session had queued comes again only if a new one begins: nobody may wait for the next event."""
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="A")
        await until_known(room, "A")
        earlier = await position(room)
        await room.create("Contact", LastName="B")
        await until_known(room, "B")
        await room.connection.execute("UPDATE sfsync.position SET replay = $1", earlier)
        await room.create("Contact", LastName="C")
        await until_known(room, "C")


async def test_first_session_begins_at_the_tip_and_owes_a_reading_of_every_entity(room: Room) -> None:
    """Between the last read and the tip lies what nobody saw: the sweep comes after the subscription."""
    await room.create("Contact", LastName="Before")
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        owed = await load_owed(room.work.database, room.work.org)
        assert {(reading.entity, reading.reason) for reading in owed} == {(e, "tip") for e in Entity}
        assert not room.work.health.claims["sweep"].ok
        await room.create("Contact", LastName="After")
        await until_known(room, "After")
    assert await room.last_names() == {"After"}


async def test_next_session_begins_at_the_committed_position(room: Room) -> None:
    """Whatever came while nobody listened comes first."""
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="A")
        await until_known(room, "A")
    await room.create("Contact", LastName="B")
    async with room.doing(room.subscription.run()):
        await until_known(room, "A", "B")
    assert room.work.metrics.registry.get_sample_value("sfsync_queue_events") == 0


async def test_expired_position_subscribes_at_the_tip_and_stays_red_until_swept(room: Room) -> None:
    """What lay between the expired place and the tip is gone from the stream: only a sweep brings it."""
    await room.backfill()
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="A")
        await until_known(room, "A")
    await room.create("Contact", LastName="Gone")
    await room.plant("expire_replay")
    async with room.doing(room.subscription.run()):
        await room.until_claimed("sweep", ok=False)
        await room.until_claimed("stream")
        assert {reading.reason for reading in await load_owed(room.work.database, room.work.org)} == {"tip"}
        async with asyncio.TaskGroup() as group:
            sweeping = group.create_task(room.sweeper.run())
            await room.site.control("POST", "clock", {"advance_s": 5})
            await room.work.connection.clock_ms()
            await room.until_claimed("sweep")
            sweeping.cancel()
    assert await room.last_names() == {"A", "Gone"}


async def test_event_that_comes_twice_is_applied_once(room: Room) -> None:
    """Delivery is at least once; the second one is skipped and counted."""
    await room.plant("duplicate_event")
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="A")
        await room.create("Contact", LastName="B")
        await until_known(room, "A", "B")
        skipped = room.work.metrics.registry.get_sample_value(
            "sfsync_events_skipped_total", {"reason": "duplicate"}
        )
    assert skipped == 1


async def test_slow_applying_drops_the_session_within_the_window_and_loses_nothing(pg_dsn: str) -> None:
    """Salesforce drops a client that asks too late: better to leave on purpose and come back where we were."""
    async with furnished(pg_dsn, reconnect_window_s=0.4, queue_events_max=1, hold_ms=0) as room:
        async with room.doing(room.subscription.run()):
            await room.until_claimed("stream")
            with capture_logs() as logs:
                async with room.connection.transaction():
                    await room.connection.execute("LOCK TABLE sfsync.record")
                    for name in ("A", "B", "C", "D"):
                        await room.create("Contact", LastName=name)
                    await room.until_claimed("stream", ok=False)
            assert any(entry["event"] == "stream.backpressure.dropped" for entry in logs)
            await until_known(room, "A", "B", "C", "D")


async def test_malformed_event_is_parked_and_its_record_read(room: Room) -> None:
    """One broken message must neither stop the stream nor lose the record."""
    await room.plant("malformed_event", form="wrong_type")
    async with room.doing(room.subscription.run(), room.refetcher.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="Broken")
        await room.create("Contact", LastName="Whole")
        await until_known(room, "Whole")
        await room.site.control("POST", "clock", {"advance_s": 10})
        await room.work.connection.clock_ms()
        await until_known(room, "Broken")


async def test_restart_from_outside_begins_a_fresh_session_without_loss(room: Room) -> None:
    """A stream that starves is subscribed afresh."""
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="A")
        await until_known(room, "A")
        number = room.writer.stream.session
        room.subscription.restart()
        await eventually(lambda: has_begun_after(room, number))
        await room.create("Contact", LastName="B")
        await until_known(room, "B")


async def has_begun_after(room: Room, number: int) -> bool:
    return room.writer.stream.session > number and room.writer.stream.is_open


async def test_starving_stream_is_subscribed_afresh_after_two_sweeps_with_drift(room: Room) -> None:
    """Salesforce documents streams that deliver nothing for hours, without any error."""
    await room.backfill()
    async with room.doing(room.subscription.run()):
        await room.until_claimed("stream")
        await room.create("Contact", LastName="Heard")
        await until_known(room, "Heard")
        number = room.writer.stream.session
        await room.plant("withhold", match="ChangeEvents", times=None)
        with capture_logs() as logs:
            for name in ("Missed", "Missed too"):
                assert room.writer.stream.session == number
                await room.create("Contact", LastName=name)
                await room.site.control("POST", "clock", {"advance_s": 900})
                await room.work.connection.clock_ms()
                await room.sweeper.sweep("test")
        assert "stream.starved" in [entry["event"] for entry in logs]
        await room.heal()
        await eventually(lambda: has_begun_after(room, number))
        await room.create("Contact", LastName="Heard again")
        await until_known(room, "Heard", "Missed", "Missed too", "Heard again")

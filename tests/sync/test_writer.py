"""The one writer: order, back pressure, sessions, and errors that end what they must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sfsync.core.commands import Command
from sfsync.core.events import Position
from sfsync.core.order import Verdict
from sfsync.errors import FencedError, PositionError
from sfsync.store.apply import Batch
from sfsync.sync.metrics import Metrics
from sfsync.sync.options import SyncOptions
from sfsync.sync.writer import Delivery, Writer
from tests.store.harness import CONTACT, CONTACT2, Store, at, image, open_store, patch, read


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


@asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(writer.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def begin(store: Store, **options: int) -> Writer:
    """A writer whose stream began at its tip."""
    writer = Writer(store.database, store.applier, SyncOptions(**options), Metrics())  # type: ignore[arg-type]
    await writer.begin_session()
    await writer.begin_at_tip(at(0))
    return writer


def delivery(
    writer: Writer, position: bytes, *commands: Command, events: int = 1, size: int = 100
) -> Delivery:
    return Delivery(
        session=writer.stream.session,
        position=Position(position),
        events=events,
        commands=list(commands),
        heard_ms=at(10),
        commit_ms=at(10),
        size=size,
    )


async def committed(store: Store) -> bytes | None:
    replay: bytes | None = await store.connection.fetchval("SELECT replay FROM sfsync.position")
    return replay


async def until(claim: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another session of the database must come to see."""
    async with asyncio.timeout(5):
        while not await claim():  # noqa: ASYNC110 - the event is in the database
            await asyncio.sleep(0.01)


async def until_committed(store: Store, position: bytes) -> None:
    async def is_committed() -> bool:
        return await committed(store) == position

    await until(is_committed)


async def test_position_is_committed_with_its_effect(store: Store) -> None:
    """A position that ran ahead of its effect would lose events at the next crash."""
    writer = await begin(store)
    async with running(writer):
        await writer.deliver(delivery(writer, b"7", image(CONTACT, 1, LastName="A")))
        await until_committed(store, b"7")
    [person] = await store.people()
    assert person["last_name"] == "A"
    assert await writer.begin_session() == b"7"


async def test_position_moved_by_somebody_else_ends_the_session_and_commits_nothing(store: Store) -> None:
    """Compare-and-swap: two sessions must never interleave."""
    writer = await begin(store)
    await store.connection.execute("UPDATE sfsync.position SET replay = 'other'")
    async with running(writer):
        await writer.deliver(delivery(writer, b"7", image(CONTACT, 1, LastName="A")))

        async def has_ended() -> bool:
            return writer.stream.error is not None

        await until(has_ended)
        assert await store.people() == []
        with pytest.raises(PositionError):
            await writer.deliver(delivery(writer, b"8", events=10**6))


async def test_new_session_discards_what_the_old_one_queued(store: Store) -> None:
    """It will be delivered again, from the committed position."""
    writer = await begin(store)
    old = delivery(writer, b"7", image(CONTACT, 1, LastName="A"))
    await writer.deliver(old)
    assert await writer.begin_session() is None
    await writer.deliver(old)
    assert writer.queued_events == 0
    async with running(writer):
        await writer.deliver(delivery(writer, b"9", image(CONTACT2, 1, LastName="B")))
        await until_committed(store, b"9")
    assert [row["last_name"] for row in await store.people()] == ["B"]


async def the_next_must_wait(writer: Writer, store: Store) -> None:
    """The queue is full: the next delivery waits until the writer runs, and is not lost."""
    waiting = asyncio.create_task(writer.deliver(delivery(writer, b"2", patch(CONTACT, 5, LastName="B"))))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    async with running(writer):
        await waiting
        await until_committed(store, b"2")
    assert [row["last_name"] for row in await store.people()] == ["B"]


async def test_full_queue_makes_the_stream_wait_and_drops_nothing(store: Store) -> None:
    """Back pressure, never a drop."""
    writer = await begin(store, queue_events_max=2)
    await writer.deliver(delivery(writer, b"1", image(CONTACT, 1, LastName="A"), events=2))
    await the_next_must_wait(writer, store)


async def test_queue_is_bounded_in_bytes_too(store: Store) -> None:
    """Twenty thousand events of a megabyte would be the end of the process."""
    writer = await begin(store, queue_bytes_max=1000)
    await writer.deliver(delivery(writer, b"1", image(CONTACT, 1, LastName="A"), size=5000))
    await the_next_must_wait(writer, store)


async def test_batch_is_bounded_in_bytes_but_never_empty(store: Store) -> None:
    """A batch is in memory several times while it is written; a delivery too large for one is one by itself."""
    writer = await begin(store, batch_bytes_max=1000)
    sizes = [600, 400, 1, 5000, 7]
    for number, size in enumerate(sizes):
        await writer.deliver(delivery(writer, str(number).encode(), size=size))
    taken = []
    while batch := writer._take():
        taken.append([one.size for one in batch])
    assert taken == [[600, 400], [1], [5000], [7]]
    assert writer.queued_events == 0
    await writer.deliver(delivery(writer, b"9", size=10**9))


async def test_read_gets_its_outcome(store: Store) -> None:
    """A sweep counts what its pages did."""
    writer = await begin(store)
    async with running(writer):
        batch = Batch([read(CONTACT, 0, begun=5, LastName="A")], "sweep", at(5))
        assert (await writer.submit(batch)).verdicts == {Verdict.REPAIRED: 1}
        assert (await writer.submit(batch)).verdicts == {Verdict.EQUAL: 1}


async def test_fenced_writer_commits_nothing_and_ends(store: Store) -> None:
    """A daemon that was succeeded must not write one more row."""
    writer = await begin(store)
    await store.connection.execute("UPDATE sfsync.epoch SET epoch = epoch + 1")
    async with running(writer) as task:
        with pytest.raises(FencedError):
            await writer.submit(Batch([read(CONTACT, 0, begun=5, LastName="A")], "sweep", at(5)))
        await asyncio.wait({task})
        assert isinstance(task.exception(), FencedError)
    assert await store.people() == []


async def test_batch_in_flight_is_finished_and_no_other_begins(store: Store) -> None:
    """A stop commits what it has begun; what is queued behind it comes again."""
    applying = asyncio.Lock()
    writer = Writer(store.database, store.applier, SyncOptions(), Metrics(), applying)
    await writer.begin_session()
    await writer.begin_at_tip(at(0))
    async with store.database.transaction() as blocker:
        await blocker.execute("SELECT * FROM sfsync.epoch FOR UPDATE")
        async with running(writer):
            await writer.deliver(delivery(writer, b"1", image(CONTACT, 1, LastName="A")))

            async def has_begun() -> bool:
                return applying.locked()

            await until(has_begun)
            finishing = asyncio.create_task(applying.acquire())
            await blocker.execute("SELECT 1")
            assert not finishing.done()
            await writer.deliver(delivery(writer, b"2", image(CONTACT2, 1, LastName="B")))
            await blocker.execute("COMMIT; BEGIN")
            async with asyncio.timeout(5):
                await finishing
    assert await committed(store) == b"1"
    assert [row["last_name"] for row in await store.people()] == ["A"]

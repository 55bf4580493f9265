"""The one writer: order, back pressure, sessions, and errors that end what they must."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from sfsync.core.commands import Command
from sfsync.core.events import Position
from sfsync.core.ids import record_id
from sfsync.core.order import Verdict
from sfsync.errors import FencedError, PositionError
from sfsync.store.batch import Batch, Progress
from sfsync.store.database import Connection
from sfsync.sync.metrics import Metrics
from sfsync.sync.options import SyncOptions
from sfsync.sync.writer import SLICE_COMMANDS, Delivery, Writer
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
        oldest_ms=at(10),
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


CROWD = [record_id(f"0035i00000{number:05d}") for number in range(2 * SLICE_COMMANDS + 1)]


def crowd(*, stamp: float, progress: Progress | None = None) -> Batch:
    """A page of reads that takes three slices."""
    reads = [read(one, stamp, begun=stamp + 5, LastName="A") for one in CROWD]
    return Batch(reads, "backfill", at(stamp + 5), progress=progress)


async def people_now(store: Store) -> int:
    count: int = await store.connection.fetchval("SELECT count(*) FROM crm.person")
    return count


async def test_page_is_committed_in_slices_and_its_progress_with_the_last(store: Store) -> None:
    """A watermark that came with the first slice would skip the others after a crash."""
    writer = await begin(store)
    moved = []

    async def progress(connection: Connection) -> None:
        moved.append(await connection.fetchval("SELECT count(*) FROM crm.person"))

    async with running(writer):
        outcome = await writer.submit(crowd(stamp=0, progress=progress))
    assert moved == [len(CROWD)]
    assert outcome.verdicts == {Verdict.REPAIRED: len(CROWD)}
    assert outcome.people_changed == len(outcome.repairs) == len(CROWD)


async def test_writer_that_dies_between_slices_has_not_moved_the_progress(store: Store) -> None:
    """What was committed is read again and found equal."""
    writer = await begin(store)
    moved = []

    async def progress(_connection: Connection) -> None:
        moved.append(True)

    page = asyncio.create_task(writer.submit(crowd(stamp=0, progress=progress)))
    async with running(writer):

        async def has_begun() -> bool:
            return await people_now(store) > 0

        await until(has_begun)
    page.cancel()
    assert not moved
    again = await begin(store)
    async with running(again):
        outcome = await again.submit(crowd(stamp=0, progress=progress))
    assert moved == [True]
    assert outcome.verdicts[Verdict.EQUAL] >= SLICE_COMMANDS


async def test_urgent_read_goes_before_the_pages_that_wait(store: Store) -> None:
    """Somebody is about to send a letter while millions are loaded."""
    writer = await begin(store)
    pages = [asyncio.create_task(writer.submit(crowd(stamp=10 * turn))) for turn in range(3)]
    await asyncio.sleep(0)
    async with running(writer):

        async def has_begun() -> bool:
            return await people_now(store) > 0

        await until(has_begun)
        urgent = Batch([read(CONTACT, 0, begun=5, LastName="Urgent")], "pull", at(5))
        await writer.submit(urgent, urgent=True)
        assert await people_now(store) <= 2 * SLICE_COMMANDS + 1, "at most the slice in hand came before"
        assert not any(page.done() for page in pages)
        await asyncio.gather(*pages)


async def test_flood_of_urgent_reads_starves_nobody(store: Store) -> None:
    """One urgent batch goes before each piece of other work, and not more."""
    writer = await begin(store)
    urgent = [
        asyncio.create_task(
            writer.submit(
                Batch([read(CONTACT, turn * 9, begun=turn * 9 + 5, LastName=str(turn))], "pull", at(5)),
                urgent=True,
            )
        )
        for turn in range(50)
    ]
    page = asyncio.create_task(writer.submit(crowd(stamp=0)))
    await writer.deliver(delivery(writer, b"7", image(CONTACT2, 1, LastName="Stream")))
    await asyncio.sleep(0)
    async with running(writer):
        await until_committed(store, b"7")
        assert sum(one.done() for one in urgent) <= 3
        await page
        assert sum(one.done() for one in urgent) <= 6
        await asyncio.gather(*urgent)


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


async def test_lag_is_of_the_slowest_event_and_says_whose_it_was(store: Store) -> None:
    """Time in our queue must not be laid to Salesforce, and an old event not hide behind a new one."""
    writer = await begin(store)
    now_s = time.time()
    old = replace(delivery(writer, b"1"), oldest_ms=round((now_s - 9) * 1000), arrived_s=now_s - 2)
    new = replace(delivery(writer, b"2"), oldest_ms=round((now_s - 1) * 1000), arrived_s=now_s)
    with capture_logs() as entries:
        await writer.deliver(old)
        await writer.deliver(new)
        async with running(writer):
            await until_committed(store, b"2")
            await until(lambda: has_told(entries))
    [batch] = [entry for entry in entries if entry["event"] == "stream.batch.applied"]
    assert batch["lag_salesforce_ms"] == pytest.approx(7_000, abs=2)
    assert 2_000 <= batch["lag_own_ms"] < 7_000
    assert batch["lag_ms"] == pytest.approx(batch["lag_salesforce_ms"] + batch["lag_own_ms"], abs=2)


async def has_told(entries: Sequence[Mapping[str, object]]) -> bool:
    return any(entry["event"] == "stream.batch.applied" for entry in entries)

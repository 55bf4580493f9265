"""Each thing that can happen to a Postgres, once: the daemon outlives it, and loses and repeats nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.postgres_faults import FAULTS, full_disk
from tests.process.room import Room, open_room
from tests.process.server import OwnServer, SmallDisk, mounted


@pytest.fixture(scope="module")
def disk(own_server: OwnServer) -> Iterator[SmallDisk | None]:
    """A small disk, where one may be mounted."""
    with ExitStack() as stack:
        try:
            small = stack.enter_context(own_server.small_disk())
        except OSError:
            yield None
        else:
            yield small


@pytest.fixture(scope="module")
def room(own_server: OwnServer, disk: SmallDisk | None) -> Iterator[Room]:
    """One room for all faults, with a daemon that has begun; its store lies on the small disk."""
    with (
        tempfile.TemporaryDirectory() as directory,
        open_room(own_server, Path(directory), tablespace="small" if disk else "pg_default") as opened,
    ):
        opened.begin()
        yield opened


@pytest.mark.parametrize("name", [*FAULTS, "disk_full"])
def test_fault_of_postgres_is_outlived(name: str, room: Room, disk: SmallDisk | None) -> None:
    """The position is where the rows are, so whatever Postgres does, both go on from the same place."""
    if name == "disk_full" and disk is None:
        pytest.skip("a full disk needs a small one, and mounting is not allowed here")
    fault = full_disk(disk) if name == "disk_full" and disk else FAULTS[name]
    with room.living(seed=len(name)):
        with fault(room):
            pass
        room.sing()
        room.wait_heard()
    verdict = room.verdict()
    assert verdict.is_clean, f"{verdict}\n{room.running.log.tail()}"
    assert room.reader.findings.excused < room.reader.snapshots / 10, "the reader has excused too much"
    assert room.running.wait_ready().readiness()["ready"]


def test_small_disk_is_small_and_goes_away() -> None:
    """A disk that is not the small one must never be filled."""
    try:
        with mounted(1 << 20) as directory:
            small = SmallDisk(directory)
            small.fill()
            with pytest.raises(OSError, match="No space left"):
                (directory / "more").write_bytes(b"x" * 8192)
            small.free()
            (directory / "more").write_bytes(b"x" * 8192)
    except OSError as error:
        pytest.skip(str(error))
    assert not directory.exists()

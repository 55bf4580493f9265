"""Files of people, taken by the leader and read from Salesforce behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from sfsync.core.ids import RecordId, record_id
from sfsync.core.people_cells import ImportRow
from sfsync.store import import_files
from sfsync.store.import_files import Feeds, rejected_rows, stage_file
from sfsync.store.import_statements import FedColumn
from sfsync.store.requests import put_requests
from sfsync.sync import importing
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished

PEOPLE = [FedColumn(name, "text") for name in ("last_name", "email", "owner_id")]
PEOPLE += [FedColumn("has_opted_out_of_email", "boolean")]
COMPANIES = [FedColumn("name", "text")]


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


def row(line: int, of: RecordId, last_name: str) -> ImportRow:
    return ImportRow(line, of, None, {"last_name": last_name}, {})


def nobody(number: int) -> RecordId:
    """A record that the org does not have."""
    return record_id(f"0035i0000N{number:05d}")


async def staged(room: Room, rows: Iterable[ImportRow], people: list[FedColumn] = PEOPLE) -> int:
    file = await stage_file(room.work.database, room.work.org, Feeds(people, COMPANIES, None), rows)
    return file.import_id


async def asked(room: Room, import_id: object) -> int:
    [request] = await put_requests(room.work.database, room.work.org, "import", [str(import_id)])
    return request


def counts(detail: dict[str, Any]) -> dict[str, int]:
    return {fate: count for fate, count in detail["counts"].items() if count}


async def states(room: Room) -> dict[str, tuple[str, str, str | None]]:
    found = await room.rows("SELECT salesforce_id, last_name, sync, sync_reason FROM crm.person")
    return {one["salesforce_id"]: (one["last_name"], one["sync"], one["sync_reason"]) for one in found}


async def test_imported_people_are_read_and_compared(room: Room) -> None:
    """Equal ones are synced at once, others are a question, absent ones stay as they are; companies follow."""
    account = await room.create("Account", Name="New")
    equal = await room.create("Contact", LastName="A", AccountId=account)
    other = await room.create("Lead", LastName="B", Company="C", Email="b@b.example")
    [told] = await room.site.soql(f"SELECT OwnerId FROM Contact WHERE Id = '{equal}'")
    known = {"last_name": "A ", "owner_id": told["OwnerId"], "has_opted_out_of_email": "false"}
    rows = [
        ImportRow(2, equal, account, known, {"name": "Old"}),
        row(3, other, "Old"),
        row(4, nobody(1), "Lost"),
    ]
    request = await asked(room, await staged(room, rows))
    async with room.doing(room.requests.run(), room.refetcher.run()):
        outcome, detail = await room.answered(request)
        assert (outcome, counts(detail), detail["rows"]) == ("imported", {"created": 3}, 3)

        async def all_read() -> bool:
            return await room.value("SELECT count(*) = 0 FROM sfsync.dirty") is True

        await eventually(all_read)
    assert await states(room) == {
        equal: ("A", "synced", None),
        other: ("Old", "pending", "differs"),
        nobody(1): ("Lost", "pending", "absent"),
    }
    assert [one["name"] for one in await room.rows("SELECT name FROM crm.company")] == ["New"]
    assert await room.value("SELECT count(*) FROM sfsync.import_row") == 0


async def test_file_of_many_parts_is_taken_whole(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the request says how far it is."""
    monkeypatch.setattr(importing, "PART_ROWS", 7)
    request = await asked(room, await staged(room, [row(n, nobody(n), f"P{n}") for n in range(2, 32)]))
    async with room.doing(room.requests.run()):
        _, detail = await room.answered(request)
    assert counts(detail) == {"created": 30}
    assert len(await states(room)) == 30


async def test_import_goes_on_where_a_daemon_died(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is not taken again, and is counted once."""
    monkeypatch.setattr(importing, "PART_ROWS", 5)
    import_id = await staged(room, [row(n, nobody(n), f"P{n}") for n in range(2, 22)])
    request = await asked(room, import_id)
    died = asyncio.Event()
    change, calls = room.writer.change, 0

    async def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            died.set()
            await asyncio.Event().wait()
        return await change(*arguments, **options)

    monkeypatch.setattr(room.writer, "change", dying)
    async with room.doing(room.requests.run()):
        await died.wait()
    assert len(await states(room)) == 10
    noted = await room.value("SELECT detail FROM sfsync.request WHERE id = $1 AND done_at IS NULL", request)
    assert (counts(json.loads(noted)), json.loads(noted)["rows"]) == ({"created": 10}, 20)
    monkeypatch.setattr(room.writer, "change", change)
    async with room.doing(room.requests.run()):
        _, detail = await room.answered(request)
    assert (counts(detail), detail["rows"]) == ({"created": 20}, 20)
    assert await room.value("SELECT count(*) FROM sfsync.change WHERE action = 'created'") == 20


async def test_file_that_is_asked_for_twice_is_taken_once(room: Room) -> None:
    """Whoever lost the connection while asking asks again, and wants to know what became of the whole file."""
    import_id = await staged(room, [row(n, nobody(n), f"P{n}") for n in range(2, 12)])
    requests = [await asked(room, import_id), await asked(room, import_id)]
    async with room.doing(room.requests.run()):
        for request in requests:
            outcome, detail = await room.answered(request)
            assert (outcome, counts(detail), detail["rows"]) == ("imported", {"created": 10}, 10)


async def test_row_that_the_application_forbids_costs_nobody_else(room: Room) -> None:
    """An application may check its own columns; all or nothing holds for a row, not for a file."""
    await room.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_x CHECK (last_name <> 'X')")
    rows = [row(n, nobody(n), "X" if n in (4, 9) else f"P{n}") for n in range(2, 40)]
    import_id = await staged(room, rows)
    async with room.doing(room.requests.run()):
        _, detail = await room.answered(await asked(room, import_id))
    assert counts(detail) == {"created": 36, "rejected": 2}
    refused = await rejected_rows(room.work.database, import_id)
    assert [(line, of) for line, of, _ in refused] == [(4, nobody(4)), (9, nobody(9))]
    assert all("constraint no_x" in reason for _, _, reason in refused)
    assert "X" not in {name for name, _, _ in (await states(room)).values()}
    kept = await room.rows("SELECT cells FROM sfsync.import_row")
    assert [one["cells"] for one in kept] == ["{}", "{}"], "values are not kept longer than they are needed"


@pytest.mark.parametrize("argument", ["", "x", "99", "-1", "9" * 30])
async def test_import_of_nothing_is_refused(room: Room, argument: str) -> None:
    """Anybody who may write to the store can ask."""
    async with room.doing(room.requests.run()):
        outcome, detail = await room.answered(await asked(room, argument))
    assert outcome == "refused"
    assert detail["error"]


async def test_column_that_the_mapping_lost_is_refused(room: Room) -> None:
    """The mapping of whoever leads counts, not that of whoever asked."""
    import_id = await staged(room, [row(2, nobody(2), "A")], [*PEOPLE, FedColumn("shoe_size", "text")])
    async with room.doing(room.requests.run()):
        outcome, detail = await room.answered(await asked(room, import_id))
    assert outcome == "refused"
    assert "shoe_size" in detail["error"]
    assert await states(room) == {}


async def test_files_that_nobody_waits_for_are_forgotten(room: Room) -> None:
    """They hold values of people."""
    old = await staged(room, [row(2, nobody(2), "A")])
    waiting = await staged(room, [row(2, nobody(3), "A")])
    await asked(room, waiting)
    await room.connection.execute("UPDATE sfsync.import_file SET staged_at = now() - interval '25 hours'")
    new = await staged(room, [row(2, nobody(4), "A")])
    left = {one["import_id"] for one in await room.rows("SELECT import_id FROM sfsync.import_row")}
    assert left == {waiting, new}
    assert old not in {one["id"] for one in await room.rows("SELECT id FROM sfsync.import_file")}


async def test_file_that_cannot_be_read_to_its_end_is_not_staged(room: Room) -> None:
    """There is a whole file or none."""

    def torn() -> Iterable[ImportRow]:
        yield from (row(n, nobody(n), "A") for n in range(2, 2 + import_files._COPY_ROWS + 5))
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        await staged(room, torn())
    assert await room.value("SELECT count(*) FROM sfsync.import_row") == 0

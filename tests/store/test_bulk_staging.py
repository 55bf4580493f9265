"""CSV goes into a table as it is, whatever the pieces are cut like, and texts come out as REST would bring them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfsync.core.jsontext import clean_text
from sfsync.errors import SalesforceError, StoreError, UnavailableError
from sfsync.store.bulk_staging import _clean, copy_csv
from sfsync.store.database import Database, StoreOptions, open_database

COLUMNS = ("Id", "Name")
HOSTILE = [
    'a "quoted" word', "two\nlines", "\r\n", "comma, and more", "\\.", "x\n\\.\ny", "\\N", "NULL", " ",
    "山田 太郎", "🗻", "e\u0301", "\ufeff", "NUL \0 here", "\0", "half \ud83d pair", "힣", "'", "\\", "\t",
]  # fmt: skip


def line(*values: str | None) -> bytes:
    cells = ['""' if value is None else '"' + value.replace('"', '""') + '"' for value in values]
    return (",".join(cells) + "\n").encode("utf-8", "surrogatepass")


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def broken(body: bytes) -> AsyncIterator[bytes]:
    yield body
    raise UnavailableError("the answer broke off", code="NETWORK")


@pytest.fixture
async def database(empty_dsn: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute('CREATE TABLE public.staged ("Id" text, "Name" text)')
    await connection.close()
    async with open_database(StoreOptions(dsn=empty_dsn)) as opened:
        yield opened


async def load(database: Database, chunks: AsyncIterator[bytes]) -> list[tuple[str | None, ...]]:
    async with database.transaction() as connection:
        count = await copy_csv(connection, "public.staged", COLUMNS, chunks)
        rows = await connection.fetch("SELECT * FROM public.staged")
        assert count == len(rows)
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("size", [1, 3, 7, 100_000])
async def test_texts_come_out_as_rest_would_bring_them(database: Database, size: int) -> None:
    """Quotes, line ends, half surrogates and NUL are the same value by either way, and empty is null."""
    body = line(*COLUMNS) + b"".join(line(str(n), text) for n, text in enumerate(HOSTILE)) + line("e", None)
    rows = await load(database, pieces(body, size))
    assert rows == [*((str(n), clean_text(text)) for n, text in enumerate(HOSTILE)), ("e", None)]


@pytest.mark.parametrize("body", [b"", b"\n", b'"Id","Name"\n', b'"Id","Name"', b"Id,Name\r\n"])
async def test_page_without_rows_is_none(database: Database, body: bytes) -> None:
    """Nobody says what an entity without records looks like, so each way of saying it is taken."""
    assert await load(database, pieces(body, 4)) == []


@pytest.mark.parametrize("names", [("Name", "Id"), ("Id",), ("Id", "Name", "Email"), ("Id", "Nome")])
async def test_other_columns_are_refused(database: Database, names: tuple[str, ...]) -> None:
    """Columns are told by their place, so a telephone number could become a name."""
    with pytest.raises(SalesforceError) as caught:
        await load(database, pieces(line(*names) + line(*names), 100))
    assert caught.value.code == "HEADER"


async def test_page_that_breaks_off_leaves_nothing(database: Database) -> None:
    """The error is the download's own, and the page is fetched again from its beginning."""
    with pytest.raises(UnavailableError):
        await load(database, broken(line(*COLUMNS) + line("1", "a")))
    assert await load(database, pieces(line(*COLUMNS) + line("2", "b"), 100)) == [("2", "b")]


@pytest.mark.parametrize("row", [b'"1"\n', b'"1","2","3"\n', b'"1","\xff"\n', b'"1","open\n'])
async def test_what_is_no_csv_of_ours_is_refused(database: Database, row: bytes) -> None:
    """A page cut by a machine in between, or in another encoding, must not become records."""
    with pytest.raises(StoreError):
        await load(database, pieces(line(*COLUMNS) + row, 100))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from("\0a\ud83d\udc00\ud7a3\ue000山🗻"), max_size=6), max_size=4))
def test_cleaning_does_not_depend_on_the_cut(texts: list[str]) -> None:
    """A character that is cut in two by the network is the same character."""
    whole = "".join(texts).encode("utf-8", "surrogatepass")
    kept, out = b"", b""
    for text in texts:
        for piece in (text.encode("utf-8", "surrogatepass")[:2], text.encode("utf-8", "surrogatepass")[2:]):
            kept, clean = _clean(kept + piece)
            out += clean
    assert (out + kept).decode() == clean_text(whole.decode("utf-8", "surrogatepass"))


def test_rows_of_this_file_are_csv() -> None:
    """The bytes that these tests make are read by another reader as what they are meant to be."""
    texts = [text for text in HOSTILE if "\0" not in text and "\ud83d" not in text]
    body = b"".join(line(text) for text in texts).decode()
    assert [row for (row,) in csv.reader(io.StringIO(body, newline=""))] == texts

"""Whatever file is imported, each line is a row or a row with a fault, and a cell is only ever text."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfsync.core.ids import record_id
from sfsync.core.people_cells import READERS, ImportRow, Rejected, RowReader
from sfsync.core.people_file import ROW_BYTES_MAX, PeopleFile, Row, detect_encoding, split_lines
from tests.hostile import FUZZ, TEXTS, text, torn

MIB = 1 << 20
CONTACT, ACCOUNT = record_id("0035i00000Con01"), record_id("0015i00000Acc01")
TYPES = {f"a_{name}": name for name in READERS} | {"company.name": "text"}
FEEDS = ["crm_id", "company_crm_id", *TYPES]
CANARY = "c4n4ry"
GOOD = (
    ",".join(FEEDS)
    + f'\r\n{CONTACT},{ACCOUNT},"{CANARY} ""x"" 山",yes,17,18,1.5,2026-11-24,2026-11-24T10:30:00Z,10:30,Engines\r\n'
    * 2
).encode()
chunks = torn(
    st.sampled_from([GOOD, b"\xef\xbb\xbf" + GOOD, b"sep=;\r\n" + GOOD, GOOD.replace(b"\r\n", b"\r")])
)


def rows_of(content: bytes, chunk: int, delimiter: str | None = None) -> Iterator[Row]:
    """Read a file as the command does: once for the encoding, once for the rows."""

    def lines() -> Iterator[bytes]:
        return (content[start : start + chunk] for start in range(0, len(content), chunk))

    encoding = detect_encoding(split_lines(lines()))
    return PeopleFile(split_lines(lines()), encoding, delimiter).rows()


def read_all(content: bytes, chunk: int) -> list[ImportRow | Rejected]:
    """Read a file to its end; only its header may be refused, by a `ValueError` that says why."""
    try:
        rows = rows_of(content, chunk)
    except ValueError:
        return []
    reader = RowReader(FEEDS, TYPES)
    return [reader.read(_as_wide(row)) for row in rows]


def read_in_pieces(content: bytes) -> None:
    """Read a file in pieces of the size that its first byte says."""
    read_all(content[1:], 1 + (content[0] if content else 0))


def _as_wide(row: Row) -> Row:
    # A file whose header is not this one is refused by its header; its rows are read all the same here.
    return row if row.fault or len(row.cells) == len(FEEDS) else Row(row.line, row.cells, "is not as wide")


def test_what_is_damaged_here_was_good() -> None:
    """Damage to something that nobody took in the first place would test nothing."""
    assert [type(one) for one in read_all(GOOD, 7)] == [ImportRow, ImportRow]


@FUZZ
@given(chunks, st.integers(1, 64))
@example(b'sep="\r\n' + GOOD, 64)
@example(b"sep=\r\n" + GOOD, 64)
@example(b"sep=\0\n" + GOOD, 64)
@example(b"sep=\xff\n" + GOOD, 64)
def test_torn_file_is_read_to_its_end(content: bytes, chunk: int) -> None:
    """A file comes from anybody's spreadsheet: no row of it may stop the others, or be quoted in a reason."""
    for one in read_all(content, chunk):
        if isinstance(one, Rejected):
            assert CANARY not in one.reason
            continue
        assert record_id(one.record_id) == one.record_id
        for cell in [*one.cells.values(), *one.company_cells.values()]:
            if cell is not None:
                assert "\0" not in cell
                cell.encode()


@FUZZ
@given(st.binary(max_size=300), st.integers(1, 64))
def test_noise_is_read_to_its_end(content: bytes, chunk: int) -> None:
    """Somebody will import a picture."""
    read_all(content, chunk)


@FUZZ
@given(st.lists(text, min_size=len(FEEDS), max_size=len(FEEDS)))
def test_cells_of_any_text_are_read_or_refused(cells: list[str]) -> None:
    """Each by the type of its column: what is no date, number or id is a reason, and never an exception."""
    read = RowReader(FEEDS, TYPES).read(Row(2, [CONTACT, *cells[1:]]))
    if isinstance(read, Rejected):
        assert read.reason


@pytest.mark.parametrize("kind", TEXTS)
def test_text_of_a_hostile_author_is_kept_as_text(kind: str) -> None:
    """A formula is text that a spreadsheet would obey, and we are none."""
    cells = [CONTACT, ACCOUNT, TEXTS[kind], *[""] * (len(FEEDS) - 3)]
    read = RowReader(FEEDS, TYPES).read(Row(2, cells))
    assert isinstance(read, ImportRow)
    assert read.cells["a_text"] == TEXTS[kind].replace("\0", "\ufffd").replace("\ud83d", "\ufffd")


MONSTERS = {
    "one line": GOOD + b"x" * (3 * ROW_BYTES_MAX),
    "a quote that is never closed": GOOD + b'"' + (b"x" * 1999 + b"\n") * (ROW_BYTES_MAX // 1000),
    "quotes that are never closed": GOOD + b'"""\n' * 5_000,
    "a million delimiters": GOOD + b"," * MIB,
    "line ends": GOOD + b"\r\n" * 20_000,
}


@pytest.mark.parametrize("name", MONSTERS)
def test_monster_is_over_soon_and_fits(name: str) -> None:
    """One row at most is held, and no row is read again and again."""
    tracemalloc.start()
    began = time.process_time()
    try:
        count = sum(1 for _ in rows_of(MONSTERS[name], 64 * 1024))
        spent_s, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 2
    assert spent_s < 20
    assert peak < 256 * MIB

"""Cut a CSV file of people into rows, whatever a spreadsheet or a hand made of it.

Why: one bad byte or one forgotten quote must cost one row and not the file, so bytes are decoded line by line, and a
row that cannot be read is a row with a fault. After a faulty quote reading goes on with the next line, since the quote
may have swallowed any number of good ones. Rejected: `csv.Sniffer`, which guesses the delimiter from values; the
header line tells it. Memory is that of one row. Source: RFC 4180; what Excel writes in Japan (CP932, or UTF-8 with a
byte order mark) and its `sep=` line.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

ROW_BYTES_MAX = 4 * 1024 * 1024
DELIMITERS = (",", ";", "\t")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEP = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_NO_CP932 = re.compile(rb"[\xfd-\xff]")


class Encoding(StrEnum):
    """The encodings that a file may have."""

    UTF8 = "utf-8"
    CP932 = "cp932"


class Line(NamedTuple):
    """A line of the file, its ending included: its number from 1, and where its first byte lies."""

    number: int
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One row, by the line that it begins on. With a `fault`, its cells are what could be made out."""

    line: int
    cells: Sequence[str]
    fault: str = ""

    @property
    def is_blank(self) -> bool:
        """Tell whether there is nothing in it, as in the rows that spreadsheets leave at the end."""
        return not any(cell.strip() for cell in self.cells)


def split_lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    """Cut bytes into lines that end in LF, CR LF or CR; of one longer than a row may be, the rest is dropped."""
    held, number, offset, is_cut = b"", 1, 0, False
    for chunk in chunks:
        pieces = (held + chunk).splitlines(keepends=True)
        # A CR at the end may be half of a line ending.
        held = b"" if not pieces or pieces[-1].endswith(b"\n") else pieces.pop()
        for raw in pieces:
            if not is_cut:
                yield Line(number, offset, raw)
            number, offset, is_cut = number + 1, offset + len(raw), False
        if len(held) > ROW_BYTES_MAX:
            if not is_cut:
                yield Line(number, offset, held)
            offset, held, is_cut = offset + len(held), b"", True
    if held and not is_cut:
        yield Line(number, offset, held)


def detect_encoding(lines: Iterable[Line]) -> Encoding:
    """Tell the encoding of a file: UTF-8 if all of it is, else CP932 if all of it is.

    If it is neither, some bytes are bad in any case: then it is UTF-8 when most lines that could tell are.
    """
    telling = bad_utf8 = bad_cp932 = 0
    for line in lines:
        if line.number == 1 and line.raw.startswith(_BOM):
            return Encoding.UTF8
        if not line.raw.isascii():
            telling += 1
            bad_utf8 += _decode(line.raw, Encoding.UTF8)[1] is not None
            bad_cp932 += _decode(line.raw, Encoding.CP932)[1] is not None
    mostly_utf8 = telling - bad_utf8 > bad_utf8
    return Encoding.UTF8 if not bad_utf8 or mostly_utf8 or bad_utf8 <= bad_cp932 else Encoding.CP932


class PeopleFile:
    """An open file: its header, and its rows one after the other.

    Raises `ValueError`, which says what to do, when it has no header that can be read.
    """

    def __init__(self, lines: Iterator[Line], encoding: Encoding, delimiter: str | None = None) -> None:
        first = _without_mark(next(lines, None))
        said = _SEP.fullmatch(_decode(first.raw, encoding)[0])
        if said:
            delimiter, following = delimiter or said[1], next(lines, None)
            first = _without_mark(following)
        self.encoding = encoding
        self.delimiter = delimiter or _told_by(_decode(first.raw, encoding)[0])
        self._rows = _rows(chain([first], lines), encoding, self.delimiter)
        head = next(self._rows)
        if head.fault or head.is_blank:
            raise ValueError(f"the header on line {head.line} {head.fault or 'is blank'}")
        self.header = [cell.strip() for cell in head.cells]

    def rows(self) -> Iterator[Row]:
        """Yield the rows after the header; those with nothing in them are left out."""
        wide = len(self.header)
        for row in self._rows:
            if row.fault:
                yield row
            elif not row.is_blank:
                count = len(row.cells)
                ragged = f"has {count} cells where the header has {wide}" if count != wide else ""
                yield Row(row.line, row.cells, ragged) if ragged else row


def _without_mark(line: Line | None) -> Line:
    if line is None or not line.raw.removeprefix(_BOM).strip():
        raise ValueError("the file is empty, or begins with an empty line: its first line names the columns")
    if line.raw.startswith(_UTF16):
        raise ValueError("the file is in UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)")
    return line._replace(raw=line.raw.removeprefix(_BOM))


def _told_by(header: str) -> str:
    """Return the delimiter that occurs most in a header, outside its quotes."""
    plain = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=plain.count)


def _decode(raw: bytes, encoding: Encoding) -> tuple[str, int | None]:
    """Return a line's text, and where in it lies the first byte that stands for nothing.

    A surrogate that somebody encoded by itself is text that is cleaned later, as in all of Salesforce's texts.
    """
    # Python gives these bytes private characters, which the code page itself does not know.
    stray = _NO_CP932.search(raw) if encoding is Encoding.CP932 else None
    try:
        if stray is None:
            return raw.decode(encoding), None
        first = stray.start()
    except UnicodeDecodeError as error:
        first = error.start
    if encoding is Encoding.UTF8:
        try:
            return raw.decode(encoding, "surrogatepass"), None
        except UnicodeDecodeError as error:
            first = error.start
    return raw.decode(encoding, "replace"), first


class _TooLongError(Exception):
    """A row that takes more bytes than any row may."""


class _Feed:
    """Gives lines as text to the CSV reader, and remembers those of the row that it is in."""

    def __init__(self, lines: Iterator[Line], encoding: Encoding) -> None:
        self._lines = lines
        self._encoding = encoding
        self._again: deque[Line] = deque()
        self.begin_row()

    def begin_row(self) -> None:
        self.taken: list[Line] = []
        self.bad_byte: int | None = None
        self._size = 0

    def give_back(self) -> None:
        """Let the lines after the row's first one be read again."""
        self._again.extendleft(reversed(self.taken[1:]))

    def first_text(self) -> str:
        return _decode(self.taken[0].raw[:ROW_BYTES_MAX], self._encoding)[0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self._size += len(line.raw)
        if self._size > ROW_BYTES_MAX:
            raise _TooLongError
        text, bad = _decode(line.raw, self._encoding)
        if bad is not None and self.bad_byte is None:
            self.bad_byte = line.offset + bad
        return text


def _rows(lines: Iterator[Line], encoding: Encoding, delimiter: str) -> Iterator[Row]:
    # The default of 131,072 is less than one long text of Salesforce's; a row is bounded by its bytes.
    csv.field_size_limit(ROW_BYTES_MAX)
    feed = _Feed(lines, encoding)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLongError) as error:
            yield Row(feed.taken[0].number, _made_out(feed, delimiter), _quote_fault(feed, error))
            feed.give_back()
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
            continue
        bad = feed.bad_byte
        fault = (
            f"has bytes that are not {encoding}, the first at byte offset {bad}" if bad is not None else ""
        )
        yield Row(feed.taken[0].number, cells, fault)


def _quote_fault(feed: _Feed, error: Exception) -> str:
    if isinstance(error, _TooLongError):
        return f"takes more than {ROW_BYTES_MAX:,} bytes: a quote is not closed, or it is no row"
    if "end of data" in str(error):
        return "opens a quote that is never closed"
    return (
        "has a quote within a quoted cell that is not doubled, or opens a quote that is not closed in its row"
    )


def _made_out(feed: _Feed, delimiter: str) -> list[str]:
    """Return the cells of a faulty row's first line, quotes taken as they come."""
    return feed.first_text().rstrip("\r\n").split(delimiter)

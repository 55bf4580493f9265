"""What a CSV file of people may look like, and what of it is a row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sfsync.core.people_file import (
    ROW_BYTES_MAX,
    Encoding,
    Line,
    PeopleFile,
    Row,
    detect_encoding,
    split_lines,
)


def opened(content: bytes, encoding: Encoding = Encoding.UTF8, delimiter: str | None = None) -> PeopleFile:
    return PeopleFile(split_lines([content]), encoding, delimiter)


def rows(content: bytes, encoding: Encoding = Encoding.UTF8) -> list[Row]:
    return list(opened(content, encoding).rows())


def cells(content: bytes) -> list[list[str]]:
    return [list(row.cells) for row in rows(content) if not row.fault]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_as_on_any_system(ending: bytes) -> None:
    """Lists come from everywhere."""
    assert cells(ending.join([b"a,b", b"1,2", b"3,4"])) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_may_cut_anywhere(size: int) -> None:
    """A line ending or a character may fall between two reads."""
    content = 'a,b\r\n"山\r\n田",2\r3,4\n'.encode()
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    assert list(split_lines(chunks)) == list(split_lines([content]))
    assert [line.raw for line in split_lines(chunks)] == content.splitlines(keepends=True)
    assert [line.offset for line in split_lines(chunks)] == [0, 5, 11, 18]


def test_line_longer_than_any_row_is_one_fault() -> None:
    """A file that is no list must not be read into memory whole."""
    chunk = b"x" * (ROW_BYTES_MAX // 2 + 1)
    lines: Iterator[Line] = split_lines([b"a\n1\n", chunk, chunk, chunk, chunk, b"\n2\n"])
    found = list(PeopleFile(lines, Encoding.UTF8).rows())
    assert [(row.line, bool(row.fault)) for row in found] == [(2, False), (3, True), (4, False)]


def test_byte_order_mark_is_no_part_of_the_first_header() -> None:
    """Excel writes one, and the first header would have an unknown name."""
    assert opened(b"\xef\xbb\xbfcrm_id,b\n").header == ["crm_id", "b"]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("a,b,c", ","), ("a;b;c", ";"), ("a\tb\tc", "\t"), ('"a,x";"b,y";c', ";"), ("a", ",")],
)
def test_delimiter_is_told_by_the_header(header: str, delimiter: str) -> None:
    """What stands in quotes does not count."""
    assert opened(f"{header}\n".encode()).delimiter == delimiter


def test_sep_line_tells_the_delimiter_and_is_no_row() -> None:
    """Excel writes it for itself."""
    file = opened(b"\xef\xbb\xbfsep=;\r\na,1;b\r\n1;2\r\n")
    assert (file.delimiter, file.header) == (";", ["a,1", "b"])
    assert [list(row.cells) for row in file.rows()] == [["1", "2"]]
    assert opened(b"sep=;\na;b\n", delimiter="|").delimiter == "|"


def test_chosen_delimiter_wins() -> None:
    """The header may tell nothing."""
    assert opened(b"a|b,c\n", delimiter="|").header == ["a", "b,c"]


def test_quoted_cell_may_hold_line_ends_delimiters_and_doubled_quotes() -> None:
    """Addresses have two lines."""
    assert cells(b'a,b\n"1-2\r\nTower, 3F","say ""hi"""\n3,4\n') == [
        ["1-2\r\nTower, 3F", 'say "hi"'],
        ["3", "4"],
    ]
    assert [row.line for row in rows(b'a,b\n"1\n2",x\n3,4\n')] == [2, 4]


def test_cell_of_64k_is_read() -> None:
    """Descriptions are long; the CSV module's own limit is lower than Salesforce's longest text."""
    long = "あ" * 65_536 + "x" * 131_072
    assert cells(f"a,b\n{long},2\n".encode()) == [[long, "2"]]


@pytest.mark.parametrize(
    ("line", "told"),
    [("1", "has 1 cells where the header has 2"), ("1,2,3", "has 3 cells where the header has 2")],
)
def test_ragged_row_is_a_fault(line: str, told: str) -> None:
    """Which of its cells is missing nobody knows, so none is taken."""
    found = rows(f"a,b\n{line}\n5,6\n".encode())
    assert [(row.line, row.fault) for row in found] == [(2, told), (3, "")]
    assert list(found[0].cells) == line.split(",")


def test_blank_rows_are_left_out() -> None:
    """Spreadsheets leave them at the end."""
    assert cells("a,b\n\n,\n1,2\n , \u3000\n".encode()) == [["1", "2"]]


def test_quote_that_is_never_closed_costs_one_row() -> None:
    """It would swallow the rest of the file."""
    found = rows(b'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    assert [(row.line, list(row.cells), row.fault) for row in found] == [
        (2, ["1", "2"], ""),
        (3, ["3", '"4'], "opens a quote that is never closed"),
        (4, ["5", "6"], ""),
        (5, ["7", "8"], ""),
    ]


def test_quote_that_meets_a_later_one_costs_one_row() -> None:
    """The next quoted cell ends it in the wrong place; what lies between is good."""
    found = rows(b'a,b\n1,"2\n3,4\n5,"x, y"\n7,8\n')
    assert [(row.line, bool(row.fault)) for row in found] == [(2, True), (3, False), (4, False), (5, False)]
    assert "a quote within a quoted cell" in found[0].fault


def test_quotes_without_end_take_time_in_proportion() -> None:
    """A hostile file must not take for ever."""
    found = rows(b"a,b\n" + b'1,"2\n' * 20_001)
    assert len(found) <= 20_001 and found[-1].fault


def test_undecodable_bytes_cost_one_row_and_are_located() -> None:
    """One bad byte must not cost the file, and whoever mends it must find it."""
    content = b"a,b\n1,\xe5\xb1\xb1\n2,x\xffy\n3,4\n"
    found = rows(content)
    offset = content.index(b"\xff")
    assert [row.fault for row in found] == [
        "",
        f"has bytes that are not utf-8, the first at byte offset {offset}",
        "",
    ]
    assert list(found[1].cells) == ["2", "x\ufffdy"]
    bad = rows("a,b\n1,山\n".encode("cp932") + b"2,\x85\x20\n", Encoding.CP932)
    assert [bool(row.fault) for row in bad] == [False, True]
    [stray] = rows(b"a,b\n1,x\xfdy\n", Encoding.CP932)
    assert stray.fault == "has bytes that are not cp932, the first at byte offset 7"


def test_encoded_surrogate_and_nul_are_text() -> None:
    """They are cleaned like all of Salesforce's texts, not refused."""
    assert cells(b"a,b\n1,x\xed\xa0\xbdy\x00\n") == [["1", "x\ud83dy\0"]]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("a,b\n山,1\n".encode(), "utf-8"),
        ("a,b\n山,1\n".encode("utf-8-sig") + b"\xff\n\xff\n", "utf-8"),
        ("a,b\n髙橋,①\n".encode("cp932"), "cp932"),
        ("a,b\nﾃｱ,ﾀﾞ\n".encode("cp932"), "cp932"),
        (b"a,b\n1,2\n", "utf-8"),
        ("a\n山\n川\n".encode() + b"\xff\n", "utf-8"),
        ("a\n山\n川\n".encode() + "表\n".encode("cp932"), "utf-8"),
        ("a\n表示\n川\n".encode("cp932") + b"\xff\xff\n", "cp932"),
        (b"a\n\x81 \xff\n", "utf-8"),
    ],
)
def test_encoding_is_detected(content: bytes, encoding: str) -> None:
    """UTF-8 if it is that, else CP932; a few bad bytes do not turn a whole file into something else."""
    assert detect_encoding(split_lines([content])) == encoding


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty"),
        (b"\na,b\n", "begins with an empty line"),
        (b"sep=;\n", "empty"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"a,\xff\n1,2\n", "header on line 1 has bytes that are not utf-8"),
        (b'a,"b\n1,2\n', "header on line 1 opens a quote"),
        (b",,\n1,2,3\n", "is blank"),
    ],
)
def test_file_without_a_header_says_so(content: bytes, told: str) -> None:
    """The whole file depends on it."""
    with pytest.raises(ValueError, match=told):
        opened(content)

"""Values: one spelling per value, nothing that Postgres refuses, nothing lost."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfsync.core.jsontext import clean_text, clean_tree, parse_json
from sfsync.core.values import TYPES, read_value, value_type_name

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(),
    st.floats(),
    st.text(st.characters()),
    st.from_regex(r"\A\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:?\d\d))?\Z"),
    st.datetimes(timezones=st.just(UTC)).map(lambda instant: instant.isoformat()),
    st.times().map(lambda time: time.isoformat()),
    st.just("0035i00000con01"),
)


@pytest.mark.parametrize(
    "type_name", ["string", "textarea", "phone", "picklist", "multipicklist", "url", "email"]
)
@pytest.mark.parametrize(
    "text",
    [
        "01234",
        "NA",
        "null",
        "0",
        " padded ",
        "ｶﾞ",
        "が",
        "１００−０００５",
        "①㌔〜～",
        "a\r\nb\rc\n",
        "👨‍👩‍👧‍👦",
        "A;B",
        "﻿x",
    ],
)
def test_text_is_kept_to_the_byte(type_name: str, text: str) -> None:
    """No guessing, no trimming, no normalising: a postal code keeps its zero, Namibia its code."""
    assert read_value(type_name, text) == text


@pytest.mark.parametrize(
    ("text", "kept"), [("a\0b", "a�b"), ("\ud83d", "�"), ("x\udc00y\0", "x�y�"), ("😀", "😀")]
)
def test_text_that_no_database_holds_is_mended(text: str, kept: str) -> None:
    """NUL and half a surrogate pair stop a driver in the middle of a batch."""
    assert read_value("string", text) == kept


@pytest.mark.parametrize("type_name", sorted(TYPES))
def test_null_is_null_for_every_type(type_name: str) -> None:
    """Any field may be empty."""
    assert read_value(type_name, None) is None


@pytest.mark.parametrize("type_name", ["string", "reference", "date", "datetime", "time"])
def test_empty_text_is_null(type_name: str) -> None:
    """Salesforce does not tell the two apart, so a comparison must not either."""
    assert read_value(type_name, "") is None


@pytest.mark.parametrize(
    ("raw", "spelling"),
    [
        ("2026-11-24T03:04:05.000Z", "2026-11-24T03:04:05.000Z"),
        ("2026-11-24T03:04:05.000+0000", "2026-11-24T03:04:05.000Z"),
        ("2026-11-24T03:04:05+00:00", "2026-11-24T03:04:05.000Z"),
        ("2021-01-20T22:33:10Z", "2021-01-20T22:33:10.000Z"),
        ("2026-11-24T03:04:05.5+09:00", "2026-11-23T18:04:05.500Z"),
        ("2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999Z"),
        ("2026-11-24T03:04:05.123456Z", "2026-11-24T03:04:05.123Z"),
        ("4000-12-31T00:00:00.000+0000", "4000-12-31T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_instant_has_one_spelling(raw: str, spelling: str) -> None:
    """An event says Z, a query +0000: the same instant must compare equal, or every sweep finds drift."""
    assert read_value("datetime", raw) == spelling


@given(st.datetimes(timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))))
def test_instant_survives_any_offset(instant: datetime) -> None:
    """Whatever zone it is written in, the instant stays, to the millisecond."""
    try:
        expected = instant.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="instant"):
            read_value("datetime", instant.isoformat())
        return
    spelling = read_value("datetime", instant.isoformat())
    assert isinstance(spelling, str)
    assert datetime.fromisoformat(spelling) == expected.replace(
        microsecond=expected.microsecond // 1000 * 1000
    )


@pytest.mark.parametrize(
    ("raw", "spelling"), [("1980-01-01", "1980-01-01"), ("2024-04-26T00:00:00.000Z", "2024-04-26")]
)
def test_date_stays_a_date(raw: str, spelling: str) -> None:
    """A birthday has no zone and must not move by one."""
    assert read_value("date", raw) == spelling


def test_time_of_day_loses_its_z() -> None:
    """Salesforce writes a Z after a time that has no zone."""
    assert read_value("time", "10:30:45.000Z") == "10:30:45.000"


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (Decimal("3.0"), "3"),
        (Decimal("1.2E7"), "12000000"),
        (Decimal("1.23456789E9"), "1234567890"),
        (9007199254740993, "9007199254740993"),
        (Decimal("1.23456789012345678E17"), "123456789012345678"),
        (Decimal("0.1250"), "0.125"),
        (Decimal("-0.0"), "0"),
        (0.1, "0.1"),
    ],
)
def test_number_is_exact_and_plain(raw: object, plain: str) -> None:
    """Java prints 1.2E7, and a float would lose the last digits of an amount."""
    value = read_value("currency", raw)
    assert isinstance(value, Decimal)
    assert str(value) == plain


@pytest.mark.parametrize(
    ("type_name", "raw", "value"), [("int", 12, 12), ("int", Decimal("12.0"), 12), ("long", 2**62, 2**62)]
)
def test_whole_number_is_an_int(type_name: str, raw: object, value: int) -> None:
    """An integer column takes no 12.0."""
    read = read_value(type_name, raw)
    assert type(read) is int
    assert read == value


def test_id_is_brought_to_18_characters() -> None:
    """A lookup written with 15 characters must find its parent."""
    assert read_value("reference", "0035i00000con01") == "0035i00000con01AAA"


@pytest.mark.parametrize(
    ("type_name", "raw"),
    [
        ("string", 5),
        ("string", True),
        ("string", ["A", "B"]),
        ("boolean", "secret"),
        ("boolean", 1),
        ("int", 2**31),
        ("int", Decimal("1.5")),
        ("int", True),
        ("int", "5"),
        ("long", 2**63),
        ("double", "secret"),
        ("double", True),
        ("double", math.nan),
        ("double", math.inf),
        ("double", Decimal("NaN")),
        ("double", Decimal("1E+400")),
        ("double", Decimal("1E+999999")),
        ("double", Decimal("9" * 700)),
        ("double", 10**400),
        ("date", "0000-01-01"),
        ("date", "2026-02-30"),
        ("date", "10000-01-01"),
        ("date", "infinity"),
        ("date", "20261124"),
        ("date", "2026-11-24T09:00:00Z"),
        ("date", 1714089600000),
        ("datetime", "0000-01-01T00:00:00Z"),
        ("datetime", "0000-01-01T00:00:00.000Z"),
        ("datetime", "2026-02-30T00:00:00.000Z"),
        ("datetime", "2026-11-24T24:00:00.000Z"),
        ("datetime", "2026-11-24T03:04:05"),
        ("datetime", "2026-W48-2T03:04:05.000Z"),
        ("datetime", "0001-01-01T00:00:00+09:00"),
        ("datetime", "２０２６-11-24T03:04:05Z"),
        ("datetime", 1714089600000),
        ("time", "24:00:00"),
        ("time", "noon"),
        ("reference", "secret"),
        ("reference", ["0035i00000con01"]),
    ],
)
def test_value_that_the_column_cannot_hold_is_refused_without_quoting_it(type_name: str, raw: object) -> None:
    """One poisonous value would roll back the whole batch; the reason is logged, so it holds no value."""
    with pytest.raises(ValueError, match=r".") as refused:
        read_value(type_name, raw)
    assert "secret" not in str(refused.value)


@given(st.sampled_from(sorted(TYPES)), SCALARS)
def test_reading_again_changes_nothing(type_name: str, raw: object) -> None:
    """The spelling is canonical: what was read from the mirror equals what was read from Salesforce."""
    try:
        once = read_value(type_name, raw)
    except ValueError:
        return
    again = read_value(type_name, once)
    assert again == once
    assert str(again) == str(once)


@pytest.mark.parametrize(
    ("described", "pg_type"),
    [
        ({"type": "int", "digits": 8}, "integer"),
        ({"type": "int", "digits": 10}, "bigint"),
        ({"type": "percent"}, "numeric"),
        ({"type": "multipicklist"}, "text"),
        ({"type": "datetime"}, "timestamptz"),
    ],
)
def test_describe_decides_the_column_type(described: dict[str, object], pg_type: str) -> None:
    """Types come from describe, never from how a value looks."""
    assert TYPES[value_type_name(described)].pg_type == pg_type


@pytest.mark.parametrize("refused", ["address", "location", "base64", "anyType", "complexvalue", "json"])
def test_types_without_a_column_are_not_in_the_table(refused: str) -> None:
    """Mapping refuses what the table does not know, so a new type can never be stored by accident."""
    assert refused not in TYPES


def test_json_keeps_what_a_float_would_lose() -> None:
    """18 digits of an amount, and integers past 2^53."""
    value, cleaned = parse_json(b'{"a":1.23456789012345678E17,"b":9007199254740993,"c":3.0}')
    assert value == {"a": Decimal("123456789012345678"), "b": 9007199254740993, "c": Decimal("3.0")}
    assert cleaned == 0


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b'["\\ud83d","x"]', ["�", "x"]), (b'{"a\\u0000":"\\u0000"}', {"a�": "�"}), (b'"\\ud83d\\ude00"', "😀")],
)
def test_json_mends_and_counts_unstorable_text(payload: bytes, value: object) -> None:
    """Msgspec refuses a lone surrogate; the message must not be lost for it, and the change must be counted."""
    assert parse_json(payload) == (value, payload.count(b"\\u0000") + payload.count(b'"\\ud83d"'))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"9" * 5000,
        b"[" * 100_000,
        b'"\xff"',
        b"1E99999999999999999999",
        b"01",
    ],
)
def test_json_that_cannot_be_held_is_one_kind_of_error(payload: bytes) -> None:
    """Python's own parser raises four different classes here, one of which is no ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(payload)


@given(st.text(st.characters()))
def test_cleaned_text_can_be_encoded_and_is_otherwise_the_same(text: str) -> None:
    """Only what cannot be stored changes, character for character."""
    cleaned = clean_text(text)
    cleaned.encode()
    assert len(cleaned) == len(text)
    assert all(new in (old, "�") for new, old in zip(cleaned, text, strict=True))


def test_clean_tree_reaches_every_text() -> None:
    """A NUL three levels down still ends in a column."""
    assert clean_tree({"a": [{"b\0": "\0"}], "c": 1}) == ({"a": [{"b�": "�"}], "c": 1}, 2)


# ---- the three forms


INSTANT_MS = 1_795_489_445_678
FORMS: list[tuple[str, Any, str, Any]] = [
    # type, JSON, Bulk cell, Avro: one value each
    ("string", "01234", "01234", "01234"),
    ("string", "NA", "NA", "NA"),
    ("string", "", "", ""),
    ("string", None, "", None),
    ("string", "a\0b", "a\0b", "a\0b"),
    ("string", "\ud83d", "\ud83d", "\ud83d"),
    ("textarea", "a\r\nb\r\n", "a\r\nb\r\n", "a\r\nb\r\n"),
    ("string", "👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦"),
    ("string", "ｶﾞ", "ｶﾞ", "ｶﾞ"),
    ("multipicklist", "A;B", "A;B", "A;B"),
    ("reference", "0035i00000Con01", "0035i00000Con01AAB", "0035i00000Con01AAB"),
    ("reference", "", "", None),
    ("boolean", True, "true", True),
    ("boolean", False, "false", False),
    ("boolean", None, "", None),
    ("int", 42, "42", 42),
    ("int", Decimal("42.0"), "42", 42),
    ("long", 4_200_000_000, "4200000000", 4_200_000_000),
    ("double", Decimal("1.2E7"), "1.2E7", 12_000_000.0),
    ("currency", Decimal("12000000.00"), "12000000", 12_000_000.0),
    ("double", Decimal("0.1"), "0.1", 0.1),
    ("percent", 0, "-0", 0.0),
    ("percent", None, "", None),
    ("date", "2026-11-24", "2026-11-24", 1_795_478_400_000),
    ("date", "2026-11-24T00:00:00.000+0000", "2026-11-24", 1_795_478_400_000),
    ("date", "0001-01-01", "0001-01-01", -62_135_596_800_000),
    ("date", None, "", None),
    ("datetime", "2026-11-24T03:04:05.678+0000", "2026-11-24T03:04:05.678Z", INSTANT_MS),
    ("datetime", "2026-11-24T03:04:05.678Z", "2026-11-24T12:04:05.678+09:00", INSTANT_MS),
    ("datetime", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ("datetime", None, "", None),
    ("time", "10:30:45.000Z", "10:30:45.000Z", 37_845_000),
    ("time", "00:00:00.000Z", "00:00:00.000Z", 0),
    ("time", None, "", None),
]


@pytest.mark.parametrize(("type_name", "raw", "cell", "avro"), FORMS)
def test_each_form_of_a_value_reads_to_the_same_value(type_name: str, raw: Any, cell: str, avro: Any) -> None:
    """What a backfill by CSV loads must be equal to what an event says, or every sweep finds drift."""
    said = read_value(type_name, raw)
    assert read_value(type_name, cell, "bulk") == said
    assert read_value(type_name, avro, "avro") == said


@pytest.mark.parametrize(
    ("type_name", "cell"),
    [
        ("boolean", "yes"),
        ("int", "1.5"),
        ("int", "2147483648"),
        ("int", "１"),
        ("double", "NaN"),
        ("double", "Infinity"),
        ("double", "1_000"),
        ("double", " 1"),
        ("double", "1e9999"),
        ("double", "9" * 500),
        ("date", "24.11.2026"),
        ("date", "10000-01-01"),
        ("datetime", "294277-01-01T00:00:00Z"),
        ("datetime", "1795489445678"),
        ("time", "25:00:00"),
        ("reference", "nonsense"),
    ],
)
def test_cell_that_is_no_value_of_its_type_is_refused_without_quoting_it(type_name: str, cell: str) -> None:
    """It would stop a whole COPY, or be guessed at."""
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_value(type_name, cell, "bulk")
    assert cell not in str(refused.value)


@pytest.mark.parametrize(
    ("type_name", "raw"),
    [
        ("date", 1_795_489_445_678),
        ("date", "2026-11-24"),
        ("date", 10**18),
        ("datetime", 253_402_300_800_000),
        ("datetime", -62_135_596_800_001),
        ("datetime", True),
        ("datetime", 1.5),
        ("time", 86_400_000),
        ("time", -1),
        ("boolean", 1),
        ("int", True),
        ("int", 2**31),
        ("double", math.nan),
        ("string", b"bytes"),
    ],
)
def test_avro_that_is_no_value_of_its_type_is_refused(type_name: str, raw: Any) -> None:
    """A day that is not a midnight is a schema that we do not understand."""
    with pytest.raises(ValueError, match=r"\w"):
        read_value(type_name, raw, "avro")


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_every_instant_is_the_same_in_all_forms(ms: int) -> None:
    """Milliseconds before 1970 and before 1000 are where arithmetic and formats go wrong."""
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    assert (
        read_value("datetime", ms, "avro")
        == read_value("datetime", text)
        == read_value("datetime", text, "bulk")
    )


def as_json(example: str) -> Any:
    """The value of an example, without its remark."""
    return json.loads(example.partition(" (")[0])


@pytest.mark.parametrize("type_name", sorted(TYPES))
def test_examples_of_the_table_are_one_value(type_name: str) -> None:
    """The document is made from them."""
    json_form, cell, avro = TYPES[type_name].examples
    said = [read_value(type_name, as_json(part)) for part in json_form.split(", ")]
    assert len(set(said)) == 1
    assert read_value(type_name, as_json(avro), "avro") == said[0]
    assert read_value(type_name, cell.replace("\\n", "\n"), "bulk") == said[0]

"""What the columns of a file of people feed, and what their cells may hold."""

from __future__ import annotations

from typing import Any

import pytest

from sfsync.core.ids import Entity, record_id
from sfsync.core.people_cells import (
    ImportRow,
    KnownColumn,
    Names,
    Rejected,
    RowReader,
    field_names,
    label_names,
    refuse_faulty_headers,
    resolve_headers,
)
from sfsync.core.people_file import Row
from sfsync.errors import ConfigError

CONTACT, LEAD, ACCOUNT = (
    record_id(f"{short}01") for short in ("0035i00000Con", "00Q5i00000Lea", "0015i00000Acc")
)
COLUMNS = [
    KnownColumn("last_name", "text", {Entity.CONTACT: "LastName", Entity.LEAD: "LastName"}),
    KnownColumn("phone", "text", {Entity.CONTACT: "Phone", Entity.LEAD: "Phone"}),
    KnownColumn("born_on", "date", {Entity.CONTACT: "Birthdate"}),
    KnownColumn("level", "numeric", {Entity.CONTACT: "Level__c"}),
    KnownColumn("rank", "integer", {Entity.CONTACT: "Rank__c"}),
    KnownColumn("views", "bigint", {Entity.LEAD: "Views__c"}),
    KnownColumn("opted_out", "boolean", {Entity.CONTACT: "HasOptedOutOfEmail"}),
    KnownColumn("created_at", "timestamptz", {Entity.CONTACT: "CreatedDate"}),
    KnownColumn("calls_at", "time", {Entity.CONTACT: "CallsAt__c"}),
    KnownColumn("company.name", "text", {Entity.ACCOUNT: "Name"}),
    KnownColumn("company.phone", "text", {Entity.ACCOUNT: "Phone"}),
]
KEYS = [column.key for column in COLUMNS]
TYPES = {column.key: column.pg_type for column in COLUMNS}


def feeds(
    *header: str, names: list[Names] | None = None, chosen: dict[str, str] | None = None
) -> list[str | None]:
    headers = resolve_headers(header, KEYS, names or [field_names(COLUMNS)], chosen or {})
    refuse_faulty_headers(headers, KEYS, ignore_unknown=False)
    return headers.feeds


def faults(*header: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        feeds(*header, **options)
    return str(refused.value)


def read(**cells: str) -> ImportRow | Rejected:
    """Read one row whose cells are named by their columns; dots are written as two underscores."""
    named = {key.replace("__", "."): text for key, text in cells.items()}
    named.setdefault("crm_id", CONTACT)
    return RowReader(list(named), TYPES).read(Row(2, list(named.values())))


def told(**cells: str) -> dict[str, str | None]:
    row = read(**cells)
    assert isinstance(row, ImportRow), row
    return dict(row.cells)


def reason(**cells: str) -> str:
    row = read(**cells)
    assert isinstance(row, Rejected), row
    return row.reason


def test_headers_are_our_columns() -> None:
    """Whatever their case."""
    assert feeds("CRM_ID", "company_crm_id", "Last_Name", "company.name") == [
        "crm_id",
        "company_crm_id",
        "last_name",
        "company.name",
    ]


def test_headers_may_be_field_names() -> None:
    """That is what a data export has. What a name means for a person goes before what it means for a company."""
    assert feeds("Id", "AccountId", "LastName", "Phone", "Account.Phone", "Name") == [
        "crm_id",
        "company_crm_id",
        "last_name",
        "phone",
        "company.phone",
        "company.name",
    ]
    assert feeds("Lead.Id", "Contact.LastName")[1] == "last_name"


def test_headers_may_be_labels() -> None:
    """That is what a report of Salesforce has, in the language of whoever made it."""
    describes = {
        Entity.CONTACT: {
            "fields": [
                {"name": "Id", "label": "取引先責任者 ID"},
                {"name": "LastName", "label": "姓"},
                {"name": "Fax", "label": "FAX"},
                {"name": "AccountId", "label": "取引先 ID"},
            ]
        },
        Entity.ACCOUNT: {
            "fields": [{"name": "Name", "label": "取引先名"}, {"name": "Id", "label": "取引先 ID"}]
        },
    }
    fields = field_names(COLUMNS)
    labels = label_names(fields, describes)
    assert feeds("取引先責任者 ID", "姓", "取引先名", "取引先 ID", names=[fields, labels]) == [
        "crm_id",
        "last_name",
        "company.name",
        "company_crm_id",
    ]
    assert "'FAX' is no column" in faults("crm_id", "FAX", names=[fields, labels])


def test_chosen_columns_win() -> None:
    """A header may say one thing and mean another."""
    assert feeds("ID", "Name", chosen={"id": "crm_id", "name": "last_name"}) == ["crm_id", "last_name"]


def test_unknown_headers_are_listed_with_near_matches() -> None:
    """All of them at once; a misspelt column must not be lost without a word."""
    text = faults("crm_id", "lastname_", "", "zzz")
    assert "'lastname_' is no column; did you mean last_name?" in text
    assert "column 3 has no name" in text
    assert "'zzz' is no column (" in text


def test_unknown_headers_may_be_left_out() -> None:
    """When one says so."""
    headers = resolve_headers(["crm_id", "zzz", ""], KEYS, [field_names(COLUMNS)], {})
    refuse_faulty_headers(headers, KEYS, ignore_unknown=True)
    assert headers.feeds == ["crm_id", None, None]


def test_two_headers_for_one_column_are_refused() -> None:
    """One of them would be lost."""
    assert "'last_name', 'LastName' all feed last_name" in faults("crm_id", "last_name", "LastName")


def test_header_that_may_mean_two_columns_is_refused() -> None:
    """Guessing would put values where nobody looks for them."""
    columns = [*COLUMNS, KnownColumn("second_name", "text", {Entity.CONTACT: "LastName"})]
    keys = [column.key for column in columns]
    headers = resolve_headers(["crm_id", "LastName"], keys, [field_names(columns)], {})
    with pytest.raises(ConfigError, match="'LastName' may mean last_name or second_name"):
        refuse_faulty_headers(headers, keys, ignore_unknown=True)


def test_file_without_ids_is_refused() -> None:
    """The id is the key."""
    assert "no column is crm_id" in faults("last_name")


def test_report_of_an_import_can_be_read() -> None:
    """Its rows are mended and imported again."""
    assert feeds("line", "reason", "crm_id", "last_name") == [None, None, "crm_id", "last_name"]
    assert "'line' is no column" in faults("crm_id", "line")


@pytest.mark.parametrize("spelling", [CONTACT, CONTACT[:15], f" {CONTACT} ", LEAD])
def test_id_has_15_or_18_characters(spelling: str) -> None:
    """Both are everywhere; inside there is one spelling."""
    row = read(crm_id=spelling)
    assert isinstance(row, ImportRow)
    assert row.record_id in (CONTACT, LEAD)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"crm_id": " "}, "crm_id: missing"),
        ({"crm_id": CONTACT[:15] + "AAA"}, "crm_id: the record id's checksum does not fit"),
        ({"crm_id": f'="{CONTACT}"'}, "crm_id: not a Salesforce record id"),
        ({"crm_id": ACCOUNT}, "crm_id: the id of something other than Lead or Contact"),
        ({"company_crm_id": CONTACT}, "company_crm_id: the id of something other than Account"),
        ({"company_crm_id": "x"}, "company_crm_id: not a Salesforce record id"),
        ({"born_on": "24.11.2026"}, "born_on: a date like"),
        ({"born_on": "2026-02-30"}, "born_on: no such date"),
        ({"level": "1,234"}, "level: a number of plain digits"),
        ({"level": "1e3"}, "level: a number of plain digits"),
        ({"rank": "1.5"}, "rank: a whole number is expected"),
        ({"rank": "3000000000"}, "rank: the number needs more than 32 bits"),
        ({"views": "9" * 20}, "views: the number needs more than 64 bits"),
        ({"level": "1" * 999}, "level: the number is outside"),
        ({"opted_out": "maybe"}, "opted_out: true, false"),
        ({"created_at": "2026-11-24 10:30"}, "created_at: an instant with its zone"),
        ({"created_at": "2026-11-24T25:30:00Z"}, "created_at: no such instant"),
        ({"calls_at": "24:01"}, "calls_at: no such time"),
    ],
)
def test_bad_cell_rejects_its_row_with_a_reason(cells: dict[str, str], why: str) -> None:
    """Column and rule, never the value: reports are passed on."""
    assert reason(**cells).startswith(why)


def test_all_faults_of_a_row_are_told_together() -> None:
    """It is mended once."""
    assert reason(crm_id="", born_on="x", level="y").count(";") == 2
    assert read(crm_id="", born_on="x") == Rejected(
        2, "crm_id: missing; born_on: a date like 2026-11-24 or 2026/11/24 is expected", ["", "x"]
    )


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("born_on", "2026-11-24", "2026-11-24"),
        ("born_on", "2026/11/24", "2026-11-24"),
        ("born_on", " 2026/1/5 ", "2026-01-05"),
        ("born_on", "2026/1/5 0:00", "2026-01-05"),
        ("level", "-001.50", "-1.5"),
        ("level", "0" * 30 + "12", "12"),
        ("level", "1234567890123456789.125", "1234567890123456789.125"),
        ("level", "100", "100"),
        ("rank", "7.0", "7"),
        ("views", "9007199254740993", "9007199254740993"),
        ("opted_out", "Yes", "true"),
        ("opted_out", "0", "false"),
        ("opted_out", "FALSE", "false"),
        ("created_at", "2026/11/24 1:02 +09:00", "2026-11-23T16:02:00.000Z"),
        ("created_at", "2026-11-24T01:02:03.5Z", "2026-11-24T01:02:03.500Z"),
        ("calls_at", "9:30", "09:30:00.000"),
        ("last_name", "01234", "01234"),
        ("last_name", "NA", "NA"),
        ("last_name", " 山 ", " 山 "),
        ("last_name", "a\r\nb", "a\r\nb"),
    ],
)
def test_cells_are_read_by_the_type_of_their_column(column: str, text: str, value: str) -> None:
    """Never by the look of the value."""
    assert told(**{column: text}) == {column: value}


@pytest.mark.parametrize("text", ["=1+1", "+81 3", "-5", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"])
def test_cells_that_look_like_formulas_stay_text(text: str) -> None:
    """We are no spreadsheet: nothing is evaluated, and nothing is put before it."""
    assert told(last_name=text) == {"last_name": text}


def test_blank_cell_changes_nothing_and_a_dash_clears() -> None:
    """Blank is what a list has where it knows nothing, full-width white space included."""
    assert told(last_name="", phone=" \u3000", born_on="-", level=" - ") == {"born_on": None, "level": None}
    assert told(last_name="--") == {"last_name": "--"}


def test_text_that_no_database_holds_is_cleaned_and_counted() -> None:
    """As in all of Salesforce's texts."""
    reader = RowReader(["crm_id", "last_name", "phone"], TYPES)
    row = reader.read(Row(2, [CONTACT, "x\0\ud83dy", "z"]))
    assert isinstance(row, ImportRow)
    assert (row.cells["last_name"], reader.cleaned) == ("x\ufffd\ufffdy", 1)


def test_company_is_named_by_its_id() -> None:
    """Values without an id have no company to go to; they are counted."""
    row = read(company_crm_id=ACCOUNT[:15], company__name="B", last_name="A")
    assert isinstance(row, ImportRow)
    assert (row.company, dict(row.company_cells), dict(row.cells)) == (
        ACCOUNT,
        {"name": "B"},
        {"last_name": "A"},
    )
    reader = RowReader(["crm_id", "company_crm_id", "company.name"], TYPES)
    for company, kept in (("", None), ("-", "-")):
        row = reader.read(Row(2, [CONTACT, company, "B"]))
        assert isinstance(row, ImportRow)
        assert (row.company, dict(row.company_cells)) == (kept, {})
    assert reader.homeless == 2


def test_faulty_row_is_rejected_as_it_is() -> None:
    """What could be made out of it goes into the report."""
    assert RowReader(["crm_id"], TYPES).read(Row(9, ["x", "y"], "is torn")) == Rejected(
        9, "is torn", ["x", "y"]
    )

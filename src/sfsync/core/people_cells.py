"""Say what each column of a file of people feeds, and read its rows into values that Postgres takes.

Why: everything that can be wrong with a row is found before the row is near the store, all of it at once, and told
with the column's name and never with the value. A cell is read by the type of its column and not by its look, so
"01234" in a text column stays text, and so does `=HYPERLINK(...)`: it is text that a spreadsheet would obey, and we
are none. Rejected: reading dates and numbers "as usual in the country", because 1,234 is two numbers then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches

from ..errors import ConfigError
from .ids import Entity, RecordId, entity_of, record_id
from .jsontext import clean_text
from .people_file import Row
from .values import read_value

PERSON_ID, COMPANY_ID = "crm_id", "company_crm_id"
CLEAR = "-"
COMPANY_PREFIX = "company."
REPORT_HEADERS = ["line", "reason"]
"""What a report of rejected rows begins with; a mended report is read again, and these are left out."""

_DAY = r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
_CLOCK = r"(\d{1,2}):(\d\d)(:\d\d(?:\.\d{1,9})?)?"
_DATE = re.compile(rf"{_DAY}(?:[ T]0?0:00(?::00)?)?", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)
_INSTANT = re.compile(rf"{_DAY}[ T]{_CLOCK} ?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,1000}(?:\.\d{1,1000})?", re.ASCII)
_BOOLEANS = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}


@dataclass(frozen=True, slots=True)
class KnownColumn:
    """A column that a file may feed, companies' as `company.<column>`, and the field of each entity that feeds it."""

    key: str
    pg_type: str
    sources: Mapping[Entity, str]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A sound row: what becomes of which record's person. In the cells, None clears; what is not there stays.

    `company` is the record id of the company, `-` to clear it, None to leave it.
    """

    line: int
    record_id: RecordId
    company: str | None
    cells: Mapping[str, str | None]
    company_cells: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be taken, and why."""

    line: int
    reason: str
    cells: Sequence[str]


# Headers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """The names by which headers are known, in lower case, each with the columns that it may mean.

    What a name means for a person goes before what it means for a company.
    """

    person: Mapping[str, set[str]]
    company: Mapping[str, set[str]]

    def find(self, header: str) -> set[str]:
        folded = header.casefold()
        return self.person.get(folded) or self.company.get(folded) or set()


_IDS = [
    ("salesforce_id", PERSON_ID),
    ("Id", PERSON_ID),
    ("Contact.Id", PERSON_ID),
    ("Lead.Id", PERSON_ID),
    ("AccountId", COMPANY_ID),
    ("Contact.AccountId", COMPANY_ID),
    ("Account.Id", COMPANY_ID),
]


def field_names(columns: Iterable[KnownColumn]) -> Names:
    """Return the API names of the fields behind *columns*, plain and with their entity: `LastName`, `Contact.LastName`."""
    person: dict[str, set[str]] = {name.casefold(): {key} for name, key in _IDS}
    company: dict[str, set[str]] = {}
    for column in columns:
        names = company if column.key.startswith(COMPANY_PREFIX) else person
        for entity, source in column.sources.items():
            for name in (source, f"{entity.value}.{source}"):
                names.setdefault(name.casefold(), set()).add(column.key)
    return Names(person, company)


def label_names(fields: Names, describes: Mapping[Entity, Mapping[str, object]]) -> Names:
    """Return the labels that an org gives to the fields that *fields* knows, in the language of the login."""
    person: dict[str, set[str]] = {}
    company: dict[str, set[str]] = {}
    for entity, describe in describes.items():
        described = describe.get("fields")
        for one in described if isinstance(described, list) else []:
            keys = fields.find(f"{entity.value}.{one['name']}")
            names = company if entity is Entity.ACCOUNT else person
            if keys and one.get("label"):
                names.setdefault(str(one["label"]).strip().casefold(), set()).update(keys)
    return Names(person, company)


@dataclass(slots=True)
class Headers:
    """What each header of a file feeds: a column, nothing (None), or what nobody knows (`unknown`, by place)."""

    header: Sequence[str]
    feeds: list[str | None]
    unknown: list[int] = field(default_factory=list)
    ambiguous: dict[str, set[str]] = field(default_factory=dict)


def resolve_headers(
    header: Sequence[str], columns: Iterable[str], names: Sequence[Names], chosen: Mapping[str, str]
) -> Headers:
    """Say what each header feeds: as *chosen*, else the column of its name, else by the first of *names*."""
    known = {PERSON_ID, COMPANY_ID, *columns}
    picked = {name.casefold(): key for name, key in chosen.items()}
    headers = Headers(header, [None] * len(header))
    is_report = list(header[: len(REPORT_HEADERS)]) == REPORT_HEADERS
    for place, name in enumerate(header):
        if is_report and place < len(REPORT_HEADERS):
            continue
        folded = name.casefold()
        means = {picked[folded]} if folded in picked else {folded} & known
        for more in names:
            means = means or (more.find(name) & known)
        if len(means) == 1:
            headers.feeds[place] = means.pop()
        elif means:
            headers.ambiguous[name] = means
        else:
            headers.unknown.append(place)
    return headers


def refuse_faulty_headers(headers: Headers, columns: Iterable[str], *, ignore_unknown: bool) -> None:
    """Raise `ConfigError`, listing all that is wrong with the headers."""
    known = sorted({PERSON_ID, COMPANY_ID, *columns})
    faults = [
        f"{name!r} may mean {' or '.join(sorted(means))}: name the column itself, or use --columns"
        for name, means in headers.ambiguous.items()
    ]
    if not ignore_unknown:
        faults += [_unknown(headers.header[place], place, known) for place in headers.unknown]
    fed: dict[str, list[str]] = {}
    for name, feeds in zip(headers.header, headers.feeds, strict=True):
        if feeds:
            fed.setdefault(feeds, []).append(name)
    faults += [
        f"{', '.join(map(repr, names))} all feed {feeds}: keep one of them"
        for feeds, names in fed.items()
        if len(names) > 1
    ]
    if PERSON_ID not in fed:
        faults.append(f"no column is {PERSON_ID}, the Salesforce id of the Lead or Contact")
    if faults:
        raise ConfigError("the header cannot be used:\n  " + "\n  ".join(faults))


def _unknown(name: str, place: int, known: Sequence[str]) -> str:
    if not name:
        return f"column {place + 1} has no name: name it, take it out, or say --ignore-unknown"
    near = get_close_matches(name.casefold(), known, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{name!r} is no column{hint} (--columns FILE tells what it is, --ignore-unknown leaves it out)"


# Cells ------------------------------------------------------------------------------------------------


def _date(text: str) -> str:
    shape = _DATE.fullmatch(text)
    if shape is None:
        raise ValueError("a date like 2026-11-24 or 2026/11/24 is expected")
    return str(read_value("date", _day(shape)))


def _day(shape: re.Match[str]) -> str:
    return f"{shape[1]}-{shape[2]:0>2}-{shape[3]:0>2}"


def _instant(text: str) -> str:
    shape = _INSTANT.fullmatch(text)
    if shape is None:
        raise ValueError("an instant with its zone, like 2026-11-24T10:30:00+09:00, is expected")
    return str(
        read_value("datetime", f"{_day(shape)}T{shape[4]:0>2}:{shape[5]}{shape[6] or ':00'}{shape[7]}")
    )


def _time(text: str) -> str:
    shape = _TIME.fullmatch(text)
    if shape is None:
        raise ValueError("a time of day like 10:30 is expected")
    return str(read_value("time", f"{shape[1]:0>2}:{shape[2]}{shape[3] or ':00'}"))


def _boolean(text: str) -> str:
    if text.casefold() not in _BOOLEANS:
        raise ValueError("true, false, yes, no, 1 or 0 is expected")
    return _BOOLEANS[text.casefold()]


def _number_reader(type_name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not _NUMBER.fullmatch(text):
            raise ValueError("a number of plain digits is expected, without separators or units")
        return (
            f"{read_value(type_name, Decimal(text)):f}" if type_name == "double" else _whole(type_name, text)
        )

    return read


def _whole(type_name: str, text: str) -> str:
    return str(read_value(type_name, Decimal(text)))


READERS: Mapping[str, Callable[[str], str] | None] = {
    "text": None,
    "boolean": _boolean,
    "integer": _number_reader("int"),
    "bigint": _number_reader("long"),
    "numeric": _number_reader("double"),
    "date": _date,
    "timestamptz": _instant,
    "time": _time,
}
"""How the cells of each Postgres type are read; None keeps them as they are."""


_Cell = tuple[int, str, str, Callable[[str], str] | None]
"""Where a cell stands, the column it feeds, that column's own name, and how it is read."""


class RowReader:
    """Reads rows of one file; counts what it had to leave out or clean.

    `cleaned`: cells with text that no database can hold. `homeless`: rows with values for a company but no id of one.
    """

    def __init__(self, feeds: Sequence[str | None], types: Mapping[str, str]) -> None:
        """*types*: the Postgres type of each column, companies' as `company.<column>`."""
        self._ids = {
            feeds_id: feeds.index(feeds_id) for feeds_id in (PERSON_ID, COMPANY_ID) if feeds_id in feeds
        }
        self._own: list[_Cell] = []
        self._theirs: list[_Cell] = []
        for place, key in enumerate(feeds):
            if key is None or key in self._ids:
                continue
            cells = self._theirs if key.startswith(COMPANY_PREFIX) else self._own
            cells.append((place, key, key.removeprefix(COMPANY_PREFIX), READERS[types[key]]))
        self.cleaned = 0
        self.homeless = 0

    def read(self, row: Row) -> ImportRow | Rejected:
        """Return what a row says, or all that is wrong with it."""
        if row.fault:
            return Rejected(row.line, row.fault, row.cells)
        row = self._cleaned(row)
        faults: list[str] = []
        person = self._person(row, faults)
        company = self._company(row, faults)
        own = self._read_cells(self._own, row, faults)
        theirs = self._read_cells(self._theirs, row, faults)
        if faults or person is None:
            return Rejected(row.line, "; ".join(faults), row.cells)
        if theirs and company in (None, CLEAR):
            self.homeless += 1
            theirs = {}
        return ImportRow(row.line, person, company, own, theirs)

    def _cleaned(self, row: Row) -> Row:
        """Clean the cells of the rare row that needs it."""
        whole = "".join(row.cells)
        if clean_text(whole) is whole:
            return row
        cells = [clean_text(cell) for cell in row.cells]
        self.cleaned += sum(new is not old for new, old in zip(cells, row.cells, strict=True))
        return Row(row.line, cells)

    def _person(self, row: Row, faults: list[str]) -> RecordId | None:
        text = row.cells[self._ids[PERSON_ID]].strip()
        if not text:
            faults.append(f"{PERSON_ID}: missing")
            return None
        return _checked_id(PERSON_ID, text, (Entity.LEAD, Entity.CONTACT), faults)

    def _company(self, row: Row, faults: list[str]) -> str | None:
        text = row.cells[self._ids[COMPANY_ID]].strip() if COMPANY_ID in self._ids else ""
        if text in ("", CLEAR):
            return text or None
        return _checked_id(COMPANY_ID, text, (Entity.ACCOUNT,), faults)

    def _read_cells(self, wanted: Sequence[_Cell], row: Row, faults: list[str]) -> dict[str, str | None]:
        cells: dict[str, str | None] = {}
        for place, key, name, reader in wanted:
            raw = row.cells[place]
            text = raw.strip()
            if text == CLEAR:
                cells[name] = None
            elif text and reader is None:
                cells[name] = raw
            elif text and reader is not None:
                try:
                    cells[name] = reader(text)
                except ValueError as error:
                    faults.append(f"{key}: {error}")
        return cells


def _checked_id(key: str, text: str, entities: Sequence[Entity], faults: list[str]) -> RecordId | None:
    try:
        whole = record_id(text)
    except ValueError as error:
        faults.append(f"{key}: {error}")
        return None
    if entity_of(whole) not in entities:
        faults.append(f"{key}: the id of something other than {' or '.join(entities)}")
        return None
    return whole

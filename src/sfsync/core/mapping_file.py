"""The mapping as its author wrote it: which field feeds which column, before anything is known of the org.

    [person]
    last_name = { contact = "LastName", lead = "LastName" }
    company_name = { lead = "Company", role = "company" }   # a contact's comes from its company's row
    [person.address]
    postal_code = { contact = "MailingPostalCode", lead = "PostalCode" }
    [company]
    name = "Name"
    [company.address]
    postal_code = "BillingPostalCode"

`optional = true` lets an org do without the field: the column then has one source less, or is left out.

Why: reading the file and binding it to an org (`mapping.bind`) are two steps, so that a file can be checked
where no org is. Address columns have a table of their own and fixed names, because the address rules must
know which column is the postal code. All faults are reported together: an operator mends a file once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, cast

from ..errors import ConfigError
from .ids import Entity

Table = Literal["person", "company"]
Role = Literal["plain", "company", "address"]
CompanyAddress = Literal["billing", "shipping"]

ADDRESS_PARTS = [
    "postal_code",
    "prefecture",
    "city",
    "street",
    "building",
    "country",
    "prefecture_code",
    "country_code",
    "latitude",
    "longitude",
]
SIDES: Mapping[Table, Mapping[str, Entity]] = {
    "person": {"contact": Entity.CONTACT, "lead": Entity.LEAD},
    "company": {"account": Entity.ACCOUNT},
}
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FIELD = re.compile(r"[A-Za-z]\w{0,254}", re.ASCII)
OWN_COLUMNS = frozenset(
    [
        "id",
        "org",
        "salesforce_id",
        "source",
        "company_id",
        "address_preference",
        "sync",
        "sync_reason",
        "merged_into",
        "deleted_at",
        "synced_at",
        "tableoid",
        "xmin",
        "cmin",
        "xmax",
        "cmax",
        "ctid",
    ]
)


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """One column as the file states it."""

    table: Table
    name: str
    role: Role
    sources: Mapping[Entity, str]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A mapping that is sound in itself; whether the org has its fields is for `mapping.bind` to say."""

    columns: tuple[MappedColumn, ...]


def parse_mapping(document: Mapping[str, object]) -> MappingFile:
    """Read a mapping from its parsed TOML; raises `ConfigError` listing every fault."""
    faults = [f"[{name}]: only [person] and [company] are known" for name in document if name not in SIDES]
    columns: list[MappedColumn] = []
    for table in SIDES:
        section = document.get(table, {})
        if isinstance(section, Mapping):
            _read_section(table, section, columns, faults)
        else:
            faults.append(f"{table}: a table [{table}] is expected")
    faults += _duplicates(columns)
    if not columns and not faults:
        faults.append("no column is mapped: name some under [person] and [company]")
    if faults:
        raise ConfigError("the mapping is faulty:\n  " + "\n  ".join(faults))
    return MappingFile(tuple(columns))


def default_mapping(*, company_address: CompanyAddress = "billing") -> MappingFile:
    """Return the mapping that ships with sfsync: what most orgs fill in, standard fields only."""
    return parse_mapping(tomllib.loads(default_mapping_text(company_address=company_address)))


def default_mapping_text(*, company_address: CompanyAddress = "billing") -> str:
    """Return the shipped mapping as its TOML text, comments included."""
    text = (files(__package__) / "default_mapping.toml").read_text(encoding="utf-8")
    # The fields of the two addresses differ in this word, which stands nowhere else.
    return text if company_address == "billing" else text.replace("Billing", "Shipping")


def _read_section(
    table: Table, section: Mapping[str, object], columns: list[MappedColumn], faults: list[str]
) -> None:
    for place, name, entry, role in _entries(table, section):
        problems = [*_name_problems(name, role)]
        column, more = _read_column(table, name, entry, role)
        problems += more
        faults.extend(f"{place}: {problem}" for problem in problems)
        if column is not None:
            columns.append(column)


def _entries(table: Table, section: Mapping[str, object]) -> Iterator[tuple[str, str, object, Role]]:
    for name, entry in section.items():
        if name == "address" and isinstance(entry, Mapping):
            for part, source in entry.items():
                yield f"{table}.address.{part}", part, source, "address"
        else:
            yield f"{table}.{name}", name, entry, "plain"


def _name_problems(name: str, role: Role) -> Iterator[str]:
    if name in OWN_COLUMNS:
        yield "this column name is sfsync's own; choose another"
    elif role == "address" and name not in ADDRESS_PARTS:
        yield f"no part of an address; the parts are {', '.join(ADDRESS_PARTS)}"
    elif not _COLUMN.fullmatch(name):
        yield "a column name is lower-case letters, digits and _, begins with a letter, 63 at most"


def _read_column(table: Table, name: str, entry: object, role: Role) -> tuple[MappedColumn | None, list[str]]:
    if table == "company" and isinstance(entry, str):
        entry = {"account": entry}
    if not isinstance(entry, Mapping):
        wanted = '"Field"' if table == "company" else '{ contact = "Field", lead = "Field" }'
        return None, [f"{wanted} is expected"]
    sides = SIDES[table]
    problems = _option_problems(table, entry, role)
    sources = {sides[key]: field for key, field in entry.items() if key in sides and isinstance(field, str)}
    problems += [f"{field!r} is no field name" for field in sources.values() if not _FIELD.fullmatch(field)]
    if not sources:
        problems.append(f"no source is named; {' or '.join(sides)} can feed it")
    if entry.get("role") == "company":
        role = "company"
    return MappedColumn(table, name, role, sources, bool(entry.get("optional"))), problems


def _option_problems(table: Table, entry: Mapping[str, object], role: Role) -> list[str]:
    sides = SIDES[table]
    known = [*sides, "optional", *(["role"] if table == "person" else [])]
    problems = [
        f"{key!r} is not known here; known are {', '.join(known)}" for key in entry if key not in known
    ]
    problems += [
        f"{key}: the name of a field is expected" for key in sides if not isinstance(entry.get(key, ""), str)
    ]
    if not isinstance(entry.get("optional", False), bool):
        problems.append("optional: true or false is expected")
    if table == "person" and "role" in entry:
        if entry["role"] != "company":
            problems.append('role: only "company" can be given; address columns go under [person.address]')
        elif role == "address":
            problems.append("role: a column is a part of the address or of the company, not both")
        elif "contact" in entry:
            problems.append(
                "role: a contact's company column comes from its company's row; name the lead only"
            )
    return problems


def _duplicates(columns: list[MappedColumn]) -> list[str]:
    seen: set[tuple[str, str]] = set()
    faults = []
    for column in columns:
        if (column.table, column.name) in seen:
            faults.append(f"{column.table}.{column.name}: stated twice, plain and under address")
        seen.add((cast(str, column.table), column.name))
    return faults

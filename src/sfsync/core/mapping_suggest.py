"""Write a mapping from what an org describes, for an operator to cut down.

Why: nobody knows the API names of an org's custom fields by heart, and a mapping that is written by hand is misspelt. So
everything that can be mapped is listed: what was mapped before (or ships with sfsync) first, then the custom fields, as
lines that are in force; other standard fields as comments, since most orgs need few of them and what is not needed should
not be copied. The outcome is itself a sound mapping for this org.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .ids import Entity
from .mapping import READ_ONLY, announcement, source_fault
from .mapping_file import ADDRESS_PARTS, OWN_COLUMNS, SIDES, MappedColumn, MappingFile, Role, Table
from .values import TYPES, value_type_name

_HEAD = """\
# Which Salesforce field feeds which column. Written by sfsync mapping suggest; change it freely, then ask
# sfsync mapping lint FILE and sfsync mapping plan FILE. Lines that begin with # and end in a } or a " are fields that
# are not mapped: take the # away to map them. "not announced": events do not tell of changes, only readings bring them.
"""
_ADDRESS_FIELDS: Mapping[str, tuple[str, str, str]] = {
    "prefecture_code": ("MailingStateCode", "StateCode", "BillingStateCode"),
    "country_code": ("MailingCountryCode", "CountryCode", "BillingCountryCode"),
    "latitude": ("MailingLatitude", "Latitude", "BillingLatitude"),
    "longitude": ("MailingLongitude", "Longitude", "BillingLongitude"),
}
_TAKEN_AT_ONCE = ("prefecture_code", "country_code")
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NAME_MAX = 58

Describes = Mapping[Entity, Mapping[str, Any]]


@dataclass(slots=True)
class _Draft:
    """The mapping as far as it is written."""

    fields: Mapping[Entity, Mapping[str, Mapping[str, Any]]]
    lines: dict[tuple[Table, bool], list[str]] = field(default_factory=dict)
    used: set[tuple[Entity, str]] = field(default_factory=set)
    names: set[tuple[Table, str]] = field(default_factory=set)

    def add(self, column: MappedColumn, *, in_force: bool = True, remark: str = "") -> None:
        section = self.lines.setdefault((column.table, column.role == "address"), [])
        section.append(f"# {remark or self.describe(column.sources)}")
        section.append(("" if in_force else "# ") + _toml(column))
        self.names.add((column.table, column.name))
        self.used.update(column.sources.items())

    def describe(self, sources: Mapping[Entity, str]) -> str:
        """Tell labels, types and announcements of a column's fields."""
        told: dict[str, list[str]] = {}
        for entity, name in sources.items():
            described = self.fields[entity][name]
            told.setdefault(_remark(described), []).append(f"{entity.value}.{name}")
        if len(told) == 1:
            return next(iter(told))
        return "; ".join(f"{', '.join(names)}: {remark}" for remark, names in told.items())


def suggest(describes: Describes, existing: MappingFile) -> str:
    """Return a mapping as TOML text, with the columns of *existing* first as far as this org feeds them."""
    fields = {
        entity: {str(one["name"]): one for one in describes[entity]["fields"]} if entity in describes else {}
        for entity in Entity
    }
    draft = _Draft(fields)
    for column in existing.columns:
        _keep(draft, column)
    _suggest_address(draft)
    for table in SIDES:
        _suggest_rest(draft, table)
    sections = (
        (("person", False), "[person]"),
        (("person", True), "[person.address]"),
        (("company", False), "[company]"),
        (("company", True), "[company.address]"),
    )
    return _HEAD + "".join(
        f"\n{title}\n" + "\n".join(draft.lines[place]) + "\n"
        for place, title in sections
        if place in draft.lines
    )


def _keep(draft: _Draft, column: MappedColumn) -> None:
    """Keep a column with the sources that the org can feed; a source that it cannot is told in a comment."""
    sources = _of_one_type(draft, _feeding(draft, column.sources))
    lost = {entity: name for entity, name in column.sources.items() if entity not in sources}
    kept = MappedColumn(column.table, column.name, column.role, sources or column.sources, column.optional)
    if not sources:
        remark = "; ".join(_loss(draft, entity, name) for entity, name in lost.items())
        draft.add(kept, in_force=False, remark=remark)
        return
    remark = "; ".join([draft.describe(sources), *(_loss(draft, e, name) for e, name in lost.items())])
    draft.add(kept, remark=remark)


def _loss(draft: _Draft, entity: Entity, name: str) -> str:
    return _printable(
        f"{entity.value}.{name} {source_fault(entity, name, draft.fields[entity]) or 'is of another type'}"
    )


def _feeding(draft: _Draft, sources: Mapping[Entity, str]) -> dict[Entity, str]:
    return {
        entity: name
        for entity, name in sources.items()
        if draft.fields[entity] and source_fault(entity, name, draft.fields[entity]) is None
    }


def _of_one_type(draft: _Draft, sources: Mapping[Entity, str]) -> dict[Entity, str]:
    """Leave out the sources that are of another Postgres type than the first."""
    types = {entity: _pg_type(draft.fields[entity][name]) for entity, name in sources.items()}
    first = next(iter(types.values()), "")
    return {entity: name for entity, name in sources.items() if types[entity] == first}


def _suggest_address(draft: _Draft) -> None:
    for part, (contact, lead, account) in _ADDRESS_FIELDS.items():
        tables: Sequence[tuple[Table, Mapping[Entity, str]]] = (
            ("person", {Entity.CONTACT: contact, Entity.LEAD: lead}),
            ("company", {Entity.ACCOUNT: account}),
        )
        for table, wanted in tables:
            sources = _of_one_type(draft, _feeding(draft, wanted))
            if sources and (table, part) not in draft.names:
                column = MappedColumn(table, part, "address", sources)
                draft.add(column, in_force=part in _TAKEN_AT_ONCE)


def _suggest_rest(draft: _Draft, table: Table) -> None:
    """List what is not mapped yet: custom fields in force, standard ones as comments."""
    entities = list(SIDES[table].values())
    rest = dict.fromkeys(name for entity in entities for name in _unused(draft, entity))
    for is_custom in (True, False):
        for name in rest:
            sources = {entity: name for entity in entities if name in _unused(draft, entity)}
            while sources and _is_custom(name) is is_custom:
                taken = _of_one_type(draft, sources)
                column = MappedColumn(table, _column_name(draft, table, name), "plain", taken)
                draft.add(column, in_force=is_custom)
                sources = {entity: name for entity in sources if entity not in taken}


def _unused(draft: _Draft, entity: Entity) -> Iterable[str]:
    return {
        name: None
        for name in draft.fields[entity]
        if (entity, name) not in draft.used
        and name not in READ_ONLY
        and source_fault(entity, name, draft.fields[entity]) is None
    }


def _is_custom(name: str) -> bool:
    return name.endswith(("__c", "__s", "__pc"))


def _column_name(draft: _Draft, table: Table, name: str) -> str:
    """Return a free column name after a field's: `HasOptedOutOfFax` → `has_opted_out_of_fax`."""
    plain = re.sub(r"__(?:c|s|pc)$", "", name)
    stem = re.sub(r"_+", "_", _WORD_BREAK.sub("_", plain)).lower()[:_NAME_MAX].rstrip("_")
    taken = (
        {one for of_table, one in draft.names if of_table == table}
        | OWN_COLUMNS
        | {"address", *ADDRESS_PARTS}
    )
    numbers: Iterator[str] = (f"{stem}_{number}" for number in range(2, len(taken) + 3))
    return stem if stem not in taken else next(one for one in numbers if one not in taken)


def _pg_type(described: Mapping[str, Any]) -> str:
    return TYPES[value_type_name(described)].pg_type


def _remark(described: Mapping[str, Any]) -> str:
    kind = value_type_name(described)
    label = str(described.get("label") or described["name"])
    secret = ", encrypted: a mask without the right to see it" if kind == "encryptedstring" else ""
    return _printable(f"{label}; {kind} as {TYPES[kind].pg_type}, {announcement(described)}{secret}")


def _printable(text: str) -> str:
    """Return *text* as one line: labels are whatever an administrator typed."""
    return "".join(char if char.isprintable() else " " for char in text)


def _toml(column: MappedColumn) -> str:
    sides = {entity: side for side, entity in SIDES[column.table].items()}
    parts = [f'{sides[entity]} = "{name}"' for entity, name in column.sources.items()]
    parts += _options(column.role, is_optional=column.optional)
    if column.table == "company" and len(parts) == 1:
        return f'{column.name} = "{column.sources[Entity.ACCOUNT]}"'
    return f"{column.name} = {{ {', '.join(parts)} }}"


def _options(role: Role, *, is_optional: bool) -> Iterator[str]:
    if role == "company":
        yield 'role = "company"'
    if is_optional:
        yield "optional = true"

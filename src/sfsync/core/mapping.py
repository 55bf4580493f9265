"""The mapping bound to an org: typed columns, and per entity the fields to read and what to expect of them.

Why: a mapping meets reality once, here, against describe, and everything after it may trust it: no type is
guessed from values, no field is asked for that this user cannot see. All faults are found in one pass and
reported together. A field that describe lists but no change event names is allowed with a warning, because
reads bring it; a field that this user cannot see is a fault, because its null would look like an empty field.
Source: Salesforce "sObject Describe"; what events leave out: see `standard_fields`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigError
from .ids import Entity
from .mapping_file import MappedColumn, MappingFile, Role
from .standard_fields import STANDARD_TYPES, UNANNOUNCED
from .values import TYPES, Reader, value_type_name

STRUCTURAL: Mapping[Entity, tuple[str, ...]] = {
    Entity.LEAD: ("IsConverted", "ConvertedContactId", "ConvertedAccountId", "ConvertedDate"),
    Entity.CONTACT: ("AccountId",),
    Entity.ACCOUNT: (),
}
"""Fields that identity needs whatever the mapping says, and that events carry."""

READ_ONLY = ("Id", "IsDeleted", "MasterRecordId", "SystemModstamp")
"""Fields of every read that no event carries; sfsync keeps them in columns of its own."""

_CUSTOM_COMPONENT = re.compile(r"(\w+)__[A-Za-z]+__s", re.ASCII)
_DESCRIBE = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SourceField:
    """A Salesforce field that is read: `type` as in `values.TYPES`; `announced` when change events name it."""

    name: str
    type: str
    announced: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column of crm.person or crm.company, and the field of each entity that feeds it.

    Not `compared` is a column that only Salesforce itself sets, such as CreatedDate: nobody can disagree with it.
    """

    name: str
    pg_type: str
    role: Role
    sources: Mapping[Entity, str]
    compared: bool = True


@dataclass(frozen=True, slots=True)
class EntityPlan:
    """What sfsync reads of one entity: mapped and structural fields, by name.

    Derived once, because every event and every row needs them: `readers` by field name, and `components`,
    the fields that belong to a custom compound, by its name (`Site__c`: `Site__Latitude__s`, ...).
    """

    entity: Entity
    fields: Mapping[str, SourceField]
    announced: frozenset[str] = field(init=False, repr=False, compare=False)
    unannounced: frozenset[str] = field(init=False, repr=False, compare=False)
    readers: Mapping[str, Reader] = field(init=False, repr=False, compare=False)
    components: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        announced = frozenset(name for name, source in self.fields.items() if source.announced)
        readers = {name: TYPES[source.type].read for name, source in self.fields.items()}
        object.__setattr__(self, "announced", announced)
        object.__setattr__(self, "unannounced", frozenset(self.fields) - announced)
        object.__setattr__(self, "readers", readers)
        object.__setattr__(self, "components", _group_components(self.fields))

    @property
    def select(self) -> tuple[str, ...]:
        """The fields of a SOQL query that reads whole records, in a stable order."""
        return (*READ_ONLY, *sorted(self.fields))


def _group_components(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        shape = _CUSTOM_COMPONENT.fullmatch(name)
        if shape is not None:
            compound = f"{shape[1]}__c"
            groups[compound] = (*groups.get(compound, ()), name)
    return groups


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or doubtful about one source of one column."""

    table: str
    column: str
    field: str
    problem: str

    def __str__(self) -> str:
        place = f"{self.table}.{self.column}" if self.column else self.table
        return f"{place}: {self.field} {self.problem}" if self.field else f"{place}: {self.problem}"


@dataclass(frozen=True, slots=True)
class BoundMapping:
    """A mapping that this org can feed. `fingerprint` changes when columns, types or sources do."""

    person: tuple[Column, ...]
    company: tuple[Column, ...]
    plans: Mapping[Entity, EntityPlan]
    warnings: tuple[Finding, ...]
    fingerprint: str


@dataclass(slots=True)
class _Binding:
    """The work sheet of one `bind`: what was found so far."""

    describes: Mapping[Entity, _DESCRIBE]
    fields: dict[Entity, dict[str, SourceField]]
    faults: list[Finding]
    warnings: list[Finding]


def bind(mapping: MappingFile, describes: Mapping[Entity, Mapping[str, Any]]) -> BoundMapping:
    """Check *mapping* against what the org describes, by entity, and return it with types.

    Raises `ConfigError` listing every fault.
    """
    binding = _Binding(
        describes={
            entity: {str(f["name"]): f for f in describe["fields"]} for entity, describe in describes.items()
        },
        fields={entity: {} for entity in Entity},
        faults=[],
        warnings=[],
    )
    _require_structural(binding)
    bound = [(mapped.table, _bind_column(binding, mapped)) for mapped in mapping.columns]
    if binding.faults:
        raise ConfigError("the mapping does not fit this org:\n  " + "\n  ".join(map(str, binding.faults)))
    person = tuple(column for table, column in bound if column is not None and table == "person")
    company = tuple(column for table, column in bound if column is not None and table == "company")
    plans = {entity: EntityPlan(entity, fields) for entity, fields in binding.fields.items()}
    return BoundMapping(person, company, plans, tuple(binding.warnings), _fingerprint(person, company))


def _require_structural(binding: _Binding) -> None:
    for entity, structural in STRUCTURAL.items():
        described = binding.describes.get(entity)
        if described is None:
            problem = "cannot be described: give the user read access to it"
            binding.faults.append(Finding(entity.value, "", "", problem))
            continue
        for name in (*READ_ONLY, *structural):
            if name not in described:
                problem = "is needed to keep identity and order, but hidden from this user"
                binding.faults.append(Finding(entity.value, "", name, problem))
            elif name in structural:
                binding.fields[entity][name] = SourceField(
                    name, value_type_name(described[name]), announced=True
                )


def _bind_column(binding: _Binding, mapped: MappedColumn) -> Column | None:
    """Return the typed column; None when it has no source left, be it by a fault or because it is optional."""
    sources = {
        entity: name for entity, name in mapped.sources.items() if _bind_source(binding, mapped, entity, name)
    }
    if not sources:
        return None
    pg_types = {entity: TYPES[binding.fields[entity][name].type].pg_type for entity, name in sources.items()}
    pg_type = _common_type(set(pg_types.values()))
    if pg_type is None:
        stated = ", ".join(f"{entity.value}.{sources[entity]} is {kind}" for entity, kind in pg_types.items())
        problem = f"its sources differ in type: {stated}"
        binding.faults.append(Finding(mapped.table, mapped.name, "", problem))
        return None
    compared = any(_is_set_by_people(binding.describes[entity][name]) for entity, name in sources.items())
    return Column(mapped.name, pg_type, mapped.role, sources, compared)


def _common_type(pg_types: set[str]) -> str | None:
    if pg_types == {"integer", "bigint"}:
        return "bigint"
    return pg_types.pop() if len(pg_types) == 1 else None


def _bind_source(binding: _Binding, mapped: MappedColumn, entity: Entity, name: str) -> bool:
    described = binding.describes.get(entity)
    if described is None:
        return False
    qualified = f"{entity.value}.{name}"
    if name not in described and mapped.optional:
        binding.warnings.append(
            Finding(mapped.table, mapped.name, qualified, "is not there or hidden: left out")
        )
        return False
    fault = _source_fault(entity, name, described)
    if fault:
        binding.faults.append(Finding(mapped.table, mapped.name, qualified, fault))
        return False
    source = SourceField(name, value_type_name(described[name]), _is_announced(described[name]))
    binding.fields[entity][name] = source
    for problem in _doubts(described[name], announced=source.announced):
        binding.warnings.append(Finding(mapped.table, mapped.name, qualified, problem))
    return True


def _source_fault(entity: Entity, name: str, described: _DESCRIBE) -> str | None:
    if name in READ_ONLY:
        return "is kept by sfsync itself (salesforce_id, deleted_at, merged_into, synced_at) and cannot be mapped"
    if name not in described:
        return _absence(entity, name, described)
    components = _components(entity, name, described)
    if components:
        return f"is a compound; map its components: {', '.join(components)}"
    kind = value_type_name(described[name])
    return None if kind in TYPES else f"is of type {kind}, which cannot be kept in a column"


def _components(entity: Entity, name: str, described: _DESCRIBE) -> Sequence[str]:
    """List what *name* is composed of. `Account.Name` is a plain text, whatever person accounts make of it."""
    if entity is Entity.ACCOUNT and name == "Name":
        return ()
    parts = [n for n, f in described.items() if f.get("compoundFieldName") == name and n != name]
    if not parts and entity is not Entity.ACCOUNT and name == "Name":
        parts = ["LastName", "FirstName"]
    return parts


def _absence(entity: Entity, name: str, described: _DESCRIBE) -> str:
    if name in STANDARD_TYPES[entity]:
        return "is hidden from this user: give it read access to the field, or do not map it"
    by_case = {known.lower(): known for known in described}
    if name.lower() in by_case:
        return f"is spelled {by_case[name.lower()]}"
    near = get_close_matches(name, described, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"is not there, or hidden from this user{hint}"


def _is_announced(described: Mapping[str, Any]) -> bool:
    return not described.get("calculated") and described["name"] not in UNANNOUNCED


def _is_set_by_people(described: Mapping[str, Any]) -> bool:
    """Tell whether anybody could write the field; a describe that does not say leaves it open."""
    return bool(described.get("createable", True) or described.get("updateable", True))


def _doubts(described: Mapping[str, Any], *, announced: bool) -> Iterator[str]:
    if described.get("calculated"):
        yield "is calculated: change events do not reliably announce it, it is only as fresh as the last read"
    elif not announced:
        yield "is never announced by change events, it is only as fresh as the last read"
    if described.get("type") == "encryptedstring" or described.get("encrypted"):
        yield "is encrypted: without the right to see it, this user reads a mask instead of the value"


def _fingerprint(person: Sequence[Column], company: Sequence[Column]) -> str:
    stated = [
        [[c.name, c.pg_type, c.role, sorted(c.sources.items())] for c in sorted(table, key=lambda c: c.name)]
        for table in (person, company)
    ]
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()

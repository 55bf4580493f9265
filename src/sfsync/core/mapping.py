"""The mapping bound to an org: typed columns, and per entity the fields to read and what to expect of them.

Why: a mapping meets reality once, here, against describe, and everything after it may trust it: no type is
guessed from values, no field is asked for that this user cannot see. All faults are found in one pass and
reported together. A field that describe lists but no change event names is allowed with a warning, because
reads bring it; a field that this user cannot see is a fault, because its null would look like an empty field.

A field that was there when the mapping was last bound and is not there now is no fault of the operator's: its
column is paused with its last values, everything else goes on. A column whose fields no reading has brought yet is
paused as well, or the first event of a record would empty what the application sees until the reading is over.
Source: Salesforce "sObject Describe"; what events leave out: see `standard_fields`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import ConfigError
from .ids import Entity
from .mapping_file import MappedColumn, MappingFile, Role, Table
from .standard_fields import STANDARD_TYPES, UNANNOUNCED
from .values import TYPES, UNMAPPED, Reader, value_type_name

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
    `defaulted` is one that Salesforce fills where nobody does, such as OwnerId: a blank does not disagree with it.
    """

    name: str
    pg_type: str
    role: Role
    sources: Mapping[Entity, str]
    compared: bool = True
    defaulted: bool = False


Pause = Literal["gone", "retyped", "unread"]
"""Why a column keeps its last values: its field is not there or hidden, has another type, or was not read yet."""


@dataclass(frozen=True, slots=True)
class PausedColumn:
    """A column that is stored but not written now. `field`, as in `Contact.Level__c`, is what it waits for."""

    table: Table
    column: Column
    reason: Pause
    field: str

    @property
    def is_suspended(self) -> bool:
        """Whether only a change in the org, or of the mapping, can bring it back."""
        return self.reason != "unread"


@dataclass(frozen=True, slots=True)
class KnownColumn:
    """A column as it is in the store: its type there, and the fields that fed it last."""

    pg_type: str
    role: Role
    sources: Mapping[Entity, str]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the store remembers of the last binding; empty at a first start and where there is no store.

    `covered` names, as `EntityPlan.coverage` does, the fields that a reading of the whole entity has brought; an
    entity that is not in it was never read whole and has no values to lose.
    """

    columns: Mapping[tuple[Table, str], KnownColumn] = field(default_factory=dict)
    covered: Mapping[Entity, frozenset[str]] = field(default_factory=dict)


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
    def coverage(self) -> str:
        """What a reading by this plan brings, as one text: each field with the type it is stored as."""
        return " ".join(sorted(map(_token, self.fields.values())))

    @property
    def select(self) -> tuple[str, ...]:
        """The fields of a SOQL query that reads whole records, in a stable order."""
        return (*READ_ONLY, *sorted(self.fields))


def _token(source: SourceField) -> str:
    return f"{source.name}:{TYPES[source.type].pg_type}"


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
    """A mapping that this org can feed: the columns that are written, and those that are `paused`.

    `fingerprint` changes when columns, types, sources or pauses do.
    """

    person: tuple[Column, ...]
    company: tuple[Column, ...]
    plans: Mapping[Entity, EntityPlan]
    warnings: tuple[Finding, ...]
    fingerprint: str
    paused: tuple[PausedColumn, ...] = ()

    def stored(self, table: Table) -> tuple[Column, ...]:
        """Return all mapped columns of a table: those that are written, then those that are paused."""
        written = self.person if table == "person" else self.company
        return (*written, *(one.column for one in self.paused if one.table == table))


@dataclass(slots=True)
class _Binding:
    """The work sheet of one `bind`: what was found so far."""

    describes: Mapping[Entity, _DESCRIBE]
    fields: dict[Entity, dict[str, SourceField]]
    memory: Memory
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    paused: list[PausedColumn] = field(default_factory=list)

    def pause(self, mapped: MappedColumn, known: KnownColumn, reason: Pause, qualified: str) -> None:
        column = Column(mapped.name, known.pg_type, known.role, known.sources)
        self.paused.append(PausedColumn(mapped.table, column, reason, qualified))


def bind(
    mapping: MappingFile, describes: Mapping[Entity, Mapping[str, Any]], memory: Memory | None = None
) -> BoundMapping:
    """Check *mapping* against what the org describes, by entity, and return it with types.

    *memory* tells lost fields from those that never were. Raises `ConfigError` listing every fault.
    """
    binding = _Binding(
        describes={
            entity: {str(f["name"]): f for f in describe["fields"]} for entity, describe in describes.items()
        },
        fields={entity: {} for entity in Entity},
        memory=memory or Memory(),
    )
    _require_structural(binding)
    bound = [(mapped.table, _bind_column(binding, mapped)) for mapped in mapping.columns]
    if binding.faults:
        raise ConfigError("the mapping does not fit this org:\n  " + "\n  ".join(map(str, binding.faults)))
    written: dict[Table, list[Column]] = {"person": [], "company": []}
    for table, column in bound:
        if column is not None and not _hold_unread(binding, table, column):
            written[table].append(column)
    plans = {entity: EntityPlan(entity, fields) for entity, fields in binding.fields.items()}
    person, company, paused = tuple(written["person"]), tuple(written["company"]), tuple(binding.paused)
    fingerprint = _fingerprint((person, company), paused, plans)
    return BoundMapping(person, company, plans, tuple(binding.warnings), fingerprint, paused)


def _hold_unread(binding: _Binding, table: Table, column: Column) -> bool:
    for entity, name in column.sources.items():
        covered = binding.memory.covered.get(entity)
        if covered is not None and _token(binding.fields[entity][name]) not in covered:
            binding.paused.append(PausedColumn(table, column, "unread", f"{entity.value}.{name}"))
            return True
    return False


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
    """Return the typed column; None when it is paused, or has no source left: a fault, or it is optional."""
    known = binding.memory.columns.get((mapped.table, mapped.name))
    lost = (
        {entity: name for entity, name in known.sources.items() if mapped.sources.get(entity) == name}
        if known
        else {}
    )
    sources = {
        entity: name
        for entity, name in mapped.sources.items()
        if _bind_source(binding, mapped, entity, name, was_there=entity in lost)
    }
    if known and (missing := lost.keys() - sources.keys()):
        entity = min(missing)
        reason: Pause = "retyped" if lost[entity] in binding.describes.get(entity, {}) else "gone"
        binding.pause(mapped, known, reason, f"{entity.value}.{lost[entity]}")
        return None
    return _typed_column(binding, mapped, known, sources) if sources else None


def _typed_column(
    binding: _Binding, mapped: MappedColumn, known: KnownColumn | None, sources: Mapping[Entity, str]
) -> Column | None:
    pg_types = {entity: TYPES[binding.fields[entity][name].type].pg_type for entity, name in sources.items()}
    pg_type = _common_type(set(pg_types.values()))
    if known is not None and pg_type != known.pg_type and sources == known.sources:
        entity = next(entity for entity, kind in pg_types.items() if kind != known.pg_type)
        binding.pause(mapped, known, "retyped", f"{entity.value}.{sources[entity]}")
        return None
    problem = _type_problem(pg_types, pg_type, known, sources)
    if problem or pg_type is None:
        binding.faults.append(Finding(mapped.table, mapped.name, "", problem))
        return None
    described = [binding.describes[entity][name] for entity, name in sources.items()]
    compared = any(map(_is_set_by_people, described))
    return Column(mapped.name, pg_type, mapped.role, sources, compared, all(map(_is_defaulted, described)))


def _type_problem(
    pg_types: Mapping[Entity, str],
    pg_type: str | None,
    known: KnownColumn | None,
    sources: Mapping[Entity, str],
) -> str:
    stated = ", ".join(f"{entity.value}.{sources[entity]} is {kind}" for entity, kind in pg_types.items())
    if pg_type is None:
        return f"its sources differ in type: {stated}"
    if known is not None and pg_type != known.pg_type:
        return (
            f"is {known.pg_type} in the store, {stated}: a column is never retyped, map it under another name"
        )
    return ""


def _common_type(pg_types: set[str]) -> str | None:
    if pg_types == {"integer", "bigint"}:
        return "bigint"
    return pg_types.pop() if len(pg_types) == 1 else None


def _bind_source(
    binding: _Binding, mapped: MappedColumn, entity: Entity, name: str, *, was_there: bool
) -> bool:
    """Plan to read a field; return False when it cannot be. That is a fault unless it *was_there* once."""
    described = binding.describes.get(entity)
    if described is None:
        return False
    qualified = f"{entity.value}.{name}"
    fault = source_fault(entity, name, described)
    if fault and was_there:
        return False
    if name not in described and mapped.optional:
        binding.warnings.append(
            Finding(mapped.table, mapped.name, qualified, "is not there or hidden: left out")
        )
        return False
    if fault:
        binding.faults.append(Finding(mapped.table, mapped.name, qualified, fault))
        return False
    source = SourceField(name, value_type_name(described[name]), _is_announced(described[name]))
    binding.fields[entity][name] = source
    for problem in _doubts(described[name], announced=source.announced):
        binding.warnings.append(Finding(mapped.table, mapped.name, qualified, problem))
    return True


def source_fault(entity: Entity, name: str, described: _DESCRIBE) -> str | None:
    """Say why a field cannot feed a column, given the fields that describe lists; None when it can."""
    if name in READ_ONLY:
        return "is kept by sfsync itself (salesforce_id, deleted_at, merged_into, synced_at) and cannot be mapped"
    if name not in described:
        return _absence(entity, name, described)
    components = _components(entity, name, described)
    if components:
        return f"is a compound; map its components: {', '.join(components)}"
    kind = value_type_name(described[name])
    if kind in TYPES:
        return None
    return f"is of type {kind}, which no column can hold: {UNMAPPED.get(kind, 'it is not known to this version')}"


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


def _is_defaulted(described: Mapping[str, Any]) -> bool:
    """Tell whether Salesforce fills the field at creation if nobody does, so that it is never blank."""
    return bool(described.get("defaultedOnCreate")) and not described.get("nillable", True)


def announcement(described: Mapping[str, Any]) -> str:
    """Say in a word whether events tell of changes of a field."""
    if described.get("calculated"):
        return "calculated, not announced"
    return "announced" if _is_announced(described) else "not announced"


def _doubts(described: Mapping[str, Any], *, announced: bool) -> Iterator[str]:
    if described.get("calculated"):
        yield "is calculated: change events do not reliably announce it, it is only as fresh as the last read"
    elif not announced:
        yield "is never announced by change events, it is only as fresh as the last read"
    if described.get("type") == "encryptedstring" or described.get("encrypted"):
        yield "is encrypted: without the right to see it, this user reads a mask instead of the value"


def _fingerprint(
    written: Sequence[Sequence[Column]], paused: Sequence[PausedColumn], plans: Mapping[Entity, EntityPlan]
) -> str:
    stated = [
        [[c.name, c.pg_type, c.role, sorted(c.sources.items())] for c in sorted(table, key=lambda c: c.name)]
        for table in written
    ]
    stated.append(sorted([one.table, one.column.name, one.reason] for one in paused))
    stated.append(sorted([entity.value, plan.coverage] for entity, plan in plans.items()))
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()

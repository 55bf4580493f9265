"""Field paths of a query, resolved against the schema into functions that read a record.

Why: a path is resolved once per query, and each row only pays for a call; errors name the place in the text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sfsync.simorg.convert import USER_ZONE
from sfsync.simorg.schema import EntityDef, FieldDef
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, Path
from sfsync.simorg.values import full_name

if TYPE_CHECKING:
    from sfsync.simorg.world import Snapshot

Record = Mapping[str, Any]
Getter = Callable[[Record], Any]
_HINT = "Please reference your WSDL or the describe call for the appropriate names."
RELATIONSHIP_LEVELS_MAX = 5
_INTEGER = FieldDef("expr", "int", length=18)
_DATE = FieldDef("expr", "date")
_FUNCTIONS: dict[str, tuple[FieldDef, Callable[[datetime | date], Any]]] = {
    "DAY_ONLY": (_DATE, lambda value: value.date() if isinstance(value, datetime) else value),
    "CALENDAR_YEAR": (_INTEGER, lambda value: value.year),
    "CALENDAR_MONTH": (_INTEGER, lambda value: value.month),
    "DAY_IN_MONTH": (_INTEGER, lambda value: value.day),
    "HOUR_IN_DAY": (_INTEGER, lambda value: value.hour if isinstance(value, datetime) else 0),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A resolved path: the relationships it goes through, the field it ends in, and how to read it."""

    relations: tuple[FieldDef, ...]
    field: FieldDef
    get: Getter

    @property
    def name(self) -> str:
        """The path in the org's own spelling."""
        return ".".join([str(relation.relationship) for relation in self.relations] + [self.field.name])


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names of one query mean: its text, its entity and the snapshot it reads."""

    soql: str
    entity: EntityDef
    alias: str | None
    snapshot: "Snapshot"

    def resolve(self, path: Path) -> Column:
        """Return the column that *path* names. Raises SoqlError INVALID_FIELD."""
        names = path.names
        if len(names) > 1 and names[0].lower() in ((self.alias or "").lower(), self.entity.name.lower()):
            names = names[1:]
        if len(names) - 1 > RELATIONSHIP_LEVELS_MAX:
            raise self.error(
                "INVALID_FIELD", path, "relationship path too long: at most 5 levels are allowed"
            )
        relations = self._relations(path, names[:-1])
        entity = self.snapshot.world.schema.target(relations[-1]) if relations else self.entity
        assert entity is not None, "the relations were resolved"  # noqa: S101  # narrows the type
        field = entity.visible(names[-1])
        if field is None:
            raise self.error("INVALID_FIELD", path, no_such_column(names[-1], entity.name))
        getter = through(self.snapshot, relations, getter_of(entity, field, self.snapshot))
        if path.function in _FUNCTIONS and field.type not in ("date", "datetime"):
            raise self.error(
                "INVALID_FIELD", path, f"{path.function} needs a date or a dateTime, not {field.name}"
            )
        return _applied(Column(relations, field, getter), path)

    def column(self, path: Path | Aggregate) -> Column:
        """Return the column of what a condition on records compares. Raises SoqlError for an aggregate."""
        if isinstance(path, Aggregate):
            raise self.error("MALFORMED_QUERY", path, "aggregates are compared in HAVING, not in WHERE")
        return self.resolve(path)

    def error(self, code: str, path: Path | Aggregate, message: str) -> SoqlError:
        """Return an error that points at *path*."""
        return SoqlError(code, self.soql, path.start, message)

    def _relations(self, path: Path, names: tuple[str, ...]) -> tuple[FieldDef, ...]:
        relations: list[FieldDef] = []
        entity = self.entity
        for name in names:
            field = entity.relation(name)
            target = self.snapshot.world.schema.target(field) if field is not None else None
            if field is None or target is None:
                message = (
                    f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom "
                    f"relationship, be sure to append the '__r' after the custom relationship name. {_HINT}"
                )
                raise self.error("INVALID_FIELD", path, message)
            relations.append(field)
            entity = target
        return tuple(relations)


def no_such_column(name: str, entity: str) -> str:
    """Return Salesforce's words for a field that is not there, or hidden."""
    return (
        f"No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append "
        f"the '__c' after the custom field name. {_HINT}"
    )


def getter_of(entity: EntityDef, field: FieldDef, snapshot: "Snapshot") -> Getter:
    """Return the function that reads *field* from a record of *entity*."""
    name = field.name
    if field.is_address:
        return _compound(entity, field)
    if field.formula is not None:
        return _formula(entity, field.formula, snapshot)
    if name == "Name" and (entity.is_person or entity.name == "User"):
        return full_name
    return _stored(name, False if field.type == "boolean" else None, snapshot)


def _stored(name: str, absent: bool | None, snapshot: "Snapshot") -> Getter:  # noqa: FBT001 - a value, not a switch
    if name == "IsEmailBounced":
        return lambda fields: fields.get("EmailBouncedReason") is not None
    if name != "PermissionsViewAllRecords":
        return lambda fields: fields.get(name, absent)
    # Taken away by a setting, while the org runs.
    return lambda fields: fields[name] and fields["SobjectType"] not in snapshot.world.denied()


def _formula(entity: EntityDef, formula: str, snapshot: "Snapshot") -> Getter:
    lookup, _, target = formula.partition(".")
    relation = entity.relation(lookup)
    owner = snapshot.world.schema.entities[relation.reference_to[0]] if relation else entity
    shown = owner.field(target)
    if relation is None or shown is None:
        return lambda _: None
    return through(snapshot, (relation,), getter_of(owner, shown, snapshot))


def through(snapshot: "Snapshot", relations: tuple[FieldDef, ...], getter: Getter) -> Getter:
    """Return *getter* applied to the record at the end of *relations*; None where the chain ends early."""
    for relation in reversed(relations):
        getter = _followed(snapshot, relation.name, getter)
    return getter


def _followed(snapshot: "Snapshot", lookup: str, getter: Getter) -> Getter:
    def get(fields: Record) -> Any:
        target = fields.get(lookup)
        parent = snapshot.get(target) if target else None
        return getter(parent) if parent is not None else None

    return get


def _compound(entity: EntityDef, field: FieldDef) -> Getter:
    prefix = field.name.removesuffix("Address") if field.type == "address" else field.name
    parts = []
    for component in entity.components(field.name):
        short = component.name.removeprefix(prefix)
        parts.append((short[0].lower() + short[1:], component.name))
    parts.sort()

    def get(fields: Record) -> Any:
        value = {short: fields.get(name) for short, name in parts}
        return value if any(part is not None for part in value.values()) else None

    return get


def _applied(column: Column, path: Path) -> Column:
    function = _FUNCTIONS.get(path.function or "")
    if function is None:
        return column
    kind, apply = function

    def get(fields: Record) -> Any:
        value = column.get(fields)
        if isinstance(value, datetime):
            value = value.astimezone(USER_ZONE)
        return None if value is None else apply(value)

    return Column(column.relations, kind, get)

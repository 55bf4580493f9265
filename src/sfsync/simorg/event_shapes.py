"""How the fields of an entity appear in change events: which are announced, how they nest, how values are written.

Why: queries use flat names (`MailingCity`), events one nested object per compound (`MailingAddress.City`); the shape
is derived from the schema, so that a field added while the org runs is announced from its next change on, under a new
schema id. The shapes of one schema version are kept, for they are asked for with every event.

Source: Change Data Capture guide, "Change Event Body Fields" and "Compound Fields"; payloads captured in 2020-2026.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from sfsync.simorg.schema import EntityDef, FieldDef, Schema
from sfsync.simorg.values import zulu_datetime

NEVER_ANNOUNCED = frozenset(
    {
        "Id",
        "IsDeleted",
        "MasterRecordId",
        "SystemModstamp",
        "LastActivityDate",
        "LastViewedDate",
        "LastReferencedDate",
        "PhotoUrl",
        "IsEmailBounced",
    }
)
DOUBLE_TYPES = frozenset({"double", "currency", "percent"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where one flat field stands in an event: at the top, or as *component* of *compound*."""

    field: str
    is_double: bool
    compound: str | None = None
    component: str = ""

    @property
    def announced_name(self) -> str:
        """The name that `changedFields` uses."""
        return f"{self.compound}.{self.component}" if self.compound else self.field


@dataclass(frozen=True, slots=True)
class Shape:
    """The announced fields of one entity by name, in schema order, and the id of its event schema."""

    entity: str
    schema_id: str
    places: Mapping[str, Place]
    diffable: frozenset[str]


class Shapes:
    """The shapes of the present schema version."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._version = 0
        self._shapes: dict[str, Shape] = {}

    def of(self, entity: str) -> Shape:
        """Return the shape of *entity* as the schema stands now."""
        if self._version != self._schema.version:
            self._shapes = {name: _shape(owner) for name, owner in self._schema.entities.items()}
            self._version = self._schema.version
        return self._shapes[entity]


def whole_body(shape: Shape, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a CREATE or UNDELETE: every announced field that is not empty."""
    body: dict[str, Any] = {}
    for place in shape.places.values():
        value = fields.get(place.field)
        if value is not None:
            put(body, place, written(value, is_double=place.is_double))
    return body


def put(body: dict[str, Any], place: Place, value: object) -> None:
    """Set one already written value at its place."""
    if place.compound is None:
        body[place.field] = value
    else:
        body.setdefault(place.compound, {})[place.component] = value


def written(value: object, *, is_double: bool) -> object:
    """Return *value* as change events write it: datetimes with milliseconds and Z, doubles as Java prints them."""
    if isinstance(value, datetime):
        return zulu_datetime(value)
    if isinstance(value, date):
        return value.isoformat()
    if is_double and isinstance(value, int | float) and not isinstance(value, bool):
        return _java_double(float(value))
    return value


def _java_double(number: float) -> float | msgspec.Raw:
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return number
    mantissa, power = f"{Decimal(repr(number)).normalize():E}".split("E")
    return msgspec.Raw(f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(power)}".encode())


def _shape(owner: EntityDef) -> Shape:
    announced = [field for field in owner if _is_announced(owner, field)]
    names = ",".join(f"{field.name}:{field.type}" for field in announced)
    digest = hashlib.md5(f"{owner.name}({names})".encode(), usedforsecurity=False).digest()
    return Shape(
        owner.name,
        base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        {field.name: _place(field) for field in announced},
        frozenset(field.name for field in announced if field.type == "textarea" and not field.compound),
    )


def _is_announced(owner: EntityDef, field: FieldDef) -> bool:
    is_derived = field.formula is not None or field.is_address or (owner.is_person and field.name == "Name")
    return not (is_derived or field.hidden or field.name in NEVER_ANNOUNCED)


def _place(field: FieldDef) -> Place:
    is_double = field.type in DOUBLE_TYPES
    if field.compound is None or field.compound == field.name:
        return Place(field.name, is_double)
    prefix = field.compound.removesuffix("Address") if field.compound != "Name" else ""
    return Place(field.name, is_double, field.compound, field.name.removeprefix(prefix))

"""The schema of an entity's change events, by event name or by the id that each event carries.

Why: a client that meets a new schema id asks here what has changed. It is derived from the same shapes as the events
themselves, so that the two cannot disagree; ids of earlier schema versions are forgotten.

Source: Platform Events Developer Guide, "Platform Event Schema by Event Name", "... by Schema ID"; captured schemas.
"""

from collections.abc import Iterable
from typing import Any

from sfsync.simorg.calls import Call, Reply, Routes
from sfsync.simorg.errors import ApiError, not_found
from sfsync.simorg.event_shapes import Place, Shapes
from sfsync.simorg.schema import EntityDef

NAMESPACE = "com.sforce.eventbus"
FORMATS = ("EXPANDED", "COMPACT")
CHANGE_TYPES = ("CREATE", "UPDATE", "DELETE", "UNDELETE")
_AVRO = {"boolean": "boolean", "int": "int", "double": "double", "currency": "double", "percent": "double"}
_AVRO |= {"date": "long", "datetime": "long"}
_DOC = {
    "boolean": "Boolean",
    "int": "Integer",
    "double": "Double",
    "currency": "Currency",
    "percent": "Percent",
}
_DOC |= {"date": "DateOnly", "datetime": "DateTime", "reference": "EntityId", "textarea": "StringPlusClob"}
_TEXTS = {"type": "array", "items": "string"}
_HEADER = {
    "entityName": "string",
    "recordIds": _TEXTS,
    "changeType": {
        "type": "enum",
        "name": "ChangeType",
        "symbols": [*CHANGE_TYPES, *(f"GAP_{kind}" for kind in CHANGE_TYPES), "GAP_OVERFLOW", "SNAPSHOT"],
    },
    "changeOrigin": "string",
    "transactionKey": "string",
    "sequenceNumber": "int",
    "commitTimestamp": "long",
    "commitNumber": "long",
    "commitUser": "string",
    "nulledFields": _TEXTS,
    "diffFields": _TEXTS,
    "changedFields": _TEXTS,
}


def add_routes(routes: Routes) -> None:
    """Add the schema resources."""
    routes.add("GET", "event/eventSchema/{schema_id}", by_id)
    routes.add("GET", "sobjects/{event}/eventSchema", by_event)


def by_event(call: Call, event: str) -> Reply:
    """Return the present schema of `LeadChangeEvent` and the like."""
    entity = call.org.world.schema.entity(event.removesuffix("ChangeEvent"))
    if entity is None or not event.endswith("ChangeEvent"):
        raise not_found()
    return _schema(call, entity)


def by_id(call: Call, schema_id: str) -> Reply:
    """Return the schema that events name as theirs."""
    schema = call.org.world.schema
    shapes = Shapes(schema)
    for entity in schema.entities.values():
        if shapes.of(entity.name).schema_id == schema_id:
            return _schema(call, entity)
    raise not_found()


def _schema(call: Call, entity: EntityDef) -> Reply:
    form = call.params.get("payloadFormat", FORMATS[0]).upper()
    if form not in FORMATS:
        raise ApiError("INVALID_QUERY_PARAMETER", f"payloadFormat must be one of {', '.join(FORMATS)}")
    shape = Shapes(call.org.world.schema).of(entity.name)
    fields = [_member("ChangeEventHeader", _record("ChangeEventHeader", _header()), "Data:ComplexValueType")]
    fields += _fields(entity, shape.places.values())
    name = f"{entity.name}ChangeEvent"
    if form == "COMPACT":
        return Reply({**_record(name, fields), "namespace": NAMESPACE, "uuid": shape.schema_id})
    event = _record("Event", [_member("replayId", "long")])
    payload = {**_record("Payload", fields), "doc": ""}
    content = [_member("schema", "string"), _member("payload", payload), _member("event", event)]
    members = [_member("data", _record("Data", content)), _member("channel", "string")]
    outer = {"name": name, "namespace": NAMESPACE, "type": "expanded-record", "fields": members}
    return Reply({**outer, "uuid": shape.schema_id})


def _header() -> list[dict[str, Any]]:
    return [_member(name, kind) for name, kind in _HEADER.items()]


def _fields(entity: EntityDef, places: Iterable[Place]) -> list[dict[str, Any]]:
    """Return the fields of a body; components stand in the record of their compound, named where it comes first."""
    fields: list[dict[str, Any]] = []
    compounds: dict[str, list[dict[str, Any]]] = {}
    known: set[str] = set()
    for place in places:
        if place.compound is None:
            fields.append(_optional(entity, place.field, place.field, with_doc=True))
            continue
        if place.compound not in compounds:
            kind = "Address" if place.compound.endswith("Address") else "PersonName"
            members: list[dict[str, Any]] = []
            compounds[place.compound] = members
            written = kind if kind in known else _record(kind, members)
            known.add(kind)
            fields.append(_member(place.compound, ["null", written], f"Data:{kind}") | {"default": None})
        compounds[place.compound].append(_optional(entity, place.field, place.component, with_doc=False))
    return fields


def _optional(entity: EntityDef, field_name: str, name: str, *, with_doc: bool) -> dict[str, Any]:
    field = entity.field(field_name)
    kind = field.type if field else "string"
    doc = f"Data:{_DOC.get(kind, 'Text')}" if with_doc else None
    return {**_member(name, ["null", _AVRO.get(kind, "string")], doc), "default": None}


def _member(name: str, kind: Any, doc: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, **({"doc": doc} if doc else {})}


def _record(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": fields}

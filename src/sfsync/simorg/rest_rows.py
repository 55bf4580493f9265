"""Single records: read, create, change, delete, and upsert by an external id.

Source: REST API Developer Guide, "sObject Basic Information", "sObject Rows", "sObject Rows by External ID".
"""

from typing import Any

from sfsync.simorg.calls import Call, Reply, Routes, unless_unmodified
from sfsync.simorg.describe import brief_of
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError, DmlError, not_found
from sfsync.simorg.ids import KEY_PREFIXES, normalize
from sfsync.simorg.schema import EntityDef
from sfsync.simorg.soql_fields import no_such_column
from sfsync.simorg.soql_rows import Renderer, render_fields
from sfsync.simorg.values import store_value


def add_routes(routes: Routes) -> None:
    """Add the resources of single records."""
    routes.add("GET", "sobjects/{entity}", basic)
    routes.add("POST", "sobjects/{entity}", create)
    routes.add("GET", "sobjects/{entity}/{record_id}", read)
    routes.add("PATCH", "sobjects/{entity}/{record_id}", change)
    routes.add("DELETE", "sobjects/{entity}/{record_id}", delete)
    routes.add("GET", "sobjects/{entity}/{key}/{value}", read_by_key)
    routes.add("PATCH", "sobjects/{entity}/{key}/{value}", upsert)
    routes.add("DELETE", "sobjects/{entity}/{key}/{value}", delete_by_key)


def basic(call: Call, entity: str) -> Reply:
    """Describe one entity in short."""
    definition = known_entity(call.org.world.schema, entity)
    return Reply({"objectDescribe": brief_of(definition, call.version), "recentItems": []})


def create(call: Call, entity: str) -> Reply:
    """Create a record."""
    definition = known_entity(call.org.world.schema, entity)
    with call.transaction() as tx:
        record_id = tx.create(definition.name, written_values(call.body))
    return Reply({"id": record_id, "success": True, "errors": []}, 201)


def read(call: Call, entity: str, record_id: str) -> Reply:
    """Read a record, all fields or those named."""
    definition = known_entity(call.org.world.schema, entity)
    return _record(call, definition, checked_id(definition, record_id))


def change(call: Call, entity: str, record_id: str) -> Reply:
    """Change some fields of a record."""
    found = checked_id(known_entity(call.org.world.schema, entity), record_id)
    _check_known(call, found)
    with call.transaction() as tx:
        tx.update(found, written_values(call.body))
    return Reply(status=204)


def delete(call: Call, entity: str, record_id: str) -> Reply:
    """Move a record to the recycle bin."""
    found = checked_id(known_entity(call.org.world.schema, entity), record_id)
    _check_known(call, found)
    with call.transaction() as tx:
        tx.delete(found)
    return Reply(status=204)


def read_by_key(call: Call, entity: str, key: str, value: str) -> Reply:
    """Read the record whose external id has a value."""
    definition = known_entity(call.org.world.schema, entity)
    found = matches(call, definition, key, value)
    if not found:
        raise not_found()
    return _record(call, definition, found[0]) if len(found) == 1 else _ambiguous(call, definition, found)


def delete_by_key(call: Call, entity: str, key: str, value: str) -> Reply:
    """Delete the record whose external id has a value."""
    definition = known_entity(call.org.world.schema, entity)
    found = matches(call, definition, key, value)
    if not found:
        raise not_found()
    if len(found) > 1:
        return _ambiguous(call, definition, found)
    with call.transaction() as tx:
        tx.delete(found[0])
    return Reply(status=204)


def upsert(call: Call, entity: str, key: str, value: str) -> Reply:
    """Change the record whose external id has a value, or create it."""
    definition = known_entity(call.org.world.schema, entity)
    found = matches(call, definition, key, value)
    if len(found) > 1:
        return _ambiguous(call, definition, found)
    values = written_values(call.body)
    with call.transaction() as tx:
        if found:
            tx.update(found[0], values)
        else:
            found = [tx.create(definition.name, values if key.lower() == "id" else {**values, key: value})]
            return Reply({"id": found[0], "success": True, "errors": [], "created": True}, 201)
    return Reply({"id": found[0], "success": True, "errors": [], "created": False})


def written_values(body: Any) -> dict[str, Any]:
    """Return the field values of a record in a request. Raises ApiError if it is no object or names its Id."""
    if not isinstance(body, dict):
        raise ApiError("JSON_PARSER_ERROR", "The body of this request must be a JSON object of field values")
    values = {name: value for name, value in body.items() if name != "attributes"}
    if any(name.lower() == "id" for name in values):
        message = "The Id field should not be specified in the sobject data."
        raise DmlError("INVALID_FIELD", message, ["Id"])
    return values


def matches(call: Call, entity: EntityDef, key: str, value: str) -> list[str]:
    """Return the live records whose external id *key* is *value*. Raises ApiError if it is no such field."""
    field = entity.visible(key)
    if field is None or not (field.external_id or field.type == "id"):
        raise ApiError("NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {key}")
    wanted = store_value(field, value)
    snapshot = call.org.world.snapshot(user_id=call.user_id)
    if field.type == "id":
        found = snapshot.get(checked_id(entity, value))
        return [wanted] if found is not None and not found["IsDeleted"] else []
    folded = str(wanted).lower()
    # No generated record has an external id.
    rows = ((i, f) for i, f in snapshot.stored_by_id(entity.name) if not f["IsDeleted"])
    return [record_id for record_id, fields in rows if str(fields.get(field.name, "")).lower() == folded]


def checked_id(entity: EntityDef, text: str) -> str:
    """Return a record id in 18 characters. Raises ApiError unless it is one of *entity*."""
    record_id = normalize(text)
    if record_id is None:
        raise not_found()
    if not record_id.startswith(KEY_PREFIXES[entity.name]):
        raise DmlError("MALFORMED_ID", f"{entity.name} ID: id value of incorrect type: {text}", ["Id"])
    return record_id


def renderer_for(call: Call, entity: EntityDef, names: list[str] | None) -> Renderer:
    """Return the renderer of some fields, of all if None. Raises ApiError for a field that is not there."""
    if names is None:
        chosen = [field for field in entity if not field.hidden]
    else:
        chosen = []
        for name in dict.fromkeys(stripped for text in names if (stripped := text.strip())):
            field = entity.visible(name)
            if field is None:
                raise ApiError("INVALID_FIELD", no_such_column(name, entity.name))
            chosen.append(field)
    return render_fields(chosen, entity.name, call.snapshot())


def _record(call: Call, entity: EntityDef, record_id: str) -> Reply:
    names = call.params.get("fields")
    renderer = renderer_for(call, entity, names.split(",") if names else None)
    fields = call.snapshot().get(record_id)
    if fields is None:
        raise not_found()
    if fields["IsDeleted"]:
        raise DmlError("ENTITY_IS_DELETED", "entity is deleted")
    row = renderer.json([(record_id, fields)], call.version)[0]
    return unless_unmodified(call, row, fields["SystemModstamp"])


def _ambiguous(call: Call, entity: EntityDef, found: list[str]) -> Reply:
    return Reply(
        [f"/services/data/v{call.version}/sobjects/{entity.name}/{record_id}" for record_id in found], 300
    )


def _check_known(call: Call, record_id: str) -> None:
    if call.org.world.get(record_id) is None:
        raise not_found()

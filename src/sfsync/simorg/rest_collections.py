"""Collections: up to two thousand records read, two hundred written, in one call.

Source: REST API Developer Guide, "sObject Collections".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sfsync.simorg.calls import Call, Reply, Routes
from sfsync.simorg.dml import known_entity
from sfsync.simorg.errors import ApiError, DmlError
from sfsync.simorg.ids import KEY_PREFIXES, normalize
from sfsync.simorg.rest_rows import checked_id, matches, renderer_for, written_values
from sfsync.simorg.transaction import Transaction

READ_MAX = 2_000
WRITTEN_MAX = 200


class _RolledBackError(Exception):
    """Carries the results of an all-or-none call out of its transaction."""


def add_routes(routes: Routes) -> None:
    """Add the collection resources."""
    routes.add("POST", "composite/sobjects", create)
    routes.add("PATCH", "composite/sobjects", change)
    routes.add("DELETE", "composite/sobjects", delete)
    routes.add("GET", "composite/sobjects/{entity}", read_by_parameter)
    routes.add("POST", "composite/sobjects/{entity}", read_by_body)
    routes.add("PATCH", "composite/sobjects/{entity}/{key}", upsert)


def read_by_body(call: Call, entity: str) -> Reply:
    """Read records by the ids and fields in the body."""
    ids, fields = call.members("ids", "fields")
    if not _is_texts(ids) or not _is_texts(fields):
        raise ApiError("JSON_PARSER_ERROR", "ids and fields must be arrays of strings")
    return _read(call, entity, ids, fields)


def read_by_parameter(call: Call, entity: str) -> Reply:
    """Read records by the ids and fields in the address."""
    return _read(call, entity, call.param("ids").split(","), call.param("fields").split(","))


def create(call: Call) -> Reply:
    """Create records of any entities."""

    def statement(tx: Transaction, record: Any) -> str:
        return tx.create(_entity_of(call, record), written_values(record))

    return _write_records(call, statement, lambda record_id: {"id": record_id, "success": True, "errors": []})


def change(call: Call) -> Reply:
    """Change records by the id that each carries."""

    def statement(tx: Transaction, record: Any) -> str:
        record_id = _known_id(call, str(record.get("id") or record.get("Id") or ""))
        tx.update(
            record_id, {name: v for name, v in record.items() if name.lower() not in ("id", "attributes")}
        )
        return record_id

    return _write_records(call, statement, lambda record_id: {"id": record_id, "success": True, "errors": []})


def delete(call: Call) -> Reply:
    """Delete the records named in the address."""
    ids = [text.strip() for text in call.param("ids").split(",")]
    _check_count(ids)

    def statement(tx: Transaction, text: str) -> str:
        record_id = _known_id(call, text)
        tx.delete(record_id)
        return record_id

    all_or_none = call.params.get("allOrNone", "false").lower() == "true"
    return _write(call, ids, statement, all_or_none=all_or_none, success=_plain_success)


def upsert(call: Call, entity: str, key: str) -> Reply:
    """Change the records whose external ids are known and create the others."""
    definition = known_entity(call.org.world.schema, entity)
    created: set[str] = set()

    def statement(tx: Transaction, record: Any) -> str:
        value = str(next((v for name, v in record.items() if name.lower() == key.lower()), "") or "")
        found = matches(call, definition, key, value) if value else []
        if len(found) > 1:
            raise DmlError(
                "DUPLICATE_EXTERNAL_ID", f"{key}: more than one record found for external id", [key]
            )
        values = {n: v for n, v in record.items() if n != "attributes" and n.lower() != "id"}
        if found:
            tx.update(found[0], values)
            return found[0]
        record_id = tx.create(definition.name, values)
        created.add(record_id)
        return record_id

    def success(record_id: str) -> dict[str, Any]:
        return {"id": record_id, "success": True, "errors": [], "created": record_id in created}

    return _write_records(call, statement, success)


def _read(call: Call, entity: str, ids: list[str], names: list[str]) -> Reply:
    definition = known_entity(call.org.world.schema, entity)
    if len(ids) > READ_MAX:
        raise ApiError(
            "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {READ_MAX} records"
        )
    call.org.stats.note("retrieve", len(ids))
    renderer = renderer_for(call, definition, names)
    snapshot = call.snapshot()
    records: list[Any] = []
    for text in ids:
        record_id = checked_id(definition, text) if normalize(text) else None
        if record_id is None:
            raise DmlError("MALFORMED_ID", f"malformed id {text}", ["Id"])
        fields = snapshot.get(record_id)
        is_there = fields is not None and not fields["IsDeleted"]
        records.append(renderer.json([(record_id, fields)], call.version)[0] if is_there and fields else None)
    return Reply(records)


def _write_records(
    call: Call, statement: Callable[[Transaction, Any], str], success: Callable[[str], dict[str, Any]]
) -> Reply:
    records, all_or_none = call.members("records", "allOrNone")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ApiError("JSON_PARSER_ERROR", "records must be an array of objects")
    _check_count(records)
    return _write(call, records, statement, all_or_none=bool(all_or_none), success=success)


def _write(
    call: Call,
    records: list[Any],
    statement: Callable[[Transaction, Any], str],
    *,
    all_or_none: bool,
    success: Callable[[str], dict[str, Any]],
) -> Reply:
    results: list[dict[str, Any]] = []
    try:
        with call.transaction() as tx:
            for record in records:
                try:
                    results.append(success(tx.attempt(partial(statement, tx, record))))
                except ApiError as error:
                    results.append({"success": False, "errors": [error.dml()]})
            if all_or_none and not all(result["success"] for result in results):
                raise _RolledBackError
    except _RolledBackError:
        rolled_back = DmlError(
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using AllOrNone header",
        )
        results = [
            r if not r["success"] else {"success": False, "errors": [rolled_back.dml()]} for r in results
        ]
    return Reply(results)


def _plain_success(record_id: str) -> dict[str, Any]:
    return {"id": record_id, "success": True, "errors": []}


def _entity_of(call: Call, record: Any) -> str:
    attributes = record.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    entity = call.org.world.schema.entity(name) if isinstance(name, str) else None
    if entity is None:
        raise ApiError("INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return entity.name


def _known_id(call: Call, text: str) -> str:
    record_id = normalize(text)
    if record_id is None or record_id[:3] not in KEY_PREFIXES.values():
        raise DmlError("MALFORMED_ID", f"malformed id {text}", ["Id"])
    if call.org.world.entity_of(record_id) is None:
        raise DmlError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    return record_id


def _check_count(records: list[Any]) -> None:
    if len(records) > WRITTEN_MAX:
        message = f"record limit reached. cannot submit more than {WRITTEN_MAX} records with this operation"
        raise ApiError("LIMIT_EXCEEDED", message)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)

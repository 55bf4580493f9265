"""What Salesforce checks before it writes a record.

Why: a client that only ever meets a lenient org learns its mistakes in production; the checks and their error codes
are Salesforce's.

Source: SOAP API Developer Guide, "Core Data Types: StatusCode".
"""

from collections.abc import Mapping
from typing import Any

from sfsync.simorg.errors import ApiError, DmlError
from sfsync.simorg.ids import KEY_PREFIXES
from sfsync.simorg.schema import EntityDef, FieldDef, Schema
from sfsync.simorg.values import store_value


def known_entity(schema: Schema, name: str) -> EntityDef:
    """Return the entity called *name*. Raises the error of an address that names none."""
    entity = schema.entity(name)
    if entity is None:
        raise ApiError("NOT_FOUND", "The requested resource does not exist")
    return entity


def check_values(
    entity: EntityDef, values: Mapping[str, Any], *, creating: bool, privileged: bool
) -> dict[str, Any]:
    """Return *values* under the fields' exact names and in stored form.

    A privileged caller (the control API) may write hidden and read-only fields. Raises DmlError.
    """
    stored: dict[str, Any] = {}
    barred: list[str] = []
    for name, value in values.items():
        field = entity.field(name) if privileged else entity.visible(name)
        if field is None or field.is_address or field.type == "id":
            raise DmlError("INVALID_FIELD", f"No such column '{name}' on sobject of type {entity.name}", [])
        if not privileged and not _is_writable(field, creating=creating):
            barred.append(field.name)
            continue
        stored[field.name] = store_value(field, value)
    if barred:
        verb = "create" if creating else "update"
        message = (
            f"Unable to {verb} fields: {', '.join(barred)}. Please check the security settings of this field and "
            "verify that it is read/write for your profile or permission set."
        )
        raise DmlError("INVALID_FIELD_FOR_INSERT_UPDATE", message, barred)
    return stored


def check_required(entity: EntityDef, fields: Mapping[str, Any]) -> None:
    """Raise DmlError if a required field of *entity* has no value in *fields*."""
    missing = [field.name for field in entity if field.required and fields.get(field.name) is None]
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise DmlError("REQUIRED_FIELD_MISSING", message, missing)


def check_target(field: FieldDef, target: str) -> None:
    """Raise DmlError if *target* is the id of an entity that *field* may not point at."""
    prefixes = [KEY_PREFIXES.get(entity) for entity in field.reference_to]
    if target[:3] not in prefixes:
        message = f"{field.name.removesuffix('Id')} ID: id value of incorrect type: {target}"
        raise DmlError("FIELD_INTEGRITY_EXCEPTION", message, [field.name])


def _is_writable(field: FieldDef, *, creating: bool) -> bool:
    return field.createable if creating else field.updateable

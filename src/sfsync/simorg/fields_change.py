"""Fields added, removed, retyped, hidden and shown while the org runs.

Why: an administrator does this on a working day; clients must meet describe, queries and events that change under
them. Values of a removed field are gone, and those that do not fit a new type are lost, as in Salesforce.
An administrator makes custom fields only; that standard ones can be added as well is for whoever maps a field that
this org was not born with.
"""

import re
from contextlib import suppress
from itertools import chain
from typing import Any

from sfsync.simorg.control_input import ControlError, Input
from sfsync.simorg.errors import DmlError
from sfsync.simorg.schema import FieldDef
from sfsync.simorg.values import store_value, to_json
from sfsync.simorg.world import World

NAME = re.compile(r"[A-Za-z]\w{0,39}__c", re.ASCII)
STANDARD_NAME = re.compile(r"[A-Za-z]\w{0,79}", re.ASCII)
LENGTH_MAX = 131_072
TEXT_TYPES = ("string", "textarea", "picklist", "multipicklist", "email", "phone", "url")
OTHER_TYPES = ("boolean", "int", "double", "currency", "percent", "date", "datetime")
ACTIONS = ("add", "remove", "retype", "hide", "show")
_LENGTHS = {
    "string": 255,
    "textarea": 255,
    "picklist": 255,
    "multipicklist": 4099,
    "email": 80,
    "phone": 40,
    "url": 255,
}


def change_field(world: World, given: Input) -> dict[str, Any]:
    """Do what *given* asks to one field and describe the field afterwards. Raises ControlError."""
    given.only("entity", "action", "field")
    entity = given.chosen("entity", world.schema.entities)
    action = given.chosen("action", ACTIONS)
    field = Input(f"{given.where}: field", given.required("field", "an object"))
    field.only("name", "type", "length", "precision", "scale", "formula", "external_id", "standard")
    try:
        changed = _changed(world, entity, action, field)
    except ValueError as error:
        raise ControlError(f"{given.where}: {error}") from error
    world.announce_schema(entity, action, changed)
    return {
        "entity": entity,
        "action": action,
        "field": changed.name,
        "type": changed.type,
        "hidden": changed.hidden,
    }


def _changed(world: World, entity: str, action: str, field: Input) -> FieldDef:
    schema = world.schema
    name: str = field.required("name", "a string")
    match action:
        case "add":
            _check_formula(world, entity, field)
            schema.add_field(entity, _definition(field), standard=_is_standard(field))
        case "remove":
            removed = schema.remove_field(entity, name)
            _convert_stored(world, entity, removed, None)
            return removed
        case "retype":
            schema.retype_field(entity, _definition(field))
        case _:
            schema.set_hidden(entity, name, hidden=action == "hide")
    found = schema.entities[entity].field(name)
    if found is None:
        raise ValueError(f"{entity} has no field {name!r}")
    if action == "retype":
        _convert_stored(world, entity, found, found)
    return found


def _check_formula(world: World, entity: str, field: Input) -> None:
    """Refuse a formula that shows no stored field of its own kind: its values could not be compared, or never end."""
    formula = field.optional("formula", "a string")
    if formula is None:
        return
    lookup, _, name = formula.partition(".")
    relation = world.schema.entities[entity].relation(lookup)
    shown = world.schema.entities[relation.reference_to[0]].field(name) if relation else None
    if shown is None or shown.formula is not None or shown.is_address:
        raise ControlError(f"{field.where}: formula must be like Account.Industry; got {formula!r}")
    kind = field.required("type", "a string")
    if (shown.type in TEXT_TYPES) != (kind in TEXT_TYPES) or (kind not in TEXT_TYPES and shown.type != kind):
        raise ControlError(f"{field.where}: type must be {shown.type}, as {formula} is; got {kind!r}")


def _is_standard(field: Input) -> bool:
    return field.optional("standard", "true or false") is True


def _definition(field: Input) -> FieldDef:
    kind = field.chosen("type", TEXT_TYPES + OTHER_TYPES)
    for name, most in (
        ("length", LENGTH_MAX if kind in TEXT_TYPES else 18),
        ("precision", 18),
        ("scale", 17),
    ):
        field.within(name, 0, most)
    allowed = STANDARD_NAME if _is_standard(field) else NAME
    if not allowed.fullmatch(field.required("name", "a string")):
        raise ControlError(
            f"{field.where}: a custom field's name is letters, digits and _, and must end in __c"
        )
    return FieldDef(
        field.required("name", "a string"),
        kind,
        length=field.optional("length", "a whole number") or _LENGTHS.get(kind, 9 if kind == "int" else 0),
        precision=field.optional("precision", "a whole number")
        or (18 if kind in ("double", "currency", "percent") else 0),
        scale=field.optional("scale", "a whole number") or 0,
        nillable=kind != "boolean",
        formula=field.optional("formula", "a string"),
        external_id=field.optional("external_id", "true or false") is True,
        createable=field.optional("formula", "a string") is None,
        updateable=field.optional("formula", "a string") is None,
    )


def _convert_stored(world: World, entity: str, old: FieldDef, new: FieldDef | None) -> None:
    """Bring the stored values of a field to its new type, or drop them, without a commit: as Salesforce does it."""
    stored = (state for r in world.records.values() if r.entity == entity for state in r.states)
    for state in chain(stored, world.generated.entries(entity)):
        if isinstance(state, dict) and old.name in state:
            value = state.pop(old.name)
            if new is not None and (fitting := _fitting(new, value)) is not None:
                state[new.name] = fitting


def _fitting(field: FieldDef, value: Any) -> Any:
    is_text = field.type in TEXT_TYPES
    with suppress(DmlError):
        return store_value(field, f"{to_json(value)}" if is_text else to_json(value))
    return None

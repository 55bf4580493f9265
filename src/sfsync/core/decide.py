"""Say what must become true of each record because of one event, or because a record was read.

Why: the decision is a function of values, total over the closed union of events, so that every rule can be
tested without a server and a new kind of event cannot be forgotten. Only mapped and structural fields leave
here, in the one spelling of `values`. What an event does not say for certain is asked for (`Refetch`), never
guessed: a diff, a name without a value, a value that its type refuses.

A name that is absent from `Image.fields` is unknown, not null: a CREATE leaves empty fields out, so every
announced field that did not come is stated as None here, except those the event named without a readable
value. An event may carry a field that is not promised to be announced (a roll-up, some formulas); its value
is as good as any other and is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from ..errors import DecodeError
from .commands import (
    Cause,
    Command,
    Image,
    Patch,
    Refetch,
    Resweep,
    Snapshot,
    Tombstone,
)
from .events import (
    ChangeEvent,
    ChangeType,
    Event,
    GapEvent,
    MalformedEvent,
    OverflowEvent,
    Value,
    WildcardEvent,
)
from .ids import Entity, record_id
from .mapping import EntityPlan
from .values import TYPES, Reader

Plans = Mapping[Entity, EntityPlan]

_ENTITIES: Mapping[str, Entity] = {entity.value: entity for entity in Entity}
# An enum's member is a slow look-up in Python 3.11.
_UPDATE, _DELETE = ChangeType.UPDATE, ChangeType.DELETE
_read_instant = TYPES["datetime"].read


def decide(event: Event, plans: Plans) -> list[Command]:
    """Return what *event* asks of the store, in the order in which it must be applied.

    Entities without a plan ask for nothing.
    """
    entity = _entity(event)
    plan = plans.get(entity) if entity is not None else None
    if plan is None:
        return []
    return _commands(event, plan)


def snapshot(row: Mapping[str, Any], plan: EntityPlan, *, read_from_ms: int, read_to_ms: int) -> Snapshot:
    """Make the command for a record as REST gave it, all fields of `plan.select` being there.

    Raises `DecodeError` naming record and field, never the value, for a row that cannot be read.
    """
    try:
        record = record_id(row["Id"])
        fields = {name: read(row[name]) for name, read in plan.readers.items()}
        master = row["MasterRecordId"]
        return Snapshot(
            entity=plan.entity,
            record_id=record,
            fields=fields,
            is_deleted=_read_is_deleted(row["IsDeleted"]),
            master_record_id=record_id(master) if master else None,
            modstamp_ms=_instant_ms(row["SystemModstamp"]),
            read_from_ms=read_from_ms,
            read_to_ms=read_to_ms,
        )
    except (KeyError, ValueError, TypeError):
        raise DecodeError(_row_fault(row, plan)) from None


def _commands(event: Event, plan: EntityPlan) -> list[Command]:
    entity = plan.entity
    match event:
        case ChangeEvent():
            return _change(event, plan)
        case GapEvent(header):
            return [Refetch(entity, record, header.commit_ms, Cause.GAP) for record in header.record_ids]
        case OverflowEvent(header):
            return [Resweep(entity, header.commit_ms, "overflow")]
        case WildcardEvent(header):
            return [Resweep(entity, header.commit_ms, "wildcard", in_full=True)]
        case MalformedEvent():
            return _malformed(event, entity)
        case _:
            assert_never(event)


def _malformed(event: MalformedEvent, entity: Entity) -> list[Command]:
    if event.names_all:
        return [Resweep(entity, event.commit_ms or 0, "malformed", in_full=True)]
    return [Refetch(entity, record, event.commit_ms, Cause.MALFORMED) for record in event.record_ids]


def _entity(event: Event) -> Entity | None:
    name = event.entity if isinstance(event, MalformedEvent) else event.header.entity
    return _ENTITIES.get(name) if name is not None else None


def _change(event: ChangeEvent, plan: EntityPlan) -> list[Command]:
    header = event.header
    entity, commit_ms = plan.entity, header.commit_ms
    commands: list[Command] = []
    if header.change_type is _DELETE:
        for record in header.record_ids:
            commands.append(Tombstone(entity, record, commit_ms))
            commands.append(Refetch(entity, record, commit_ms, Cause.DELETE))
        return commands
    fields, causes = _read_body(event, plan)
    kind = Patch if header.change_type is _UPDATE else Image
    for record in header.record_ids:
        if fields:
            commands.append(kind(entity, record, commit_ms, fields))
        commands += [Refetch(entity, record, commit_ms, cause) for cause in causes]
    return commands


def _read_body(event: ChangeEvent, plan: EntityPlan) -> tuple[dict[str, Value], list[Cause]]:
    """Return the planned fields in their one spelling, and why the record must be read besides."""
    said, missing = _by_component(event, plan) if plan.components else (event.fields, event.missing)
    is_image = event.header.change_type is not _UPDATE
    fields: dict[str, Value] = dict.fromkeys(plan.announced) if is_image else {}
    causes = [Cause.UNANNOUNCED] if is_image and plan.unannounced else []
    lacking = [name for name in missing if name in plan.readers] if missing else []
    if lacking:
        causes.append(Cause.DIFF)
    for name, raw in said.items():
        read = plan.readers.get(name)
        if read is None:
            continue
        try:
            fields[name] = read(raw)
        except ValueError:
            lacking.append(name)
            if Cause.MALFORMED not in causes:
                causes.append(Cause.MALFORMED)
    for name in lacking:
        fields.pop(name, None)
    return fields, causes


def _by_component(event: ChangeEvent, plan: EntityPlan) -> tuple[Mapping[str, Value], frozenset[str]]:
    """Turn what is said of a whole custom location or address into the same said of its mapped components.

    Only the plan knows that `Site__c` is a location: an event that clears it says `"Site__c": null`.
    """
    said = dict(event.fields)
    missing = set(event.missing)
    for compound, names in plan.components.items():
        if compound in missing:
            missing.update(name for name in names if name not in said)
        elif said.get(compound, ...) is None:
            said.update(dict.fromkeys(names))
    return said, frozenset(missing)


def _read_is_deleted(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    raise ValueError("true or false is expected")


def _instant_ms(raw: Any) -> int:
    canonical = _read_instant(raw)
    if isinstance(canonical, str):
        return round(datetime.fromisoformat(canonical).timestamp() * 1000)
    raise ValueError("an instant is expected")


def _row_fault(row: Mapping[str, Any], plan: EntityPlan) -> str:
    """Say which field of a row cannot be read, and why, without its value."""
    readers: dict[str, Reader] = {
        "Id": record_id,
        "IsDeleted": _read_is_deleted,
        "SystemModstamp": _instant_ms,
        "MasterRecordId": TYPES["reference"].read,
    }
    place = f"a {plan.entity.value} row"
    for name, read in (readers | dict(plan.readers)).items():
        if name not in row:
            return f"{place} lacks {name}"
        try:
            value = read(row[name])
        except (ValueError, TypeError) as error:
            return f"{place} has an unreadable {name}: {error}"
        if name == "Id":
            place = f"{plan.entity.value} {value}"
    return f"{place} cannot be read"

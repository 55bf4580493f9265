"""What one message of the stream says, as values.

Why: a closed union lets `decide` be total: a fifth kind of event fails type checking instead of being
skipped in production. Transports (CometD today, Pub/Sub API later) meet here: each yields raw messages with
a position, and decodes them into these. They are structs rather than frozen dataclasses, which cost eight times as
much to make, and one of each is made per event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NewType

import msgspec

from .ids import RecordId

Position = NewType("Position", bytes)
"""An opaque place in one channel's stream: stored, sent back, compared for equality and nothing else."""

Scalar = str | int | float | bool | None
Value = Scalar | object
"""A field value as JSON gives it; numbers with a fraction are `decimal.Decimal`."""


class ChangeType(StrEnum):
    """`changeType` of a change event's header."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    GAP_CREATE = "GAP_CREATE"
    GAP_UPDATE = "GAP_UPDATE"
    GAP_DELETE = "GAP_DELETE"
    GAP_UNDELETE = "GAP_UNDELETE"
    GAP_OVERFLOW = "GAP_OVERFLOW"
    SNAPSHOT = "SNAPSHOT"


class RawEvent(msgspec.Struct, frozen=True):
    """One message as it came: where it stands in the stream, and its undecoded payload (JSON)."""

    position: Position
    payload: bytes


class Header(msgspec.Struct, frozen=True):
    """What every change event's header says. `commit_ms` is whole seconds, good to about a second."""

    entity: str
    record_ids: tuple[RecordId, ...]
    change_type: ChangeType
    transaction_key: str
    sequence_number: int
    commit_ms: int


class ChangeEvent(msgspec.Struct, frozen=True):
    """A change with its body.

    `fields` is flat, by REST name; None means set to null. `missing` names fields that changed but whose
    value did not come: a diff, a hidden field, a shape that has no flat reading. They are never null.
    `cleaned` counts the texts that no database can hold and that were mended (`jsontext`).
    """

    header: Header
    fields: Mapping[str, Value]
    missing: frozenset[str] = frozenset()
    cleaned: int = 0


class GapEvent(msgspec.Struct, frozen=True):
    """Something happened to these records; the body is missing."""

    header: Header


class OverflowEvent(msgspec.Struct, frozen=True):
    """More happened to this entity in one transaction than Salesforce tells about."""

    header: Header


class WildcardEvent(msgspec.Struct, frozen=True):
    """Every record of the entity may have changed (`001*`: a field's type was converted)."""

    header: Header


class MalformedEvent(msgspec.Struct, frozen=True):
    """A message that is no change event, with the ids that could still be read from it.

    `reason` holds no field value: it is stored and logged. With `names_all` it spoke of the whole entity.
    """

    reason: str
    entity: str | None = None
    record_ids: tuple[RecordId, ...] = ()
    commit_ms: int | None = None
    names_all: bool = False


Event = ChangeEvent | GapEvent | OverflowEvent | WildcardEvent | MalformedEvent

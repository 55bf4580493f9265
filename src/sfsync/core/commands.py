"""Commands: what must become true of one record; the only thing that reaches the store.

Why: push and pull are two producers of one value type. Whatever learned about a record, event or read, says
it in these words, and one ordering rule (`order.py`) decides what each is worth. All instants are Salesforce's,
in epoch milliseconds, comparable only to about a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from .events import Value
from .ids import Entity, RecordId


class Cause(StrEnum):
    """Why a record is dirty, that is, known to need a fresh read."""

    GAP = "gap"
    DELETE = "delete"
    RESTORED = "restored"
    DIFF = "diff"
    UNKNOWN = "unknown_record"
    PATCH_ON_DELETED = "patch_on_deleted"
    LATE = "late_event"
    AMBIGUOUS = "ambiguous_event"
    OVERLAP = "event_within_read"
    UNSURE_READ = "unsure_read"
    MALFORMED = "malformed_event"
    PARENT = "parent_changed"
    UNANNOUNCED = "unannounced_field"
    POISON = "poison"
    REQUESTED = "requested"


class Patch(msgspec.Struct, frozen=True):
    """Some fields of a record changed; fields that are not named did not."""

    entity: Entity
    record_id: RecordId
    commit_ms: int
    fields: Mapping[str, Value]


class Image(msgspec.Struct, frozen=True):
    """All fields that CDC announces, from a CREATE or UNDELETE; a mapped one that is absent is null."""

    entity: Entity
    record_id: RecordId
    commit_ms: int
    fields: Mapping[str, Value]


class Tombstone(msgspec.Struct, frozen=True):
    """The record was deleted; whether by a merge an event never says."""

    entity: Entity
    record_id: RecordId
    commit_ms: int


class Snapshot(msgspec.Struct, frozen=True):
    """All mapped and structural fields of one record, as read.

    `read_from_ms` (T_lo) is not later than the content, `read_to_ms` (T_hi) not earlier.
    `modstamp_ms` is the record's SystemModstamp.
    """

    entity: Entity
    record_id: RecordId
    fields: Mapping[str, Value]
    is_deleted: bool
    master_record_id: RecordId | None
    modstamp_ms: int
    read_from_ms: int
    read_to_ms: int


class Absence(msgspec.Struct, frozen=True):
    """A read that includes the recycle bin found no such record: purged, or hidden from this user."""

    entity: Entity
    record_id: RecordId
    read_from_ms: int
    read_to_ms: int


class Refetch(msgspec.Struct, frozen=True):
    """Read this record again: something about it is known, but not what."""

    entity: Entity
    record_id: RecordId
    commit_ms: int | None
    cause: Cause


class Resweep(msgspec.Struct, frozen=True):
    """Read this entity again: from its watermark, or `in_full` when even unstamped values may differ."""

    entity: Entity
    commit_ms: int
    reason: str
    in_full: bool = False


RecordCommand = Patch | Image | Tombstone | Snapshot | Absence | Refetch
Command = RecordCommand | Resweep

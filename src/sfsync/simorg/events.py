"""Turn a commit into change events, in the order and shape in which Salesforce announces them.

Why: events are derived from the committed net change of each record and from nothing else, so that they cannot tell
another story than queries do. A draft is a value that faults may still alter; only then it is encoded, once.

Source: Change Data Capture guide ("Change Event Header Fields", "Merged Change Events", "Transaction-Based Ordering",
"Change Events for Lead Conversion", "Overflow Events"); captured payloads for the order and the form of members.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sfsync.simorg.event_shapes import Place, Shape, Shapes, put, whole_body, written
from sfsync.simorg.history import Change, Commit
from sfsync.simorg.ids import KEY_PREFIXES
from sfsync.simorg.text_diff import diff_of

if TYPE_CHECKING:
    from sfsync.simorg.org import Settings

EVENT_BYTES_MAX = 1_000_000
OVERFLOW_ID = "000000000000000AAA"
CONVERSION_ORDER = {"Account": 0, "Contact": 1, "Opportunity": 2, "Lead": 3}


@dataclass(frozen=True, slots=True)
class Draft:
    """One change event before it is encoded."""

    entity: str
    record_ids: tuple[str, ...]
    change_type: str
    schema_id: str
    sequence: int = 0
    changed_fields: tuple[str, ...] = ()
    body: Mapping[str, Any] | None = None
    # Its commit second is one below its siblings' or below its record's LastModifiedDate.
    is_early: bool = False

    def as_gap(self, change_type: str | None = None, record_ids: tuple[str, ...] | None = None) -> "Draft":
        """Return the gap event that stands for this one: a header without body."""
        return replace(
            self,
            change_type=change_type or f"GAP_{self.change_type.removeprefix('GAP_')}",
            record_ids=record_ids or self.record_ids,
            changed_fields=(),
            body=None,
        )


class Drafter:
    """Drafts the events of commits; chance decides what Salesforce leaves to chance."""

    def __init__(self, shapes: Shapes, settings: "Settings", rng: random.Random) -> None:
        self._shapes = shapes
        self._settings = settings
        self._rng = rng

    def drafts(self, commit: Commit) -> list[Draft]:
        """Return the events of *commit* on all entities, selected for change data capture or not."""
        if commit.silent:
            return []
        drafts: list[Draft] = []
        budget = self._settings.overflow_at
        too_much: dict[str, None] = {}
        straddles = any(change.commit_skew_s for change in commit.changes)
        for change in in_announced_order(commit.changes):
            is_early = straddles and not change.commit_skew_s
            pieces = self._pieces(change, is_early=is_early or self._chance(self._settings.skew_share))
            budget -= sum(max(len(piece.changed_fields), 1) for piece in pieces)
            if budget < 0:
                too_much[change.entity] = None
            else:
                drafts += pieces
        drafts = self._merged(drafts) + [self._overflow(entity) for entity in too_much]
        return [replace(draft, sequence=number) for number, draft in enumerate(drafts, 1)]

    def wildcard(self, entity: str) -> Draft:
        """Return the event that stands for any number of changed records of *entity*."""
        schema_id = self._shapes.of(entity).schema_id
        return Draft(entity, wildcard_ids(entity), "GAP_UPDATE", schema_id, sequence=1)

    def _pieces(self, change: Change, *, is_early: bool) -> list[Draft]:
        shape = self._shapes.of(change.entity)
        draft = Draft(change.entity, (change.record_id,), change.kind, shape.schema_id, is_early=is_early)
        match change.kind:
            case "CREATE" | "UNDELETE":
                return [replace(draft, body=whole_body(shape, change.after or {}))]
            case "UPDATE":
                return self._update(draft, shape, change)
            case "DELETE":
                return [draft]
            case "PURGE":
                return []

    def _update(self, draft: Draft, shape: Shape, change: Change) -> list[Draft]:
        before, after = change.before or {}, change.after or {}
        differing = [name for name, value in after.items() if before.get(name) != value]
        differing += before.keys() - after.keys()
        # Two changes within a second leave the stamp as it was, and it is announced all the same; automation such
        # as geocoding moves SystemModstamp alone, and does not announce it.
        is_stamped = after.get("LastModifiedDate") == after.get("SystemModstamp")
        if is_stamped and "LastModifiedDate" not in differing:
            differing.append("LastModifiedDate")
        changed = [shape.places[name] for name in differing if name in shape.places]
        if not changed:
            return []
        if self._chance(self._settings.split_share) and len(changed) > 1:
            stamps = [place for place in changed if place.field == "LastModifiedDate"]
            rest = [place for place in changed if place.field != "LastModifiedDate"]
            return [self._patch(draft, shape, change, part) for part in (stamps, rest) if part]
        return [self._patch(draft, shape, change, changed)]

    def _patch(self, draft: Draft, shape: Shape, change: Change, changed: Sequence[Place]) -> Draft:
        before, after = change.before or {}, change.after or {}
        body: dict[str, Any] = {}
        names: list[str] = []
        cleared = self._cleared(shape, before, after) if any(place.compound for place in changed) else []
        for place in changed:
            if place.compound in cleared:
                continue
            value = self._value(shape, place, before, after)
            put(body, place, value)
            names.append(place.announced_name)
        body.update(dict.fromkeys(cleared))
        if self._settings.shuffle:
            self._rng.shuffle(names)
        return replace(draft, body=body, changed_fields=(*names, *cleared))

    def _value(
        self, shape: Shape, place: Place, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> object:
        new = after.get(place.field)
        if self._settings.diff_text and place.field in shape.diffable:
            diff = diff_of(before.get(place.field), new)
            if diff is not None:
                return {"diff": diff}
        return written(new, is_double=place.is_double)

    def _cleared(self, shape: Shape, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
        """Return the compounds that had a value and have none left, where these are sent as null by their name."""
        if self._settings.cleared_compound != "bare":
            return []
        had, has = set(), set()
        for place in shape.places.values():
            if place.compound is not None and before.get(place.field) is not None:
                had.add(place.compound)
            if place.compound is not None and after.get(place.field) is not None:
                has.add(place.compound)
        return sorted(had - has)

    def _merged(self, drafts: list[Draft]) -> list[Draft]:
        """Merge some of the equal updates, and deletes of one entity, into one event naming several records."""
        if len(drafts) < 2:
            return drafts
        merged: dict[object, Draft] = {}
        for number, draft in enumerate(drafts):
            group = self._group(draft) or number
            first = merged.get(group)
            ids = (*first.record_ids, *draft.record_ids) if first else draft.record_ids
            merged[group] = replace(first or draft, record_ids=ids)
        return list(merged.values())

    def _group(self, draft: Draft) -> bytes | None:
        """Return what drafts must share to be merged, commit second included; None if this one stays alone."""
        if draft.change_type not in ("UPDATE", "DELETE") or not self._chance(self._settings.merge_share):
            return None
        content = (draft.entity, draft.change_type, draft.is_early, sorted(draft.changed_fields), draft.body)
        return msgspec.json.encode(content, order="sorted")

    def _overflow(self, entity: str) -> Draft:
        return Draft(entity, (OVERFLOW_ID,), "GAP_OVERFLOW", self._shapes.of(entity).schema_id)

    def _chance(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share


def wildcard_ids(entity: str) -> tuple[str, ...]:
    """Return the record ids of an event about all records of *entity*: its key prefix and a star."""
    return (f"{KEY_PREFIXES[entity]}*",)


def encode(draft: Draft, commit: Commit, settings: "Settings", rng: random.Random) -> bytes:
    """Return the JSON payload of *draft*, header and body in any order of members."""
    header = {
        "commitNumber": commit_number(commit, settings.commit_numbers),
        "commitUser": commit.user_id,
        "sequenceNumber": draft.sequence,
        "entityName": draft.entity,
        "changeType": draft.change_type,
        "changedFields": draft.changed_fields,
        "changeOrigin": "" if draft.change_type.startswith("GAP_") else commit.origin,
        "transactionKey": commit.transaction_key,
        "commitTimestamp": commit_ms(commit.committed_at) - 1_000 * draft.is_early,
        "recordIds": draft.record_ids,
    }
    payload: dict[str, Any] = {"ChangeEventHeader": header, **(draft.body or {})}
    if settings.shuffle:
        payload = shuffled(payload, rng)
    return msgspec.json.encode(payload)


def shuffled(members: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return *members* in a random order."""
    names = list(members)
    rng.shuffle(names)
    return {name: members[name] for name in names}


def commit_ms(instant: datetime) -> int:
    """Return *instant* in epoch milliseconds, cut to the second."""
    return int(instant.timestamp()) * 1_000


def commit_number(commit: Commit, style: str) -> int:
    """Return a database commit number: ascending, and beyond what a double holds in the style "ns"."""
    if style == "ns":
        return int(commit.committed_at.timestamp() * 1_000) * 1_000_000 + commit.number % 1_000_000
    return 11_657_000_000_000 + commit.number * 13


def in_announced_order(changes: Sequence[Change]) -> Sequence[Change]:
    """Return *changes* as a transaction announces them: a conversion goes Account, Contact, Opportunity, Lead."""
    if not any(_is_conversion(change) for change in changes):
        return changes
    return sorted(changes, key=lambda change: CONVERSION_ORDER.get(change.entity, len(CONVERSION_ORDER)))


def _is_conversion(change: Change) -> bool:
    if change.entity != "Lead" or change.kind != "UPDATE":
        return False
    return bool((change.after or {}).get("IsConverted")) and not (change.before or {}).get("IsConverted")

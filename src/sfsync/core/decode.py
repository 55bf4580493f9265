"""Decode a change event's JSON into a value: total, pure, and sure of what it does not know.

Why: whatever a stream delivers, the daemon goes on, so this never raises: what is no change event becomes a
`MalformedEvent` with every id that could still be read, to be parked and its records read again. Bodies are
flattened to REST field names by the shape of what came, without describe, so that an event decodes the same
whenever it is decoded. A name in `changedFields` without a readable value is `missing`, never null: the
field may be hidden from this user, and the guide's advice to take it for null would empty it. Where
`changedFields` is given it is trusted over the body, which on an enriched channel holds unchanged fields too.
Decoding and deciding a 700-byte update takes some tens of microseconds.

Source: Change Data Capture Developer Guide, "Change Event Header Fields", "Compound Fields in Change Events",
"Enrich Change Events", "Gap Events", "Overflow Events"; shapes checked against captured messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec

from .events import (
    ChangeEvent,
    ChangeType,
    Event,
    GapEvent,
    Header,
    MalformedEvent,
    OverflowEvent,
    RawEvent,
    Value,
    WildcardEvent,
)
from .ids import OVERFLOW_ID, PREFIXES, Entity, RecordId, entity_of, is_wildcard, record_id
from .jsontext import parse_json

HEADER = "ChangeEventHeader"

PERSON_NAME = ("Salutation", "FirstName", "MiddleName", "LastName", "Suffix")
ADDRESS = (
    *("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode"),
    *("Latitude", "Longitude", "GeocodeAccuracy"),
)
LOCATION = frozenset({"Latitude", "Longitude"})

_COMPOUNDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    Entity.LEAD: {"Name": PERSON_NAME, "Address": ADDRESS},
    Entity.CONTACT: {"Name": PERSON_NAME, "MailingAddress": ADDRESS, "OtherAddress": ADDRESS},
    Entity.ACCOUNT: dict.fromkeys(
        ("BillingAddress", "ShippingAddress", "PersonMailingAddress", "PersonOtherAddress"), ADDRESS
    ),
}
"""What a compound consists of, to be nulled with it when it comes as a bare null."""
_NO_COMPOUNDS: Mapping[str, tuple[str, ...]] = {}
_PREFIX_OF: Mapping[str, str] = {entity: prefix for prefix, entity in PREFIXES.items()}
_ABSENT = object()
_NOTHING: frozenset[str] = frozenset()
_SCALARS = (str, int, float, Decimal)

# An enum's member is a slow look-up in Python 3.11, and these are asked for with every event.
_UPDATE, _DELETE = ChangeType.UPDATE, ChangeType.DELETE
_OVERFLOW, _RESERVED = ChangeType.GAP_OVERFLOW, ChangeType.SNAPSHOT
_CHANGE_TYPES = {change_type.value: change_type for change_type in ChangeType}
_WITH_BODY = frozenset({ChangeType.CREATE, ChangeType.UPDATE, ChangeType.UNDELETE})
_ENTITY_NAME = re.compile(r"[A-Za-z]\w{0,79}", re.ASCII)
_NAME_CHARACTERS_MAX = 255
_COMMIT_MS_MAX = 253_402_300_799_999  # the end of the year 9999
_HEADER_START = re.compile(rb'"ChangeEventHeader"\s*:\s*')


class _Header(msgspec.Struct, frozen=True):
    """The header as it is on the wire; members that are not named here are ignored."""

    entityName: str  # noqa: N815
    recordIds: list[str]  # noqa: N815
    changeType: str  # noqa: N815
    transactionKey: str  # noqa: N815
    sequenceNumber: int  # noqa: N815
    commitTimestamp: int  # noqa: N815
    changedFields: list[str] | None = None  # noqa: N815


class _Envelope(msgspec.Struct, frozen=True):
    ChangeEventHeader: _Header


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_body_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class _RefusedError(Exception):
    """The message is no change event we can act on; `str()` of it is the reason, free of values."""


def decode(raw: RawEvent) -> Event:
    """Say what one message of the stream means; never raises."""
    payload = raw.payload
    if b"\\u0000" in payload or not _says_once(payload):
        return _decode_slowly(payload)
    try:
        wire = _envelope_decoder.decode(payload).ChangeEventHeader
        header = _read_header(wire)
        if header.change_type not in _WITH_BODY or not header.record_ids:
            return _without_body(header)
        return _with_body(header, wire.changedFields, _body_decoder.decode(payload))
    except (ValueError, RecursionError, InvalidOperation, _RefusedError):
        return _decode_slowly(payload)


def decode_payload(payload: object, *, cleaned: int = 0) -> Event:
    """Say what a payload means that was parsed already (by `jsontext.parse_json`); never raises."""
    loose = payload.get(HEADER) if isinstance(payload, Mapping) else None
    if not isinstance(payload, Mapping) or not isinstance(loose, Mapping):
        return MalformedEvent(f"not a change event: there is no {HEADER}")
    try:
        wire = msgspec.convert(loose, _Header)
        header = _read_header(wire)
    except msgspec.ValidationError as error:
        return _malformed(f"the header is unreadable: {error}", loose)
    except _RefusedError as refusal:
        return _malformed(str(refusal), loose)
    if header.change_type not in _WITH_BODY or not header.record_ids:
        return _without_body(header)
    return _with_body(header, wire.changedFields, payload, cleaned)


def _says_once(payload: bytes) -> bool:
    """Tell cheaply whether no vital member can be there twice; parsers differ in which one they believe."""
    return (
        payload.count(b'"ChangeEventHeader"') == 1
        and payload.count(b'"recordIds"') == 1
        and payload.count(b'"changeType"') == 1
        and payload.count(b'"entityName"') == 1
        and payload.count(b'"commitTimestamp"') == 1
    )


def _decode_slowly(payload: bytes) -> Event:
    """Read what the fast way refused: mend its texts, or say what is wrong with it."""
    try:
        tree, cleaned = parse_json(payload)
        if not _says_once(payload):
            json.loads(payload, object_pairs_hook=_refuse_repetition)
    except RecursionError:
        return _malformed("the message is unreadable: nested too deeply", _salvage_header(payload))
    except ValueError as error:
        return _malformed(f"the message is unreadable: {error}", _salvage_header(payload))
    except _RefusedError as refusal:
        return _malformed(str(refusal), _salvage_header(payload))
    return decode_payload(tree, cleaned=cleaned)


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs) and (HEADER in members or "recordIds" in members):
        raise _RefusedError("the header says the same thing twice")
    return members


def _salvage_header(payload: bytes) -> object:
    """Read the header alone out of a message that is broken elsewhere; None when it cannot be read."""
    start = _HEADER_START.search(payload)
    if start is None:
        return None
    try:
        return json.JSONDecoder().raw_decode(payload[start.end() :].decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None


def _malformed(reason: str, header: object) -> MalformedEvent:
    """Keep what can be trusted of an unreadable message: ids that are well-formed and of a known entity."""
    if not isinstance(header, Mapping):
        return MalformedEvent(reason)
    entity, ids, commit_ms = (header.get(name) for name in ("entityName", "recordIds", "commitTimestamp"))
    if not isinstance(entity, str) or not _ENTITY_NAME.fullmatch(entity):
        entity = None
    ids = ids if isinstance(ids, list) else []
    sound = dict.fromkeys(_sound_ids(entity, ids))
    if type(commit_ms) is not int or not 0 < commit_ms <= _COMMIT_MS_MAX:
        commit_ms = None
    return MalformedEvent(reason, entity, tuple(sound), commit_ms, _names_all(ids))


def _sound_ids(entity: str | None, ids: Iterable[object]) -> Iterable[RecordId]:
    for text in ids:
        try:
            sound = record_id(text)
        except ValueError:
            continue
        if sound != OVERFLOW_ID and entity_of(sound) is not None and entity_of(sound) == entity:
            yield sound


def _names_all(ids: Iterable[object]) -> bool:
    return any(isinstance(text, str) and (is_wildcard(text) or text == OVERFLOW_ID) for text in ids)


def _read_header(wire: _Header) -> Header:
    """Check the header; `record_ids` is empty when it speaks of a whole entity."""
    change_type = _CHANGE_TYPES.get(wire.changeType)
    if change_type is None or change_type is _RESERVED:
        raise _RefusedError("the changeType is not one that sfsync knows")
    if wire.entityName not in _PREFIX_OF and not _ENTITY_NAME.fullmatch(wire.entityName):
        raise _RefusedError("the entityName is no name of an entity")
    if not 0 < wire.commitTimestamp <= _COMMIT_MS_MAX:
        raise _RefusedError("the commitTimestamp is no instant in milliseconds")
    if not wire.transactionKey or not 0 <= wire.sequenceNumber < 2**31:
        raise _RefusedError("the transactionKey or sequenceNumber is empty or out of range")
    if wire.changedFields and wire.changedFields[0][:1].isdigit():
        raise _RefusedError("changedFields are bitmaps: this is the Pub/Sub API's form, not yet supported")
    ids = () if change_type is _OVERFLOW else _read_ids(wire)
    return Header(
        wire.entityName, ids, change_type, wire.transactionKey, wire.sequenceNumber, wire.commitTimestamp
    )


def _read_ids(wire: _Header) -> tuple[RecordId, ...]:
    """Return the ids, each once, in order; none when one of them is the entity's wildcard."""
    if not wire.recordIds:
        raise _RefusedError("recordIds is empty")
    expected = _PREFIX_OF.get(wire.entityName)
    ids: dict[RecordId, None] = {}
    for text in wire.recordIds:
        if expected is not None and not text.startswith(expected):
            raise _RefusedError("a record id is not of the event's entity")
        if is_wildcard(text):
            return ()
        try:
            ids[record_id(text)] = None
        except ValueError as error:
            raise _RefusedError(str(error)) from None
    if OVERFLOW_ID in ids:
        raise _RefusedError("the overflow event's dummy id came in an event of another type")
    return tuple(ids)


def _without_body(header: Header) -> Event:
    if header.change_type is _OVERFLOW:
        return OverflowEvent(header)
    if not header.record_ids:
        return WildcardEvent(header)
    if header.change_type is _DELETE:
        return ChangeEvent(header, {})
    return GapEvent(header)


def _with_body(
    header: Header, changed: list[str] | None, body: Mapping[str, Any], cleaned: int = 0
) -> ChangeEvent:
    flat = _FlatBody(header.entity)
    fields = flat.fields
    if changed and header.change_type is _UPDATE:
        for name in changed:
            value = body.get(name, _ABSENT)
            if isinstance(value, _SCALARS):
                fields[name] = value
            else:
                flat.add_changed(name, value, body)
    else:
        for name, value in body.items():
            if isinstance(value, _SCALARS):
                fields[name] = value
            elif name != HEADER:
                flat.add(name, value)
    missing = frozenset(flat.missing.difference(fields)) if flat.missing else _NOTHING
    return ChangeEvent(header, fields, missing, cleaned)


class _FlatBody:
    """The flat reading of one body while it is being made."""

    __slots__ = ("compounds", "fields", "missing")

    def __init__(self, entity: str) -> None:
        self.compounds = _COMPOUNDS.get(entity, _NO_COMPOUNDS)
        self.fields: dict[str, Value] = {}
        self.missing: set[str] = set()

    def add(self, name: str, value: Any) -> None:
        """Take a member of the body as it stands."""
        if isinstance(value, dict):
            self._add_compound(name, value)
        elif isinstance(value, list):
            self._miss(name)
        elif value is None and name in self.compounds:
            self.fields.update(dict.fromkeys(self._components(name)))
        else:
            self.fields[name] = value

    def add_changed(self, name: str, value: Any, body: Mapping[str, Any]) -> None:
        """Take what *body* says of one name of changedFields; without a value it is missing."""
        if value is not _ABSENT:
            self.add(name, value)
            if isinstance(value, dict):
                # The compound as a whole changed: a component that did not come is not known to be unchanged.
                self.missing.update(self._expected(name, value))
        elif "." in name:
            self._add_component(name, body)
        else:
            self._miss(name)

    def _add_component(self, name: str, body: Mapping[str, Any]) -> None:
        compound, _, part = name.partition(".")
        flat_name = _component_name(compound, part) or name
        holder = body.get(compound, _ABSENT)
        value = holder.get(part, _ABSENT) if isinstance(holder, dict) else holder
        if value is None or (isinstance(holder, dict) and isinstance(value, _SCALARS)):
            self.fields[flat_name] = value
        else:
            self.missing.add(flat_name)
        if compound == "Name" and "Name" not in self.compounds:
            self.missing.add("Name")

    def _add_compound(self, name: str, parts: Mapping[str, Any]) -> None:
        if not parts:
            self._miss(name)
        for part, value in parts.items():
            flat_name = _component_name(name, part)
            if flat_name is None:
                self._miss(name)
            elif value is None or isinstance(value, _SCALARS):
                self.fields[flat_name] = value
            else:
                self.missing.add(flat_name)
        if name == "Name" and name not in self.compounds:
            # A person account's composed name: its components came, the text that REST gives did not.
            self.missing.add(name)

    def _expected(self, name: str, parts: Mapping[str, Any]) -> Iterable[str]:
        if name in self.compounds:
            return self._components(name)
        if name.endswith("__c") and parts.keys() <= LOCATION:
            return [_component_name(name, part) or part for part in LOCATION]
        return ()

    def _miss(self, name: str) -> None:
        self.missing.update(self._components(name) if name in self.compounds else (name,))

    def _components(self, name: str) -> list[str]:
        return [_component_name(name, part) or part for part in self.compounds[name]]


def _component_name(compound: str, part: str) -> str | None:
    """Return the REST name of a compound's component; None when the shape has no flat reading."""
    # Nothing that long is a name, and what is remembered must not be megabytes of somebody's choosing.
    if len(compound) + len(part) > _NAME_CHARACTERS_MAX:
        return None
    return _shaped_name(compound, part)


@lru_cache(maxsize=1024)
def _shaped_name(compound: str, part: str) -> str | None:
    if compound == "Name":
        return part if part in PERSON_NAME else None
    if compound.endswith("Address"):
        return compound.removesuffix("Address") + part if part[:1].isupper() else None
    if compound.endswith("__c"):
        return f"{compound.removesuffix('__c')}__{part}__s" if part in ADDRESS else None
    return None

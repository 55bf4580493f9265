"""Feed committed transactions to the event bus, through the faults planted for events.

Why: a fault alters a draft (gap, overflow, wildcard) or its encoded message (lost, doubled, malformed), never the
world; so the org keeps telling the truth to queries while its events go wrong, which is what a client must survive.
"""

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from sfsync.simorg.bus import Message
from sfsync.simorg.event_shapes import Shapes
from sfsync.simorg.events import EVENT_BYTES_MAX, OVERFLOW_ID, Draft, Drafter, encode, wildcard_ids
from sfsync.simorg.history import Commit
from sfsync.simorg.schema import FieldDef

if TYPE_CHECKING:
    from sfsync.simorg.org import Org


class Feed:
    """Announces what one org commits; the subject of an event fault is `Entity/id[,id...]`."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._rng = random.Random(org.world.rng.getrandbits(64))
        self._drafter = Drafter(Shapes(org.world.schema), org.settings, self._rng)

    def announce(self, commit: Commit) -> None:
        """Publish the events of *commit* that subscribers may get."""
        selected = {*self._org.settings.cdc_entities, *self._org.settings.channel_entities}
        drafts = [draft for draft in self._drafter.drafts(commit) if draft.entity in selected]
        messages = [self._message(draft, commit) for draft in self._faulted(drafts)]
        self._org.bus.publish([message for message in messages if message is not None])

    def announce_schema(self, entity: str, action: str, _field: FieldDef) -> None:
        """Publish what a retyped field announces: any record of *entity* may have lost a value."""
        if action != "retype" or entity not in self._org.settings.cdc_entities:
            return
        world, now = self._org.world, self._org.clock.now()
        key = f"0Mc{self._rng.getrandbits(60):015X}"
        commit = Commit(world.number, key, now, now, world.user_id, "", ())
        draft = self._drafter.wildcard(entity)
        payload = encode(draft, commit, self._org.settings, self._rng)
        self._org.bus.publish([Message(entity, draft.record_ids, draft.schema_id, payload)])

    def _faulted(self, drafts: list[Draft]) -> list[Draft]:
        """Return *drafts* with the planted gaps, wildcards and overflows in their places."""
        faults = self._org.faults
        overflowed: dict[str, bool] = {}
        kept: list[Draft] = []
        for draft in drafts:
            subject = _subject(draft)
            if overflowed.get(draft.entity):
                continue
            if faults.take("overflow", subject):
                overflowed[draft.entity] = True
                kept = [other for other in kept if other.entity != draft.entity]
                kept.append(draft.as_gap("GAP_OVERFLOW", (OVERFLOW_ID,)))
            elif faults.take("wildcard", subject):
                kept.append(draft.as_gap("GAP_UPDATE", wildcard_ids(draft.entity)))
            elif faults.take("gap", subject):
                kept.append(draft.as_gap())
            else:
                kept.append(draft)
        return kept

    def _message(self, draft: Draft, commit: Commit) -> Message | None:
        org, subject = self._org, _subject(draft)
        if org.faults.take("lose_event", subject):
            return None
        payload = encode(draft, commit, org.settings, self._rng)
        if len(payload) > EVENT_BYTES_MAX:
            payload = encode(draft.as_gap(), commit, org.settings, self._rng)
        message = Message(draft.entity, draft.record_ids, draft.schema_id, payload)
        if org.faults.take("duplicate_event", subject):
            message = replace(message, copies=2)
        malformed = org.faults.take("malformed_event", subject)
        return _malformed(message, str(malformed.params.get("form", "no_header"))) if malformed else message


def _subject(draft: Draft) -> str:
    return f"{draft.entity}/{','.join(draft.record_ids)}"


def _malformed(message: Message, form: str) -> Message:
    """Return *message* spoilt in one of the forms that decoders meet; the JSON around it stays whole."""
    if form == "no_replay_id":
        return replace(message, has_replay_id=False)
    if form == "null_payload":
        return replace(message, payload=b"null")
    payload: dict[str, Any] = msgspec.json.decode(message.payload)
    header = payload["ChangeEventHeader"]
    match form:
        case "no_record_ids":
            del header["recordIds"]
        case "bad_record_id":
            header["recordIds"] = ["not-an-id"]
        case "unknown_change_type":
            header["changeType"] = "TRANSMOGRIFY"
        case "wrong_type":
            payload["LastModifiedDate"] = {"year": 2026}
        case "null_character":
            payload["LastName"] = "\x00"
        case _:
            del payload["ChangeEventHeader"]
    return replace(message, payload=msgspec.json.encode(payload))

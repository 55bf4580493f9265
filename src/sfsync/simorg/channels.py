"""Which channels there are, what they carry, and where in the stream a subscriber begins.

Why: one stream serves all channels, a channel being a set of entities over it; what a subscriber may see is decided
when it reads, because selections and permissions change while it is subscribed. A custom channel may be enriched:
then events are not merged, several messages share one replay id, and the added values are read at delivery.

Source: Change Data Capture guide, "Subscription Channels", "Enrich Change Events with Extra Fields"; Streaming API
guide, "Replaying Events".
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from sfsync.simorg import bayeux
from sfsync.simorg.bus import Retained
from sfsync.simorg.event_shapes import Shapes, written
from sfsync.simorg.json_body import write_json

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

ALL_CHANGES = "/data/ChangeEvents"
CUSTOM = "/data/Sync__chn"
NEW_ONLY = -1
ALL_RETAINED = -2
_NAMED_PREFIXES = ("/data/", "/event/", "/topic/", "/u/")
_RESTRICTED_PREFIXES = ("/meta/", "/service/")


def check_channel(org: "Org", channel: object) -> str:
    """Return the name of a channel that may be subscribed to. Raises Failure."""
    if not isinstance(channel, str) or not channel:
        raise bayeux.Failure(bayeux.CHANNEL_MISSING)
    if not channel.startswith("/"):
        raise bayeux.Failure(bayeux.CHANNEL_SLASH)
    if channel.startswith(_RESTRICTED_PREFIXES) or "*" in channel:
        raise bayeux.Failure(bayeux.RESTRICTED)
    if not channel.startswith(_NAMED_PREFIXES):
        raise bayeux.cannot_create(channel)
    entity = _entity_of(org, channel)
    if entity is None and channel not in (ALL_CHANGES, CUSTOM):
        raise bayeux.no_such_channel(channel)
    if entity in org.settings.denied_entities:
        raise bayeux.Failure(bayeux.NO_VIEW_ALL)
    return channel


def entities_on(org: "Org", channel: str) -> frozenset[str]:
    """Return the entities whose events *channel* carries to the org's user."""
    selected = frozenset(org.settings.cdc_entities)
    if channel == ALL_CHANGES:
        return selected.difference(org.settings.denied_entities)
    custom = frozenset(org.settings.channel_entities) or selected
    if channel == CUSTOM:
        return custom.difference(org.settings.denied_entities)
    return frozenset({_entity_of(org, channel) or ""}) & (selected | custom)


def start_cursor(org: "Org", channel: str, message: Mapping[str, Any]) -> int:
    """Return the cursor to begin at, by the replay id that *message* asks for. Raises Failure."""
    replay_id = _requested(org, channel, message)
    if replay_id == NEW_ONLY:
        return org.bus.tip
    if replay_id == ALL_RETAINED:
        return org.bus.oldest
    cursor = org.bus.cursor_after(replay_id, anywhere=org.settings.replay_anywhere)
    if cursor is None:
        raise bayeux.invalid_replay_id(replay_id)
    return cursor


def bodies(org: "Org", channel: str, retained: Retained) -> list[bytes]:
    """Return the `data` members that *channel* delivers for one event: several if it is enriched."""
    if channel != CUSTOM or not org.settings.enriched_fields:
        return [retained.body]
    return Enrichment(org).bodies(retained)


class Enrichment:
    """Adds the values of chosen fields to updates and deletes."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._shapes = Shapes(org.world.schema)

    def bodies(self, retained: Retained) -> list[bytes]:
        """Return one body for each record of an event, all under its replay id."""
        body: Any = msgspec.json.decode(retained.body)
        payload = body["payload"]
        header = payload.get("ChangeEventHeader") if isinstance(payload, dict) else None
        if header is None or header.get("changeType") not in ("UPDATE", "DELETE"):
            return [retained.body]
        return [
            msgspec.json.encode({**body, "payload": self._enriched(retained, payload, record_id)})
            for record_id in retained.record_ids
        ]

    def _enriched(self, retained: Retained, payload: dict[str, Any], record_id: str) -> dict[str, Any]:
        header = {**payload["ChangeEventHeader"], "recordIds": [record_id]}
        return {**self._extra(retained.entity, record_id), **payload, "ChangeEventHeader": header}

    def _extra(self, entity: str, record_id: str) -> dict[str, object]:
        fields = self._org.world.get(record_id) or {}
        qualified = (name.partition(".") for name in self._org.settings.enriched_fields)
        chosen = {field for owner, _, field in qualified if owner == entity}
        places = [place for name, place in self._shapes.of(entity).places.items() if name in chosen]
        values = {
            place.field: written(fields.get(place.field), is_double=place.is_double) for place in places
        }
        return {name: value for name, value in values.items() if value is not None}


def _entity_of(org: "Org", channel: str) -> str | None:
    """Return the entity of a single-entity channel, if there is one of that name."""
    name = channel.removeprefix("/data/").removesuffix("ChangeEvent")
    is_single = channel.startswith("/data/") and channel.endswith("ChangeEvent")
    return name if is_single and name in org.world.schema.entities else None


def _requested(org: "Org", channel: str, message: Mapping[str, Any]) -> int:
    """Return the replay id under the channel's exact name in the replay map; the tip if there is none."""
    ext = message.get("ext")
    replay = ext.get("replay") if isinstance(ext, dict) else None
    if not isinstance(replay, dict):
        return NEW_ONLY
    if channel not in replay:
        if org.settings.replay_map_strict:
            raise bayeux.missing_from_map(channel, write_json(replay).decode())
        return NEW_ONLY
    asked = replay[channel]
    try:
        return int(asked)
    except (TypeError, ValueError, OverflowError) as error:
        raise bayeux.invalid_replay_id(asked) from error

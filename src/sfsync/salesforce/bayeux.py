"""Bayeux messages as Salesforce sends them, and what its error strings mean.

Why: the protocol's failures are text, `code:args:text`, so here texts must be read; they are read in this module
only, by table, and a test goes through every string that Salesforce documents. `ext.sfdc.failureReason` comes
before `error`: a 503 "too busy" hides behind a 401, and taking that for bad credentials would be a login storm.
Messages are decoded with their event payload untouched (`msgspec.Raw`): decoding it is the core's work, and a
payload that is broken must not take the session down with it.

Source: Salesforce Streaming API guide "Streaming API Error Codes"; Bayeux 1.0; captured replies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from ..core.events import Position
from ..errors import (
    AuthError,
    LimitError,
    ReplayExpiredError,
    SalesforceError,
    SubscribeError,
    UnavailableError,
)
from .framing import HEAD_BYTES, ArrayFramer, Element, FramingError, Oversize

HANDSHAKE = "/meta/handshake"
CONNECT = "/meta/connect"
SUBSCRIBE = "/meta/subscribe"
DISCONNECT = "/meta/disconnect"

ELEMENT_BYTES_MAX = 2 * 1024 * 1024

BUSY_RETRY_S = 180.0
CLIENTS_RETRY_S = 300.0
DAILY_RETRY_S = 900.0

_CODE = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_MEMBER = re.compile(rb'"([A-Za-z]+)"[ \t\r\n]*:[ \t\r\n]*(.*)', re.DOTALL)


class Place(msgspec.Struct):
    """Where an event stands in its channel."""

    replayId: int  # noqa: N815 - Salesforce spells it so.


class Delivery(msgspec.Struct):
    """The `data` of an event message."""

    event: Place
    payload: msgspec.Raw


# What is no wait at all is not read: it would overflow where it is turned into seconds.
_Wait = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]


class Advice(msgspec.Struct):
    """What the server wants done next; `interval` and `timeout` in milliseconds."""

    reconnect: str | None = None
    interval: _Wait | None = None
    timeout: _Wait | None = None


class SfdcExt(msgspec.Struct):
    """Salesforce's own part of `ext`."""

    failureReason: str | None = None  # noqa: N815


class Ext(msgspec.Struct):
    """The `ext` of a reply."""

    sfdc: SfdcExt | None = None
    replay: Any = None


class Message(msgspec.Struct):
    """One element of a reply; which fields are there depends on the channel."""

    channel: str | None = None
    id: str | int | None = None
    successful: bool | None = None
    error: str | None = None
    clientId: str | None = None  # noqa: N815
    advice: Advice | None = None
    ext: Ext | None = None
    data: Delivery | UnsetType = UNSET


_decode_messages = msgspec.json.Decoder(list[Message]).decode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_place = msgspec.json.Decoder(Place).decode
_UNREADABLE = (ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it came; `position` is None when its place in the stream cannot be read."""

    position: Position | None
    payload: bytes


def read_reply(body: bytes, channel: str) -> Sequence[Message | Arrival]:
    """Return the messages of a whole reply, those on *channel* as arrivals.

    Raises `UnavailableError` when the reply is no array of messages. A broken event does not break its neighbours.
    """
    try:
        return [_classified(one, channel) for one in _decode_messages(body)]
    except _UNREADABLE:
        # One odd element makes msgspec refuse the whole reply: look at each by itself.
        return [read_element(element, channel) for element in _framed(body)]


def read_element(element: Element, channel: str) -> Message | Arrival:
    """Return one message of a reply; an event whose envelope is broken is an arrival without position.

    Of an oversize element the head stands in for the payload: it cannot be decoded, and says whose it was.
    """
    if isinstance(element, Oversize):
        return Arrival(None, element.head)
    try:
        return _classified(_decode_message(element), channel)
    except _UNREADABLE as error:
        members = _members(element)
        named = _channel(members.get("channel", b""))
        if named is None or named.startswith("/meta/"):
            raise UnavailableError("the reply holds a message that cannot be read", code="MESSAGE") from error
        if named != channel:
            return Message(channel=named)
        inner = _members(members.get("data", b""))
        return Arrival(_place(inner.get("event", b"")), _bounded(inner.get("payload", element)))


def _classified(one: Message, channel: str) -> Message | Arrival:
    if one.channel != channel:
        return one
    if one.data is UNSET:
        return Arrival(None, b"null")
    return Arrival(_position(one.data.event.replayId), _bounded(bytes(one.data.payload)))


def _bounded(payload: bytes) -> bytes:
    # Salesforce's own limit is 1 MB. A cut payload cannot be decoded, which parks the event.
    return payload if len(payload) <= ELEMENT_BYTES_MAX else payload[:HEAD_BYTES]


def _framed(body: bytes) -> Sequence[Element]:
    framer = ArrayFramer(element_bytes_max=len(body))
    try:
        elements = framer.feed(body)
        framer.finish()
    except FramingError as error:
        raise UnavailableError(f"the reply is no array of messages: {error}", code="NOT_JSON") from error
    return elements


def _members(element: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object undecoded; what is no object has none."""
    if not (element.startswith(b"{") and element.endswith(b"}")):
        return {}
    try:
        members = _framed(b"[" + element[1:-1] + b"]")
    except UnavailableError:
        return {}
    found = {}
    for member in members:
        match = _MEMBER.match(member) if isinstance(member, bytes) else None
        if match:
            found[match[1].decode()] = match[2]
    return found


def _channel(member: bytes) -> str | None:
    try:
        return msgspec.json.decode(member, type=str)
    except _UNREADABLE:
        return None


def _place(event: bytes) -> Position | None:
    try:
        return _position(_decode_place(event).replayId)
    except _UNREADABLE:
        return None


def _position(replay_id: int) -> Position | None:
    # Sent back, -1 and -2 would not mean this event but "the tip" and "everything".
    return Position(str(replay_id).encode("ascii")) if replay_id >= 0 else None


Refusal = tuple[type[SalesforceError], float | None]

REFUSALS: Mapping[str, Sequence[tuple[str, Refusal]]] = {
    "400": (
        ("The replayId", (ReplayExpiredError, None)),
        ("The channel you requested to subscribe to", (SubscribeError, None)),
        ("Channel name not specified", (SubscribeError, None)),
        ("Channel subscriptions must start with", (SubscribeError, None)),
        ("API version in the URI is mandatory", (SubscribeError, None)),
        ("Unsupported API version", (SubscribeError, None)),
        ("Authenticated user id does not match", (UnavailableError, None)),
        ("Client", (UnavailableError, None)),
        ("Invalid connection type", (UnavailableError, None)),
    ),
    "401": (
        ("Authentication invalid", (AuthError, None)),
        ("Request requires authentication", (AuthError, None)),
        ("", (AuthError, None)),
    ),
    "402": (("", (UnavailableError, None)),),
    "403": (
        ("Unknown client", (UnavailableError, None)),
        ("Client has not completed handshake", (UnavailableError, None)),
        ("Handshake denied", (UnavailableError, None)),
        ("Organization total events daily limit exceeded", (LimitError, DAILY_RETRY_S)),
        ("Organization concurrent user limit exceeded", (LimitError, CLIENTS_RETRY_S)),
        ("To protect all customers", (LimitError, CLIENTS_RETRY_S)),
        ("Cannot create channel", (SubscribeError, None)),
        ("Restricted channel", (SubscribeError, None)),
        ("User not allowed to subscribe", (SubscribeError, None)),
        ("denied_by_security_policy", (SubscribeError, None)),
    ),
    "413": (("Maximum Request Size Exceeded", (UnavailableError, None)),),
    "500": (("", (UnavailableError, BUSY_RETRY_S)),),
    "503": (
        ("Server is too busy", (UnavailableError, BUSY_RETRY_S)),
        ("", (UnavailableError, BUSY_RETRY_S)),
    ),
}
"""Code, then the start of the text, then our class and how long to wait."""


def failure_text(error: str | None, ext: Ext | None) -> str:
    """Return what a refused message says: the hidden reason where there is one, else its error."""
    hidden = ext.sfdc.failureReason if ext and ext.sfdc else None
    return hidden or error or ""


def bayeux_refusal(text: str, *, channel: str) -> SalesforceError:
    """Return the error that *text* means when it answers a message on the meta *channel*.

    The text is split at its first colon only: `403:denied_by_security_policy:create_denied` has no empty part.
    """
    code, _, rest = text.partition(":")
    known = next((one for one in REFUSALS.get(code, ()) if rest.lstrip(": ").startswith(one[0])), None)
    if known:
        shown = f"{code}::{known[0]}"
        kind, wait_s = known[1]
    else:
        # What an unknown text says is not repeated: others may have chosen its arguments.
        shown = f"{code}::unknown" if _CODE.fullmatch(code) else "no known reason"
        # An unknown refusal of a subscription will be repeated; of anything else, a new session may cure it.
        kind, wait_s = (
            (SubscribeError if channel == SUBSCRIBE and code.startswith("4") else UnavailableError),
            None,
        )
    said = f"{channel} was refused: {shown}"
    if kind is LimitError:
        return LimitError(said, code=shown, retry_after_s=wait_s or DAILY_RETRY_S)
    if kind is UnavailableError:
        return UnavailableError(said, code=shown, retry_after_s=wait_s)
    return kind(said, code=shown)


def message(channel: str, number: int, client_id: str | None = None, **rest: Any) -> dict[str, Any]:
    """Return a request message, ready to be encoded."""
    built: dict[str, Any] = {"channel": channel, "id": str(number)}
    if client_id is not None:
        built["clientId"] = client_id
    return built | rest

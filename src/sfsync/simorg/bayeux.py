"""Bayeux replies as Salesforce words them: what succeeds, what fails, and with which advice.

Why: clients match on these texts, single colons and double blanks included, so they stand in one place.

Source: Streaming API Developer Guide, "Streaming API Error Codes"; captured replies of 2018-2026.
"""

from collections.abc import Mapping
from typing import Any

HANDSHAKE = "/meta/handshake"
CONNECT = "/meta/connect"
SUBSCRIBE = "/meta/subscribe"
UNSUBSCRIBE = "/meta/unsubscribe"
DISCONNECT = "/meta/disconnect"

VERSION_MISSING = "400::API version in the URI is mandatory. URI format: '/cometd/66.0'"
VERSION_OLD = "400::Unsupported API version. Only API versions '37.0' and later are supported. URI format: '/cometd/66.0'"
AUTHENTICATION_INVALID = "401::Authentication invalid"
AUTHENTICATION_MISSING = "401::Request requires authentication"
UNKNOWN_CLIENT = "403::Unknown client"
HANDSHAKE_MISSING = "403::Client has not completed handshake"
WRONG_USER = "400::Authenticated user id does not match the session's user id"
DAILY_LIMIT = "403::Organization total events daily limit exceeded"
CONCURRENT_LIMIT = "403::Organization concurrent user limit exceeded"
SERVER_LIMIT = (
    "403::To protect all customers from excessive use and Denial of Service attacks, we limit the number of "
    "simultaneous connections per server. Your request has been denied because this limit has been exceeded. "
    "Please try your request again later."
)
BUSY = "503::Server is too busy.  Please try your request again later."
TOO_LARGE = "413::Maximum Request Size Exceeded"
CHANNEL_MISSING = "400::Channel name not specified"
CHANNEL_SLASH = "400::Channel subscriptions must start with a leading '/'"
RESTRICTED = "403::Restricted channel"
NO_VIEW_ALL = "403::User not allowed to subscribe CDC without View All Data permissions"
CREATE_DENIED = "403:denied_by_security_policy:create_denied"
PUBLISH_DENIED = "403:denied_by_security_policy:publish_denied"

RECONNECT_NONE: Mapping[str, Any] = {"reconnect": "none", "interval": 0}
REHANDSHAKE: Mapping[str, Any] = {"interval": 0, "reconnect": "handshake"}


class Failure(Exception):  # noqa: N818  # it is a reply, not an error of ours
    """A message that is answered with `successful: false`."""

    def __init__(
        self, error: str, advice: Mapping[str, Any] | None = None, reason: str | None = None
    ) -> None:
        super().__init__(error)
        self.error = error
        self.advice = advice
        self.reason = reason

    def reply(self, message: Mapping[str, Any], *, terse: bool) -> dict[str, Any]:
        """Return the reply to *message*; a terse one leaves out what some captures lack."""
        reply: dict[str, Any] = {"error": self.error, "successful": False}
        if self.advice is not None:
            reply["advice"] = dict(self.advice)
        if self.reason is not None:
            reply["ext"] = {"sfdc": {"failureReason": self.reason}, "replay": True, "payload.format": True}
        reply |= {
            name: message[name] for name in ("channel", "id", "clientId", "subscription") if name in message
        }
        left_out = {"clientId"} if self.error == UNKNOWN_CLIENT and self.advice == REHANDSHAKE else set()
        if terse:
            left_out = {"clientId", "subscription"}
            left_out |= {"channel", "id"} if self.error == UNKNOWN_CLIENT else set()
        return {name: value for name, value in reply.items() if name not in left_out}


def success(message: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """Return the reply to a *message* that succeeded."""
    reply = {name: message[name] for name in ("channel", "id") if name in message}
    return {**members, **reply, "successful": True}


def handshake_denied(reason: str) -> Failure:
    """Return the refusal of a handshake; the cause is only in `ext.sfdc.failureReason`."""
    return Failure("403::Handshake denied", {"reconnect": "none"}, reason)


def unknown_client(reconnect: str = "handshake") -> Failure:
    """Return the reply to a client whose session is gone; *reconnect* may be "none", or "absent" for no advice."""
    advice = None if reconnect == "absent" else {**REHANDSHAKE, "reconnect": reconnect}
    return Failure(UNKNOWN_CLIENT, advice)


def unauthorized(reason: str | None = None) -> Failure:
    """Return the reply to a client whose token is void."""
    return Failure(AUTHENTICATION_INVALID, RECONNECT_NONE, reason)


def invalid_replay_id(replay_id: object) -> Failure:
    """Return the refusal of a replay id that is not retained."""
    return Failure(
        f"400::The replayId {{{replay_id}}} you provided was invalid.  Please provide a valid ID, "
        "-2 to replay all events, or -1 to replay only new events."
    )


def missing_from_map(channel: str, replay_map: str) -> Failure:
    """Return the refusal of a replay map that lacks the channel."""
    return Failure(
        f"400::The replayId for channel {{{channel}}} wasn't found using the provided replay ID map {{{replay_map}}}. "
        "Ensure that the channel name you provided in the replay map is valid and matches the channel name used "
        "for subscribing."
    )


def no_such_channel(channel: str) -> Failure:
    """Return the refusal of a channel that does not exist."""
    return Failure(f"400::The channel you requested to subscribe to does not exist {{{channel}}}")


def cannot_create(channel: str) -> Failure:
    """Return the refusal of a channel that only its subscriber knows of."""
    return Failure(f"403::Cannot create channel {{{channel}}}")


def cookie_missing(client_id: str, cookie: str) -> Failure:
    """Return the reply to a client that keeps no cookies."""
    return Failure(
        f"400::Client {client_id} has established a session, but no {cookie} cookie present", REHANDSHAKE
    )


def invalid_connection_type(connection_type: object) -> Failure:
    """Return the refusal of anything but long polling."""
    return Failure(f"400::Invalid connection type {{{connection_type}}}", RECONNECT_NONE)

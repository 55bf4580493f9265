"""Bayeux sessions: one per handshake, with its subscriptions, its cookie and its held poll.

Why: a session ends when its client stays away for longer than the window after a reply, judged when somebody asks;
no timer runs for it. What was read for a reply is gone from the session even if that reply never arrives: that is how
Salesforce behaves, and the trap that careless clients fall into.

Source: CometD reference, "Long-polling transport"; Streaming API guide, "Client Connection Considerations".
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sfsync.simorg import channels

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(slots=True)
class Hold:
    """A held poll; a second poll of the same client releases it."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_released: bool = False

    def release(self) -> None:
        """Have it answered at once, without events."""
        self.is_released = True
        self.wake.set()


@dataclass(slots=True)
class BayeuxSession:
    """What the server keeps of one client."""

    client_id: str
    user_id: str
    browser: str
    replied_at_ms: int
    cursors: dict[str, int] = field(default_factory=dict)
    is_connected: bool = False
    hold: Hold | None = None
    delivered: int = 0

    def collect(self, org: "Org") -> list[bytes]:
        """Take what waits on the session's channels, at most a batch, as Bayeux messages."""
        found: list[bytes] = []
        for channel, cursor in self.cursors.items():
            room = org.settings.batch_max - len(found)
            if room <= 0 or not org.bus.has_news(cursor) or org.faults.take("withhold", channel):
                continue
            retained, self.cursors[channel] = org.bus.read(cursor, room, channels.entities_on(org, channel))
            before, after = _envelope(channel, data_first=org.settings.shuffle and self.delivered % 2 == 1)
            found += [
                before + body + after for event in retained for body in channels.bodies(org, channel, event)
            ]
        self.delivered += len(found)
        return found


class BayeuxSessions:
    """All live sessions of one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._sessions: dict[str, BayeuxSession] = {}

    def open(self, user_id: str, browser: str) -> BayeuxSession:
        """Begin a session."""
        client_id = "".join(secrets.choice(ALPHABET) for _ in range(29))
        session = BayeuxSession(client_id, user_id, browser, self._org.clock.now_ms())
        self._sessions[client_id] = session
        return session

    def find(self, client_id: str) -> BayeuxSession | None:
        """Return a live session; one whose client stayed away too long is dropped on the way."""
        session = self._sessions.get(client_id)
        if session is not None and self._is_over(session):
            self.drop(session)
            return None
        return session

    def drop(self, session: BayeuxSession) -> None:
        """End a session; its held poll is answered."""
        self._sessions.pop(session.client_id, None)
        if session.hold is not None:
            session.hold.release()

    def is_live(self, session: BayeuxSession) -> bool:
        """Tell whether *session* was not dropped."""
        return self._sessions.get(session.client_id) is session

    def live(self) -> list[BayeuxSession]:
        """Return the live sessions."""
        for session in [each for each in self._sessions.values() if self._is_over(each)]:
            self.drop(session)
        return list(self._sessions.values())

    def shares_browser(self, session: BayeuxSession) -> bool:
        """Tell whether another client with the same cookie holds a poll."""
        return any(
            other is not session and other.browser == session.browser and other.hold is not None
            for other in self._sessions.values()
        )

    def release_all(self) -> None:
        """Have every held poll answered, because the process ends."""
        for session in self._sessions.values():
            if session.hold is not None:
                session.hold.release()

    def _is_over(self, session: BayeuxSession) -> bool:
        idle_ms = self._org.clock.now_ms() - session.replied_at_ms
        return session.hold is None and idle_ms > self._org.settings.reconnect_window_s * 1_000


def _envelope(channel: str, *, data_first: bool) -> tuple[bytes, bytes]:
    """Return what stands before and after the `data` member of a message, in either order of members."""
    if data_first:
        return b'{"data":', b',"channel":"%s"}' % channel.encode()
    return b'{"channel":"%s","data":' % channel.encode(), b"}"

"""The event bus: what was announced, under which replay id, for as long as it is retained.

Why: a message is encoded once, when it is published, and only joined into replies afterwards; the bus must outrun the
daemon it feeds. One stream serves all channels (a channel is a set of entities over it), so a replay id means the same
place whichever channel it is used on. Cursors are counts of messages since the stream began, never replay ids: two
messages may share a replay id, and purging the oldest moves no cursor.

Source: Change Data Capture guide, "Message Durability": ids ascend, are not contiguous, and live for 72 hours.
"""

import asyncio
import random
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

STEP_MAX = 7


@dataclass(frozen=True, slots=True)
class Message:
    """One event ready to be published: *payload* is the JSON object that clients find under `data.payload`."""

    entity: str
    record_ids: tuple[str, ...]
    schema_id: str
    payload: bytes
    copies: int = 1
    has_replay_id: bool = True


@dataclass(frozen=True, slots=True)
class Retained:
    """A published event: *body* is the JSON object that clients find under `data`."""

    replay_id: int
    at_ms: int
    entity: str
    record_ids: tuple[str, ...]
    schema_id: str
    body: bytes


class EventBus:
    """One org's stream of events, with retention by the org's clock."""

    def __init__(self, org: "Org") -> None:
        self._clock = org.clock
        self._settings = org.settings
        self._rng = random.Random(org.world.rng.getrandbits(64))
        self._log: list[Retained] = []
        self._purged = 0
        self._gate: int | None = None
        self._replay_id = self._rng.randrange(8_000_000, 9_000_000)
        self.published = 0
        self.waiting: set[asyncio.Event] = set()
        # Set by the CometD server, which alone knows its clients.
        self.count_clients: Callable[[], int] = int

    @property
    def tip(self) -> int:
        """The cursor behind the newest event that subscribers may see."""
        end = self._purged + len(self._log)
        return end if self._gate is None else min(self._gate, end)

    @property
    def oldest(self) -> int:
        """The cursor before the oldest retained event."""
        self._purge()
        return self._purged

    @property
    def last_replay_id(self) -> int:
        """The replay id given last."""
        return self._replay_id

    def publish(self, messages: Iterable[Message]) -> None:
        """Append *messages* in order, each under a new replay id, and wake whoever waits."""
        now_ms = self._clock.now_ms()
        for message in messages:
            self._replay_id += self._rng.randint(1, STEP_MAX)
            self._log.extend([self._retained(message, now_ms)] * message.copies)
            self.published += 1
        if self._gate is None:
            self.wake()

    def read(self, cursor: int, limit: int, entities: Collection[str]) -> tuple[list[Retained], int]:
        """Return at most *limit* events of *entities* from *cursor* on, and the cursor behind them."""
        self._purge()
        place = max(cursor - self._purged, 0)
        end = self.tip - self._purged
        found: list[Retained] = []
        while place < end and len(found) < limit:
            chunk = self._log[place : min(end, place + limit - len(found))]
            found += [retained for retained in chunk if retained.entity in entities]
            place += len(chunk)
        return found, max(place + self._purged, cursor)

    def has_news(self, cursor: int) -> bool:
        """Tell whether anything visible lies behind *cursor*."""
        return cursor < self.tip

    def cursor_after(self, replay_id: int, *, anywhere: bool = False) -> int | None:
        """Return the cursor behind *replay_id*, or None if it names no retained event.

        With *anywhere* any number between the oldest and the newest retained id is good.
        """
        self._purge()
        behind = bisect_right(self._log, replay_id, key=lambda retained: retained.replay_id)
        exists = behind > 0 and (self._log[behind - 1].replay_id == replay_id or anywhere)
        if not exists or replay_id > self._log[-1].replay_id:
            return None
        return self._purged + behind

    def stats(self) -> dict[str, int | None]:
        """Return what the bus holds, for the control API."""
        self._purge()
        return {
            "published": self.published,
            "retained": len(self._log),
            "oldest_replay_id": self._log[0].replay_id if self._log else None,
            "last_replay_id": self._replay_id,
            "behind_gate": len(self.behind_gate()),
            "clients": self.count_clients(),
            "held_polls": len(self.waiting),
        }

    def expire(self) -> int:
        """Forget everything retained, as if its time were over; return how much it was."""
        count = len(self._log)
        self._drop(count)
        return count

    def reset(self) -> None:
        """Begin a new stream, as after the org was moved: stored replay ids mean nothing any more."""
        self.expire()
        self._replay_id = self._rng.randrange(1_000, 100_000)

    def shut_gate(self) -> None:
        """Keep everything published from now on invisible."""
        self._gate = self.tip

    def move_gate(self, count: int) -> int:
        """Let *count* more events through, wake subscribers, and return how many are still behind the gate."""
        end = self._purged + len(self._log)
        if self._gate is None:
            return 0
        self._gate = min(self._gate + count, end)
        self.wake()
        return end - self._gate

    def open_gate(self) -> None:
        """Make everything visible again."""
        self._gate = None
        self.wake()

    def behind_gate(self) -> list[Retained]:
        """Return what is published but still invisible."""
        return [] if self._gate is None else self._log[self._gate - self._purged :]

    def wake(self) -> None:
        """Wake every held poll."""
        for event in self.waiting:
            event.set()

    def _retained(self, message: Message, now_ms: int) -> Retained:
        event = b'{"replayId":%d}' % self._replay_id if message.has_replay_id else b"{}"
        schema_id = message.schema_id.encode()
        body = b'{"schema":"%s","payload":%s,"event":%s}' % (schema_id, message.payload, event)
        return Retained(self._replay_id, now_ms, message.entity, message.record_ids, message.schema_id, body)

    def _purge(self) -> None:
        horizon = self._clock.now_ms() - int(self._settings.retention_h * 3_600_000)
        if self._log and self._log[0].at_ms < horizon:
            expired = next((n for n, kept in enumerate(self._log) if kept.at_ms >= horizon), len(self._log))
            self._drop(expired)

    def _drop(self, count: int) -> None:
        del self._log[:count]
        self._purged += count
        if self._gate is not None:
            self._gate = max(self._gate, self._purged)

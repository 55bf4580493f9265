"""What the org announced, against what the store made of it: the position, and the effect of all that it has passed.

Why: a position that runs ahead of its effect loses events, and only the next sweep would show it, if one comes. Every
event tells the version of its record (`versions`), so at any moment the store can be asked whether it has each of them:
in the record, in a mark, in a dead letter, or in a reading that it owes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from sfsync.simorg.org import Org

_PLACE = """
SELECT p.replay,
    EXISTS (SELECT FROM sfsync.resweep) OR EXISTS (SELECT FROM sfsync.watermark WHERE backfilled_at IS NULL)
        OR (SELECT count(*) FROM sfsync.watermark) < 3 AS is_owed,
    NOT EXISTS (SELECT FROM sfsync.erased)
        AND NOT EXISTS (SELECT FROM sfsync.setting WHERE name = 'mirror' AND value = 'adopted') AS keeps_all
FROM sfsync.position AS p
"""
_EFFECT = """
SELECT q.id, r.id IS NOT NULL AS is_known, r.fields ->> 'Fax' AS version FROM unnest($1::text[]) AS q (id)
LEFT JOIN sfsync.record AS r ON r.id = q.id
WHERE NOT EXISTS (SELECT FROM sfsync.dirty AS d WHERE d.record_id = q.id)
    AND NOT EXISTS (SELECT FROM sfsync.dead_letter AS l WHERE l.record_id = q.id)
"""
_WITH_BODY = frozenset({"CREATE", "UPDATE", "UNDELETE"})


@dataclass(frozen=True, slots=True)
class _Event:
    replay_id: int
    record_ids: tuple[str, ...]
    version: str


class Announced:
    """Reads along on the org's bus."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._position = 0
        self._back_to = 0
        self._read = 0
        self._events: list[_Event] = []
        self._latest: dict[str, str] = {}

    def may_go_back(self, cursor: int) -> None:
        """Say that the stream delivers again from this place on."""
        log = self._org.bus._log
        place = cursor - self._org.bus.oldest
        if place < len(log):
            self._back_to = log[place].replay_id

    def last_events(self) -> int:
        """Count the events at the end of the stream of which each is the last one of its records."""
        seen: set[str] = set()
        for count, retained in enumerate(reversed(self._org.bus._log)):
            if not seen.isdisjoint(retained.record_ids):
                return count
            seen.update(retained.record_ids)
        return len(self._org.bus._log)

    async def left(self, connection: asyncpg.Connection[Any]) -> int:
        """Count the replay ids that the org gave out and the position has not reached."""
        replay = await connection.fetchval("SELECT replay FROM sfsync.position")
        return self._org.bus.last_replay_id - int(replay) if replay is not None else 0

    async def broken(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Say where the position is wrong, or ahead of its effect."""
        self._listen()
        row = await connection.fetchrow(_PLACE)
        if row is None or row["replay"] is None:
            return []
        position = int(row["replay"])
        before, self._position = self._position, position
        if position < before and not 0 < self._back_to <= position:
            return [f"the position went back from {before} to {position}"]
        if position > self._org.bus.last_replay_id:
            return [f"the position {position} is ahead of the org's {self._org.bus.last_replay_id}"]
        return await self._nowhere(connection, row)

    def _listen(self) -> None:
        """Take in what was published since the last look."""
        log, oldest = self._org.bus._log, self._org.bus.oldest
        for retained in log[max(0, self._read - oldest) :]:
            with suppress(msgspec.DecodeError, TypeError, KeyError):
                payload = msgspec.json.decode(retained.body)["payload"]
                header = payload["ChangeEventHeader"]
                # What is spoilt names no record, or not the one that it is about.
                told = tuple(one for one in header["recordIds"] if one in retained.record_ids)
                if header["changeType"] in _WITH_BODY and payload.get("Fax"):
                    self._events.append(_Event(retained.replay_id, told, payload["Fax"]))
        self._read = oldest + len(log)

    async def _nowhere(self, connection: asyncpg.Connection[Any], place: asyncpg.Record) -> list[str]:
        """Name records of which the position has passed an event that has left no trace."""
        passed = [event for event in self._events if event.replay_id <= self._position]
        for event in passed:
            self._latest.update(dict.fromkeys(event.record_ids, event.version))
        self._events = self._events[len(passed) :]
        if place["is_owed"] or not passed:
            return []
        rows = await connection.fetch(_EFFECT, list(self._latest))
        found = [
            f"the position has passed an event that is nowhere: {row['id']} {self._latest[row['id']]}"
            for row in rows
            if self._must_show(row, place) and (row["version"] or "") < self._latest[row["id"]]
        ]
        self._latest = {}
        return found[:2]

    def _must_show(self, row: asyncpg.Record, place: asyncpg.Record) -> bool:
        """Tell whether the store must know a version of a record: nobody can read one that was purged meanwhile."""
        if row["version"] is None and self._org.world.get(row["id"]) is None:
            return False
        return bool(row["is_known"] or place["keeps_all"])

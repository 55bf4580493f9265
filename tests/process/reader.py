"""A second reader, which looks at the store as often as it can and sees what never may be seen.

Why: that a transaction is applied as a whole, and that the position never runs ahead of what was applied, are claims about
what others can see at any instant, also while the daemon is dead. So somebody looks on by a connection of his own, past
the proxies, each time by one statement, which is one snapshot.

What a read brought may be newer than the stream, and a record that is marked dirty, or whose entity is owed a reading,
may be older: that is said in the store itself, so it is no lie. Everything else that differs is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.process.choir import Choir, Deed

PAUSE_S = 0.002
AGAIN_S = 0.05
_LOOK = """
SELECT w.place, w.verse, w.kind, w.id, w.other,
    r.is_deleted, r.set_by_read, d.record_id IS NOT NULL OR EXISTS (
        SELECT FROM sfsync.resweep AS e
        WHERE e.entity = CASE left(w.id, 3) WHEN '00Q' THEN 'Lead' WHEN '003' THEN 'Contact' ELSE 'Account' END
    ) AS is_dirty,
    COALESCE(p.phone, c.phone) AS phone, COALESCE(p.synced_at, c.synced_at) AS synced_at,
    p.salesforce_id AS speaker, pc.salesforce_id AS company, o.fields ->> 'Phone' AS other_phone,
    (SELECT max(convert_from(s.replay, 'UTF8')::bigint) FROM sfsync.position AS s) AS position
FROM unnest($1::int[], $2::int[], $3::text[], $4::text[], $5::text[]) AS w (place, verse, kind, id, other)
LEFT JOIN sfsync.record AS r ON r.id = w.id
LEFT JOIN sfsync.record AS o ON o.id = w.other
LEFT JOIN sfsync.dirty AS d ON d.record_id = w.id
LEFT JOIN crm.person AS p ON r.entity <> 'Account' AND p.id = crm.resolve_person(r.own_id)
LEFT JOIN crm.company AS c ON r.entity = 'Account' AND c.id = r.own_id
LEFT JOIN crm.company AS pc ON pc.id = p.company_id AND pc.deleted_at IS NULL
"""
_FEED = "SELECT count(*), max(seq) FROM sfsync.change WHERE seq > $1"
_FED = "SELECT count(*) FROM sfsync.change WHERE seq <= $1"

Row = Mapping[str, Any]


@dataclass(slots=True)
class Findings:
    """What was seen that never may be: a few of them in words, and all by choir and verse."""

    half_visible: set[tuple[str, int]] = field(default_factory=set)
    position_ahead: set[tuple[str, int]] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    excused: int = 0

    def note(self, kind: set[tuple[str, int]], choir: Choir, verse: int, what: str) -> None:
        """Keep one, once."""
        if (choir.account, verse) not in kind:
            kind.add((choir.account, verse))
            self.words.append(f"choir of {choir.account}, verse {verse}: {what}")
            del self.words[20:]


class SecondReader:
    """Look on until stopped; `findings` and counts may be read from any thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._choirs: tuple[Choir, ...] = ()
        self._is_stopped = False
        self._feed_at = 0
        self._feed_seen = 0
        self.findings = Findings()
        self.snapshots = 0
        self.pause_s = PAUSE_S
        self.verses_seen: dict[str, int] = {}

    def watch(self, choirs: Sequence[Choir]) -> None:
        """Watch these choirs from now on."""
        self._choirs = tuple(choirs)

    def stop(self) -> None:
        """Look no more."""
        self._is_stopped = True

    async def run(self) -> None:
        """Look again and again, over outages of the server."""
        while not self._is_stopped:
            try:
                await self._look_on()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                # The server is gone, or the daemon has not made its tables yet.
                await asyncio.sleep(AGAIN_S)

    async def _look_on(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, server_settings={"application_name": "second reader"}, timeout=5, command_timeout=30
        )
        try:
            while not self._is_stopped:
                await self._look(connection)
                await asyncio.sleep(self.pause_s)
        finally:
            connection.terminate()

    async def _look(self, connection: asyncpg.Connection[Any]) -> None:
        count, last = await connection.fetchrow(_FEED, self._feed_at) or (0, None)
        self._feed_seen, self._feed_at = self._feed_seen + count, last or self._feed_at
        choirs = self._choirs
        asked = [row for place, choir in enumerate(choirs) for row in _asked(place, choir)]
        if asked:
            columns = [list(column) for column in zip(*asked, strict=True)]
            judge(choirs, await connection.fetch(_LOOK, *columns), self.findings, self.verses_seen)
            self.snapshots += 1

    async def missed_of_feed(self) -> int:
        """Return how many changes came to the feed behind what a consumer had read already."""
        connection = await asyncpg.connect(self._dsn)
        try:
            there = await connection.fetchval(_FED, self._feed_at)
        finally:
            await connection.close()
        return int(there) - self._feed_seen


def _asked(place: int, choir: Choir) -> Iterator[tuple[int, int, str, str, str | None]]:
    for voice in choir.voices:
        yield place, 0, "voice", voice, None
    for deed in list(choir.deeds):
        yield place, deed.verse, deed.kind, deed.record_id, deed.other_id


def judge(
    choirs: Sequence[Choir], rows: Sequence[Row], findings: Findings, seen: dict[str, int] | None = None
) -> None:
    """Judge one snapshot."""
    for place, choir in enumerate(choirs):
        voices = [row for row in rows if row["place"] == place and row["kind"] == "voice"]
        verse = _common_verse(choir, voices, findings)
        _judge_position(choir, voices, findings)
        if verse is not None:
            for row in rows:
                if row["place"] == place and row["kind"] != "voice":
                    deed = Deed(row["verse"], row["kind"], row["id"], row["other"])
                    _judge_deed(choir, verse, deed, row, findings)
            if seen is not None:
                seen[choir.account] = verse


def _verse(row: Row) -> int:
    return int(row["phone"] or 0)


def _common_verse(choir: Choir, voices: Sequence[Row], findings: Findings) -> int | None:
    """Return the verse that all voices sing; None if they differ, which is noted unless it is told."""
    latest = max(_verse(row) for row in voices)
    behind = [row for row in voices if _verse(row) < latest]
    if behind:
        ahead = [row for row in voices if _verse(row) == latest]
        if all(row["set_by_read"] for row in ahead) or all(row["is_dirty"] for row in behind):
            findings.excused += 1
        else:
            sung = {row["id"]: _verse(row) for row in voices}
            findings.note(findings.half_visible, choir, latest, f"the voices sing {sung}")
        return None
    if len({row["synced_at"] for row in voices}) > 1:
        if any(row["set_by_read"] or row["is_dirty"] for row in voices):
            findings.excused += 1
        else:
            findings.note(findings.half_visible, choir, latest, "it was not written in one transaction")
    return latest


def _judge_deed(choir: Choir, verse: int, deed: Deed, row: Row, findings: Findings) -> None:
    seen = _is_done(choir, deed, row)
    if seen is (verse >= deed.verse):
        return
    if row["set_by_read"] if seen else row["is_dirty"]:
        findings.excused += 1
        return
    told = "half" if seen is None else "done" if seen else "not done"
    findings.note(
        findings.half_visible, choir, deed.verse, f"{deed.kind} {told}, but the voices sing {verse}"
    )


def _is_done(choir: Choir, deed: Deed, row: Row) -> bool | None:
    """Tell whether a deed is seen; None if it is seen by halves."""
    if deed.kind == "merge":
        signs = {bool(row["is_deleted"]), int(row["other_phone"] or 0) >= deed.verse}
        return signs.pop() if len(signs) == 1 else None
    if row["speaker"] == deed.other_id:
        return True if row["company"] == choir.account else None
    return False if row["speaker"] in (deed.record_id, None) else None


def _judge_position(choir: Choir, voices: Sequence[Row], findings: Findings) -> None:
    position = voices[0]["position"]
    due = choir.verse_at(position) if position is not None else 0
    late = [row["id"] for row in voices if _verse(row) < due and not row["is_dirty"]]
    if late:
        what = f"the position {position} says that {late} sang it, and they did not"
        findings.note(findings.position_ahead, choir, due, what)

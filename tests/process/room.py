"""A room for real processes: an org, a daemon and a Postgres, both lines breakable, choirs that sing, somebody who looks on.

Why: kills, faults of lines and faults of Postgres need the same stage and end in the same verdict. The sweep is off: what
the stream lost would be mended by it, and nobody would know.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.acceptance.stage import STREAM_ONLY, Daemon, SimOrg, Stage, until
from tests.oracle import wait_until_equal
from tests.process.choir import Choir
from tests.process.lines import Lines
from tests.process.reader import SecondReader
from tests.process.server import OwnServer, run_sql
from tests.simorg.site import org_process

PATIENCE_S = 60.0
CHOIRS = 3
SETTINGS = {
    **STREAM_ONLY,
    "SFSYNC_SALESFORCE__REQUEST_TIMEOUT_S": "5",
    "SFSYNC_STORE__LOCK_TIMEOUT_S": "1",
    "SFSYNC_STORE__STATEMENT_TIMEOUT_S": "10",
}
# A transaction that is cut by the size of a reply may be seen by halves, and that is told apart elsewhere.
WHOLE_REPLIES = 1_000_000
# No deletions, so that nothing must be read twice before all is quiet.
MILD = {"create": 20.0, "update": 60.0, "reparent": 10.0, "convert": 10.0}
_TWICE = """
SELECT subject || ' ' || subject_id AS what FROM sfsync.change WHERE action = 'created'
GROUP BY subject, subject_id HAVING count(*) > 1
"""
_SUNG = """
SELECT r.id, count(*) AS times FROM sfsync.change AS c JOIN sfsync.record AS r ON r.subject_id = c.subject_id
WHERE r.id = ANY ($1) AND c.action = 'changed' AND 'phone' = ANY (c.columns)
    AND c.subject = CASE r.entity WHEN 'Account' THEN 'company' ELSE 'person' END
GROUP BY r.id
"""
_LACKING = ("its row is missing", "the store does not list it", "without an id of its own")


@dataclass(slots=True)
class Verdict:
    """What is wrong with the store after all, by kind; `words` names some of it."""

    lost: int = 0
    divergent: int = 0
    half_visible: int = 0
    position_ahead: int = 0
    feed_wrong: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (
            self.lost or self.divergent or self.half_visible or self.position_ahead or self.feed_wrong
        )

    def __str__(self) -> str:
        counts = f"lost {self.lost}, divergent {self.divergent}, half visible {self.half_visible}, "
        counts += f"position ahead {self.position_ahead}, feed wrong {self.feed_wrong}"
        return "\n".join([counts, *self.words])


class Room(Stage):
    """One org, one store, one daemon at a time, and the lines between them."""

    def __init__(self, org: SimOrg, dsn: str, directory: Path, lines: Lines, server: OwnServer) -> None:
        super().__init__(org, dsn, directory)
        self.lines = lines
        self.server = server
        self.reader = SecondReader(dsn)
        self.settings: Mapping[str, str] = SETTINGS
        self.choirs: list[Choir] = []
        self._looking = lines.begin(self.reader.run())
        self._lives = 0

    @property
    def environ(self) -> dict[str, str]:
        """The same as on any stage, but both ways lead through the proxies."""
        return {
            **super().environ,
            "SFSYNC_SALESFORCE__LOGIN_URL": self.lines.org_url,
            "SFSYNC_STORE__DSN": self.lines.dsn(self.dsn),
        }

    @property
    def running(self) -> Daemon:
        """The daemon that was started last."""
        return self.daemons[-1]

    def start(self) -> Daemon:
        """Start a daemon; the one before must have ended, and nothing is kept of it but its log."""
        name = f"daemon-{time.monotonic_ns()}"
        self.daemons[:] = [Daemon({**self.environ, **self.settings}, self._directory, name)]
        return self.running

    def begin(self) -> Daemon:
        """Start the first daemon, and wait until it knows its place in the stream: what comes is up to the stream."""
        self.start().wait_ready(PATIENCE_S)
        self.org.create("Account", Name="First")
        placed = "SELECT FROM sfsync.position WHERE replay IS NOT NULL"
        until(lambda: run_sql(self.dsn, placed), "a place in the stream", PATIENCE_S)
        return self.running

    # Life --------------------------------------------------------------------------------------------

    @contextmanager
    def living(self, seed: int, rate: float = 20, mix: Mapping[str, float] = MILD) -> Iterator[None]:
        """Let the org's users work and found choirs, which they do not know."""
        self._lives += 1
        self.org.begin_life(rate, seed * 1_000 + self._lives, **mix)
        draw = random.Random(f"{seed}:{self._lives}")
        self.choirs = [Choir.found(self.org, random.Random(draw.random())) for _ in range(CHOIRS)]
        self.reader.watch(self.choirs)
        try:
            yield
        finally:
            self.org.end_life()

    def sing(self, seconds: float = 0.0) -> None:
        """Let the choirs sing, one verse each, again and again for so long."""
        deadline = time.monotonic() + seconds
        while True:
            for choir in self.choirs:
                choir.sing(self.org)
            if time.monotonic() >= deadline:
                return

    def is_heard(self) -> bool:
        """Tell whether the reader has seen every choir's last verse."""
        return all(self.reader.verses_seen.get(choir.account) == choir.verse for choir in self.choirs)

    def wait_heard(self, within_s: float = PATIENCE_S) -> None:
        """Wait until the second reader has seen the last verse of all choirs."""
        until(
            self.is_heard,
            lambda: (
                f"verses {[choir.verse for choir in self.choirs]}; seen {self.reader.verses_seen};"
                f" found {self.reader.findings}; log:\n{self.running.log.tail()}"
            ),
            within_s,
        )

    def changes(self) -> int:
        """Return how many events the org has published so far."""
        return int(self.org.stats()["bus"]["published"])

    # The end -----------------------------------------------------------------------------------------

    def verdict(self, within_s: float = PATIENCE_S) -> Verdict:
        """Let everything come to rest, and judge; life must have ended and all faults be healed."""
        return asyncio.run(self._verdict(within_s))

    async def _verdict(self, within_s: float) -> Verdict:
        verdict = Verdict()
        report = await wait_until_equal(self.org.control_url, self.dsn, within_s, limit=1_000)
        for line in report.differences:
            is_lost = any(words in line for words in _LACKING)
            verdict.lost += is_lost
            verdict.words.append(line)
        verdict.divergent = report.count - verdict.lost
        await self._judge_feed(verdict)
        findings = self.reader.findings
        verdict.half_visible, verdict.position_ahead = (
            len(findings.half_visible),
            len(findings.position_ahead),
        )
        verdict.words += findings.words
        return verdict

    async def _judge_feed(self, verdict: Verdict) -> None:
        """A change is told once, and whoever has read the feed up to some place has missed nothing before it."""
        connection = await asyncpg.connect(self.dsn)
        try:
            found = [f"created twice in the feed: {row['what']}" for row in await connection.fetch(_TWICE)]
            for choir in self.choirs:
                found += [
                    f"{row['id']} sang {choir.verse} verses; the feed tells of {row['times']} changes"
                    for row in await connection.fetch(_SUNG, list(choir.voices))
                    if row["times"] >= choir.verse
                ]
        finally:
            await connection.close()
        missed = await self.reader.missed_of_feed()
        found += [f"{missed} changes came to the feed behind a consumer's back"] * bool(missed)
        verdict.feed_wrong = len(found)
        verdict.words += found

    def close(self) -> None:
        """End the daemon and the reader."""
        self.reader.stop()
        self._looking.result(PATIENCE_S)


@contextmanager
def open_room(
    server: OwnServer, directory: Path, *, seed: int = 1, population: int = 40, tablespace: str = "pg_default"
) -> Iterator[Room]:
    """Set up everything around *server*, with an empty store and no daemon yet."""
    arguments = ("--population", str(population), "--seed", str(seed))
    with ExitStack() as stack:
        org = SimOrg(stack.enter_context(org_process(*arguments, state_dir=directory)))
        org.set(long_poll_s=2, batch_max=WHOLE_REPLIES)
        dsn = stack.enter_context(server.database(tablespace=tablespace))
        lines = stack.enter_context(Lines(org.told["url"], server.address))
        room = Room(org, dsn, directory, lines, server)
        stack.callback(room.close)
        yield stack.enter_context(room)

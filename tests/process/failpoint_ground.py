"""What a worker plays all its failpoints on: one org, one store that a daemon has made ready, and the judge of both.

Why: to start an org and to load it takes longer than to die and come back, so the plays follow one another on the same
ground, each on what the one before has left, which was found right. After a play that went wrong the store is made
anew. Postgres itself notes each change of a row of `crm.*` (a trigger, as an application may have one): a feed that
tells of a change twice, of one that was never made, or not of one that was, differs from those notes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from sfsync.core.ids import RecordId
from sfsync.core.people_cells import ImportRow
from sfsync.store.database import StoreOptions, open_database
from sfsync.store.import_files import Feeds, stage_file
from sfsync.store.import_statements import FedColumn
from tests.acceptance.stage import PATIENCE_S, SimOrg, Stage
from tests.oracle import Given, differences
from tests.postgres import PgServer
from tests.process.failpoint_nursery import Nursery, open_nursery
from tests.simorg.site import org_process

T = TypeVar("T")
POPULATION = 12
LOOK_S = 0.03

WITNESS = """
CREATE SCHEMA witness;
CREATE TABLE witness.seen (subject text, id bigint, is_new boolean);
CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'synced_at' = to_jsonb(NEW) - 'synced_at' THEN
        RETURN NULL;
    END IF;
    INSERT INTO witness.seen
    VALUES (TG_TABLE_NAME, CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END, TG_OP = 'INSERT');
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON crm.person FOR EACH ROW EXECUTE FUNCTION witness.note();
CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON crm.company FOR EACH ROW EXECUTE FUNCTION witness.note();
"""

# What was written and what was told of it, by the transaction, or the part of one, that did both.
MISTOLD = """
WITH seen AS (
    SELECT xmin::text AS tx, subject, id, count(*) AS times FROM witness.seen GROUP BY 1, 2, 3
), told AS (
    SELECT xmin::text AS tx, subject, subject_id AS id, count(*) AS times FROM sfsync.change
    WHERE seq > $1 GROUP BY 1, 2, 3
)
SELECT format('%s %s: changed %s times, told %s times', subject, id, coalesce(s.times, 0), coalesce(t.times, 0))
FROM seen AS s FULL JOIN told AS t USING (tx, subject, id)
WHERE coalesce(t.times, 0) > coalesce(s.times, 0) OR t.times IS NULL
"""

CREATED_TWICE = """
SELECT format('%s %s was created %s times', subject, subject_id, count(*)) FROM sfsync.change
WHERE action = 'created' GROUP BY subject, subject_id HAVING count(*) > 1
"""

UNDONE = """
SELECT
    (SELECT count(*) FROM sfsync.dirty) AS dirty,
    (SELECT count(*) FROM sfsync.resweep) AS owed,
    (SELECT count(*) FROM sfsync.request WHERE done_at IS NULL) AS unanswered,
    (SELECT convert_from(replay, 'UTF8')::bigint FROM sfsync.position) AS position
"""


class Ground:
    """One org and one store for many plays; make one with `open_ground`."""

    def __init__(
        self, org: SimOrg, server: PgServer, directory: Path, runner: asyncio.Runner, nursery: Nursery
    ) -> None:
        self.org = org
        self.erased: set[str] = set()
        self.dsn = ""
        self._server = server
        self._directory = directory
        self._runner = runner
        self._nursery = nursery
        self._store = AsyncExitStack()
        self._told_before: int | None = None
        self._is_prepared = False
        self._numbers = itertools.count(1)

    def make_ready(self, *, fresh: bool) -> None:
        """Have a store that a daemon has loaded; or, when *fresh*, one in which nothing is, not even a schema."""
        if fresh:
            self._run(self._make_store())
        elif not self._is_prepared:
            self._prepare()

    def spoil(self) -> None:
        """Have the next play begin with a store of its own: this one is not as it must be."""
        self.org.heal()
        self._is_prepared = False

    async def _make_store(self) -> None:
        await self._store.aclose()
        self.dsn = await self._store.enter_async_context(self._server.database(migrated=False))
        self._connection = await asyncpg.connect(self.dsn)
        self._store.push_async_callback(self._connection.close)
        self._told_before = None
        self._is_prepared = False
        self.erased.clear()

    def _prepare(self) -> None:
        """Have a daemon load a store, and Postgres note all changes from then on."""
        self._run(self._make_store())
        with self.stage() as stage:
            stage.daemon().wait_ready()
            self.settle(stage)
        self.execute(WITNESS)
        self._told_before = self.value("SELECT coalesce(max(seq), 0) FROM sfsync.change")
        self._is_prepared = True

    def stage(self) -> Stage:
        """Return a stage for daemons, with a directory of its own for their logs."""
        directory = self._directory / f"play-{next(self._numbers)}"
        directory.mkdir()
        return Stage(self.org, self.dsn, directory, self._nursery.start)

    def close(self) -> None:
        """Drop the store."""
        self._run(self._store.aclose())

    def execute(self, statements: str) -> None:
        """Run statements on the store."""
        self._run(self._connection.execute(statements))

    def value(self, query: str, *values: object) -> Any:
        """Return one value from the store."""
        return self._run(self._connection.fetchval(query, *values))

    def stage_file(self, rows: Sequence[tuple[str, str]]) -> int:
        """Put people, each a record id and a last name, into the store for an import; return the file's id."""
        return self._run(
            self._stage_file(
                [
                    ImportRow(n, RecordId(one), None, {"last_name": name}, {})
                    for n, (one, name) in enumerate(rows, 2)
                ]
            )
        )

    async def _stage_file(self, rows: Sequence[ImportRow]) -> int:
        feeds = Feeds([FedColumn("last_name", "text")], [], None)
        async with open_database(StoreOptions(self.dsn), connections_max=1) as database:
            return (await stage_file(database, self.org.told["org_id"], feeds, rows)).import_id

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # The judge ---------------------------------------------------------------------------------------

    def settle(self, stage: Stage) -> None:
        """Let one more change happen; wait until the store has it, its position with it, and all else that is owed.

        Fails with what is not so: where the store is not what the org says, what is dirty, owed or unanswered.
        """
        # One that begins at the tip hears nothing of what was before.
        stage.daemons[-1].wait_for("stream.subscription.opened")
        self.org.create("Lead", LastName="Afterwards", Company="X")
        wrong = self._run(self._wait_until_settled())
        assert not wrong, "\n".join([*wrong, *(daemon.log.tail() for daemon in stage.daemons)])

    async def _wait_until_settled(self) -> list[str]:
        deadline = time.monotonic() + PATIENCE_S
        while wrong := await self._undone() or await self._differences():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_S)
        return wrong

    async def _undone(self) -> list[str]:
        """List what the store itself knows to be unfinished."""
        [row] = await self._connection.fetch(UNDONE)
        last = self.org.stats()["bus"]["last_replay_id"]
        wrong = [f"{name}: {count}" for name, count in row.items() if count and name != "position"]
        if row["position"] != last:
            wrong.append(f"the position is {row['position']}, the last event is {last}")
        return wrong

    async def _differences(self) -> list[str]:
        given = Given(erased=frozenset(self.erased))
        return (await differences(self.org.control_url, self.dsn, given=given)).differences

    def mistold(self) -> list[str]:
        """List what the feed tells twice, or wrongly, or not at all."""
        found = self._run(self._connection.fetch(CREATED_TWICE))
        if self._told_before is not None:
            found += self._run(self._connection.fetch(MISTOLD, self._told_before))
        return [row[0] for row in found]

    def refused(self, requests: Sequence[int]) -> list[str]:
        """List which of these requests were answered by a refusal, and why."""
        query = "SELECT format('%s: %s', kind, detail) FROM sfsync.request WHERE id = ANY ($1) AND outcome = 'refused'"
        return [row[0] for row in self._run(self._connection.fetch(query, requests))]


@contextmanager
def open_ground(server: PgServer, directory: Path) -> Iterator[Ground]:
    """Start an org of a few people and make ground of it; there is no store yet."""
    with ExitStack() as stack:
        told = stack.enter_context(org_process("--population", str(POPULATION), state_dir=directory))
        org = SimOrg(told)
        org.set(long_poll_s=2)
        nursery = stack.enter_context(open_nursery())
        ground = Ground(org, server, directory, stack.enter_context(asyncio.Runner()), nursery)
        stack.callback(ground.close)
        yield ground

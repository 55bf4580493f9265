"""History is forgotten in parts: what a long time left must not outlast a statement timeout."""

from __future__ import annotations

from tests.store.harness import ORG, open_store


async def test_old_changes_go_in_bounded_parts_and_young_ones_stay(pg_dsn: str) -> None:
    """In one go it would time out, end the pipeline, and be tried again at its next start, for ever."""
    async with open_store(pg_dsn) as store:
        await store.connection.execute(
            "INSERT INTO sfsync.change (org, subject, subject_id, action, origin, at)"
            " SELECT $1, 'person', n, 'changed', 'event', now() - make_interval(days => 100 - n, hours => 12)"
            " FROM generate_series(1, 100) AS n",
            ORG,
        )
        forgotten: list[int] = []
        while not forgotten or forgotten[-1] == 30:
            [row] = await store.database.fetch("prune_history", ORG, 30, 30, 30)
            forgotten.append(row["changes"])
        assert forgotten == [30, 30, 10]
        oldest = "SELECT min(at) > now() - interval '31 days' FROM sfsync.change"
        assert await store.connection.fetchval(oldest)
        assert await store.connection.fetchval("SELECT count(*) FROM sfsync.change") == 30

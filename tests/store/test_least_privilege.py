"""What the database lets others do: nothing that was not granted, and nothing through our own functions."""

from __future__ import annotations

from tests.store.harness import open_store


async def test_function_that_acts_for_others_cannot_be_talked_out_of_its_names(pg_dsn: str) -> None:
    """One that runs with our rights and by the caller's search path runs the caller's code with our rights."""
    async with open_store(pg_dsn) as store:
        functions = await store.connection.fetch(
            "SELECT p.oid::regprocedure::text AS name, p.prosecdef, p.proconfig"
            " FROM pg_proc AS p WHERE p.pronamespace IN ('crm'::regnamespace, 'sfsync'::regnamespace)"
        )
    definers = [one for one in functions if one["prosecdef"]]
    assert len(definers) >= 5
    for one in definers:
        assert "search_path=pg_catalog, pg_temp" in one["proconfig"], one["name"]


async def test_public_was_given_nothing(pg_dsn: str) -> None:
    """Everybody who can connect is PUBLIC; names of people are not for everybody."""
    async with open_store(pg_dsn) as store:
        open_to_all = await store.connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class AS c, aclexplode(c.relacl) AS a"
            " WHERE c.relnamespace IN ('crm'::regnamespace, 'sfsync'::regnamespace) AND a.grantee = 0"
            " UNION ALL SELECT n.nspname FROM pg_namespace AS n, aclexplode(n.nspacl) AS a"
            " WHERE n.nspname IN ('crm', 'sfsync') AND a.grantee = 0"
            " UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc AS p,"
            " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a"
            " WHERE p.pronamespace IN ('crm'::regnamespace, 'sfsync'::regnamespace) AND p.prosecdef AND a.grantee = 0"
        )
    assert [one["name"] for one in open_to_all] == []


async def test_session_of_ours_gives_up_waiting(pg_dsn: str) -> None:
    """Whoever holds a lock for ever, or a statement that never ends, must not hold the daemon for ever."""
    async with open_store(pg_dsn) as store, store.database.transaction() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert await connection.fetchval("SELECT current_setting($1)", name) != "0"
        assert await connection.fetchval("SELECT current_setting('search_path')") == "pg_catalog"

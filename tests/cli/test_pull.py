"""`sfsync pull` as a user has it, and pulls beside a backfill: processes that meet in one store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from tests.cli.conftest import PATIENCE_S, Cli, control, salesforce_environ
from tests.cli.test_with_daemon import QUICK, daemon, nothing_owed, value
from tests.simorg.site import eventually, org_process

BACKFILLED = 15_000


async def contact(org: dict[str, str], **fields: Any) -> str:
    """Create a contact that no event tells of."""
    step = {"op": "create", "entity": "Contact", "fields": fields, "as": "it"}
    made: str = (await control(org, "transaction", steps=[step], silent=True))["ids"]["it"]
    return made


async def test_pull_beside_a_daemon(cli: Cli, pg_dsn: str, org: dict[str, str]) -> None:
    """Several at once, each with its verdict; a script learns from the exit code whether all may be acted on."""
    async with daemon(cli, pg_dsn) as running:
        # The sweep that is owed for a beginning at the tip must not find what the pull is to find.
        await eventually(lambda: nothing_owed(pg_dsn), PATIENCE_S)
        first, second = [await contact(org, LastName=name) for name in ("First", "Second")]
        ended = await cli("pull", first[:15], second)
        assert ended.code == 0, ended.out + ended.err
        assert f":{running.pid} leads org" in ended.err
        person = await value(pg_dsn, "SELECT id FROM crm.person WHERE salesforce_id = $1", first)
        [one, two] = ended.out.splitlines()
        assert one.split()[:2] == [first[:15], "created"]
        assert one.endswith(f"person {person}")
        assert two.split()[:2] == [second, "created"]

        ended = await cli("pull", "--json", "--with-company", str(person), "0035i00000Nobdy", "nonsense")
        assert ended.code == 1
        assert [told["outcome"] for told in ended.json] == ["equal", "absent", "refused"]
        assert ended.json[0]["person_id"] == person
        assert "15 or 18" in ended.json[2]["error"]

        await value(pg_dsn, "UPDATE sfsync.record SET decision = 'pending' WHERE id = $1", first)
        change = {"op": "update", "id": first, "fields": {"LastName": "Other\x1b[2J"}}
        await control(org, "clock", advance_s=10)
        await control(org, "transaction", steps=[change], silent=True)
        ended = await cli("pull", first)
        assert ended.code == 1
        assert "not decided whether it follows Salesforce (differs)" in ended.out
        assert 'last_name: "First" here, "Other�[2J" in Salesforce' in ended.out


async def test_pull_without_a_daemon_runs_one(cli: Cli, pg_dsn: str, org: dict[str, str]) -> None:
    """Also one that was asked for by SQL while none ran is served then."""
    ended = await cli("pull", "0035i00000Nobdy")
    assert ended.code == 2
    assert "start sfsync run first" in ended.err
    async with daemon(cli, pg_dsn):
        pass
    by_sql = await value(pg_dsn, "SELECT crm.request_sync($1)", await contact(org, LastName="By SQL"))
    ended = await cli("pull", await contact(org, LastName="By hand"), **QUICK)
    assert ended.code == 0, ended.out + ended.err
    assert "running one to pull" in ended.err
    # The sweep of its start may have been first to read it.
    outcome = await value(pg_dsn, "SELECT outcome FROM crm.sync_verdict($1)", by_sql)
    assert outcome in ("created", "equal")


async def test_pull_in_vain_names_the_daemon_that_did_not_serve_it(
    cli: Cli, pg_dsn: str, org: dict[str, str]
) -> None:
    """A daemon that hangs is told apart from a record that is gone, and from no daemon at all."""
    async with daemon(cli, pg_dsn) as running:
        blocker = await asyncpg.connect(pg_dsn)
        try:
            await blocker.execute("BEGIN; LOCK TABLE crm.person IN ACCESS EXCLUSIVE MODE")
            ended = await cli("pull", "0035i00000Nobdy", "--timeout-s", "0.5")
        finally:
            await blocker.close()
    assert ended.code == 1
    assert "not pulled within 0.5 s; the daemon at " in ended.err
    assert f":{running.pid} has not served it" in ended.err


@asynccontextmanager
async def backfilling(pg_dsn: str, tmp_path: Path) -> AsyncIterator[asyncpg.Connection]:
    """Run a daemon on an org that takes seconds to load; the block begins in the middle of it."""
    with org_process("--population", str(BACKFILLED), state_dir=tmp_path / "org") as org:
        cli = Cli(salesforce_environ(org) | {"SFSYNC_STORE__DSN": pg_dsn}, tmp_path)
        connection = await asyncpg.connect(pg_dsn)
        try:
            async with cli.running("run", SFSYNC_LOG__LEVEL="error"):
                people = "SELECT count(*) > 1000 FROM crm.person"
                await eventually(lambda: connection.fetchval(people), PATIENCE_S)
                yield connection
        finally:
            await connection.close()


async def test_pull_is_served_at_once_beside_a_backfill(pg_dsn: str, tmp_path: Path) -> None:
    """Somebody is about to send a letter while the org is loaded for the first time."""
    waits = []
    async with backfilling(pg_dsn, tmp_path) as connection:
        ids = [
            row["salesforce_id"]
            for row in await connection.fetch("SELECT salesforce_id FROM crm.person LIMIT 12")
        ]
        for record in ids:
            began = time.monotonic()
            request = await connection.fetchval("SELECT crm.request_sync($1)", record)
            outcome = await connection.fetchval("SELECT outcome FROM crm.await_sync($1, 10)", request)
            waits.append(time.monotonic() - began)
            assert outcome == "equal"
        under_way = await connection.fetchval(
            "SELECT count(*) < 3 FROM sfsync.watermark WHERE backfilled_at IS NOT NULL"
        )
    assert under_way, "the backfill was over before the pulls were: they prove nothing"
    assert median(waits) < 0.5, waits

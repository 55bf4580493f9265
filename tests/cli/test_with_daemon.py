"""`run`, `status`, `reconcile` and `rebind` together: processes that meet in one store."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.cli.conftest import CANARY, PATIENCE_S, Cli, control, salesforce_environ
from tests.simorg.site import eventually, org_process

SWEEPS = "SELECT count(*) FROM sfsync.sweep"
QUICK = {
    "SFSYNC_SYNC__SETTLE_S": "0.2",
    "SFSYNC_SYNC__BACKOFF_S_MAX": "0.5",
    "SFSYNC_SYNC__SWEEP_INTERVAL_S": "3600",
}


async def value(dsn: str, query: str, *arguments: object) -> Any:
    """Return one value from the store."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def swept(dsn: str, process: asyncio.subprocess.Process, certificates: int) -> None:
    """Wait until there are that many certificates; fail when the daemon ends."""

    async def done() -> bool:
        assert process.returncode is None
        return bool(await value(dsn, SWEEPS) >= certificates)

    await eventually(done, PATIENCE_S)


async def nothing_owed(dsn: str) -> bool:
    """Tell whether no reading waits to be made."""
    return bool(await value(dsn, "SELECT count(*) = 0 FROM sfsync.resweep"))


@asynccontextmanager
async def daemon(cli: Cli, dsn: str, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a daemon; the block begins when its first sweep is done."""
    before = await value(dsn, SWEEPS)
    async with cli.running("run", **QUICK, **changes) as process:
        await swept(dsn, process, before + 3)
        yield process


async def test_status_before_the_first_start(cli: Cli, empty_dsn: str) -> None:
    """It says what is missing instead of failing on a table."""
    ended = await cli("status", SFSYNC_STORE__DSN=empty_dsn)
    assert ended.code == 2
    assert ended.err.strip() == "sfsync: this database holds no store of sfsync yet; sfsync run makes it"
    ended = await cli("status")
    assert (ended.code, ended.out) == (
        0,
        "bound to no org yet: sfsync run has not logged in with this store\n",
    )
    assert (await cli("status", "--json")).json == {"org": None}


async def test_reconcile_before_the_first_start_says_so(cli: Cli) -> None:
    """There is no org to sweep."""
    ended = await cli("reconcile")
    assert ended.code == 2
    assert "start sfsync run first" in ended.err


async def test_status_and_reconcile_beside_a_daemon(cli: Cli, pg_dsn: str, org: dict[str, str]) -> None:
    """The store tells who leads and what is there; the leader is asked to sweep, and its certificates come back."""
    async with daemon(cli, pg_dsn) as running:
        status = (await cli("status", "--json")).json
        assert status["org"] == org["org_id"]
        assert status["leader"]["is_led"]
        assert status["leader"]["holder"].endswith(f":{running.pid}")
        assert {one["entity"] for one in status["certificates"]} == {"Lead", "Contact", "Account"}
        assert status["people"]["live"] == await value(pg_dsn, "SELECT count(*) FROM crm.active_person")
        assert status["people"]["live"] > 0

        ended = await cli("reconcile", "--json")
        assert ended.code == 0, ended.out + ended.err
        assert ended.json["outcome"] == "swept"
        assert len({one["sweep_id"] for one in ended.json["certificates"]}) == 1

        # The stream began at its tip: the sweep that is owed for that must not find what this one is to find.
        await eventually(lambda: nothing_owed(pg_dsn), PATIENCE_S)
        step = {"op": "create", "entity": "Lead", "fields": {"LastName": "Missed", "Company": "Push"}}
        await control(org, "transaction", steps=[step], silent=True, age_s=600)
        ended = await cli("reconcile")
        assert ended.code == 1, "a sweep that had to repair something is an incident"
        assert "Lead: equal as of" in ended.out
        assert "repaired 1" in ended.out
        assert "asking it to sweep" in ended.err
    text = (await cli("status")).out
    assert "leader        none" in text
    assert "repaired 1" in text


async def test_reconcile_without_a_daemon_runs_one(cli: Cli, pg_dsn: str) -> None:
    """And leaves none behind."""
    async with daemon(cli, pg_dsn):
        pass
    ended = await cli("reconcile", "--json", **QUICK)
    assert ended.code == 0, ended.out + ended.err
    assert len(ended.json["certificates"]) == 3
    assert "running one to sweep" in ended.err
    status = (await cli("status", "--json")).json
    assert not status["leader"]["is_led"]
    assert status["leader"]["epoch"] == 2


async def test_reconcile_says_when_its_daemon_cannot_work(cli: Cli, pg_dsn: str) -> None:
    """It does not wait an hour for a sweep that will not come."""
    async with daemon(cli, pg_dsn):
        pass
    ended = await cli("reconcile", SFSYNC_SALESFORCE__CLIENT_SECRET=CANARY)
    assert ended.code == 1
    assert "the daemon ended with exit code 2" in ended.err
    assert CANARY not in ended.err


async def test_rebind_is_confirmed_and_excluded_by_a_leader(
    cli: Cli, pg_dsn: str, org: dict[str, str], tmp_path: Path
) -> None:
    """Two orgs in one store are never mixed by accident."""
    assert "will bind it" in (await cli("rebind")).out
    with org_process(state_dir=tmp_path / "other") as refreshed:
        other = (await control(refreshed, "org_id"))["org_id"]
        elsewhere = Cli(dict(cli.environ) | salesforce_environ(refreshed), tmp_path)
        async with daemon(cli, pg_dsn) as running:
            assert "already" in (await cli("rebind")).out
            ended = await elsewhere("rebind", "--yes", other)
            assert ended.code == 3, ended.err
            assert f":{running.pid}" in ended.err

        ended = await elsewhere("run", **QUICK)
        assert ended.code == 2
        assert "org.refused" in ended.err

        assert (await elsewhere("rebind")).code == 2, "nobody is there to confirm"
        assert (await elsewhere("rebind", "--yes", org["org_id"])).code == 2, "that is the old one"
        assert await value(pg_dsn, "SELECT id FROM sfsync.org WHERE is_bound") == org["org_id"]
        assert (await elsewhere("rebind", "--yes", other)).code == 0
        assert await value(pg_dsn, "SELECT id FROM sfsync.org WHERE is_bound") == other
        async with daemon(elsewhere, pg_dsn):
            assert (await elsewhere("status", "--json")).json["org"] == other


@pytest.mark.parametrize("typed", ["right", "wrong"])
async def test_rebind_asks_a_person_to_type_the_org(
    cli: Cli, pg_dsn: str, org: dict[str, str], typed: str
) -> None:
    """A y would be typed by habit."""
    await value(pg_dsn, "INSERT INTO sfsync.org (id) VALUES ('00D5i000000DemoEAC')")
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *cli.words("rebind"), env=cli.full_environ(), stdin=theirs, stdout=asyncio.subprocess.PIPE
        )
        os.write(ours, f"{org['org_id'] if typed == 'right' else 'y'}\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"The store follows org 00D5i000000DemoEAC" in out
    assert process.returncode == (0 if typed == "right" else 1)
    bound = await value(pg_dsn, "SELECT id FROM sfsync.org WHERE is_bound")
    assert bound == (org["org_id"] if typed == "right" else "00D5i000000DemoEAC")


async def test_log_at_debug_holds_no_person_and_no_secret(cli: Cli, pg_dsn: str, org: dict[str, str]) -> None:
    """Logs are shipped, kept and read by many; personal data and tokens must not be among them."""
    hostile = f'{CANARY}\n{{"level":"fatal"}}\x1b[2J'
    steps = [
        {"op": "create", "entity": "Account", "as": "a", "fields": {"Name": CANARY}},
        {
            "op": "create",
            "entity": "Lead",
            "as": "l",
            "fields": {"LastName": hostile, "Company": CANARY, "Email": f"{CANARY}@a.example"},
        },
        {
            "op": "create",
            "entity": "Contact",
            "fields": {"LastName": CANARY, "AccountId": "$a", "MailingStreet": CANARY},
        },
    ]
    cli = Cli({**cli.environ, "SFSYNC_LOG__LEVEL": "debug"}, cli.directory)
    async with cli.running("run", **QUICK) as process:
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())
        await swept(pg_dsn, process, 3)
        ids = (await control(org, "transaction", steps=steps))["ids"]
        await control(org, "faults", kind="malformed_event")
        change = {"op": "update", "id": ids["l"], "fields": {"Title": CANARY}}
        await control(org, "transaction", steps=[change])
        titled = "SELECT count(*) FROM crm.person WHERE title = $1"
        await eventually(lambda: value(pg_dsn, titled, CANARY), PATIENCE_S)
        process.terminate()
        log = (await reading).decode()
    assert CANARY not in log
    assert org["client_secret"] not in log
    assert "00D" in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"daemon.started", "stream.batch.applied", "daemon.stopped"} <= {line["event"] for line in lines}
    assert not [line for line in lines if line["event"] == "log.foreign"]
    assert "[redacted]" not in log

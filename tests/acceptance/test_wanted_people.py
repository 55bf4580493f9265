"""Only whom somebody wants, and nobody who was erased: the whole daemon, judged by the oracle.

Why: what must not be there is found by nobody who looks for what is there. So the oracle is told who was asked for and
who was erased, and every other row turns it red.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.stage import PATIENCE_S, open_stage
from tests.oracle import Given
from tests.simorg.site import eventually


async def asked(connection: asyncpg.Connection, query: str, *arguments: object) -> None:
    """Put a request by *query*, and wait until it is answered well."""
    number = await connection.fetchval(query, *arguments)
    await eventually(partial(_is_answered, connection, number), PATIENCE_S)
    detail = await connection.fetchval("SELECT detail FROM sfsync.request WHERE id = $1", number)
    assert "error" not in (detail or ""), detail


async def _is_answered(connection: asyncpg.Connection, number: int) -> bool:
    found: bool = await connection.fetchval(
        "SELECT done_at IS NOT NULL FROM sfsync.request WHERE id = $1", number
    )
    return found


PURGE = "INSERT INTO sfsync.request (kind, argument) VALUES ('purge', json_build_object('purge', $1::text)) RETURNING id"


@pytest.mark.parametrize("mirror", ["all", "adopted"])
async def test_only_wanted_people_are_there_and_erased_ones_stay_away(
    mirror: str, empty_dsn: str, tmp_path: Path
) -> None:
    """Of an org of thirty, three were asked for; what one of them becomes comes along, what was erased does not."""
    with open_stage(empty_dsn, tmp_path, population=30) as stage:
        org = stage.org
        account = org.create("Account", Name="A")
        contact = org.create("Contact", LastName="C", AccountId=account)
        lead, gone = (org.create("Lead", LastName=name, Company=name) for name in ("L", "G"))
        settings = {"SFSYNC_SYNC__ADOPT": "on_request", "SFSYNC_SYNC__MIRROR": mirror}
        daemon = stage.daemon({**settings, "SFSYNC_SYNC__SWEEP_INTERVAL_S": "2"}).wait_ready()
        connection = await asyncpg.connect(empty_dsn)
        try:
            for record in (contact, lead, gone):
                await asked(connection, "SELECT crm.request_sync($1)", record)
            wanted = frozenset({contact, lead, gone, account})
            report = await stage.must_be_equal(given=Given(adopted=wanted))
            assert (report.people, report.companies) == (3, 1)

            made = org.transact({"op": "convert", "lead": lead, "as": "contact"})["contact"]
            org.live(30, seed=3, create=1, update=2)
            report = await stage.must_be_equal(given=Given(adopted=wanted | {made}))
            assert (report.people, report.companies) == (3, 2)

            await asked(connection, PURGE, gone)
            org.update(gone, Phone="1")
            swept = len(daemon.log.all("sweep.entity.completed", entity="Lead"))
            daemon.wait_for("sweep.entity.completed", swept + 2, entity="Lead")
            known = Given(adopted=wanted | {made}, erased=frozenset({gone}))
            assert (await stage.must_be_equal(given=known)).people == 2
        finally:
            await connection.close()

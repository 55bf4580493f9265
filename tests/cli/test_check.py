"""`sfsync check` against a simulated org and a real Postgres: each thing that would stop or hurt a daemon is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from sfsync.cli.check import doubts, is_verified
from sfsync.config import load_settings
from tests.cli.conftest import CANARY, Cli, Ended, control


def of(ended: Ended, subject: str) -> list[dict[str, Any]]:
    """The findings about one subject."""
    return [finding for finding in ended.json["findings"] if finding["subject"] == subject]


def levels(ended: Ended, subject: str) -> set[str]:
    return {finding["level"] for finding in of(ended, subject)}


async def test_good_setup_is_ok_on_one_screen(cli: Cli) -> None:
    """Nothing fails, everything is looked at, no secret is shown."""
    ended = await cli("check")
    assert ended.code == 0, ended.out + ended.err
    lines = ended.out.splitlines()
    assert len(lines) <= 24
    for subject in (
        "configuration",
        "login",
        "API version",
        "change events",
        "mapping",
        "database",
        "migrations",
    ):
        assert any(line.startswith(f"ok    {subject}") for line in lines), (subject, ended.out)
    assert cli.environ["SFSYNC_SALESFORCE__CLIENT_SECRET"] not in ended.out + ended.err


async def test_check_changes_nothing(cli: Cli, pg_dsn: str) -> None:
    """It may run beside a daemon, and before the first one."""
    await cli("check")
    connection = await asyncpg.connect(pg_dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM sfsync.org") == 0
        assert await connection.fetchval("SELECT count(*) FROM sfsync.position") == 0
    finally:
        await connection.close()


async def test_writing_user_is_warned_about(cli: Cli) -> None:
    """A stolen token must not be enough to change the org."""
    ended = await cli("check", "--json")
    assert levels(ended, "Contact") == {"warn"}
    assert "updateable" in of(ended, "Contact")[0]["text"]


async def test_refused_login_is_told_and_the_rest_still_checked(cli: Cli) -> None:
    """Exit code 2; an operator mends both ends in one go."""
    ended = await cli(
        "check", "--json", SFSYNC_SALESFORCE__CLIENT_SECRET=CANARY, SFSYNC_MAPPING__FILE="gone.toml"
    )
    assert ended.code == 2
    assert levels(ended, "login") == {"fail"}
    assert "client secret is wrong" in of(ended, "login")[0]["text"]
    assert "cannot be read" in of(ended, "mapping")[0]["text"]
    assert levels(ended, "database") == {"ok"}
    assert CANARY not in ended.out + ended.err


async def test_unreachable_org_is_exit_code_one(cli: Cli) -> None:
    """Nothing is wrong with the configuration; trying again may help."""
    ended = await cli("check", "--json", SFSYNC_SALESFORCE__LOGIN_URL="http://localhost:9")
    assert ended.code == 1
    assert levels(ended, "login") == {"fail"}


async def test_version_that_the_org_does_not_serve_is_told(cli: Cli) -> None:
    """With the newest one that it does."""
    ended = await cli("check", "--json", SFSYNC_SALESFORCE__API_VERSION="99.0")
    assert ended.code == 2
    assert levels(ended, "API version") == {"fail"}
    assert "salesforce.api_version" in of(ended, "API version")[0]["remedy"]


async def test_refused_subscription_is_told(cli: Cli, org: dict[str, str]) -> None:
    """Without change events the store would lag by a sweep, for ever."""
    await control(org, "faults", kind="subscribe_refuse", times=None)
    ended = await cli("check", "--json")
    assert ended.code == 1
    assert levels(ended, "change events") == {"fail"}
    assert "Change Data Capture" in of(ended, "change events")[0]["remedy"]


async def test_hidden_field_of_the_mapping_is_told(cli: Cli, org: dict[str, str]) -> None:
    """Its null would look like an empty field."""
    await control(org, "fields", entity="Contact", action="hide", field={"name": "Email"})
    ended = await cli("check", "--json")
    await control(org, "fields", entity="Contact", action="show", field={"name": "Email"})
    assert ended.code == 2
    [finding] = of(ended, "mapping")
    assert "person.email: Contact.Email is hidden" in finding["text"]


async def test_every_fault_of_a_mapping_is_told(cli: Cli) -> None:
    """Unknown, misspelt and clashing fields, each in its own line, with column and field."""
    Path(cli.directory / "mapping.toml").write_text(
        "[person]\n"
        'a = { contact = "Nope__c" }\n'
        'b = { contact = "lastname" }\n'
        'c = { contact = "LastName", lead = "NumberOfEmployees" }\n'
    )
    ended = await cli("check", "--json", SFSYNC_MAPPING__FILE="mapping.toml")
    texts = [finding["text"] for finding in of(ended, "mapping")]
    assert ended.code == 2
    assert [text.partition(":")[0] for text in texts] == ["person.a", "person.b", "person.c"]


async def test_calculated_field_is_warned_about(cli: Cli, org: dict[str, str]) -> None:
    """Change events do not announce it, so it is only as fresh as the last sweep."""
    field = {"name": "Tier__c", "type": "string", "formula": "Account.Type"}
    await control(org, "fields", entity="Contact", action="add", field=field)
    Path(cli.directory / "mapping.toml").write_text('[person]\ntier = { contact = "Tier__c" }\n')
    ended = await cli("check", "--json", SFSYNC_MAPPING__FILE="mapping.toml")
    assert ended.code == 0, ended.out
    assert "is calculated" in of(ended, "mapping")[1]["text"]


async def test_store_of_another_org_is_told(cli: Cli, pg_dsn: str) -> None:
    """A daemon would refuse to start."""
    connection = await asyncpg.connect(pg_dsn)
    try:
        await connection.execute("INSERT INTO sfsync.org (id) VALUES ('00D5i000000DemoEAC')")
    finally:
        await connection.close()
    ended = await cli("check", "--json")
    assert ended.code == 2
    assert "sfsync rebind" in of(ended, "org binding")[0]["remedy"]


async def test_column_of_another_type_is_told(cli: Cli, pg_dsn: str) -> None:
    """A daemon adds columns and never retypes them."""
    connection = await asyncpg.connect(pg_dsn)
    try:
        await connection.execute("ALTER TABLE crm.person ADD COLUMN last_name integer")
        await connection.execute("ALTER TABLE crm.person ADD COLUMN created_at timestamptz")
    finally:
        await connection.close()
    ended = await cli("check", "--json")
    # Before the first start nothing is bound, and the columns are compared all the same.
    assert ended.code == 2
    [finding] = of(ended, "columns")
    assert "person.last_name is integer, the mapping needs text" in finding["text"]


@pytest.mark.parametrize("change", ["unknown", "changed"])
async def test_database_of_another_version_is_told(cli: Cli, pg_dsn: str, change: str) -> None:
    """Two versions would write one store differently."""
    connection = await asyncpg.connect(pg_dsn)
    try:
        if change == "unknown":
            await connection.execute(
                "INSERT INTO sfsync.migration (name, checksum) VALUES ('9999_later', 'x')"
            )
        else:
            await connection.execute("UPDATE sfsync.migration SET checksum = 'x'")
    finally:
        await connection.close()
    ended = await cli("check", "--json")
    assert ended.code == 2
    assert levels(ended, "migrations") == {"fail"}


async def test_empty_database_is_fine(cli: Cli, empty_dsn: str) -> None:
    """The first start sets it up."""
    ended = await cli("check", "--json", SFSYNC_STORE__DSN=empty_dsn)
    assert ended.code == 0, ended.out
    assert "none applied yet" in of(ended, "migrations")[0]["text"]


async def test_role_without_rights_is_told(cli: Cli, empty_dsn: str) -> None:
    """With the statement that gives them."""
    connection = await asyncpg.connect(empty_dsn)
    role = f"weak_{urlsplit(empty_dsn).path.strip('/')}"[:60]
    try:
        await connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'weak'")
        url = urlsplit(empty_dsn)
        weak = url._replace(netloc=f"{role}:weak@{url.hostname}:{url.port}").geturl()
        ended = await cli("check", "--json", SFSYNC_STORE__DSN=weak)
        assert ended.code == 2, ended.out
        assert [finding["level"] for finding in of(ended, "rights")] == ["fail", "fail"]
        assert "CREATE SCHEMA crm AUTHORIZATION" in of(ended, "rights")[0]["remedy"]
    finally:
        await connection.execute(f'DROP ROLE "{role}"')
        await connection.close()


async def test_unreachable_database_shows_no_password(cli: Cli) -> None:
    """Drivers quote connection strings."""
    ended = await cli("check", SFSYNC_STORE__DSN=f"postgresql://user:{CANARY}@127.0.0.1:9/db")
    assert ended.code == 1
    assert "FAIL  database" in ended.out
    assert CANARY not in ended.out + ended.err


async def test_embedded_store_is_not_made_by_a_check(cli: Cli, tmp_path: Path) -> None:
    """Looking must not leave a server's files behind."""
    settings = {name: value for name, value in cli.environ.items() if name != "SFSYNC_STORE__DSN"}
    alone = Cli(settings | {"SFSYNC_STORE__EMBEDDED_DIR": str(tmp_path / "pg")}, tmp_path)
    ended = await alone("check", "--json")
    assert "made by the first start" in of(ended, "database")[0]["text"]
    assert not (tmp_path / "pg").exists()


def test_unverified_postgres_and_ending_flow_are_warned_about() -> None:
    """They work today."""
    settings = load_settings(
        None,
        {
            "SFSYNC_SALESFORCE__LOGIN_URL": "http://localhost:9",
            "SFSYNC_SALESFORCE__FLOW": "legacy_password",
            "SFSYNC_SALESFORCE__CLIENT_ID": "x",
            "SFSYNC_SALESFORCE__CLIENT_SECRET": "x",
            "SFSYNC_SALESFORCE__USERNAME": "x",
            "SFSYNC_SALESFORCE__PASSWORD": "x",
            "SFSYNC_SYNC__SWEEP_ENABLED": "false",
            "SFSYNC_STORE__DSN": "postgresql://user@db.internal/db",
        },
    )
    assert [doubt.text.partition(" ")[0] for doubt in doubts(settings)] == ["flow", "the", "the"]


@pytest.mark.parametrize(
    ("dsn", "verified"),
    [
        ("postgresql://user@localhost/db", True),
        ("postgresql://user@127.0.0.1:5432/db", True),
        ("postgresql:///db?host=/run/postgresql", True),
        ("postgresql://user@db.internal/db?sslmode=verify-full", True),
        ("postgresql://user@db.internal/db?sslmode=require", False),
        ("postgresql://user@db.internal/db", False),
        ("postgresql://user@/db?host=127.0.0.1,db.internal", False),
        ("postgresql://user@127.0.0.1,db.internal/db", False),
    ],
)
def test_only_this_machine_or_a_verified_server_is_safe(dsn: str, verified: bool) -> None:
    """`require` encrypts for whoever answers."""
    assert is_verified(dsn) is verified

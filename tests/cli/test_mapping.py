"""`sfsync mapping`: what an operator sees before a changed mapping does anything."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sfsync.core.mapping_file import default_mapping_text, parse_mapping
from tests.cli.conftest import PATIENCE_S, Cli, control
from tests.simorg.site import eventually

LEVEL = 'level = { contact = "Level__c" }'


@pytest.fixture
async def levelled(org: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """The org, with a number `Level__c` of contacts while the test lasts."""
    field = {"name": "Level__c", "type": "double"}
    await control(org, "fields", entity="Contact", action="add", field=field)
    yield org
    await control(org, "fields", entity="Contact", action="remove", field={"name": "Level__c"})


def written(directory: Path, *more: str, name: str = "mapping.toml") -> Path:
    """The shipped mapping as a file, with lines added to [person]."""
    path = directory / name
    path.write_text(default_mapping_text().replace("[person]\n", "\n".join(["[person]", *more, ""]), 1))
    return path


async def test_suggested_mapping_is_sound_and_takes_custom_fields(
    cli: Cli, levelled: dict[str, str], tmp_path: Path
) -> None:
    """An operator begins with what the org has, not with an empty page."""
    await control(levelled, "fields", entity="Lead", action="hide", field={"name": "Email"})
    try:
        ended = await cli("mapping", "suggest", "-o", "suggested.toml")
        assert ended.code == 0, ended.err
        text = (tmp_path / "suggested.toml").read_text()
        mapping = parse_mapping(tomllib.loads(text))
        assert {"level", "last_name", "postal_code"} <= {column.name for column in mapping.columns}
        assert "Lead.Email is hidden from this user" in text
        assert "# Level" in text
        assert "double as numeric, announced" in text
        assert "not announced" in text
        linted = await cli("mapping", "lint", "suggested.toml")
        assert linted.code == 0, linted.out
    finally:
        await control(levelled, "fields", entity="Lead", action="show", field={"name": "Email"})
    again = await cli("mapping", "suggest", "-o", "suggested.toml")
    assert (again.code, "--force" in again.err) == (2, True)
    assert (tmp_path / "suggested.toml").read_text() == text


async def test_lint_tells_all_faults_of_file_and_org(cli: Cli, tmp_path: Path) -> None:
    """A file is mended once, wherever its faults lie."""
    path = written(tmp_path, 'rank = { contact = "Rank__c" }', 'tier = { lead = "Tier__c" }')
    ended = await cli("mapping", "lint", str(path), "--json")
    assert ended.code == 2
    faults = [one["text"] for one in ended.json["findings"] if one["level"] == "fail"]
    assert [fault.partition(" is ")[0] for fault in faults] == [
        "person.rank: Contact.Rank__c",
        "person.tier: Lead.Tier__c",
    ]
    path.write_text("[person]\nid = 3\n[persons]\n")
    ended = await cli("mapping", "lint", str(path))
    assert ended.code == 2
    assert "only [person] and [company] are known" in ended.out


async def test_lint_without_an_org_checks_the_file(lone_cli: Cli, tmp_path: Path) -> None:
    """A file is checked where it is written, too."""
    ended = await lone_cli("mapping", "lint", str(written(tmp_path)))
    assert ended.code == 0
    assert "not compared with the org" in ended.out


async def test_plan_of_a_store_that_was_never_bound_makes_everything(cli: Cli, tmp_path: Path) -> None:
    """Before the first start an operator wants to know as well; and the plan must not be that start."""
    ended = await cli("mapping", "plan", str(written(tmp_path)), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["first"]
    assert {column["change"] for column in ended.json["columns"]} == {"added"}
    assert not ended.json["applied"]
    assert {reading["entity"]: reading["records"] > 0 for reading in ended.json["readings"]} == {
        "Lead": True,
        "Contact": True,
        "Account": True,
    }
    refused = await cli("mapping", "plan", "--take-over", "people.nickname")
    assert (refused.code, "like person.nickname" in refused.err) == (2, True)


@pytest.fixture
async def connection(pg_dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    opened = await asyncpg.connect(pg_dsn)
    yield opened
    await opened.close()


async def test_plan_shows_and_apply_does_it(
    cli: Cli, levelled: dict[str, str], connection: asyncpg.Connection[Any], tmp_path: Path
) -> None:
    """Columns, records, calls and values are known before anything changes; then a running daemon takes it."""
    step = {"op": "create", "entity": "Contact", "fields": {"LastName": "Levelled", "Level__c": 7}, "as": "c"}
    contact = (await control(levelled, "transaction", steps=[step]))["ids"]["c"]
    configured = {"SFSYNC_MAPPING__FILE": str(written(tmp_path))}
    async with cli.running("run", **configured):
        await eventually(lambda: is_swept(connection), PATIENCE_S)
        written(tmp_path, LEVEL, 'handy = { contact = "MobilePhone" }')
        planned = await cli("mapping", "plan", "--json", **configured)
        assert planned.code == 0, planned.err
        check_plan(planned.json)
        assert not await has_level(connection, contact)

        other = await cli(
            "mapping", "plan", str(written(tmp_path, name="other.toml")), "--apply", **configured
        )
        assert (other.code, "set mapping.file" in other.err) == (2, True)
        adopting = await cli("mapping", "plan", "--no-sample", SFSYNC_SYNC__ADOPT="on_request", **configured)
        assert "adopt: all → on_request: whoever is a person or company stays one" in adopting.out
        applied = await cli("mapping", "plan", "--apply", **configured)
        assert applied.code == 0, applied.err
        assert "+ person.level numeric from Contact.Level__c" in applied.out
        assert 'null → "7"' in applied.out
        await eventually(lambda: has_level(connection, contact), PATIENCE_S)
        nothing = await cli("mapping", "plan", **configured)
        assert (nothing.code, "nothing would change" in nothing.out) == (0, True), nothing.err


def check_plan(plan: Any) -> None:
    """What is in the mirror is told of all rows, what is not from a sample; only contacts are to be read."""
    handy, level = plan["columns"]
    assert (handy["column"], level["column"]) == ("handy", "level")
    assert (level["change"], level["type"], level["sources"]) == (
        "added",
        "numeric",
        {"Contact": "Level__c"},
    )
    [rows] = level["rows"]
    assert (rows["sampled"], rows["changing"]) == ("Contact", 1)
    assert [(e["before"], e["after"]) for e in rows["examples"]] == [(None, "7")]
    assert handy["rows"][0]["sampled"] is None
    assert handy["rows"][0]["looked_at"] > rows["looked_at"] - 1
    [reading] = plan["readings"]
    assert (reading["entity"], reading["fields"], reading["api_calls"]) == ("Contact", ["Level__c"], 1)


async def is_swept(connection: asyncpg.Connection[Any]) -> bool:
    try:
        return bool(await connection.fetchval("SELECT count(*) >= 3 FROM sfsync.sweep"))
    except asyncpg.UndefinedTableError:
        return False


async def has_level(connection: asyncpg.Connection[Any], contact: str) -> bool:
    try:
        return (
            await connection.fetchval("SELECT level = 7 FROM crm.person WHERE salesforce_id = $1", contact)
            is True
        )
    except asyncpg.UndefinedColumnError:
        return False

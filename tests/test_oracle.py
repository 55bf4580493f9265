"""The oracle: green on an untouched store, red on every planted corruption.

Why: a judge that never says no proves nothing, and a judge that says no to what nobody can know is ignored soon.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import run
from typing import Any

import asyncpg
import pytest

from sfsync.simorg.oracle_state import SHIPPED, read_columns
from tests.acceptance.stage import Stage, open_stage
from tests.oracle import Given, Report, differences, freeze, wait_until_equal
from tests.postgres import PgFleet, PgServer, available_servers

MAY_WRITE = {"sfsync.writer": "on"}


@dataclass(frozen=True, slots=True)
class Settled:
    """A store that a daemon made equal and then left, to be copied; and records of every kind of fate."""

    stage: Stage
    server: PgServer
    database: str
    ids: dict[str, str]
    frozen: Mapping[int, Mapping[str, Any]]


@pytest.fixture(scope="module")
def settled(pg_fleet: PgFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    server = pg_fleet.server(available_servers()[0])
    database = asyncio.run(server._create("template0"))
    try:
        with open_stage(server._dsn_of(database), tmp_path_factory.mktemp("oracle"), population=20) as stage:
            daemon = stage.daemon().wait_ready()
            ids = _history(stage)
            frozen = _decisions(stage, ids)
            asyncio.run(stage.must_be_equal())
            assert daemon.terminate() == 0
            yield Settled(stage, server, database, ids, frozen)
    finally:
        asyncio.run(server._execute(f'DROP DATABASE "{database}" WITH (FORCE)'))


def _history(stage: Stage) -> dict[str, str]:
    org = stage.org
    address = {"MailingPostalCode": "100-0005", "MailingState": "東京都", "MailingCity": "千代田区"}
    ids = {
        "account": org.create("Account", Name="山田商事", AnnualRevenue=12_345_678_901, NumberOfEmployees=7),
        "other account": org.create("Account", Name="Acme"),
        "lead": org.create("Lead", LastName="鈴木", Company="Suzuki KK", Website="https://suzuki.example"),
    }
    ids |= {
        "contact": org.create("Contact", LastName="山田", AccountId=ids["account"], **address),
        "winner": org.create("Contact", LastName="Winner", AccountId=ids["account"]),
        "loser": org.create("Contact", LastName="Loser", AccountId=ids["other account"]),
        "deleted": org.create("Contact", LastName="Deleted", AccountId=ids["other account"]),
    }
    # The store must have known each as a person of its own, or there would be no alias to resolve.
    asyncio.run(stage.must_be_equal())
    ids |= org.transact({"op": "convert", "lead": ids["lead"], "as": "converted"})
    org.transact({"op": "merge", "winner": ids["winner"], "losers": [ids["loser"]]})
    org.transact({"op": "delete", "id": ids["deleted"]})
    return ids


def _decisions(stage: Stage, ids: dict[str, str]) -> dict[int, Mapping[str, Any]]:
    """Decline two, and let the org go on with them; return the row that nothing may touch."""
    org = stage.org
    ids["declined"] = org.create("Contact", LastName="Declined", AccountId=ids["account"])
    ids["asked"] = org.create("Contact", LastName="Asked", Title="CEO")
    ids["refused"] = org.create("Contact", LastName="Refused")
    asyncio.run(stage.must_be_equal())
    for name in ("declined", "refused"):
        asyncio.run(
            stage.value(
                "SELECT crm.decide(person_id, 'decline') FROM crm.person_record WHERE salesforce_id = $1",
                ids[name],
            )
        )
    frozen = asyncio.run(freeze(stage.dsn))
    org.update(ids["declined"], LastName="Changed", Fax="1")
    org.transact({"op": "merge", "winner": ids["asked"], "losers": [ids["refused"]]})
    # Only once the merge is known there is a question, and something that must wait for its answer.
    asyncio.run(stage.must_be_equal())
    org.update(ids["asked"], Title="CTO", Department="Sales")
    return frozen


@asynccontextmanager
async def copy_of(settled: Settled) -> AsyncIterator[str]:
    """Make a copy of the settled store; yield its DSN."""
    name = await settled.server._create(settled.database)
    try:
        yield settled.server._dsn_of(name)
    finally:
        await settled.server._execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def judge(settled: Settled, *statements: str, given: Given | None = None) -> Report:
    """Judge a copy of the settled store in which *statements* were executed; `{x}` stands for a record's id."""
    async with copy_of(settled) as dsn:
        connection = await asyncpg.connect(dsn, server_settings=MAY_WRITE)
        try:
            for statement in statements:
                done = await connection.execute(_filled(statement, settled.ids))
                assert done in DEFINED or done.endswith(" 1"), (statement, done)
        finally:
            await connection.close()
        known = given or Given(frozen=settled.frozen)
        return await differences(settled.stage.org.control_url, dsn, given=known)


DEFINED = ("ALTER TABLE", "ALTER VIEW", "CREATE VIEW")


def _filled(statement: str, ids: Mapping[str, str]) -> str:
    """Put ids for names; `[x]` stands for the person or company that x was first handed out as."""
    for name, record_id in ids.items():
        noun = "company" if "account" in name else "person"
        own = f"(SELECT own_id FROM crm.{noun}_record WHERE salesforce_id = '{record_id}')"
        statement = statement.replace("{" + name + "}", f"'{record_id}'").replace(f"[{name}]", own)
    return statement


async def test_untouched_store_is_equal(settled: Settled) -> None:
    """People and companies are counted live, one for a converted lead and its contact."""
    report = await judge(settled)
    assert report.is_equal
    assert str(report) == f"store equals org: {report.people} people, {report.companies} companies"
    live = await settled.stage.value(
        "SELECT count(*) FROM crm.person WHERE crm.resolve_person(id) = id AND deleted_at IS NULL"
    )
    assert report.people == live


CORRUPTIONS = {
    "a field": (
        "UPDATE crm.person SET city = 'Kyoto' WHERE salesforce_id = {contact}",
        "city: store 'Kyoto', org '千代田区'",
    ),
    "a nulled field": (
        "UPDATE crm.person SET city = NULL WHERE salesforce_id = {contact}",
        "city: store None",
    ),
    "an instant": (
        "UPDATE crm.person SET created_at = created_at + interval '1 ms' WHERE salesforce_id = {contact}",
        "created_at: store",
    ),
    "a number": (
        "UPDATE crm.company SET annual_revenue = 12345678902 WHERE salesforce_id = {account}",
        "annual_revenue: store Decimal('12345678902')",
    ),
    "a flag": (
        "UPDATE crm.person SET has_opted_out_of_email = NULL WHERE salesforce_id = {contact}",
        "has_opted_out_of_email: store None, org False",
    ),
    "a field that the lead keeps": (
        "UPDATE crm.person SET website = NULL WHERE salesforce_id = {converted}",
        "website: store None, org 'https://suzuki.example'",
    ),
    "a parent": (
        "UPDATE crm.person SET company_id = [other account] WHERE salesforce_id = {contact}",
        "company_id: store",
    ),
    "no parent": (
        "UPDATE crm.person SET company_id = NULL WHERE salesforce_id = {contact}",
        "company_id: store",
    ),
    "an alias": (
        "UPDATE sfsync.identity SET subject_id = [contact] WHERE own_id = [loser]",
        "resolves to",
    ),
    "a lost alias": (
        "DELETE FROM sfsync.identity WHERE own_id = [loser]",
        "resolves to",
    ),
    "a record listed elsewhere": (
        "UPDATE sfsync.record SET subject_id = [contact] WHERE id = {loser}",
        "listed as person",
    ),
    "a merge undone": (
        "UPDATE crm.person SET merged_into = NULL WHERE id = [loser]",
        "merged into None",
    ),
    "a merged row with a value": (
        "UPDATE crm.person SET last_name = 'Loser' WHERE id = [loser]",
        "still has last_name",
    ),
    "a deleted flag": (
        "UPDATE crm.person SET deleted_at = now() WHERE salesforce_id = {contact}",
        "the store has it deleted, the org live",
    ),
    "a missing deleted flag": (
        "UPDATE crm.person SET deleted_at = NULL WHERE salesforce_id = {deleted}",
        "the store has it live, the org deleted",
    ),
    "an extra person": (
        "INSERT INTO crm.person (id, org, last_name) SELECT 999999, org, 'Nobody' FROM crm.person LIMIT 1",
        "person 999999: no record of the org accounts for it",
    ),
    "an extra company": (
        "INSERT INTO crm.company (id, org, name) SELECT 999999, org, 'Nothing' FROM crm.person LIMIT 1",
        "company 999999: no record of the org accounts for it",
    ),
    "a missing person": ("DELETE FROM crm.person WHERE salesforce_id = {contact}", "its row is missing"),
    "a record unlisted": (
        "UPDATE sfsync.record SET subject_id = NULL WHERE id = {contact}",
        "the store does not list it",
    ),
    "another speaker": (
        "UPDATE crm.person SET salesforce_id = {lead} WHERE salesforce_id = {converted}",
        "salesforce_id: store",
    ),
    "a declined row": (
        "UPDATE crm.person SET fax = '1' WHERE id = [declined]",
        "is declined, but fax changed",
    ),
    "a declined row overwritten": (
        "UPDATE crm.person SET sync = 'synced' WHERE id = [declined]",
        "was declined, and follows the org although nobody decided so",
    ),
    "a declined row merged": (
        "UPDATE crm.person SET merged_into = [asked] WHERE id = [refused]",
        "is declined, but merged_into changed",
    ),
    "a pending row written": (
        "UPDATE crm.person SET sync = 'synced', sync_reason = NULL WHERE id = [asked]",
        "it must be pending",
    ),
    "a question forgotten": (
        "DELETE FROM sfsync.pending WHERE subject_id = [asked]",
        "is pending, but not in crm.pending_decision",
    ),
    "a question too many": (
        """INSERT INTO sfsync.pending (subject_id, org, speaker, reason)
        SELECT id, org, salesforce_id, 'differs' FROM crm.person WHERE id = [contact]""",
        "crm.pending_decision asks about it, but it is synced",
    ),
    "a wrong reason": (
        "UPDATE sfsync.pending SET reason = 'differs' WHERE subject_id = [asked]",
        "the reason is differs, but its records were merged",
    ),
    "an address side": (
        """INSERT INTO sfsync.setting VALUES ('default_address_side', 'person')
        ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value""",
        "store Address(side='person'",
    ),
    "a type": (
        "ALTER TABLE crm.company ALTER COLUMN annual_revenue TYPE text",
        "crm.company.annual_revenue: the column is text, it must be numeric",
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
async def test_corruption_is_found(settled: Settled, corruption: str) -> None:
    """One wrong row among many turns the verdict red, and the line says where."""
    statement, said = CORRUPTIONS[corruption]
    report = await judge(settled, statement)
    assert not report.is_equal
    assert any(said in line for line in report.differences), report.differences


HIDDEN_COLUMN = (
    "ALTER VIEW crm.pending_decision RENAME TO pending_whole",
    "CREATE VIEW crm.pending_decision AS SELECT * FROM crm.pending_whole WHERE column_name <> 'title'",
)


async def test_column_missing_from_a_question_is_found(settled: Settled) -> None:
    """Who decides must see all that would change, and nothing else."""
    report = await judge(settled, *HIDDEN_COLUMN)
    [line] = report.differences
    assert line.endswith(": crm.pending_decision does not list title")


async def test_row_that_nobody_asked_for_is_found(settled: Settled) -> None:
    """Under `adopt = "on_request"` a person who was not imported or asked for must not be there."""
    ids = set(settled.ids.values()) | await _listed(settled)
    assert (await judge(settled, given=Given(adopted=frozenset(ids)))).is_equal
    report = await judge(settled, given=Given(adopted=frozenset(ids - {settled.ids["contact"]})))
    [line] = report.differences
    assert settled.ids["contact"] in line and "nobody asked for it" in line


async def _listed(settled: Settled) -> set[str]:
    ids: list[str] = await settled.stage.value(
        "SELECT array(SELECT salesforce_id FROM crm.person_record UNION SELECT salesforce_id FROM crm.company_record)"
    )
    return set(ids)


async def test_erased_person_who_is_back_is_found(settled: Settled) -> None:
    """Somebody was promised to be forgotten."""
    erased = Given(erased=frozenset({settled.ids["contact"]}))
    gone = (
        "DELETE FROM crm.person WHERE id = [contact]",
        "DELETE FROM sfsync.record WHERE id = {contact}",
    )
    assert (await judge(settled, *gone, given=erased)).is_equal
    report = await judge(settled, given=erased)
    assert [line.split(": ")[1] for line in report.differences] == [
        f"record {settled.ids['contact']} is listed, but it was erased",
        "no record of the org accounts for it",
    ]


async def test_verdict_is_the_exit_code(settled: Settled) -> None:
    """Scripts and the demo go by it."""
    async with copy_of(settled) as dsn:
        command = [sys.executable, "-m", "sfsync.simorg.oracle", "--control", settled.stage.org.control_url]
        green = run(command, env={"SFSYNC_STORE__DSN": dsn}, capture_output=True, text=True, check=False)
        assert (green.returncode, green.stderr) == (0, "")
        assert green.stdout.startswith("store equals org: ")
        connection = await asyncpg.connect(dsn, server_settings=MAY_WRITE)
        try:
            await connection.execute("UPDATE crm.person SET title = 'wrong'")
        finally:
            await connection.close()
        red = run([*command, "--dsn", dsn, "--limit", "2"], capture_output=True, text=True, check=False)
        assert red.returncode == 1
        assert red.stdout.startswith("store differs from org in ")
        assert len(red.stdout.splitlines()) == 4


async def test_judge_that_stays_judges_the_columns_it_is_given(settled: Settled, tmp_path: Path) -> None:
    """Another mapping has other columns; one that is left out of a question is not held against the store."""
    columns = {noun: {name: asdict(one) for name, one in table.items()} for noun, table in SHIPPED.items()}
    columns["person"]["fax"]["contact"] = "Id"
    stated = tmp_path / "columns.json"
    stated.write_text(json.dumps(columns))
    command = [sys.executable, "-m", "sfsync.simorg.oracle_desk", "--columns", str(stated), "--control"]
    command.append(settled.stage.org.control_url)
    questions = [{"timeout_s": 0}, {"timeout_s": 0, "without": ["person.fax"]}]
    async with copy_of(settled) as dsn:
        done = run(
            command,
            input="".join(f"{json.dumps(question)}\n" for question in questions),
            env={"SFSYNC_STORE__DSN": dsn},
            capture_output=True,
            text=True,
            check=True,
        )
    red, green = map(json.loads, done.stdout.splitlines())
    assert not red["is_equal"] and all(": fax: store " in line for line in red["differences"])
    assert green["is_equal"] and green["people"] == red["people"] > 0


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("[]", "columns are stated as"),
        ('{"person": {"a": {"typ": "text"}}, "company": {}}', "columns are stated as"),
        ('{"person": {"a": {"type": "money"}}, "company": {}}', "person.a: type must be one of text, "),
    ],
)
def test_columns_that_make_no_sense_are_refused(stated: str, said: str) -> None:
    """A judge of the wrong columns would be a judge of nothing."""
    with pytest.raises(ValueError, match=said):
        read_columns(stated)


async def test_waiting_ends_with_the_last_report(settled: Settled) -> None:
    """A wait that fails must say what is wrong."""
    async with copy_of(settled) as dsn:
        connection = await asyncpg.connect(dsn, server_settings=MAY_WRITE)
        try:
            await connection.execute("UPDATE crm.person SET title = 'wrong'")
        finally:
            await connection.close()
        report = await wait_until_equal(settled.stage.org.control_url, dsn, 0.5)
    assert report.differences and not report.is_equal


async def test_what_nobody_can_know_is_listed_apart(stage_of_one: Stage) -> None:
    """A hard delete makes no event, and a purge after a deletion leaves a deleted person."""
    org = stage_of_one.org
    silent, binned = org.create("Contact", LastName="Silent"), org.create("Contact", LastName="Binned")
    org.transact({"op": "purge", "id": org.create("Lead", LastName="Never seen", Company="X")})
    daemon = stage_of_one.daemon().wait_ready()
    org.transact({"op": "delete", "id": binned})
    await stage_of_one.must_be_equal()
    org.transact({"op": "purge", "id": silent}, {"op": "purge", "id": binned})
    report = await stage_of_one.must_be_equal()
    assert report.undetectable == [f"Contact {silent} was hard-deleted while live"]
    assert report.people == 0
    assert daemon.terminate() == 0


@pytest.fixture
def stage_of_one(empty_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(empty_dsn, tmp_path_factory.mktemp("stage")) as stage:
        yield stage

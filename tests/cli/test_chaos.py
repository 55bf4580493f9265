"""`sfsync chaos`: what is offered, what is refused, and a handful of recipes played to their end.

Why: the whole play is `make chaos`, which `make proof` runs too; here a few recipes show that it works.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sfsync.cli.chaos import story
from sfsync.cli.chaos.recipe import RECIPES
from sfsync.cli.chaos.story import sentences, unusual
from sfsync.log import EVENTS
from tests.cli.conftest import Cli, Ended
from tests.postgres import PgServer

PLAYED = ("gap", "conversion", "expired-position", "hidden-field", "sandbox-refresh")
"""A few of each kind; `make chaos` plays all, and so does `make proof`."""
PLAY_S = 240
MAPPING = """
[person]
last_name = { contact = "LastName", lead = "LastName" }
furigana = { contact = "Furigana__c", lead = "Furigana__c" }
score = { contact = "Fit__c", lead = "Score__c" }
pronouns = { contact = "Pronouns" }
vip = { lead = "Is_VIP__c" }
[person.address]
postal_code = { contact = "MailingPostalCode", lead = "PostalCode" }
[company]
name = "Name"
"""


def of(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


@pytest.fixture
def server_dsn(pg_server: PgServer) -> str:
    """A server on which databases may be made."""
    return pg_server.dsn


async def play(cli: Cli, *words: str, **changes: str) -> Ended:
    """Run `sfsync chaos`; it may take longer than a command that somebody waits for."""
    async with cli.running("chaos", *words, **changes) as process:
        async with asyncio.timeout(PLAY_S):
            out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def orphans(dsn: str) -> list[str]:
    """Return the databases of plays that are over."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, 'sfsync_chaos_')"
        )
    finally:
        await connection.close()
    return [row["datname"] for row in rows if not Path(f"/proc/{row['datname'].split('_')[2]}").exists()]


async def test_list_names_every_recipe_with_its_expectation(lone_cli: Cli) -> None:
    """Whoever looks for a fault must find it without playing any."""
    ended = await lone_cli("chaos", "--list")
    assert (ended.code, ended.err) == (0, "")
    assert all(re.search(rf"^ *{name} ", ended.out, re.MULTILINE) for name in RECIPES)
    wanted = "gap overflow expired starvation conversion merge hard-delete quota revoked sandbox hidden-field"
    assert all(any(word in name for name in RECIPES) for word in wanted.split())


async def test_misspelt_recipe_gets_near_names(lone_cli: Cli) -> None:
    """Nothing is started for a recipe that is not there."""
    ended = await lone_cli("chaos", *of("hiden-field"))
    assert (ended.code, ended.out) == (2, "")
    assert "there is no recipe 'hiden-field'; did you mean hidden-field" in ended.err
    assert "--list" in (await lone_cli("chaos", *of("zzz"))).err


async def test_what_cannot_be_tried_is_refused_before_anything_starts(lone_cli: Cli, tmp_path: Path) -> None:
    """A faulty configuration is told as every command tells it."""
    (tmp_path / "bad.toml").write_text("[sync]\nsettle = 3\n")
    ended = await lone_cli("chaos", "--config", "bad.toml")
    assert ended.code == 2
    assert "sync.settle: is no setting; did you mean sync.settle_s?" in ended.err
    assert "say it like Lead.Score__c=double" in (await lone_cli("chaos", "--field", "Score__c")).err
    assert (await lone_cli("chaos", "--patience", "0")).code == 2


async def test_missing_postgres_is_told_with_what_to_do(lone_cli: Cli) -> None:
    """The embedded server is an extra, and a DSN may lead nowhere."""
    ended = await lone_cli("chaos", SFSYNC_PG_BIN="/nowhere")
    assert ended.code == 2
    assert "SFSYNC_PG_BIN=/nowhere holds no initdb" in ended.err
    ended = await lone_cli("chaos", "--dsn", "postgresql://127.0.0.1:1/x")
    assert ended.code == 2
    assert "the Postgres of --dsn cannot be used" in ended.err


async def test_recipes_converge_and_tell_what_was_done(lone_cli: Cli, server_dsn: str) -> None:
    """The daemon that is shipped survives what is played, on databases that are gone afterwards."""
    names = PLAYED
    ended = await play(lone_cli, "--json", "--dsn", server_dsn, *of(*names))
    assert ended.code == 0, ended.out + ended.err
    *outcomes, summary = map(json.loads, ended.out.splitlines())
    assert {outcome["recipe"] for outcome in outcomes} == set(names)
    assert (summary["recipes"], summary["failed"]) == (len(names), [])
    told: dict[str, dict[str, Any]] = {outcome["recipe"]: outcome for outcome in outcomes}
    assert "noticed the gap" in told["gap"]["did"]
    assert told["gap"]["log_events"][0] == {"event": "stream.gap.received", "count": 1}
    assert any('"kind": "gap"' in call for call in told["gap"]["calls"])
    assert any(name.startswith("sfsync_events_total") for name in told["conversion"]["counters"])
    assert all(outcome["equal"] and outcome["converged_s"] >= 0 for outcome in outcomes)
    assert await orphans(server_dsn) == []


async def test_own_configuration_and_mapping_are_what_is_tried(
    lone_cli: Cli, server_dsn: str, tmp_path: Path
) -> None:
    """Fields that only the user's org has are made in the simulated one, and a fault of such a field is played."""
    (tmp_path / "mapping.toml").write_text(MAPPING)
    (tmp_path / "mine.toml").write_text(
        '[salesforce]\nlogin_url = "https://acme.my.salesforce.com"\nflow = "client_credentials"\n'
        'client_id = "mine"\nclient_secret_file = "not-here"\n'
        '[store]\ndsn = "postgresql://db.example.com/production"\n[mapping]\nfile = "mapping.toml"\n'
        '[sync]\nsweep_interval_s = 600\n[address]\ndefault_side = "person"\n'
    )
    words = ["--config", "mine.toml", "--dsn", server_dsn, "--field", "Lead.Is_VIP__c=boolean"]
    ended = await play(lone_cli, *words, *of("removed-field"))
    assert ended.code == 0, ended.out + ended.err
    said = " ".join(ended.out.split())
    assert "sync.sweep_interval_s 600 → 1" in said
    assert "Contact.Fit__c, double, for person.score" in said
    assert "Contact.Pronouns, picklist, for person.pronouns" in said
    assert "Lead.Is_VIP__c, boolean, for person.vip" in said
    assert "suspended person.furigana" in said
    assert "mapping.column.resumed" in said
    assert "takes up to 600 s with your settings" in said


async def test_fault_that_is_not_survived_is_red(lone_cli: Cli, server_dsn: str) -> None:
    """With sweeps turned off nothing finds a lost event: the table must say so, not be kind."""
    words = ["--dsn", server_dsn, "--patience", "3", "--json"]
    ended = await play(lone_cli, *words, *of("lost-event"), SFSYNC_SYNC__SWEEP_ENABLED="false")
    assert ended.code == 1, ended.out + ended.err
    outcome, summary = map(json.loads, ended.out.splitlines())
    assert not outcome["converged"] and not outcome["equal"]
    assert "the store does not list it" in outcome["problem"]
    assert summary["failed"] == ["lost-event"]


def children(of_pid: int) -> list[int]:
    """Return the processes that a process has begun, and those that they have, and so on."""
    text = Path(f"/proc/{of_pid}/task/{of_pid}/children").read_text()
    own = [int(pid) for pid in text.split()]
    return own + [pid for child in own for pid in children(child)]


async def test_interrupt_leaves_no_process_and_no_database(lone_cli: Cli, server_dsn: str) -> None:
    """Ctrl-C in the middle: the daemons have sessions of their own, so nobody else would end them."""
    async with lone_cli.running("chaos", "--dsn", server_dsn) as process:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            line = b""
            while b"wildcard" not in line:
                line = await process.stderr.readline()
                assert line, "it ended by itself"
        begun = children(process.pid)
        assert len(begun) >= 3
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.communicate()
        assert process.returncode == 130
    assert [pid for pid in begun if Path(f"/proc/{pid}").exists()] == []
    assert await orphans(server_dsn) == []


def test_story_tells_only_what_was_logged() -> None:
    """Figures of many lines are added up, each deed is told once, and usual lines are not shown as unusual."""
    batch = {"event": "stream.batch.applied", "events": 2, "changed": 1, "skipped": 0, "dirty": 0}
    entries = [
        batch,
        {"event": "stream.gap.received", "entity": "Lead", "records": 1},
        batch | {"changed": 2},
        {"event": "refetch.completed", "read": 1},
        {"event": "stream.gap.received", "entity": "Lead", "records": 1},
    ]
    assert sentences(entries, []) == [
        "wrote 3 rows from the stream",
        "noticed the gap",
        "read 1 dirty record again",
    ]
    assert unusual(entries) == [("stream.gap.received", 2), ("refetch.completed", 1)]


def test_story_knows_only_events_of_the_catalogue() -> None:
    """A renamed event would no longer be told."""
    assert story._USUAL | story._TOLD.keys() <= EVENTS.keys()

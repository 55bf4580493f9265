"""What operators and machines do to a daemon: signals, stand-bys, restarts of Postgres, another org, a curious log.

Why: each is a promise of the manual. A daemon is judged by its exit code, its log, and what it left in the store.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sfsync.store.embedded import embedded_postgres, find_binaries
from tests.acceptance.stage import STREAM_ONLY, Daemon, SimOrg, Stage, open_stage, until
from tests.postgres import SETTINGS

POSITION = "SELECT encode(replay, 'escape') FROM sfsync.position"


async def test_storm_of_signals_is_few_sweeps(stage: Stage) -> None:
    """A nervous script may send SIGUSR1 a thousand times: what was asked while one sweep runs is one more sweep."""
    daemon = stage.daemon().wait_ready()
    stage.org.plant("delay", match="queryAll", s=0.5, times=2)
    for _ in range(1_000):
        daemon.signal(signal.SIGUSR1)
    daemon.wait_for("sweep.entity.completed", reason="signal", entity="Lead")
    stage.org.live(20, seed=31)
    await stage.must_be_equal()
    assert 1 <= len(daemon.log.all("sweep.started", reason="signal")) <= 3


async def test_terminate_leaves_in_time_and_loses_nothing(stage: Stage) -> None:
    """A supervisor waits ten seconds; the batch in flight is committed or comes again."""
    daemon = stage.daemon(STREAM_ONLY).wait_ready()
    stage.org.begin_life(rate=60, seed=32)
    daemon.wait_for("stream.batch.applied", count=10)
    assert daemon.terminate(within_s=10) == 0
    assert daemon.log.entries[-1]["event"] == "daemon.stopped"
    stage.org.end_life()
    assert stage.org.stats()["bus"]["clients"] == 0, "a ghost keeps using up one of the org's clients"
    again = stage.daemon(STREAM_ONLY).wait_ready()
    await stage.must_be_equal()
    assert again.terminate(within_s=10) == 0


async def test_stand_by_takes_over_when_the_leader_loses_its_lock(stage: Stage) -> None:
    """The lock's session may be cut while the leader works on; both must end up knowing who leads."""
    leader = stage.daemon(STREAM_ONLY).wait_ready()
    stand_by = stage.daemon(STREAM_ONLY)
    stand_by.wait_for("leadership.waiting")
    assert not stand_by.readiness()["claims"]["leadership"]["ok"]
    stage.org.begin_life(seed=33)
    leader.wait_for("stream.batch.applied", count=5)
    cut = await stage.value(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert cut == 1
    until(lambda: len(_taken(leader) + _taken(stand_by)) >= 2, "another epoch")
    stand_by_leads = bool(_taken(stand_by))
    until(lambda: leader.readiness()["ready"] or stand_by.readiness()["ready"], "one that is ready")
    stage.org.end_life()
    await stage.must_be_equal()
    assert leader.readiness()["ready"] != stand_by.readiness()["ready"], "exactly one leads"
    if not stand_by_leads:
        leader.kill()
        stand_by.wait_for("leadership.taken")
        stage.org.live(20, seed=34)
        await stage.must_be_equal()


def _taken(daemon: Daemon) -> list[dict[str, object]]:
    return daemon.log.all("leadership.taken")


async def test_stand_by_takes_over_from_a_killed_leader(stage: Stage) -> None:
    """The kernel ends the leader; the stand-by needs nobody to tell it."""
    leader = stage.daemon(STREAM_ONLY).wait_ready()
    stand_by = stage.daemon(STREAM_ONLY)
    stand_by.wait_for("leadership.waiting")
    stage.org.begin_life(seed=35)
    leader.wait_for("stream.batch.applied", count=5)
    leader.kill()
    stand_by.wait_ready()
    stand_by.wait_for("stream.batch.applied", count=5)
    stage.org.end_life()
    await stage.must_be_equal()


async def test_fenced_daemon_commits_nothing_and_says_so(stage: Stage) -> None:
    """A daemon that was overtaken, without having noticed, must not write one row more."""
    daemon = stage.daemon(STREAM_ONLY).wait_ready()
    contact = stage.org.create("Contact", LastName="Before")
    await stage.must_be_equal()
    await stage.value("UPDATE sfsync.epoch SET epoch = epoch + 1 RETURNING epoch")
    before = await stage.value(POSITION), await stage.value("SELECT max(seq) FROM sfsync.change")
    stage.org.update(contact, LastName="After")
    assert daemon.ended() == 3
    assert "FencedError" in daemon.log.all("daemon.failed")[-1]["error"]
    after = await stage.value(POSITION), await stage.value("SELECT max(seq) FROM sfsync.change")
    assert after == before
    stage.daemon(STREAM_ONLY).wait_ready()
    await stage.must_be_equal()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[Stage, ExitStack, Path]]:
    """A stage on a server of its own, which may be stopped: its exit stack and its directory."""
    if not find_binaries():
        pytest.skip("no PostgreSQL programs here to run a server that may be stopped")
    with ExitStack() as server, tempfile.TemporaryDirectory(prefix="sfsync-test-") as directory:
        dsn = server.enter_context(embedded_postgres(Path(directory), settings=SETTINGS))
        with open_stage(dsn, tmp_path, population=100) as stage:
            yield stage, server, Path(directory)


async def test_restart_of_postgres_under_load_loses_nothing(fragile: tuple[Stage, ExitStack, Path]) -> None:
    """Postgres is patched at noon: red while it is away, two log lines, and every change there afterwards."""
    stage, server, directory = fragile
    daemon = stage.daemon(STREAM_ONLY).wait_ready()
    stage.org.begin_life(rate=40, seed=36)
    daemon.wait_for("stream.batch.applied", count=10)
    server.close()
    daemon.wait_for("outage.began", outage="pipeline")
    assert not daemon.readiness()["ready"]
    before = stage.org.done()
    until(lambda: stage.org.done() >= before + 40, "the org does not wait")
    stage.dsn = server.enter_context(embedded_postgres(directory, settings=SETTINGS))
    assert daemon.wait_for("outage.ended", outage="pipeline")["duration_s"] > 0.5
    daemon.wait_ready()
    before = stage.org.done()
    until(lambda: stage.org.done() >= before + 20, "life goes on")
    stage.org.end_life()
    await stage.must_be_equal()
    assert len(daemon.log.all("outage.began", outage="pipeline")) == 1


@pytest.mark.parametrize("is_running", [True, False], ids=["while it runs", "while it is down"])
async def test_another_org_is_refused_until_rebound(stage: Stage, is_running: bool) -> None:
    """After a sandbox refresh the same login leads elsewhere; mixing two orgs in one store would be silent."""
    daemon = stage.daemon().wait_ready()
    old = stage.org.told["org_id"]
    people = await stage.value("SELECT count(*) FROM crm.person")
    if not is_running:
        assert daemon.terminate() == 0
    new = stage.org.control("POST", "org_id", {})["org_id"]
    stage.org.create("Contact", LastName="Elsewhere")
    refused = daemon if is_running else stage.daemon()
    assert refused.ended() == 2
    said = refused.log.all("daemon.failed")[-1]["error"]
    assert new in said and old in said and "sfsync rebind" in said
    assert await stage.value("SELECT count(*) FROM crm.person") == people
    rebound = subprocess.run(
        [sys.executable, "-m", "sfsync", "rebind", "--yes", new],
        env=stage.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert rebound.returncode == 0, rebound.stderr
    stage.daemon().wait_ready()
    await stage.must_be_equal()
    assert await stage.value("SELECT count(*) FROM crm.person WHERE org = $1", old) == people


CANARY = "Kanarienvogel"
PERSON = {
    "LastName": f"{CANARY} 山田",
    "Email": f"{CANARY}@x.example",
    "Phone": f"{CANARY} 03",
    "Title": CANARY,
}
MALFORMED = (
    "no_header",
    "null_payload",
    "bad_record_id",
    "unknown_change_type",
    "wrong_type",
    "null_character",
)


def spoil(org: SimOrg, contact: str) -> None:
    """Put the canary into everything that others may choose: events, error messages, pages."""
    for form in MALFORMED:
        org.plant("malformed_event", form=form, match=contact)
        org.update(contact, Title=f"{CANARY} {form}")
    refusal = f'[{{"message": "{CANARY}", "errorCode": "INVALID_FIELD"}}]'
    org.plant("status", code=400, body=refusal, match="queryAll")
    org.plant("truncate", bytes=300, match="queryAll")
    org.plant("cometd_html_503", body=f"<html>{CANARY}</html>")
    org.plant("subscribe_refuse", error=f"403::{CANARY}")
    org.control("POST", "revoke", {})


async def test_log_holds_no_personal_data_and_no_secret(stage: Stage) -> None:
    """Logs go to more places than the store does: at DEBUG and through faults, no value and no credential."""
    org = stage.org
    daemon = stage.daemon({"SFSYNC_LOG__LEVEL": "debug", "SFSYNC_SYNC__SWEEP_INTERVAL_S": "1"}).wait_ready()
    account = org.create("Account", Name=f"{CANARY} KK", Website=f"https://{CANARY}.example")
    contact = org.create("Contact", AccountId=account, **PERSON)
    lead = org.create("Lead", Company=f"{CANARY} Ltd", **PERSON)
    spoil(org, contact)
    org.transact({"op": "convert", "lead": lead})
    # A value that the store refuses: the driver's error quotes the row.
    refused = f"ADD CONSTRAINT no_canary CHECK (name NOT LIKE '%{CANARY} refused%')"
    await stage.value(f"ALTER TABLE crm.company {refused}")
    org.update(account, Name=f"{CANARY} refused")
    daemon.wait_for("store.record.parked", record_id=account)
    until(lambda: org.struck("status") and org.struck("truncate"), "both spoilt reads")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("daemon.config.reloaded")
    await stage.value("ALTER TABLE crm.company DROP CONSTRAINT no_canary")
    org.update(account, Name="Harmless")
    await stage.must_be_equal()
    assert daemon.terminate() == 0
    written = daemon.log.path.read_text()
    assert len(daemon.log.all("stream.event.parked")) >= 3
    assert CANARY not in written
    password = stage.dsn.partition("://")[2].partition("@")[0].partition(":")[2]
    secrets = [org.told["client_secret"], password, f"{org.told['org_id'][:15]}!", "Bearer "]
    assert not [secret for secret in secrets if secret and secret in written]

"""What Salesforce does to a subscriber: stale reads, gaps, lost events, expired positions, revoked tokens.

Why: each of these is documented or was seen by others, and each has a history that ends wrong without a rule
against it. The sweep is off wherever the stream alone must cope.
"""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.acceptance.stage import LIVELY, STREAM_ONLY, Daemon, Stage, until

SWEEPING = {"SFSYNC_SYNC__SWEEP_INTERVAL_S": "2"}
SETTLES_LATE = {"SFSYNC_SYNC__SETTLE_S": "4"}
CALLS_PER_MARK_MAX = 6


def applied(daemon: Daemon) -> int:
    """Return how many batches of the stream were committed."""
    return len(daemon.log.all("stream.batch.applied"))


async def test_lost_events_are_repaired_and_certified_as_drift(stage: Stage) -> None:
    """Nothing tells of a lost event but a read, and the operator must learn that push has missed something."""
    daemon, org = stage.daemon().wait_ready(), stage.org
    contact = org.create("Contact", LastName="Before")
    await stage.must_be_equal()
    assert not daemon.log.all("sweep.drift.found")
    org.plant("lose_event", match=contact)
    org.update(contact, LastName="After")
    org.plant("lose_event", match="^Lead/")
    org.create("Lead", LastName="Unheard", Company="of")
    assert org.struck("lose_event") == 2
    # What the stream delivers later, by more than the settle time, proves that it had its chance.
    org.control("POST", "clock", {"advance_s": 4})
    before = applied(daemon)
    org.create("Account", Name="Later")
    daemon.wait_for("stream.batch.applied", count=before + 1)
    daemon.signal(signal.SIGUSR1)
    assert daemon.wait_for("sweep.drift.found", entity="Contact")["records"] == 1
    assert daemon.wait_for("sweep.drift.found", entity="Lead")["records"] == 1
    await stage.must_be_equal()
    certified = await stage.value(
        "SELECT sum(v.value::int) FROM sfsync.sweep, jsonb_each_text(drift) AS v WHERE reason = 'signal'"
    )
    assert certified == 2


async def test_traffic_with_lost_events_ends_equal_by_the_sweep(stage: Stage) -> None:
    """One event in five never comes: the store follows all the same."""
    stage.daemon(SWEEPING).wait_ready()
    stage.org.plant("lose_event", match="[05AKUe]..$", times=None)
    stage.org.live(120, seed=21)
    assert stage.org.struck("lose_event") > 10
    stage.org.heal()
    await stage.must_be_equal()


@pytest.mark.parametrize("settings", [STREAM_ONLY, SWEEPING], ids=["stream only", "with sweep"])
async def test_reads_three_seconds_stale_never_win(stage: Stage, settings: dict[str, str]) -> None:
    """A read that is older than what an event said must neither overwrite it nor end its mark."""
    stage.org.set(read_lag_s=3)
    daemon = stage.daemon({**SETTLES_LATE, **settings}).wait_ready()
    stage.org.plant("gap", match="[05AKUe]..$", times=None)
    stage.org.live(80, rate=20, seed=22)
    stage.org.heal()
    await stage.must_be_equal()
    assert daemon.log.all("stream.gap.received")


async def test_every_kind_of_gap_is_read_again(stage: Stage) -> None:
    """A gap event tells that something happened, not what."""
    daemon, org = stage.daemon(STREAM_ONLY).wait_ready(), stage.org
    updated, deleted, revived, merged, winner = (
        org.create("Contact", LastName=name) for name in ("Updated", "Deleted", "Revived", "Merged", "Winner")
    )
    org.transact({"op": "delete", "id": revived})
    await stage.must_be_equal()
    org.plant("gap", match="^Lead/")
    for record_id in (updated, deleted, revived, merged):
        org.plant("gap", match=record_id)
    org.create("Lead", LastName="Created", Company="X")
    org.update(updated, LastName="Renamed")
    org.transact({"op": "delete", "id": deleted})
    org.transact({"op": "undelete", "id": revived})
    org.transact({"op": "merge", "winner": winner, "losers": [merged]})
    assert org.struck("gap") == 5
    await stage.must_be_equal()
    assert len(daemon.log.all("stream.gap.received")) == 5


@pytest.mark.parametrize("fault", ["overflow", "wildcard"])
async def test_entity_is_read_again_even_after_a_crash(stage: Stage, fault: str) -> None:
    """What is owed is owed durably, deletions included, and nothing else ever tells what was in the event."""
    daemon, org = stage.daemon(STREAM_ONLY).wait_ready(), stage.org
    contacts = [org.create("Contact", LastName=f"Contact {number}") for number in range(6)]
    await stage.must_be_equal()
    org.plant(fault, match="^Contact/")
    if fault == "overflow":
        renamed = [{"op": "update", "id": i, "fields": {"LastName": "Renamed"}} for i in contacts[:3]]
        org.transact(*renamed, {"op": "delete", "id": contacts[3]})
    else:
        org.update(contacts[0], LastName="Renamed")
    assert org.struck(fault) == 1
    daemon.wait_for(f"stream.{fault}.received", entity="Contact")
    daemon.wait_for("stream.batch.applied", count=applied(daemon))
    await stage_owes(stage)
    daemon.kill()
    again = stage.daemon(STREAM_ONLY).wait_ready()
    await stage.must_be_equal()
    assert again.log.all("sweep.entity.completed", entity="Contact")


async def stage_owes(stage: Stage) -> None:
    """Wait until the store itself knows that a reading is owed, or was given already."""
    deadline = time.monotonic() + 10
    while not await stage.value("SELECT count(*) FROM sfsync.resweep") and not await stage.value(
        "SELECT count(*) FROM sfsync.sweep"
    ):
        assert time.monotonic() < deadline


async def test_record_that_never_rests_comes_clean_and_cheap(stage: Stage) -> None:
    """A mark on a record that changes all the time must neither stay for ever nor cost a call per change."""
    org = stage.org
    busy = org.create("Contact", LastName="Busy")
    daemon = stage.daemon({**STREAM_ONLY, "SFSYNC_SYNC__SETTLE_S": "3"}).wait_ready()
    org.plant("gap", match=busy)
    began, number, clean_at = time.monotonic(), 0, None
    while time.monotonic() - began < 12:
        number += 1
        org.update(busy, LastName=f"Busy {number}")
        if number > 1 and clean_at is None and await marks(stage, busy) == 0:
            clean_at = time.monotonic() - began
        await asyncio.sleep(0.4)
    assert clean_at is not None and clean_at < 10, "the mark outlived the changes"
    await stage.must_be_equal()
    reads = sum(entry["requested"] for entry in daemon.log.all("refetch.completed"))
    assert 1 <= reads <= CALLS_PER_MARK_MAX


async def marks(stage: Stage, record_id: str) -> int:
    """Return whether the record is marked dirty, once its events were taken in."""
    count = await stage.value("SELECT count(*) FROM sfsync.dirty WHERE record_id = $1", record_id)
    assert isinstance(count, int)
    return count


async def test_expired_position_subscribes_first_then_sweeps_and_is_red_meanwhile(stage: Stage) -> None:
    """What happened while Salesforce forgot our place is found by a read begun after the subscription stood."""
    org = stage.org
    first = stage.daemon().wait_ready()
    org.live(20, seed=23)
    await stage.must_be_equal()
    first.kill()
    org.live(40, seed=24)
    org.plant("expire_replay")
    org.plant("delay", match="queryAll", s=1.5, times=3)
    second = stage.daemon()
    second.wait_for("stream.position.expired")
    opened = second.wait_for("stream.subscription.opened", replay="tip")
    readiness = second.readiness()
    assert not readiness["ready"] and not readiness["claims"]["sweep"]["ok"]
    swept = second.wait_for("sweep.entity.completed", entity="Lead")
    second.wait_ready()
    assert opened["timestamp"] < swept["timestamp"]
    certificates = second.log.all("sweep.entity.completed")
    assert {certificate["entity"] for certificate in certificates} == {"Account", "Contact", "Lead"}
    await stage.must_be_equal()


async def test_revoked_token_is_replaced_and_nothing_lost(stage: Stage) -> None:
    """An administrator may revoke tokens at any moment; a new login is all it takes."""
    daemon = stage.daemon(STREAM_ONLY).wait_ready()
    stage.org.begin_life(seed=25)
    daemon.wait_for("stream.batch.applied", count=5)
    stage.org.control("POST", "revoke", {})
    daemon.wait_for("stream.subscription.lost")
    daemon.wait_for("stream.subscription.opened", count=2)
    before = stage.org.done()
    until(lambda: stage.org.done() >= before + 20, "life goes on")
    stage.org.end_life()
    await stage.must_be_equal()
    assert len(daemon.log.all("salesforce.token.fetched")) == 2


async def test_cut_lines_and_doubled_events_change_nothing(stage: Stage) -> None:
    """Replies are lost half-way and delivered twice; redelivery from the committed position is in order."""
    daemon = stage.daemon(STREAM_ONLY).wait_ready()
    org = stage.org
    org.plant("duplicate_event", match="[05AKUe]..$", times=None)
    org.begin_life(seed=26, **LIVELY)
    for number, kind in enumerate(("cometd_cut", "cometd_cut_mid_body") * 3, 1):
        org.plant(kind, match="connect events=[1-9]")
        daemon.wait_for("stream.subscription.lost", count=number)
        daemon.wait_for("stream.subscription.opened", count=number + 1)
    org.end_life()
    assert org.struck("cometd_cut") == org.struck("cometd_cut_mid_body") == 3
    assert org.struck("duplicate_event") > 10
    org.heal()
    await stage.must_be_equal()

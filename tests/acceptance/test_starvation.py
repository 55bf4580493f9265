"""A stream that is subscribed, polled, answered, and delivers nothing: noticed by sweeps, cured, and told when over."""

from __future__ import annotations

from tests.acceptance.stage import Daemon, Stage, until

EAGER = {"SFSYNC_SYNC__SWEEP_INTERVAL_S": "1"}


def heard(stage: Stage, daemon: Daemon) -> None:
    """Let the stream deliver something, and time pass, so that what comes later is owed."""
    before = len(daemon.log.all("stream.batch.applied"))
    stage.org.create("Lead", LastName="Heard", Company="Acme")
    daemon.wait_for("stream.batch.applied", count=before + 1)
    stage.org.control("POST", "clock", {"advance_s": 5})


async def test_starving_stream_is_noticed_cured_and_told_when_it_is_over(stage: Stage) -> None:
    """One sweep finds what the stream owes; nobody waits for a second one."""
    daemon = stage.daemon(EAGER).wait_ready()
    heard(stage, daemon)
    sessions = len(daemon.log.all("stream.subscription.opened"))
    stage.org.plant("withhold", times=None)
    stage.org.create("Lead", LastName="Withheld", Company="Acme")
    daemon.wait_for("stream.starved")
    daemon.wait_for("stream.subscription.opened", count=sessions + 1)
    assert daemon.readiness() is not None
    await stage.must_be_equal()
    stage.org.heal()
    heard(stage, daemon)
    ended = daemon.wait_for("outage.ended", outage="starved")
    assert ended["duration_s"] > 0
    assert not daemon.log.all("stream.position.abandoned")
    await stage.must_be_equal()


async def test_stream_that_starves_for_an_age_is_begun_at_its_tip(stage: Stage) -> None:
    """What Salesforce cannot bring itself to replay must not keep what is new from us; a sweep covers the rest."""
    daemon = stage.daemon({**EAGER, "SFSYNC_SYNC__STARVED_TIP_AFTER_S": "2"}).wait_ready()
    heard(stage, daemon)
    stage.org.plant("withhold", times=None)
    stage.org.begin_life(rate=4, seed=5)
    daemon.wait_for("stream.position.abandoned")
    # The log names tips only; the first subscription of all was one.
    until(lambda: len(daemon.log.all("stream.subscription.opened", replay="tip")) >= 2, "a tip")
    stage.org.heal()
    daemon.wait_for("outage.ended", outage="starved")
    stage.org.end_life()
    assert len(daemon.log.all("stream.starved")) == 1
    await stage.must_be_equal()

"""Whole histories through real processes: whatever happens on the way, in the end the store is what the org says.

Why: the sweep hides faults of the stream, and the stream hides faults of the sweep; so histories run with the
sweep switched off and nothing lost, and with events lost and the sweep on.
"""

from __future__ import annotations

import pytest

from tests.acceptance.stage import LIVELY, STREAM_ONLY, Stage, until

SWEEPING = {"SFSYNC_SYNC__SWEEP_INTERVAL_S": "2"}


@pytest.mark.parametrize(
    "settings", [pytest.param(STREAM_ONLY, id="stream only"), pytest.param(SWEEPING, id="with sweep")]
)
async def test_killed_in_the_middle_of_traffic_loses_nothing(stage: Stage, settings: dict[str, str]) -> None:
    """A daemon dies at any instruction; the next one goes on from what was committed."""
    first = stage.daemon(settings).wait_ready()
    stage.org.begin_life(rate=30, seed=11)
    first.wait_for("stream.batch.applied", count=20)
    first.kill()
    before = stage.org.done()
    until(lambda: stage.org.done() >= before + 30, "life goes on without a daemon")
    second = stage.daemon(settings).wait_ready()
    second.wait_for("stream.batch.applied", count=20)
    done = stage.org.end_life()
    assert done.keys() >= LIVELY.keys()
    report = await stage.must_be_equal()
    assert report.people > 100 and report.companies > 30
    if settings is STREAM_ONLY:
        assert not second.log.all("sweep.started")


async def test_first_load_meets_traffic(stage: Stage) -> None:
    """The backfill reads while the org changes under it; subscription first, so nothing falls between."""
    stage.org.begin_life(rate=30, seed=12)
    stage.daemon({**STREAM_ONLY, "SFSYNC_SYNC__SWEEP_PAGE": "20"}).wait_ready()
    before = stage.org.done()
    until(lambda: stage.org.done() >= before + 40, "some traffic")
    stage.org.end_life()
    await stage.must_be_equal()

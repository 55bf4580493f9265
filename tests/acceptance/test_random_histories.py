"""Histories that nobody thought of: an org's life, faults and kills drawn from a seed, and the store judged at the end.

Why: each mode hides what another shows, so there are three: the stream alone with nothing lost, sweeps with events
lost, and both. CI plays a seed of each; `SFSYNC_HISTORIES=100:200` plays that range of seeds instead.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.stage import STREAM_ONLY, SimOrg, Stage, open_stage

MODES = ("stream", "sweep", "both")
MIX = {"create": 15, "update": 20, "reparent": 12, "convert": 12, "merge": 15, "delete": 14, "undelete": 12}
SOME_RECORDS = ("[05AKUe].{3}$", "^Lead", "^Contact", "^Account")
SPOILT = ("no_header", "null_payload", "no_record_ids", "bad_record_id", "unknown_change_type", "wrong_type")


def seeds() -> range:
    first, _, end = os.environ.get("SFSYNC_HISTORIES", "12:15").partition(":")
    return range(int(first), int(end))


@dataclass(frozen=True)
class History:
    """One history: everything in it is drawn from its seed."""

    seed: int

    @property
    def mode(self) -> str:
        return MODES[self.seed % 3]

    def settings(self, draw: random.Random, *, lag_s: int) -> dict[str, str]:
        """How the daemon is set up."""
        chosen = {
            "SFSYNC_SYNC__SETTLE_S": str(3 if lag_s else draw.choice([0.5, 1, 2])),
            "SFSYNC_SYNC__HOLD_MS": draw.choice(["0", "20"]),
            "SFSYNC_SYNC__SWEEP_PAGE": draw.choice(["7", "50", "2000"]),
            "SFSYNC_SYNC__REFETCH_BATCH": draw.choice(["3", "400"]),
        }
        if self.mode == "stream":
            return {**STREAM_ONLY, **chosen}
        return {**chosen, "SFSYNC_SYNC__SWEEP_INTERVAL_S": draw.choice(["0.7", "2", "3"])}

    def plant(self, org: SimOrg, draw: random.Random) -> None:
        """Plant faults; in stream mode none that loses an event for good."""
        if self.mode != "stream":
            org.plant("lose_event", match="[0-9a-e].{3}$", times=draw.choice([5, 30]))
            org.plant("malformed_event", match="[0-9A-G].{3}$", times=2, form=draw.choice(SPOILT))
        for kind in ("gap", "duplicate_event"):
            org.plant(kind, match=draw.choice(SOME_RECORDS), times=draw.choice([2, 10]))
        if draw.random() < 0.3:
            org.plant(draw.choice(["overflow", "wildcard"]))
        if draw.random() < 0.5:
            org.plant(draw.choice(["cometd_cut", "cometd_cut_mid_body"]), match="events=[1-9]", times=3)

    async def play(self, stage: Stage, draw: random.Random) -> None:
        """Live, fail and die for some episodes; end at rest with the store equal to the org."""
        lag_s = draw.choice([0, 0, 2])
        settings = self.settings(draw, lag_s=lag_s)
        stage.org.set(
            read_lag_s=lag_s,
            batch_max=draw.choice([1, 3, 500]),
            skew_share=draw.choice([0, 0.1, 0.5]),
            merge_share=draw.choice([0, 0.5, 1]),
            cleared_compound=draw.choice(["bare", "dotted"]),
        )
        daemon = stage.daemon(settings)
        for episode in range(draw.choice([1, 2])):
            self.plant(stage.org, draw)
            stage.org.live(draw.choice([40, 90]), rate=30, seed=self.seed * 10 + episode, **MIX)
            if draw.random() < 0.7:
                daemon.kill()
                if draw.random() < 0.3:
                    stage.org.plant("expire_replay")
                daemon = stage.daemon(settings)
        stage.org.heal()
        daemon.wait_for("stream.subscription.opened")
        report = await stage.must_be_equal()
        assert report.people > 0


@pytest.mark.parametrize("seed", seeds())
async def test_random_history_ends_equal(seed: int, empty_dsn: str, tmp_path: Path) -> None:
    """Every fault that was found by thinking was found late; this one finds those that were not."""
    draw = random.Random(seed)
    with open_stage(empty_dsn, tmp_path, population=40, seed=seed + 1) as stage:
        await History(seed).play(stage, draw)

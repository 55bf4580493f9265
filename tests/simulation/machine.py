"""Three state machines over the simulated world, one for each mode: Hypothesis chooses every step and its arguments.

Why beside the random histories: these tell what was broken by a seed and a thousand lines of trace, the machine by the
fewest and plainest steps that still break it. The rest is the same: the daemon, the org, Postgres, the judge.

`python -m tests.simulation.machine_run --help` runs them; what they found is kept in `machine_found`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize

from .machine_faults import SETTINGS, DaemonRules, EventRules, OtherRules, PostgresRules
from .machine_org import OrgRules, StoreRules
from .machine_step import tell
from .machine_world import Beginning, World

_ORGS = st.fixed_dictionaries(
    {},
    optional={
        "read_lag_s": st.sampled_from([1.0, 3.0]),
        "batch_max": st.sampled_from([1, 3]),
        "skew_share": st.sampled_from([0.1, 0.5]),
        "merge_share": st.sampled_from([0.5, 1.0]),
        "split_share": st.just(0.3),
        "cleared_compound": st.just("dotted"),
        "connect_place": st.sampled_from(["first", "shuffled"]),
        "commit_numbers": st.just("scn"),
        "replay_anywhere": st.just(True),
    },
)


class Anything(OrgRules, StoreRules, EventRules, PostgresRules, DaemonRules, OtherRules):
    """All rules there are; those that a mode cannot have are kept out by their preconditions."""

    @initialize(
        founded=st.sampled_from([1, 0, 2, 4]), settings=SETTINGS, org=_ORGS, chance=st.integers(0, 255)
    )
    def begin(
        self, founded: int, settings: Mapping[str, Any], org: Mapping[str, Any], chance: int = 0
    ) -> None:
        """An org with some records, and a daemon that begins with an empty store."""
        beginning = Beginning(founded, settings, org, chance)
        self.world = World(self.store, self.mode, beginning, tell)

    def teardown(self) -> None:
        """End the trouble and compare the store with the org, unless the steps have failed already."""
        if self.world is None:
            return
        try:
            if sys.exc_info()[0] is not None:
                self.world.abandon()
            else:
                self.world.finish()
        finally:
            told = self.world.told
            self.spent.update(worlds=1, virtual_s=int(told.virtual_s), statements=told.exchanges)


class StreamMachine(Anything):
    """Nothing is lost, and nothing sweeps."""

    mode = "stream"


class SweepMachine(Anything):
    """No event arrives; all is found by sweeps."""

    mode = "sweep"


class BothMachine(Anything):
    """Events are lost, and sweeps find what they told of."""

    mode = "both"


MACHINES = (StreamMachine, SweepMachine, BothMachine)

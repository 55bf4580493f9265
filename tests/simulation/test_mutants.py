"""Every design that is known to be bad is told from the good one, by the histories that told it before.

Why: the simulation must be able to say no, for each reason that there is. Seeds are kept because looking for them takes
minutes; when the product or the histories have changed, a seed may mean another history, so some more are played before
a mutant is said to have survived.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import PgFleet, available_servers
from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MODEL, MUTANTS, Player, playing, plays_of, recorded
from tests.simulation.mutants_order import is_killed_in_model

TRIES = 40
RECORDED = recorded()


@pytest.fixture(scope="session")
def player(pg_fleet: PgFleet) -> Iterator[Player]:
    """A process that plays histories; each worker has one."""
    with playing(pg_fleet.server(available_servers()[0]).dsn) as player:
        yield player


def test_there_are_many_bad_designs_and_seeds_of_them() -> None:
    """A mutant without a seed is left to `make mutants`, which looks for one."""
    claims = [mutant.claim for mutant in MUTANTS]
    assert len(claims) == len(set(claims))
    assert set(RECORDED) <= set(claims), "record anew: make mutants RECORD=1"
    assert len(RECORDED) >= 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.claim)
def test_bad_design_quotes_the_source(mutant: Mutant) -> None:
    """A mutant that no longer fits would survive for the wrong reason, or never be planted."""
    assert mutant.unfit == []


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if one.claim in RECORDED], ids=lambda mutant: mutant.claim
)
def test_bad_design_is_found(mutant: Mutant, player: Player) -> None:
    """A survivor means that nothing here notices when the design goes bad in this way."""
    kept = RECORDED[mutant.claim]
    modelled = [kill for kill in kept if kill.mode.startswith(MODEL)]
    if modelled:
        assert any(is_killed_in_model(mutant, kill.seed, kill.mode.removeprefix(MODEL)) for kill in modelled)
        return
    plays = [(kill.seed, kill.mode) for kill in kept] + plays_of(mutant, range(1, TRIES + 1))[:TRIES]
    assert player.first_kill(mutant, plays), "record anew: make mutants RECORD=1"

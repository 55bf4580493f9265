"""Bad orderings: the mutants of `tests/core/test_order_model.py`, here against the whole daemon.

Why both: the model plays a thousand histories of one record in the time of one of these, so it also meets what comes
once in hundreds; but only here does the rule work on what an org really sends, through the real store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.order_model import Mode, play
from tests.core.test_order_model import HISTORIES_PER_MUTANT, weakened
from tests.core.test_order_model import MUTANTS as MODELLED

from .mutant import Mutant

_ELSEWHERE = frozenset({"gaps are ignored"})
_OF_MODEL = {one.claim: one for one in MODELLED if one.claim not in _ELSEWHERE}

ORDER = tuple(
    Mutant(
        "ordering",
        claim,
        "core/order.py",
        one.edits,
        modes=tuple(mode.name.lower() for mode in one.modes),
        swarm=("race",),
    )
    for claim, one in _OF_MODEL.items()
)


def model_kills(mutant: Mutant) -> Iterator[tuple[int, str, str]]:
    """Play the model under *mutant*'s rule; yield seed, mode and fault of each history that is violated."""
    modelled = _OF_MODEL.get(mutant.claim)
    if modelled is None:
        return
    with pytest.MonkeyPatch.context() as patching:
        rule = weakened(modelled, patching)
        for seed in range(HISTORIES_PER_MUTANT):
            for mode in modelled.modes:
                if faults := play(seed, mode, rule).faults:
                    yield seed, mode.name.lower(), faults[0]


def is_killed_in_model(mutant: Mutant, seed: int, mode: str) -> bool:
    """Tell whether the model's history of *seed* is violated under *mutant*'s rule."""
    with pytest.MonkeyPatch.context() as patching:
        return bool(play(seed, Mode[mode.upper()], weakened(_OF_MODEL[mutant.claim], patching)).faults)

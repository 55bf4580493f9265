"""What the rules of the machine share: how a step is made of a method, and from what its arguments are drawn.

Why drawn places instead of bundles: most records that a bundle holds have been merged, converted or deleted with
their account by the time a rule draws them, and nine steps in ten would be refused. A place always finds somebody who
lives, and a step that is left out while an example shrinks orphans no other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from .chaos import ALL
from .history import MODES
from .machine_world import World, account, contact, lead
from .stage import Stage
from .store import Store

Work = Callable[..., Coroutine[Any, Any, None]]
PLACES = range(4)
LEADS = st.sampled_from([lead(n) for n in PLACES])
CONTACTS = st.sampled_from([contact(n) for n in PLACES])
ACCOUNTS = st.sampled_from([account(n) for n in PLACES])
ANYBODY = LEADS | CONTACTS | ACCOUNTS
PAUSES_S = st.sampled_from([1.0, 0.0, 0.01, 0.05, 0.3, 3.0, 10.0, 30.0])
SPANS_S = st.sampled_from([0.0, 0.0, 0.0, -2.0, -30.0, -500.0, 3.0, 40.0, 400.0])
"""How long a transaction takes: negative, it was stamped so long ago and commits now; positive, it commits later."""
SIDES = 16
DICE = st.lists(st.integers(0, SIDES - 1), max_size=6).map(tuple)

NAMES: Mapping[str, Mapping[str, str]] = {
    "name": {"Lead": "LastName", "Contact": "LastName", "Account": "Name"},
    "phone": {"Lead": "Phone", "Contact": "Phone", "Account": "Phone"},
    "city": {"Lead": "City", "Contact": "MailingCity", "Account": "BillingCity"},
    "post": {"Lead": "PostalCode", "Contact": "MailingPostalCode", "Account": "BillingPostalCode"},
    "given": {"Lead": "FirstName", "Contact": "FirstName", "Account": "AccountNumber"},
    "title": {"Lead": "Title", "Contact": "Title", "Account": "Website"},
}
LONG_TEXTS = {"Lead": "Street", "Contact": "MailingStreet", "Account": "BillingStreet"}
_VALUES = st.sampled_from(["1", "2", "株式会社 💡"])
FIELDS = st.fixed_dictionaries(
    {}, optional={name: _VALUES if name == "name" else _VALUES | st.none() for name in NAMES}
)


def fields_of(entity: str, chosen: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what was chosen, by the names that *entity* gives to its fields."""
    return {NAMES[name][entity]: value for name, value in chosen.items()}


class Dice(random.Random):
    """Chance for the acts of the random histories: numbers that Hypothesis drew, and then nothing but zeros."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(0)
        self._left = iter(numbers)

    def random(self) -> float:
        return next(self._left, 0) / SIDES

    def getrandbits(self, k: int) -> int:
        return next(self._left, 0) % (1 << k)


_MODES: dict[Callable[..., None], tuple[str, ...]] = {}


class Machine(RuleBasedStateMachine):
    """The ground of all rules: a world in one mode."""

    mode: ClassVar[str]
    store: ClassVar[Store]
    taken: ClassVar[Counter[str]] = Counter()
    spent: ClassVar[Counter[str]] = Counter()
    world: World | None = None

    @classmethod
    def rule_names(cls) -> set[str]:
        """Name the rules of this machine, less those of other modes."""
        found = [one.function for one in cls.setup_state().rules]
        return {one.__name__ for one in found if cls.mode in _MODES[one]}

    @property
    def here(self) -> World:
        """The world, which begins with the first step."""
        assert self.world is not None
        return self.world

    def happened(self, name: str) -> Stage:
        """Note that the act *name* of the random histories is one of this world, and return the stage."""
        stage = self.here.stage
        stage.acts = {**stage.acts, name: ALL[name]}
        stage.met.note("act", name)
        return stage

    async def happen(self, name: str, dice: Sequence[int]) -> None:
        """Let an act of the random histories happen, with Hypothesis throwing its dice."""
        stage = self.happened(name)
        stage.rng = Dice(dice)
        await ALL[name](stage)


def step(*modes: str, **arguments: st.SearchStrategy[Any]) -> Callable[[Work], Callable[..., None]]:
    """Make a rule of a method of a `Machine`: it does its work, `then_s` pass, and nothing may be broken.

    It is a rule of the machines of these *modes* only, or of all.
    """

    def accept(work: Work) -> Callable[..., None]:
        name = work.__name__

        def taken(self: Machine, then_s: float = 0.0, **drawn: Any) -> None:
            self.taken[name] += 1
            self.here.step(work(self, **drawn), then_s)

        taken.__name__, taken.__doc__ = name, work.__doc__
        _MODES[taken] = modes or MODES
        # Its overloads leave no room for arguments that are known only here.
        make: Any = rule
        ruled: Callable[..., None] = make(**arguments, then_s=PAUSES_S)(taken)
        return precondition(lambda self: self.mode in _MODES[taken])(ruled)

    return accept


def tell(line: str) -> None:
    """Show a line of what happened below the step of a failing example."""
    if currently_in_test_context():
        note(line)

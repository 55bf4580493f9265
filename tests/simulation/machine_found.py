"""Examples that a machine found once, as it told them: steps that broke sfsync, or break a bad design of it.

Why: a fixed bug stays fixed only if its example is played in every run, and a machine that changes draws other
examples. To keep one, copy its steps from what `machine_run` printed, give it a name that says what must hold, and
name the machine; `kills` names the mutant that it was shrunk against, so that a test can see that it still bites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .machine import Anything, BothMachine, StreamMachine, SweepMachine
from .machine_world import account, contact, lead

Steps = Callable[[Anything], None]


@dataclass(frozen=True, slots=True)
class Found:
    """One example; it holds with the good design, and is violated by the mutant `kills`, if any."""

    machine: type[Anything]
    steps: Steps
    kills: str | None

    @property
    def name(self) -> str:
        """What must hold."""
        return self.steps.__name__

    def play(self) -> None:
        """Take the steps, settle, and compare. Raises ViolationError."""
        state = self.machine()
        try:
            self.steps(state)
        finally:
            state.teardown()


FOUND: list[Found] = []


def found(machine: type[Anything], *, kills: str | None = None) -> Callable[[Steps], Steps]:
    """Keep the steps of an example of *machine*."""

    def keep(steps: Steps) -> Steps:
        FOUND.append(Found(machine, steps, kills))
        return steps

    return keep


@found(StreamMachine, kills="the lead speaks for a converted person")
def a_converted_lead_is_silent(state: Anything) -> None:
    """The contact speaks for the person, whatever the lead says."""
    state.begin(founded=1, settings={}, org={})
    state.convert(person=lead(0), into=contact(0), spans_s=0.0)


@found(StreamMachine, kills="gap events are ignored")
def a_gap_is_read_again(state: Anything) -> None:
    """An event that only says that there was one leads to a reading."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.wait(seconds=10.0)
    state.spoil(kind="gap", match="^Account", times=1)
    state.update(records=[account(0)], fields={"phone": "1"}, spans_s=0.0)


@found(SweepMachine, kills="a sweep does not ask for deleted records")
def a_sweep_finds_what_was_deleted(state: Anything) -> None:
    """Who is in the recycle bin is no longer followed."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.wait(seconds=10.0)
    state.delete(record=contact(0), spans_s=0.0)


@found(BothMachine)
def a_purge_before_the_first_reading_is_no_loss(state: Anything) -> None:
    """The position may pass an event that came before the first subscription, of a record that is gone."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.delete_hard(record=lead(0), then_s=10.0)
    state.create_lead(fields={}, spans_s=0.0)


@found(StreamMachine)
def nobody_is_followed_of_whom_nothing_was_read(state: Anything) -> None:
    """Somebody imported with an id that no org has, and declined, has nothing to follow when that is asked for."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.use(dice=(), name="import", then_s=30.0)
    state.use(dice=(), name="import", then_s=30.0)
    state.decide(dice=(), then_s=3.0)
    state.decide(dice=(), then_s=3.0)


@found(StreamMachine)
def a_refused_line_of_an_erased_person_is_no_trace(state: Anything) -> None:
    """A file may name somebody who was erased: the line is refused, and named without its values."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.wait(seconds=10.0)
    state.use(dice=(), name="erase", then_s=30.0)
    state.use(dice=(), name="import", then_s=30.0)


@found(StreamMachine)
def somebody_erased_was_only_ever_imported(state: Anything) -> None:
    """Who was imported with an id that no org has, and declined, may be erased like anybody else."""
    state.begin(founded=1, settings={}, org={}, chance=0)
    state.use(dice=(), name="import", then_s=30.0)
    state.use(dice=(), name="import", then_s=30.0)
    state.decide(dice=(), then_s=3.0)
    state.use(dice=(2,), name="erase", then_s=30.0)

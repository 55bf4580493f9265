"""A design that is known to be bad: quoted source of sfsync, and what replaces it.

Why quotations: a test can see when the source has moved on and the list lies. The edits are made while a process of its
own imports the module (`mutant_run`), so nothing of them can leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sfsync

SOURCE = Path(sfsync.__file__).parent
Edits = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bad design: `edits` of one file below src/sfsync, and `also` of others where the design is guarded twice.

    It must show in histories of any of `modes` (all: the seed chooses) in which the acts of `swarm` come often.
    """

    topic: str
    claim: str
    file: str
    edits: Edits
    modes: tuple[str, ...] = ("all",)
    swarm: tuple[str, ...] = ()
    also: tuple[tuple[str, Edits], ...] = ()

    @property
    def files(self) -> list[tuple[str, Edits]]:
        """The edits of each file."""
        return [(self.file, self.edits), *self.also]

    @property
    def unfit(self) -> list[str]:
        """Return the quotations that the source no longer contains."""
        return [
            old
            for file, edits in self.files
            for old, _ in edits
            if old not in (SOURCE / file).read_text("utf-8")
        ]

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
    """A bad design: `edits` of one file below src/sfsync.

    It must show in histories of any of `modes` (all: the seed chooses) in which the acts of `swarm` come often.
    """

    topic: str
    claim: str
    file: str
    edits: Edits
    modes: tuple[str, ...] = ("all",)
    swarm: tuple[str, ...] = ()

    @property
    def unfit(self) -> list[str]:
        """Return the quotations that the source no longer contains."""
        text = (SOURCE / self.file).read_text("utf-8")
        return [old for old, _ in self.edits if old not in text]

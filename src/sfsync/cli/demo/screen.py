"""Show what happens: a live view on a terminal, plain lines elsewhere.

Why: the same facts feed both, so what a log of the demo says is what a person saw.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .story import Happening

_STYLES = {
    "scene": "bold reverse",
    "convert": "bold magenta",
    "merge": "bold yellow",
    "delete": "red",
    "undelete": "green",
    "create": "cyan",
}
_ROWS = 16


@dataclass(slots=True)
class Figures:
    """What the demo knows at one moment."""

    elapsed_s: float = 0.0
    people: int = 0
    companies: int = 0
    events: int = 0
    batches: int = 0
    commit_ms: float | None = None
    dirty: int = 0
    repaired: int = 0
    sweeps: int = 0
    phase: str = "starting"


class Screen:
    """Where the demo shows itself."""

    def __init__(self, *, plain: bool, seconds: float) -> None:
        self._plain = plain
        self._seconds = seconds
        # Plain lines go to a pipe or file, which no terminal width should fold.
        self._console = Console(force_terminal=not plain, highlight=False, width=None if not plain else 200)
        self._rows: deque[tuple[str, str, str]] = deque(maxlen=_ROWS)
        self._last_words: list[str] = []
        self._live: Live | None = None
        self._last_line_s = -10.0
        self.figures = Figures()

    def __enter__(self) -> Screen:
        self._context: AbstractContextManager[object] = nullcontext()
        if not self._plain:
            self._live = Live(self._render(), console=self._console, refresh_per_second=8, transient=False)
            self._context = self._live
        self._context.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self.refresh()
        self._live = None
        self._context.__exit__(None, None, None)
        for text in self._last_words:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line that stays: below the live view, where a reader looks for the outcome, once that ends."""
        if self._live is not None:
            self._last_words.append(text)
        else:
            self._console.print(text, markup=False, soft_wrap=True)

    def enter(self, phase: str) -> None:
        """Begin another phase of the demo."""
        self.figures.phase = phase
        if self._plain:
            self.say(f"-- {phase}")
        self.refresh()

    def show(self, happening: Happening, person_id: int | None) -> None:
        """Show one transaction of the org, and the row of the store that it became."""
        row = f"→ row {person_id}" if person_id is not None else "→ (no row yet)"
        self.tell(happening.committed_at[11:19], happening.sentence, row)

    def tell(self, at: str, sentence: str, row: str) -> None:
        """Show a sentence, and what the store has of it."""
        self._rows.append((at, sentence, row))
        if self._plain:
            self.say(f"{at}  {sentence}  {row}")
        self.refresh()

    def refresh(self) -> None:
        """Bring the view up to date; on plain output say the figures every five seconds."""
        if self._live is not None:
            self._live.update(self._render())
        elif self._plain and self.figures.elapsed_s - self._last_line_s >= 5:
            self._last_line_s = self.figures.elapsed_s
            self.say("   " + self._summary())

    def _summary(self) -> str:
        f = self.figures
        commit = f", commit {f.commit_ms:.0f} ms" if f.commit_ms is not None else ""
        return (
            f"{f.elapsed_s:.0f} s: {f.people} people, {f.companies} companies; {f.events} events in {f.batches}"
            f" batches{commit}; {f.dirty} dirty; {f.sweeps} sweeps, {f.repaired} repaired"
        )

    def _render(self) -> Panel:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, style="green")
        for at, sentence, row in self._rows:
            style = next((s for kind, s in _STYLES.items() if _WORDS[kind] in sentence), "")
            table.add_row(at, Text(sentence, style=style), row)
        for _ in range(_ROWS - len(self._rows)):
            table.add_row("", "", "")
        until = f" of {self._seconds:.0f} s" if self._seconds else ", Ctrl-C ends it"
        title = f"sfsync demo · {self.figures.phase} · {self.figures.elapsed_s:.0f}{until or ' s'}"
        return Panel(Group(table, Text(""), Text(self._summary(), style="bold")), title=title)


_WORDS = {
    "scene": "scene ",
    "convert": "is converted",
    "merge": "is merged",
    "delete": "is deleted",
    "undelete": "is restored",
    "create": "is created",
}

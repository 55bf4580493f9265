"""Show the play: a line while it runs, a table at the end; or JSON lines.

Why: on a narrow terminal five columns of words are five ladders, so there the log events stand below what was done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ..findings import printable
from .fitting import Fit
from .overlay import QUICK, Overlay
from .play import Outcome
from .recipe import Recipe

_WIDE = 110
_WIDTH_OF_FILES = 140


class Screen:
    """Where the play shows itself; with `as_json` only JSON goes to standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
        self._out = Console(highlight=False, width=width)
        self._aside = Console(stderr=True, highlight=False)
        self._status: Status | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Show on standard error what is being played: a moving line on a terminal, one line each elsewhere."""
        if not self._aside.is_terminal:
            yield
            return
        with self._aside.status("") as status:
            self._status = status
            yield
        self._status = None

    def enter(self, phase: str) -> None:
        """Say what begins."""
        if self._status is not None:
            self._status.update(phase)
        else:
            print(phase, file=sys.stderr, flush=True)

    def begin(self, one: Overlay, fit: Fit) -> None:
        """Say what is tried, and what was changed for it."""
        if self._as_json:
            return
        for line in _preamble(one, fit):
            self._out.print(printable(line), style="dim", markup=False)

    def end(self, outcome: Outcome) -> None:
        """Take in what came of a recipe."""
        if self._as_json:
            print(json.dumps(_json(outcome)), flush=True)
        elif self._status is None:
            self.enter(f"  {_result(outcome)} after {_seconds(outcome) or '-'}")

    def tell(self, outcomes: Sequence[Outcome], *, one: Overlay, took_s: float) -> None:
        """Show the table, or the last JSON line."""
        converged = sum(outcome.is_converged for outcome in outcomes)
        if self._as_json:
            summary = {
                "recipes": len(outcomes),
                "converged": converged,
                "failed": [outcome.recipe.name for outcome in outcomes if not outcome.is_converged],
                "seconds": round(took_s, 1),
            }
            print(json.dumps(summary), flush=True)
            return
        self._out.print(_table(outcomes, is_wide=self._out.width >= _WIDE))
        waits_s = one.longest_wait_s("sync.sweep_interval_s")
        self._out.print(
            f"{converged} of {len(outcomes)} converged, in {took_s:.0f} s. What a sweep repaired here within "
            f"{min(waits_s, QUICK['sync.sweep_interval_s']):g} s takes up to {waits_s:g} s with your settings.",
            markup=False,
        )


def list_recipes(recipes: Sequence[Recipe]) -> None:
    """Print names, triggers and expectations."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what happens when …", ratio=2)
    table.add_column("expected in general", ratio=3)
    for one in recipes:
        table.add_row(one.name, one.trigger, one.expected)
    console.print(table)


def _preamble(one: Overlay, fit: Fit) -> Iterator[str]:
    yield f"configuration: {one.config or 'the environment, ./sfsync.toml if there is one, and what ships with sfsync'}"
    if one.changes:
        yield f"for this play: {', '.join(one.changes)}"
    for field in fit.added:
        yield f"added to the simulated org: {field}, {field.type}, for {field.column}"
    if fit.unjudged:
        yield f"not compared, because no event announces a change: {', '.join(fit.unjudged)}"


def _table(outcomes: Sequence[Outcome], *, is_wide: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True, show_lines=False)
    table.add_column("trigger", style="bold", ratio=3 if is_wide else None, max_width=None if is_wide else 19)
    table.add_column("what the daemon did" + ("" if is_wide else ", and logged"), ratio=5)
    table.add_column("time", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("log events", ratio=4, style="cyan")
    table.add_column("equal", no_wrap=True)
    for outcome in outcomes:
        did, events = _did(outcome), _events(outcome)
        trigger, seconds = Text(outcome.recipe.name), _seconds(outcome)
        if is_wide:
            trigger.append(f"\n{outcome.recipe.trigger}", style="not bold dim")
            table.add_row(trigger, did, seconds, events, _verdict(outcome), end_section=True)
        else:
            both = Text("\n").join([did, Text(events, style="cyan")])
            table.add_row(trigger, both, seconds, _verdict(outcome), end_section=True)
    return table


def _did(outcome: Outcome) -> Text:
    text = Text("; ".join(map(printable, outcome.did)) or "nothing that it logged")
    for line in outcome.operated:
        text.append(f"\noperator: {printable(line)}", style="yellow")
    for line in outcome.undetectable:
        text.append(f"\nnobody could know: {printable(line)}", style="yellow")
    if outcome.problem:
        text.append(f"\n{printable(outcome.problem)}", style="red")
    return text


def _events(outcome: Outcome) -> str:
    return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in outcome.events)


def _seconds(outcome: Outcome) -> str:
    return "" if outcome.converged_s is None else f"{outcome.converged_s:.1f} s"


def _result(outcome: Outcome) -> str:
    if outcome.problem:
        return f"NOT equal ({outcome.problem})"
    return "refused" if outcome.is_refusal else "equal"


def _verdict(outcome: Outcome) -> Text:
    if outcome.problem:
        return Text("NO", style="bold red")
    if outcome.is_refusal:
        return Text("refused,\nthen yes", style="yellow")
    if outcome.undetectable:
        return Text(f"but for {len(outcome.undetectable)}", style="yellow")
    return Text("yes", style="green")


def _json(outcome: Outcome) -> dict[str, object]:
    verdict = outcome.verdict
    return {
        "recipe": outcome.recipe.name,
        "trigger": outcome.recipe.trigger,
        "expected": outcome.recipe.expected,
        "calls": list(outcome.calls),
        "did": list(outcome.did),
        "operator": list(outcome.operated),
        "log_events": [{"event": name, "count": count} for name, count in outcome.events],
        "counters": outcome.counters,
        "refused": outcome.is_refusal,
        "converged": outcome.is_converged,
        "converged_s": None if outcome.converged_s is None else round(outcome.converged_s, 2),
        "equal": bool(verdict and verdict.is_equal),
        "undetectable": list(outcome.undetectable),
        "problem": outcome.problem,
    }

"""Show how far a long command is: a bar where people watch, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

_EVERY_S = 10.0
Show = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@contextmanager
def showing(title: str) -> Iterator[Show]:
    """Show on standard error, for the length of a block, what the yielded function is told."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(title: str) -> Show:
    told = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY_S:
            told = time.monotonic()
            print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return show

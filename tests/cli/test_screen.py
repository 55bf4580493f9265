"""The demo's live view: what it leaves on a terminal when it ends."""

from __future__ import annotations

import pytest

from sfsync.cli.demo.screen import Screen


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can move its cursor, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm")


def test_verdict_stands_below_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is where everybody looks; above the view it scrolls away."""
    with Screen(plain=False, seconds=1) as screen:
        screen.enter("the org rests; is the store equal?")
        screen.say("store equals org: 3 people, 1 companies, 5 events, 0 repaired")
        screen.enter("equal")
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith("store equals org: 3 people, 1 companies, 5 events, 0 repaired")
    assert shown.count("store equals org") == 1


def test_failure_leaves_the_terminal_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """A hidden cursor outlives the program that hid it."""
    with pytest.raises(RuntimeError, match="no Postgres"), Screen(plain=False, seconds=1):
        raise RuntimeError("no Postgres")
    shown = capsys.readouterr().out
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0

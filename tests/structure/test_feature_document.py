"""The walk through the feature document names only what exists."""

from __future__ import annotations

import re

from sfsync.cli.arguments import COMMANDS
from tests.structure.source import ROOT

TEXT = (ROOT / "docs" / "feature-document.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists() -> None:
    """A proof that is gone proves nothing."""
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 40
    assert named <= defined, sorted(named - defined)


def test_every_command_that_it_names_exists() -> None:
    """A reader will type it."""
    named = set(re.findall(r"`sfsync ([a-z]+)", TEXT))
    assert named <= COMMANDS.keys(), sorted(named - COMMANDS.keys())


def test_every_document_that_it_leads_to_exists() -> None:
    """A link must lead somewhere."""
    for name in re.findall(r"\]\(([a-z-]+\.md)\)", TEXT):
        assert (ROOT / "docs" / name).exists(), name

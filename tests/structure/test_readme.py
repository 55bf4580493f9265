"""The README is followed by strangers: its links lead somewhere and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.source import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
MAKE = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*make ([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?sfsync ([a-z]+)", re.MULTILINE)


def code_of(document: Path) -> str:
    return "\n".join(block or inline for block, inline in CODE.findall(document.read_text()))


def anchors_of(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    """A dead link is where a stranger gives up."""
    dead = []
    for link in LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    """What the README tells to type must work as it is typed."""
    makefile = (ROOT / "Makefile").read_text()
    assert [
        target for target in MAKE.findall(code_of(document)) if not re.search(rf"^{target}:", makefile, re.M)
    ] == []


def test_readme_shows_the_two_commands() -> None:
    """They are the promise of the first paragraph."""
    assert {"demo", "test"} <= set(MAKE.findall(code_of(ROOT / "README.md")))


@pytest.fixture(scope="module")
def commands() -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "sfsync", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    listed = set(re.findall(r"^    ([a-z]+)(?:  |$)", shown.stdout, re.MULTILINE))
    assert "run" in listed, shown.stdout
    return listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_sfsync_commands_exist(document: Path, commands: set[str]) -> None:
    """A renamed command must not live on in the documents."""
    assert set(COMMAND.findall(code_of(document))) <= commands


def test_readme_names_every_command(commands: set[str]) -> None:
    """A command that nobody can find does not exist."""
    named = set(COMMAND.findall(code_of(ROOT / "README.md")))
    assert commands - named == set()

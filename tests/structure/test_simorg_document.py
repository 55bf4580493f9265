"""docs/simorg.md is what a user has of the simulated org: it must name all there is, and its commands must work."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

import sfsync.cli.chaos
from sfsync.cli.chaos.recipe import RECIPES
from sfsync.simorg.burst import ROUTES as BURST_ROUTES
from sfsync.simorg.control import _ROUTES
from sfsync.simorg.control_faults import PARAMETERS, fault_kinds
from sfsync.simorg.org import Settings
from tests.simorg.site import org_process
from tests.structure.source import ROOT

DOCUMENT = (ROOT / "docs" / "simorg.md").read_text(encoding="utf-8")
# What a recipe does besides calling the control API happens to processes that are not there.
STUBS = "kill() { :; }; sleep() { :; }; sfsync() { :; }; pg_ctl() { :; }; DAEMON=0 PGDATA=none\n"
PATIENCE_S = 60


def section(title: str) -> str:
    """Return the text below a heading of the second level."""
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[tuple[str, str]]:
    """Return the name in each row of the tables of a text, and the cell beside it."""
    return re.findall(r"^\| `([^`]+)` \|([^|]*)\|", text, re.MULTILINE)


def blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def test_document_names_every_endpoint() -> None:
    """An endpoint that nobody knows of does not exist, and one that is gone must not be promised."""
    served = {f"{method} {path}" for method, path in _ROUTES} | BURST_ROUTES.keys()
    assert {name for name, _ in first_cells(section("The control API"))} == served


def test_document_names_every_fault_kind_with_what_it_takes() -> None:
    """A misspelt parameter is refused, so the right ones must be written somewhere."""
    written = {kind: set(re.findall(r"`(\w+)`", takes)) for kind, takes in first_cells(section("Faults"))}
    assert written == {kind: set(PARAMETERS.get(kind, {})) for kind in fault_kinds()}


def test_document_names_every_setting() -> None:
    """All points where documents disagree can be tried with both."""
    settings = section("The control API").partition("### Settings")[2]
    written = {
        name
        for row in re.findall(r"^\|[^|]*\|(.*)\|$", settings, re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert written == {field.name for field in fields(Settings)}


def test_document_has_every_recipe() -> None:
    """What `sfsync chaos` plays can be done by hand, in the same order."""
    assert sfsync.cli.chaos.main is not None
    assert f"plays {len(RECIPES)} faults" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\S+)$", section("Recipes"), re.MULTILINE) == list(RECIPES)


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash and curl are needed")
def test_commands_of_the_recipes_are_taken_by_the_org(tmp_path: Path) -> None:
    """Copied and pasted, no command is refused; the processes that they also speak of are left out."""
    functions, *recipes = blocks(section("Recipes"))
    assert len(recipes) == len(RECIPES)
    with org_process("--population", "4", state_dir=tmp_path) as told:
        head = f"CONTROL={told['control_url']}\n{functions}{STUBS}"
        played = "\n".join(f"echo '# {name}'\n{block}" for name, block in zip(RECIPES, recipes, strict=True))
        done = subprocess.run(
            ["bash", "-u", "-c", head + played],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"error"' not in done.stdout, done.stdout
    assert done.stdout.count('"ids"') > len(RECIPES)

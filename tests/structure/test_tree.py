"""What the tree must not hold: addresses of package indexes and paths of one machine."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.structure.source import ROOT

# Written so that the expressions do not find themselves.
FOREIGN = {
    "an address of a package index": re.compile(
        r"(extra.)?index-u[r]l|://[^/ ]+/(simple|packages)[/]|\"resolved\": *\"http|files\.pythonhoste[d]"
    ),
    "a path of one machine": re.compile(r"(?<![\w.~-])/(root|work|home/\w+|tmp/plan)[/]|\.\./share[d]"),
}
KEPT_AS_CAPTURED = ("tests/samples/",)


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def findings(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number} holds {what}: {found[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FOREIGN.items()
        if (found := pattern.search(line))
    ]


def test_tree_holds_no_address_of_an_index_and_no_path_of_a_machine() -> None:
    """Where packages come from and where a clone lies is each machine's business; such a line breaks others."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone: nothing is tracked")
    found = []
    for name in tracked_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and not name.startswith(KEPT_AS_CAPTURED):
            found += findings(name, content.decode())
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-" + "url https://x",
        "https://x.example/simple" + "/pkg",
        'D = "/root' + '/x"',
        "see ../share" + "d/x",
    ],
)
def test_foreign_line_is_found(line: str) -> None:
    """A check that finds nothing proves nothing."""
    assert findings("some/file", line)

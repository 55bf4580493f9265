"""SECURITY.md names tests and files that exist, and what it says of the tree, the image and the unit is so."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.structure.source import ROOT
from tests.structure.test_tree import tracked_files

TEXT = (ROOT / "SECURITY.md").read_text()
NAMED = re.compile(r"`((?:tests|src|docs|docker|requirements)/[\w./-]+|pyproject\.toml)(?:::(\w+))?`")
ROW = re.compile(r"^\| (S\d+) \| .+? \| (done|in part|n/a) \| (.+) \|$", re.MULTILINE)
# Written so that the expressions do not find themselves.
SECRETS = {
    "a private key": re.compile(r"-----BEGI[N] (?:RSA |EC |)PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}"),
    "an access token": re.compile(r"\b00[D][0-9A-Za-z]{12,15}!(?=[\w.]*\d)[\w.]{40,}"),
}
MADE_UP = ("tests/samples/",)


@cache
def named_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse(path.read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(one.name for one in functions if one.name.startswith("test_"))


def missing(text: str) -> Iterator[str]:
    """Yield what *text* names and what is not there."""
    for name, test in NAMED.findall(text):
        path = ROOT / name
        if not path.exists():
            yield name
        elif test and test not in named_in(path):
            yield f"{name}::{test}"


def test_every_named_test_exists() -> None:
    """A promise whose test was renamed away is one that nobody keeps."""
    assert len(NAMED.findall(TEXT)) > 100
    assert list(missing(TEXT)) == []


def test_missing_test_is_found() -> None:
    """A check that finds nothing proves nothing."""
    gone = ["tests/test_gone.py", "tests/structure/test_security.py::test_gone"]
    assert list(missing(" ".join(f"`{one}`" for one in gone))) == gone


def test_every_requirement_has_a_state_and_what_shows_it() -> None:
    """What is done is shown by a test; what is not says why in words."""
    rows = ROW.findall(TEXT)
    assert [number for number, _, _ in rows] == [f"S{n}" for n in range(1, 54)]
    for number, state, shown in rows:
        if state == "done":
            assert "::test_" in shown, number
        else:
            assert len(re.sub(r"`[^`]*`", "", shown).split()) > 8, number


def test_tree_holds_no_secret() -> None:
    """What is committed once is public for ever."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone: nothing is tracked")
    found = [
        f"{name} holds {what}"
        for name in tracked_files()
        if not name.startswith(MADE_UP) and b"\0" not in (content := (ROOT / name).read_bytes())
        for what, pattern in SECRETS.items()
        if pattern.search(content.decode())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIB",
        "00D5i000000DemoEAC" + "!AQ4AQNd9" + "x" * 60,
    ],
)
def test_secret_is_found(text: str) -> None:
    """A check that finds nothing proves nothing."""
    assert any(pattern.search(text) for pattern in SECRETS.values())


def test_container_and_unit_are_hardened() -> None:
    """Whoever breaks in finds no privilege, nothing to write to, and no other secrets."""
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
        assert line in compose
    assert re.search(r"^USER \d+:\d+$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    unit = (ROOT / "docker" / "sfsync.service").read_text().splitlines()
    for line in (
        *(
            "User=sfsync",
            "UMask=0077",
            "CapabilityBoundingSet=",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
        ),
        *("ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "MemoryDenyWriteExecute=yes"),
        *(
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
            "SystemCallFilter=@system-service",
            "MemoryMax=512M",
        ),
    ):
        assert line in unit


@pytest.mark.parametrize("name", ["run.txt", "build.txt", "dev.txt"])
def test_every_pinned_package_has_its_hash(name: str) -> None:
    """A package without its hash is whatever an index serves that day."""
    lines = (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines()
    pinned = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert pinned
    assert [line for line in pinned if "==" not in line or "--hash=sha256:" not in line] == []


def test_dependencies_are_few() -> None:
    """Each one is code of others with all our rights."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 12

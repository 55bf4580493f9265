"""The rooms, enforced: who may import whom, and what the core may not touch.

Why: an arrow that runs back up is not seen in a review of one file. The table below is the architecture; a
change to it is a decision.
"""

from __future__ import annotations

import ast

import pytest

from tests.structure.source import Module, modules, parse

EVERYBODY = frozenset({"errors", "log"})
"""Rooms that import nothing of ours and that anybody may import, the simulated org excepted."""

MAY_IMPORT = {
    "": frozenset[str](),
    "__main__": frozenset({"cli"}),
    "errors": frozenset[str](),
    "log": frozenset({"errors"}),
    "core": frozenset({"core", "errors"}),
    "salesforce": frozenset({"salesforce", "core"}) | EVERYBODY,
    "store": frozenset({"store", "core"}) | EVERYBODY,
    "sync": frozenset({"sync", "core", "salesforce", "store"}) | EVERYBODY,
    "console": frozenset({"console", "core", "store", "sync"}) | EVERYBODY,
    "config": frozenset({"config", "core", "salesforce", "store", "sync", "console"}) | EVERYBODY,
    "daemon": frozenset({"daemon", "config", "core", "salesforce", "store", "sync", "console"}) | EVERYBODY,
    "cli": frozenset(
        {"cli", "daemon", "failpoint", "config", "core", "salesforce", "store", "sync", "console"}
    )
    | EVERYBODY,
    "failpoint": EVERYBODY,
    "simorg": frozenset({"simorg"}),
}

PURE_THIRD_PARTIES = frozenset({"msgspec"})
PURE_STANDARD = frozenset(
    [
        "__future__",
        "ast",
        "base64",
        "bisect",
        "calendar",
        "codecs",
        "collections",
        "csv",  # Its reader takes lines from whoever has them; it opens nothing.
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "functools",
        "graphlib",
        "hashlib",
        "heapq",
        "importlib",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "tomllib",
        "types",
        "typing",
        "unicodedata",
        "urllib",
        "zoneinfo",
    ]
)
"""What the core may use: no I/O, no clock, no environment, no event loop, no chance."""

CLOCK_CALLS = frozenset({"now", "today", "utcnow"})
SIDE_EFFECT_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})


def forbidden_imports(module: Module) -> list[str]:
    """List the imports of our own rooms that the table does not allow."""
    found = []
    for line, name in module.imports():
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package != "sfsync" or (room == "__version__" and module.room != "simorg"):
            continue
        if room not in MAY_IMPORT[module.room]:
            found.append(f"{module.where(line)} imports {name}: {module.room or 'sfsync'} may not")
    return found


def impurities(module: Module) -> list[str]:
    """List what the core may not do: foreign imports, reading a clock, opening files."""
    found = [
        f"{module.where(line)} imports {name}"
        for line, name in module.imports()
        if name.partition(".")[0] not in PURE_STANDARD | PURE_THIRD_PARTIES | {"sfsync"}
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            found.append(f"{module.where(node.lineno)} is asynchronous")
        elif isinstance(node, ast.Call) and _called(node) in CLOCK_CALLS | SIDE_EFFECT_CALLS:
            found.append(f"{module.where(node.lineno)} calls {_called(node)}")
    return found


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) if name in CLOCK_CALLS:
            return name
        case ast.Name(id=name):
            return name
        case _:
            return ""


def test_every_room_is_in_the_table() -> None:
    """A new room needs a place in the architecture before it has code."""
    assert {module.room for module in modules()} <= MAY_IMPORT.keys()


def test_imports_point_inwards() -> None:
    """Only the composition root knows everybody."""
    assert [fault for module in modules() for fault in forbidden_imports(module)] == []


def test_core_is_pure() -> None:
    """What the core decides is decided by its arguments, so that a history can be replayed."""
    assert [fault for module in modules() if module.room == "core" for fault in impurities(module)] == []


def test_simulated_org_shares_nothing_with_the_daemon() -> None:
    """A common bug would hide from every test."""
    assert MAY_IMPORT["simorg"] == {"simorg"}
    assert [room for room, allowed in MAY_IMPORT.items() if "simorg" in allowed] == ["simorg"]


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("core.decide", "import sfsync.store"),
        ("core.decide", "from sfsync.log import EVENTS"),
        ("salesforce.rest", "from ..store import apply"),
        ("salesforce.rest", "def late():\n    from sfsync.sync import sweep"),
        ("store.apply", "from .. import sync"),
        ("sync.sweep", "from ..console.server import serve"),
        ("daemon", "from .simorg import org"),
        ("simorg.org", "from ..errors import SfsyncError"),
        ("simorg.org", "from sfsync import __version__"),
    ],
)
def test_forbidden_import_is_found(room: str, source: str) -> None:
    """A rule that finds nothing proves nothing."""
    assert forbidden_imports(parse(room, source))


@pytest.mark.parametrize(
    ("room", "source"),
    [
        (
            "core.decide",
            "from .events import ChangeEvent\nfrom sfsync.core import ids\nfrom ..errors import DecodeError",
        ),
        ("sync.sweep", "from ..core import events\nfrom ..errors import SfsyncError\nimport asyncpg"),
        ("daemon", "from . import __version__, config\nfrom .console.server import serve"),
    ],
)
def test_allowed_import_is_let_pass(room: str, source: str) -> None:
    """A rule that finds everything would be switched off."""
    assert forbidden_imports(parse(room, source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os",
        "from time import monotonic",
        "import random",
        "import aiohttp",
        "import structlog",
        "from datetime import datetime\nNOW = datetime.now()",
        "TEXT = open('/etc/hosts').read()",
        "async def decide() -> None: ...",
    ],
)
def test_impurity_is_found(source: str) -> None:
    """Each of these makes the outcome depend on more than the arguments."""
    assert impurities(parse("core.decide", source))

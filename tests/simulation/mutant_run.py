"""One mutant in a process of its own: edit the source while it is imported, then play until a history is violated.

Reads an order as JSON from standard input and answers in one JSON line. Nothing of sfsync may be imported before
the edit is in place, so this module imports the histories inside its function.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


class _Edited(importlib.machinery.SourceFileLoader):
    """Loads one module with edits in its source, past any cache of its code."""

    def __init__(self, name: str, path: str, edits: Sequence[tuple[str, str]]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text("utf-8")
        for old, new in self._edits:
            assert old in text, f"the source of {fullname} no longer contains: {old}"
            text = text.replace(old, new)
        return compile(text, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, path: Path, edits: Sequence[tuple[str, str]]) -> None:
        self._name, self._path, self._edits = name, path, edits

    def find_spec(
        self, fullname: str, _path: Any = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Edited(fullname, str(self._path), self._edits)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def _put_in_place(file: str, edits: Sequence[tuple[str, str]]) -> None:
    """Let the module of *file*, or the statement in it, be read with *edits*."""
    found = importlib.util.find_spec("sfsync")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / file
    if path.suffix == ".sql":
        _edit_statement(path, edits)
        return
    name = "sfsync." + file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, _Finder(name, path, edits))


def _edit_statement(path: Path, edits: Sequence[tuple[str, str]]) -> None:
    read = Path.read_text

    def read_edited(self: Path, *given: Any, **named: Any) -> str:
        text = read(self, *given, **named)
        if self.name == path.name:
            for old, new in edits:
                assert old in text, f"{path.name} no longer contains: {old}"
                text = text.replace(old, new)
        return text

    Path.read_text = read_edited  # type: ignore[method-assign]


def main() -> None:
    """Play what the order on standard input asks for."""
    order = json.loads(sys.stdin.read())
    _put_in_place(order["file"], order["edits"])
    from .history import play  # noqa: PLC0415 - only now: the edit must be in place
    from .store import serving_store  # noqa: PLC0415 - as above

    logging.disable(logging.CRITICAL)
    played, killer, violation = 0, None, ""
    with serving_store() as store:
        play(0, store)
        gc.collect()
        gc.freeze()
        for seed in range(order["first"], order["first"] + order["histories"]):
            told = play(seed, store, order["mode"])
            played += 1
            if told.violations:
                killer, violation = seed, told.violations[0]
                break
    sys.stdout.write(json.dumps({"seed": killer, "histories": played, "violation": violation}) + "\n")


if __name__ == "__main__":
    main()

"""What the structural tests read: the modules of the package and what each imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sfsync"


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its dotted name below `sfsync`, and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The first part of the name; the package itself has none."""
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and absolute name of every import, wherever it stands, `TYPE_CHECKING` included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = self._absolute(node)
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = ["sfsync", *self.name.split(".")] if self.name else ["sfsync"]
        if self.path.name != "__init__.py":
            package = package[:-1]
        package = package[: len(package) - (node.level - 1)]
        return ".".join([*package, *([node.module] if node.module else [])])

    def where(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


@functools.cache
def modules() -> tuple[Module, ...]:
    """Read every module of the package."""
    return tuple(_read(path) for path in sorted(PACKAGE.rglob("*.py")))


def _read(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    return Module(name, path, ast.parse(path.read_text(), str(path)))


def parse(name: str, source: str) -> Module:
    """Read *source* as if it were the module of that name, for tests of the tests."""
    return Module(name, PACKAGE / f"{name.replace('.', '/')}.py", ast.parse(source))

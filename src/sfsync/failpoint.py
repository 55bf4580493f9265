"""Kill this process where its code comes to a named point: `SFSYNC_FAILPOINT=name:n`, the n-th time.

Why: a crash between two lines is met by chance once in many years, and must be met by tests every day. A point is a
comment, so that code which nobody tests in this way runs as if there were none: not one instruction, not one import.
The variable makes a call of it, in the one module that holds it, before that module is compiled; nothing of it is
written to a cache. Killed means SIGKILL, since whatever the process could still do would not happen in a crash.
Rejected: calls that look at a switch, which cost something for ever and stand in every stack trace.

`python -m sfsync.failpoint` lists the points. In the source one is a line of its own, like
`# failpoint: commit.ready - all is written and COMMIT is not sent`; one that begins `# failpoint in the next await:`
strikes once the next await has sent what it sends and waits. Source: the comments of etcd's gofail.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import structlog

from .errors import ConfigError

VARIABLE = "SFSYNC_FAILPOINT"
_PACKAGE = Path(__file__).parent
_LINE = re.compile(
    r"^(?P<indent> +)# failpoint(?P<late> in the next await)?: (?P<name>[a-z_]+(?:\.[a-z_]+)+) - (?P<meaning>\S.*)$",
    re.MULTILINE,
)
_ASKED = re.compile(r"(?P<name>[^:]+)(?::(?P<times>[1-9][0-9]{0,8}))?", re.ASCII)
_CALL = "__failpoint__"
_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Failpoint:
    """One point; `module` is absolute. One that is `late` strikes once the next await waits."""

    name: str
    meaning: str
    module: str
    line: int
    late: bool


def failpoints() -> list[Failpoint]:
    """Find all points in the source, by name."""
    found = [point for path in _PACKAGE.rglob("*.py") for point in _points_of(path)]
    return sorted(found, key=lambda point: point.name)


def _points_of(path: Path) -> list[Failpoint]:
    source = path.read_text("utf-8")
    module = ".".join([_PACKAGE.name, *path.relative_to(_PACKAGE).with_suffix("").parts])
    return [
        Failpoint(
            found["name"],
            found["meaning"],
            module.removesuffix(".__init__"),
            source.count("\n", 0, found.start()) + 1,
            found["late"] is not None,
        )
        for found in _LINE.finditer(source)
    ]


def arm(asked: str) -> None:
    """Make this process die at the point that *asked* names; before the module that holds it is imported.

    Raises `ConfigError` when there is no such point.
    """
    words = _ASKED.fullmatch(asked)
    if words is None:
        raise ConfigError(
            f"{VARIABLE} is {asked!r}: write NAME or NAME:N, where N counts from 1, for example commit.ready:3"
        )
    points = {point.name: point for point in failpoints()}
    point = points.get(words["name"])
    if point is None:
        raise ConfigError(
            f"{VARIABLE}: there is no failpoint {words['name']!r}; {_near(words['name'], points)}"
        )
    sys.meta_path.insert(0, _Finder(point, _Countdown(point, int(words["times"] or 1))))


def _near(name: str, known: Sequence[str] | dict[str, Failpoint]) -> str:
    near = difflib.get_close_matches(name, known, n=_SHOWN_MAX, cutoff=0.5)
    listed = f"near it are {', '.join(near)}; " if near else ""
    return f"{listed}python -m sfsync.failpoint lists all {len(known)}"


def planted(source: str, name: str) -> str:
    """Return *source* with a call in place of the point of that name; every line keeps its number."""

    def call(found: re.Match[str]) -> str:
        return f"{found['indent']}{_CALL}()" if found["name"] == name else found[0]

    return _LINE.sub(call, source)


class _Finder(MetaPathFinder):
    """Finds the one module that holds the point; all others are found as ever."""

    def __init__(self, point: Failpoint, strike: Callable[[], None]) -> None:
        self._point = point
        self._strike = strike

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._point.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(spec.origin, self._point, self._strike)
        return spec


class _Loader(SourceFileLoader):
    """Compiles the source with the call in it, and neither reads nor writes a cache."""

    def __init__(self, path: str, point: Failpoint, strike: Callable[[], None]) -> None:
        super().__init__(point.module, path)
        self._point = point
        self._strike = strike

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text("utf-8")
        code: CodeType = compile(planted(source, self._point.name), self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[_CALL] = self._strike
        super().exec_module(module)


class _Countdown:
    """Counts how often the point is come to, and ends the process at the last time."""

    def __init__(self, point: Failpoint, times: int) -> None:
        self._point = point
        self._times = times
        self._met = 0

    def __call__(self) -> None:
        self._met += 1
        if self._met != self._times:
            return
        if self._point.late:
            # What the next await sends is written before it waits, and this is called once it waits.
            asyncio.get_running_loop().call_soon(self._die)
        else:
            self._die()

    def _die(self) -> None:
        structlog.get_logger().error("failpoint.reached", name=self._point.name, n=self._times)
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    for one in failpoints():
        sys.stdout.write(f"{one.name:<28} {one.meaning}\n")

"""Plays histories against bad designs: one fork for each, in which the source is edited while it is imported.

Why a fork: starting Python, and importing what no mutant touches, takes longer than the history that kills. So this
process imports that once and no module of sfsync, and each fork begins where it stands. What must be imported, and a
database with the shipped mapping's columns in it, come from a first fork, which plays the good design.

Reads orders and answers, one JSON line each: `{"files": [[file, edits], ...], "plays": [[seed, mode], ...], "swarm"}`.
An answer tells of one history, as soon as it is played; after the first that was violated, or the last one, comes `{"done": true}`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from .postgres_wire import SIM_SCHEMA

if TYPE_CHECKING:
    from .store import Store

HISTORY_CPU_S_MAX = 15


class _Edited(importlib.machinery.SourceFileLoader):
    """Loads one module with edits in its source, past any cache of its code."""

    def __init__(self, name: str, path: str, edits: Sequence[tuple[str, str]]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text("utf-8")
        return compile(_edited(text, self._edits, fullname), self.path, "exec", dont_inherit=True)


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


def _edited(text: str, edits: Sequence[tuple[str, str]], name: str) -> str:
    for old, new in edits:
        assert old in text, f"{name} no longer contains: {old}"
        text = text.replace(old, new)
    return text


def put_in_place(file: str, edits: Sequence[tuple[str, str]]) -> None:
    """Let the module of *file*, or the statement in it, be read with *edits*."""
    found = importlib.util.find_spec("sfsync")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / file
    if path.suffix == ".sql":
        _edit_statement(path, edits)
        return
    name = "sfsync." + file.removesuffix(".py").replace("/", ".")
    assert name not in sys.modules, f"{name} is imported already"
    sys.meta_path.insert(0, _Finder(name, path, edits))


def _edit_statement(path: Path, edits: Sequence[tuple[str, str]]) -> None:
    read = Path.read_text

    def read_edited(self: Path, *given: Any, **named: Any) -> str:
        text = read(self, *given, **named)
        return _edited(text, edits, path.name) if self.name == path.name else text

    Path.read_text = read_edited  # type: ignore[method-assign]


class Zygote:
    """What forks; its databases are on the server of *dsn*."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._forks = 0
        self._template = ""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Play the good design once: it says what to import, and leaves the database that all others copy."""
        with self._database("template0", "model") as (name, dsn):
            asyncio.run(_execute(dsn, SIM_SCHEMA))
            for module in _told(lambda tell: _try_good(dsn, tell)):
                with suppress(Exception):
                    # Some can only be imported by their own kin.
                    importlib.import_module(module)
            self._template = name
            gc.collect()
            gc.freeze()
            yield

    def play(self, order: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Play what is ordered in a fork; yield what it tells."""
        self._forks += 1
        with self._database(self._template, str(self._forks)) as (_, dsn):
            yield from _told(lambda tell: _play(order, dsn, tell))

    @contextmanager
    def _database(self, template: str, of: str) -> Iterator[tuple[str, str]]:
        name = f"sfsync_mutant_{os.getpid()}_{of}"
        asyncio.run(_execute(self._dsn, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        try:
            yield name, urlsplit(self._dsn)._replace(path=f"/{name}", query="sslmode=disable").geturl()
        finally:
            asyncio.run(_execute(self._dsn, f'DROP DATABASE "{name}" WITH (FORCE)'))


def _told(work: Callable[[Callable[[Any], None]], None]) -> Iterator[Any]:
    """Run *work* in a fork and yield what it tells."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_fork(work, writing)
    os.close(writing)
    try:
        with open(reading, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise ChildProcessError(f"the fork ended with {os.waitstatus_to_exitcode(status)}")


def _run_fork(work: Callable[[Callable[[Any], None]], None], writing: int) -> None:
    """Run *work*, and nothing else of this process, ever."""
    code = 1
    try:
        with open(writing, "w", encoding="utf-8") as out:

            def tell(what: Any) -> None:
                out.write(json.dumps(what) + "\n")
                out.flush()

            work(tell)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, a fork must not live on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _try_good(dsn: str, tell: Callable[[Any], None]) -> None:
    """Make the columns in the database, and tell which modules the histories need that no mutant touches."""
    from .history import play  # noqa: PLC0415 - not in the process that forks

    play(0, _store(dsn))
    for name in sorted(sys.modules):
        if name.partition(".")[0] not in ("sfsync", "tests", "__main__") or name.startswith("sfsync.simorg"):
            tell(name)


def _play(order: Mapping[str, Any], dsn: str, tell: Callable[[Any], None]) -> None:
    """Play the histories that are ordered, until one is violated."""
    for file, edits in order["files"]:
        put_in_place(file, edits)
    from .history import play  # noqa: PLC0415 - only now: the edit must be in place

    store = _store(dsn)
    gc.collect()
    gc.freeze()
    for seed, mode in order["plays"]:
        signal.setitimer(signal.ITIMER_PROF, HISTORY_CPU_S_MAX)
        told = play(seed, store, mode, swarm=order["swarm"])
        violation = told.violations[0] if told.violations else None
        tell({"seed": seed, "mode": mode, "violation": violation, "exchanges": told.exchanges})
        if violation is not None:
            return


def _store(dsn: str) -> Store:
    from .server_sessions import ServerSessions  # noqa: PLC0415 - not in the process that forks
    from .store import Store  # noqa: PLC0415 - as above

    logging.disable(logging.CRITICAL)
    return Store(dsn, ServerSessions(dsn))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def main() -> None:
    """Serve orders from standard input until it ends."""
    # Ended by a signal, it must still drop its databases.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    zygote = Zygote(os.environ["SFSYNC_TEST_DSN"])
    with zygote.open():
        for line in sys.stdin:
            answer: Mapping[str, Any]
            try:
                for answer in zygote.play(json.loads(line)):
                    _answer(answer)
                _answer({"done": True})
            except ChildProcessError as error:
                _answer({"done": True, "error": str(error)})


def _answer(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

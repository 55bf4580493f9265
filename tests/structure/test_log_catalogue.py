"""Log events are a contract: what is logged is catalogued, what is catalogued is logged and documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sfsync.log import _ALWAYS, EVENTS
from tests.structure import log_document
from tests.structure.source import ROOT, Module, modules, parse

LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGER_NAMES = frozenset({"log", "_log", "logger", "_logger"})


@dataclass(frozen=True, slots=True)
class LogCall:
    """One call of a logger; `event` is None where it is not written out as one constant."""

    where: str
    method: str
    event: str | None
    keys: frozenset[str]


def log_calls(module: Module) -> Iterator[LogCall]:
    """Find the calls of structlog loggers in a module."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=method, value=logger)) if _is_logger(logger):
                arguments = node.args[1:] if method == "log" else node.args
                if method in LEVELS or method == "log":
                    keys = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
                    yield LogCall(module.where(node.lineno), method, _constant(arguments), keys)


def faults(module: Module) -> list[str]:
    """List the log calls that the catalogue does not cover."""
    found = []
    for call in log_calls(module):
        spec = EVENTS.get(call.event or "")
        if spec is None:
            found.append(
                f"{call.where} logs {call.event or 'a computed name'}, which is not in the catalogue"
            )
            continue
        if call.method not in ("log", spec.level) and (call.method, spec.level) != ("exception", "error"):
            found.append(f"{call.where} logs {call.event} as {call.method}, the catalogue says {spec.level}")
        if unlisted := call.keys - spec.keys - _ALWAYS - {"exc_info"}:
            found.append(f"{call.where} gives {call.event} the unlisted keys {sorted(unlisted)}")
    return found


def _is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in LOGGER_NAMES
        case ast.Call(func=ast.Attribute(attr="bind" | "unbind" | "get_logger")):
            return True
        case _:
            return False


def _constant(arguments: list[ast.expr]) -> str | None:
    match arguments:
        case [ast.Constant(value=str(event))]:
            return event
        case _:
            return None


DAEMON = [module for module in modules() if module.room not in ("simorg", "log")]
"""The catalogue itself logs one name that is not in it, for what other libraries log."""


def test_every_logged_event_is_in_the_catalogue() -> None:
    """A name that is made up on the spot is one that nobody's alert knows."""
    assert [fault for module in DAEMON for fault in faults(module)] == []


def test_every_event_of_the_catalogue_is_logged() -> None:
    """An operator who waits for an event that is never logged believes all is well."""
    written = {
        node.value for module in DAEMON for node in ast.walk(module.tree) if isinstance(node, ast.Constant)
    }
    assert sorted(name for name in EVENTS if name not in written) == []


def test_document_shows_the_catalogue() -> None:
    """docs/logs.md is what operators read: `make docs` brings it up to date."""
    assert (ROOT / "docs" / "logs.md").read_text() == log_document.render()


@pytest.mark.parametrize(
    "source",
    [
        "log.info('made.up')",
        "_log.info(f'sweep.{kind}')",
        "self._log.warning('sweep.started', sweep_id=1, reason='start')",
        "structlog.get_logger().info('sweep.started', person='Bob')",
        "log.bind(entity='Lead').info(name)",
    ],
)
def test_uncatalogued_call_is_found(source: str) -> None:
    """A check that finds nothing proves nothing."""
    assert faults(parse("sync.sweep", source))


@pytest.mark.parametrize(
    "source", ["log.info('sweep.started', sweep_id=1, reason='start')", "self._log.append('made.up')"]
)
def test_catalogued_call_is_let_pass(source: str) -> None:
    """A check that finds everything would be switched off."""
    assert faults(parse("sync.sweep", source)) == []

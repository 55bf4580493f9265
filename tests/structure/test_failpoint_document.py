"""Failpoints are comments: each has one name in one place, and where none is armed there is nothing of them."""

from __future__ import annotations

import ast
import marshal
import re
from collections import Counter
from types import CodeType

import pytest

from sfsync.failpoint import Failpoint, failpoints, planted
from tests.structure import failpoint_document
from tests.structure.source import PACKAGE, ROOT

POINTS = failpoints()
FEWEST = 40


def source_of(point: Failpoint) -> str:
    path = PACKAGE.parent / point.module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def without_comments(source: str) -> str:
    """Return *source* without its failpoints; every line keeps its number."""
    return re.sub(r"^ +# failpoint\b.*$", "", source, flags=re.MULTILINE)


def calls(code: CodeType) -> int:
    """Count where compiled code names the call of a failpoint."""
    inner = sum(calls(one) for one in code.co_consts if isinstance(one, CodeType))
    return inner + code.co_names.count("__failpoint__")


def test_every_name_is_in_one_place() -> None:
    """A test that kills at a name must know where that is."""
    names = Counter(point.name for point in POINTS)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(POINTS) >= FEWEST


def test_every_comment_of_the_kind_is_a_failpoint() -> None:
    """One that is written wrong would silently be no point at all."""
    written = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*#\s*failpoint", line, re.IGNORECASE)
    ]
    assert len(written) == len(POINTS), written


def test_document_shows_the_points() -> None:
    """docs/failpoints.md is what testers read: `make docs` brings it up to date."""
    assert (ROOT / "docs" / "failpoints.md").read_text() == failpoint_document.render()


@pytest.mark.parametrize("module", sorted({point.module for point in POINTS}))
def test_byte_code_is_the_same_as_without_the_comments(module: str) -> None:
    """Whoever tests no crash must not pay for it, not by one instruction."""
    source = source_of(next(point for point in POINTS if point.module == module))
    with_comments = compile(source, module, "exec", dont_inherit=True)
    bare = compile(without_comments(source), module, "exec", dont_inherit=True)
    assert source != without_comments(source)
    assert marshal.dumps(with_comments) == marshal.dumps(bare)
    assert calls(with_comments) == 0


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_armed_point_is_one_statement_of_a_function_and_nothing_else(point: Failpoint) -> None:
    """A point inside an expression, or between a `return` and the end, would never be met or change what is run."""
    source = source_of(point)
    armed = planted(source, point.name)
    assert calls(compile(armed, point.module, "exec", dont_inherit=True)) == 1
    assert source.count("\n") == armed.count("\n")
    tree = ast.parse(armed)
    [body] = [
        statements
        for node in ast.walk(tree)
        for statements in (
            getattr(node, "body", None),
            getattr(node, "orelse", None),
            getattr(node, "finalbody", None),
        )
        if isinstance(statements, list) and any(_is_call(one) for one in statements)
    ]
    [place] = [number for number, one in enumerate(body) if _is_call(one)]
    assert body[place].lineno == point.line
    assert place == 0 or not isinstance(body[place - 1], ast.Return | ast.Raise | ast.Continue | ast.Break)
    del body[place]
    assert ast.dump(tree) == ast.dump(ast.parse(source))


def _is_call(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="__failpoint__"))):
            return True
        case _:
            return False

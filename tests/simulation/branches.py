"""Which branches of the rules histories took: each `if`, `match` and conditional value of the modules that decide.

Why: a history can only show that a rule is right where it made the rule speak. The branches come from the source, so
that one that is added tomorrow is asked for tomorrow. What is counted is the compiled module with a call at the head of
each branch, put in the place of the functions' code: nothing else of a run is slowed, as a tracer would slow it.

Rejected: coverage.py, which knows lines and cannot tell both sides of `a if b else c`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import Counter
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

MODULES = (
    "sfsync.core.order",
    "sfsync.core.identity",
    "sfsync.core.decide",
    "sfsync.core.consent",
    "sfsync.core.importing",
    "sfsync.store.grouping",
    "sfsync.sync.verdict",
)
_CALL = "_met_branch"
counts: Counter[str] = Counter()


def _met(branch: str) -> bool:
    counts[branch] += 1
    return False


class _Instrument(ast.NodeTransformer):
    """Puts a call at the head of each branch, and lists them."""

    def __init__(self, module: str) -> None:
        self._module = module.rpartition(".")[2]
        self._function = ""
        self._again: Counter[str] = Counter()
        self.listed: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self._function = self._function, node.name
        self.generic_visit(node)
        self._function = outer
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(node)  # type: ignore[arg-type]  # they have the same parts

    def visit_If(self, node: ast.If) -> ast.AST:
        test = ast.unparse(node.test)
        is_elif = len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        self.generic_visit(node)
        node.body.insert(0, self._statement(f"if {test}"))
        if not is_elif:
            node.orelse.insert(0, self._statement(f"if not ({test})"))
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        test = ast.unparse(node.test)
        self.generic_visit(node)
        node.body = ast.BoolOp(ast.Or(), [self._call(f"if {test}"), node.body])
        node.orelse = ast.BoolOp(ast.Or(), [self._call(f"if not ({test})"), node.orelse])
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        pattern = ast.unparse(node.pattern)
        self.generic_visit(node)
        if pattern != "_" or "assert_never" not in ast.unparse(node):
            node.body.insert(0, self._statement(f"case {pattern}"))
        return node

    def _statement(self, branch: str) -> ast.stmt:
        return ast.Expr(self._call(branch))

    def _call(self, branch: str) -> ast.expr:
        name = f"{self._module}.{self._function}: {' '.join(branch.split())[:90]}"
        self._again[name] += 1
        if self._again[name] > 1:
            name += f" #{self._again[name]}"
        if self._function:
            self.listed.append(name)
        return ast.Call(ast.Name(_CALL, ast.Load()), [ast.Constant(name)], [])


def listed() -> list[str]:
    """Return every branch of the modules that decide."""
    return [branch for name in MODULES for branch in _instrumented(importlib.import_module(name))[1]]


def install() -> None:
    """Count, from now on and in this process, in `counts`."""
    for name in MODULES:
        module = importlib.import_module(name)
        if not hasattr(module, _CALL):
            code, _ = _instrumented(module)
            setattr(module, _CALL, _met)
            codes = {inner.co_qualname: inner for inner in _nested(code)}
            for function in _functions(module):
                function.__code__ = codes[function.__qualname__]


def _instrumented(module: ModuleType) -> tuple[CodeType, list[str]]:
    instrument = _Instrument(module.__name__)
    tree = ast.fix_missing_locations(instrument.visit(ast.parse(inspect.getsource(module))))
    return compile(tree, str(module.__file__), "exec"), instrument.listed


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions that are written in a module: its own, and those of its classes."""
    own = [one for one in vars(module).values() if getattr(one, "__module__", None) == module.__name__]
    members = [part for one in own if isinstance(one, type) for part in vars(one).values()]
    for one in (*own, *members):
        function = getattr(one, "fget", getattr(one, "__func__", one))
        # A decorator may have written some of a class.
        if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
            yield function

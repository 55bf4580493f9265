"""Conditions of a query, compiled into a test of one record, and the bounds they put on what must be read.

Why: SOQL's comparisons are not Python's: text without regard to case, no value equals null and no text, ids of 15
and 18 characters are the same, a condition on an absent value is plainly false.

Source: SOQL and SOSL Reference, "Condition Expression Syntax", "Comparison Operators".
"""

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from sfsync.simorg.convert import USER_ZONE
from sfsync.simorg.ids import normalize
from sfsync.simorg.schema import NUMBER_TYPES, REFERENCE_TYPES, STRING_TYPES, FieldDef
from sfsync.simorg.soql_dates import span_of
from sfsync.simorg.soql_fields import Column, Record, Scope
from sfsync.simorg.soql_lex import SoqlError, like_pattern
from sfsync.simorg.soql_parse import Aggregate, Both, Compare, Condition, Literal, Not, Path, Query

Test = Callable[[Record], bool]
Resolve = Callable[[Path | Aggregate], Column]
Semijoin = Callable[[Query], set[Any]]
TEXT_LENGTH_MAX = 4_000
# Longer text areas are stored outside the row and can be neither filtered nor sorted by.
FILTERABLE_LENGTH_MAX = 255
_TYPE_NAMES = {"datetime": "dateTime", "int": "int", "boolean": "boolean", "date": "date"}
_WANTED = {"boolean": ("boolean",), "datetime": ("datetime", "relative"), "date": ("date", "relative")}


def compile_test(
    condition: Condition, scope: Scope, semijoin: Semijoin, resolve: Resolve | None = None
) -> Test:
    """Return the test that *condition* is; *semijoin* answers a subquery. Raises SoqlError.

    With *resolve*, which says how to read what is compared, it tests whatever that reads from: groups, for HAVING.
    """
    match condition:
        case Not():
            inner = compile_test(condition.condition, scope, semijoin, resolve)
            return lambda record: not inner(record)
        case Both():
            tests = [compile_test(part, scope, semijoin, resolve) for part in condition.conditions]
            if condition.operator == "AND":
                return lambda record: all(test(record) for test in tests)
            return lambda record: any(test(record) for test in tests)
        case Compare():
            return _Comparison(condition, scope, resolve or scope.column).test(semijoin)


class _Comparison:
    def __init__(self, compare: Compare, scope: Scope, resolve: Resolve) -> None:
        self._compare = compare
        self._scope = scope
        self._column: Column = resolve(compare.path)
        self._field: FieldDef = self._column.field
        if self._field.is_address or self._field.length > FILTERABLE_LENGTH_MAX:
            message = f"field '{self._field.name}' can not be filtered in a query call"
            raise scope.error("INVALID_FIELD", compare.path, message)

    def test(self, semijoin: Semijoin) -> Test:
        operator, literals = self._compare.operator, self._compare.literals
        if isinstance(literals, Query):
            return self._membership(semijoin(literals), operator)
        if operator == "LIKE":
            return self._like(literals[0])
        if operator in ("INCLUDES", "EXCLUDES"):
            return self._includes(literals, operator)
        values = [self._value(literal) for literal in literals]
        return (
            self._listed(operator, values)
            if operator in ("IN", "NOT IN")
            else self._against(operator, values[0])
        )

    def _listed(self, operator: str, values: list[Any]) -> Test:
        if not any(isinstance(value, tuple) for value in values):
            return self._membership(set(values), operator)
        tests = [self._against("=", value) for value in values]
        wanted = operator == "IN"
        return lambda record: any(test(record) for test in tests) is wanted

    def _against(self, operator: str, value: Any) -> Test:
        get = self._getter()
        if self._field.type == "boolean" and operator not in ("=", "!="):
            raise self._bad_operator("invalid operator on boolean field")
        if isinstance(value, tuple):
            return _in_span(get, operator, *value)
        return _plain(get, operator, value)

    def _membership(self, members: set[Any], operator: str) -> Test:
        get = self._getter()
        if operator == "IN":
            return lambda record: get(record) in members
        return lambda record: get(record) not in members

    def _getter(self) -> Callable[[Record], Any]:
        get = self._column.get
        if self._field.type not in STRING_TYPES:
            return get

        def folded(record: Record) -> Any:
            text = get(record)
            return text.lower() if text is not None else None

        return folded

    def _like(self, literal: Literal) -> Test:
        if self._field.type not in STRING_TYPES:
            raise self._bad_operator(f"invalid operator on {self._field.type} field")
        self._value(literal)
        if literal.kind != "string":
            return lambda _: False
        pattern = like_pattern(self._scope.soql, literal.token)
        get = self._column.get

        def test(record: Record) -> bool:
            text = get(record)
            return text is not None and pattern.fullmatch(text) is not None

        return test

    def _includes(self, literals: tuple[Literal, ...], operator: str) -> Test:
        if self._field.type != "multipicklist":
            raise self._bad_operator("INCLUDES and EXCLUDES are for multi-select picklists only")
        groups = [set(str(self._value(literal) or "").split(";")) for literal in literals]
        wanted, get = operator == "INCLUDES", self._getter()

        def test(record: Record) -> bool:
            chosen = set((get(record) or "").split(";"))
            return any(group <= chosen for group in groups) is wanted

        return test

    def _value(self, literal: Literal) -> Any:
        """Return what *literal* means for the field: a comparable value, None, or a span of instants or days."""
        kind = self._field.type
        if literal.kind == "null":
            return None
        if kind in REFERENCE_TYPES:
            return self._id(literal)
        if kind in STRING_TYPES:
            return self._text(literal)
        wanted = _WANTED.get(kind, ("number",) if kind in NUMBER_TYPES else ())
        if literal.kind not in wanted:
            raise self._mistyped(literal, _TYPE_NAMES.get(kind, "double"), "should not be enclosed in quotes")
        return self._span(literal) if literal.kind == "relative" else literal.value

    def _text(self, literal: Literal) -> str | None:
        if literal.kind != "string":
            raise self._mistyped(literal, "string", "should be enclosed in quotes")
        if len(literal.value) > TEXT_LENGTH_MAX:
            raise SoqlError(
                "MALFORMED_QUERY", self._scope.soql, literal.token.start, "string literal is too long"
            )
        return literal.value.lower() or None

    def _id(self, literal: Literal) -> str | None:
        if literal.kind != "string":
            raise self._mistyped(literal, "ID", "should be enclosed in quotes")
        if not literal.value:
            return None
        record_id = normalize(literal.value)
        if record_id is None:
            message = f"invalid ID field: {literal.value}"
            raise SoqlError("INVALID_QUERY_FILTER_OPERATOR", self._scope.soql, literal.token.start, message)
        return record_id

    def _span(self, literal: Literal) -> tuple[Any, Any]:
        word, count = literal.value
        today = self._scope.snapshot.world.clock.now().astimezone(USER_ZONE).date()
        try:
            span = span_of(word, count, today)
        except (OverflowError, ValueError):
            span = None
        if span is None:
            text = f"unexpected token: '{literal.token.text}'"
            raise SoqlError("MALFORMED_QUERY", self._scope.soql, literal.token.start, text)
        return (_midnight(span[0]), _midnight(span[1])) if self._field.type == "datetime" else span

    def _mistyped(self, literal: Literal, wanted: str, quotes: str) -> SoqlError:
        message = (
            f"value of filter criterion for field '{self._field.name}' must be of type {wanted} and {quotes}"
        )
        return SoqlError("INVALID_FIELD", self._scope.soql, literal.token.start, message)

    def _bad_operator(self, message: str) -> SoqlError:
        return self._scope.error("INVALID_QUERY_FILTER_OPERATOR", self._compare.path, message)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), USER_ZONE)


def _plain(get: Callable[[Record], Any], operator: str, value: Any) -> Test:
    if operator == "=":
        return lambda record: get(record) == value
    if operator == "!=":
        return lambda record: get(record) != value
    if value is None:
        return lambda _: False
    order: dict[str, Callable[[Any], bool]] = {
        "<": lambda found: found < value,
        "<=": lambda found: found <= value,
        ">": lambda found: found > value,
        ">=": lambda found: found >= value,
    }
    compare = order[operator]

    def test(record: Record) -> bool:
        found = get(record)
        return found is not None and compare(found)

    return test


def _in_span(get: Callable[[Record], Any], operator: str, start: Any, end: Any) -> Test:
    """Compare with a span of days: before it, in it or after it."""
    order: dict[str, Callable[[Any], bool]] = {
        "=": lambda found: start <= found < end,
        "!=": lambda found: not start <= found < end,
        "<": lambda found: found < start,
        "<=": lambda found: found < end,
        ">": lambda found: found >= end,
        ">=": lambda found: found >= start,
    }
    compare = order[operator]

    def test(record: Record) -> bool:
        found = get(record)
        return compare(found) if found is not None else operator == "!="

    return test


def bound(condition: Condition | None, field: str, operators: tuple[str, ...], choose: Any) -> Any:
    """Return a bound on *field* that every matching record keeps, or None.

    With operators `>`, `>=`, `=` and `min` it is a floor, with `<`, `<=`, `=` and `max` a ceiling: an OR is as wide
    as its widest branch, and unbounded as soon as one branch is.
    """
    match condition:
        case Compare(path=Path(names=(name,), function=None), literals=(Literal(value=value, kind=kind),)):
            is_bound = (
                name.lower() == field and condition.operator in operators and kind in ("datetime", "string")
            )
            return value if is_bound else None
        case Both(operator="OR"):
            found = [bound(part, field, operators, choose) for part in condition.conditions]
            return None if None in found else choose(found)
        case Both():
            known = [
                b for part in condition.conditions if (b := bound(part, field, operators, choose)) is not None
            ]
            # Any one of them will do: the test itself is exact.
            return known[0] if known else None
        case _:
            return None


def wanted_ids(condition: Condition | None) -> list[str] | None:
    """Return the only ids that can match, if the condition names them."""
    match condition:
        case Compare(path=Path(names=(name,), function=None), literals=tuple() as literals):
            if name.lower() != "id" or condition.operator not in ("=", "IN"):
                return None
            ids = {normalize(literal.value) for literal in literals if literal.kind == "string"}
            return sorted(record_id for record_id in ids if record_id)
        case Both(operator="AND"):
            named = (wanted_ids(part) for part in condition.conditions)
            return next((ids for ids in named if ids is not None), None)
        case _:
            return None

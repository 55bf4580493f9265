"""SOQL text to a syntax tree, by recursive descent.

Why: a real grammar, because clients send what they like; matching the few texts our own daemon sends would make the
org useless as a judge of anybody else.

Source: SOQL and SOSL Reference, "SOQL SELECT Syntax".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sfsync.simorg.soql_lex import SoqlError, Token, tokenize, unescape
from sfsync.simorg.values import parse_date, parse_datetime

DEPTH_MAX = 40
COUNT_DIGITS_MAX = 9
T = TypeVar("T")
OPERATORS = ("=", "!=", "<>", "<", "<=", ">", ">=")
AGGREGATES = ("COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG")
FUNCTIONS = (
    "DAY_ONLY",
    "CALENDAR_YEAR",
    "CALENDAR_MONTH",
    "DAY_IN_MONTH",
    "HOUR_IN_DAY",
    "TOLABEL",
    "FORMAT",
)
# Words that end a list of names: an alias cannot be one of them.
_CLAUSES = (
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "USING",
    "WITH",
    "UPDATE",
)
_OPERATORS = (
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "INCLUDES",
    "EXCLUDES",
    "ASC",
    "DESC",
    "NULLS",
    "ALL",
    "ROWS",
    "FOR",
)
_RESERVED = frozenset((*_CLAUSES, *_OPERATORS))


@dataclass(frozen=True, slots=True)
class Path:
    """A field, perhaps behind relationships, perhaps inside a date function."""

    names: tuple[str, ...]
    start: int
    function: str | None = None


@dataclass(frozen=True, slots=True)
class FieldsFunction:
    """`FIELDS(ALL)`, `FIELDS(STANDARD)` or `FIELDS(CUSTOM)`."""

    kind: str
    start: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate function over a field; `COUNT()` has none."""

    function: str
    path: Path | None
    alias: str | None
    start: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in a condition; *kind* is string, number, boolean, null, date, datetime or relative."""

    kind: str
    value: Any
    token: Token


@dataclass(frozen=True, slots=True)
class Compare:
    """A field, or in HAVING an aggregate, against one literal, a list of them, or the rows of a subquery."""

    path: Path | Aggregate
    operator: str
    literals: "tuple[Literal, ...] | Query"


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of a condition."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Both:
    """Conditions joined by AND or by OR."""

    operator: str
    conditions: "tuple[Condition, ...]"


Condition = Compare | Not | Both


@dataclass(frozen=True, slots=True)
class Order:
    """One term of ORDER BY."""

    path: Path | Aggregate
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT."""

    soql: str
    select: "tuple[Path | FieldsFunction | Aggregate | Query, ...]"
    entity: str
    entity_start: int
    alias: str | None = None
    where: Condition | None = None
    group_by: tuple[Path, ...] = ()
    having: Condition | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


def parse(soql: str) -> Query:
    """Return the tree of *soql*. Raises SoqlError."""
    if not soql.strip():
        raise SoqlError("MALFORMED_QUERY", soql, None, "A query string has to be specified")
    parser = _Parser(soql)
    query = parser.query()
    parser.finish()
    return query


class _Parser:
    def __init__(self, soql: str) -> None:
        self._soql = soql
        self._tokens = tokenize(soql)
        self._place = 0
        self._depth = 0

    def query(self) -> Query:
        self._expect("SELECT")
        select = [self._selected()]
        while self._accept(","):
            select.append(self._selected())
        self._expect("FROM")
        entity = self._name()
        query = Query(self._soql, tuple(select), entity.text, entity.start, alias=self._alias())
        self._scope()
        if self._accept("WHERE"):
            query = replace(query, where=self._condition())
        return self._tail(query)

    def finish(self) -> None:
        """Refuse whatever stands behind the query."""
        for verb in ("FOR", "UPDATE"):
            if self._accept(verb):
                self._name()
        if self._peek().word == "ALL" and self._tokens[self._place + 1].word == "ROWS":
            raise self._error("ALL ROWS not allowed in this context")
        if self._peek().kind != "end":
            raise self._unexpected()

    def _tail(self, query: Query) -> Query:
        if self._accept("GROUP"):
            self._expect("BY")
            query = replace(query, group_by=tuple(self._listed(self._path)))
            if self._accept("HAVING"):
                query = replace(query, having=self._condition())
        if self._accept("ORDER"):
            self._expect("BY")
            query = replace(query, order_by=tuple(self._listed(self._order)))
        if self._accept("LIMIT"):
            query = replace(query, limit=self._count())
        if self._accept("OFFSET"):
            query = replace(query, offset=self._count())
        return query

    def _selected(self) -> Path | FieldsFunction | Aggregate | Query:
        token = self._peek()
        if token.text == "(":
            self._place += 1
            query = self._deeper(self.query)
            self._expect(")")
            return query
        if token.word == "FIELDS" and self._following("("):
            self._place += 2
            kind = self._name()
            if kind.word not in ("ALL", "STANDARD", "CUSTOM"):
                raise self._unexpected(kind)
            self._expect(")")
            return FieldsFunction(kind.word, token.start)
        if token.word in AGGREGATES and self._following("("):
            return self._aggregate()
        return self._path()

    def _aggregate(self) -> Aggregate:
        function = self._name()
        self._expect("(")
        path = None if self._peek().text == ")" else self._path()
        if path is None and function.word != "COUNT":
            raise self._unexpected()
        self._expect(")")
        return Aggregate(function.word, path, self._alias(), function.start)

    def _path(self) -> Path:
        token = self._name()
        if self._peek().text == "(" and token.word in FUNCTIONS:
            self._place += 1
            inner = self._deeper(self._path)
            self._expect(")")
            return replace(inner, function=token.word)
        names = [token.text]
        while self._accept("."):
            names.append(self._name().text)
        return Path(tuple(names), token.start)

    def _condition(self) -> Condition:
        first = self._unary()
        joint = self._peek().word
        if joint not in ("AND", "OR"):
            return first
        conditions = [first]
        while self._accept(joint):
            conditions.append(self._unary())
        if self._peek().word in ("AND", "OR"):
            # SOQL wants parentheses around mixed AND and OR.
            raise self._unexpected()
        return Both(joint, tuple(conditions))

    def _unary(self) -> Condition:
        if self._accept("NOT"):
            return Not(self._deeper(self._unary))
        if self._accept("("):
            condition = self._deeper(self._condition)
            self._expect(")")
            return condition
        return self._comparison()

    def _deeper(self, read: Callable[[], T]) -> T:
        """Return what *read* reads one level deeper. Raises SoqlError where the nesting goes too deep."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error("the query is nested too deeply")
        found = read()
        self._depth -= 1
        return found

    def _comparison(self) -> Compare:
        path = self._path_or_aggregate()
        token = self._next()
        operator = token.word
        if operator == "NOT":
            self._expect("IN")
            return Compare(path, "NOT IN", self._members())
        if operator in ("IN", "INCLUDES", "EXCLUDES"):
            return Compare(path, operator, self._members())
        if operator not in (*OPERATORS, "LIKE"):
            raise self._unexpected(token)
        return Compare(path, "!=" if operator == "<>" else operator, (self._literal(),))

    def _members(self) -> tuple[Literal, ...] | Query:
        self._expect("(")
        if self._peek().word == "SELECT":
            query = self._deeper(self.query)
            self._expect(")")
            return query
        literals = self._listed(self._literal)
        self._expect(")")
        return tuple(literals)

    def _literal(self) -> Literal:
        token = self._next()
        if token.kind == "string":
            return Literal("string", unescape(self._soql, token), token)
        if token.kind == "number":
            return Literal("number", float(token.text), token)
        if token.kind in ("date", "datetime"):
            parsed = parse_date(token.text) if token.kind == "date" else parse_datetime(token.text)
            if parsed is None:
                raise self._error(f"Invalid {token.kind}: {token.text}", token)
            return Literal(token.kind, parsed, token)
        return self._word_literal(token)

    def _word_literal(self, token: Token) -> Literal:
        if token.kind != "name":
            raise self._unexpected(token)
        if token.word in ("TRUE", "FALSE"):
            return Literal("boolean", token.word == "TRUE", token)
        if token.word == "NULL":
            return Literal("null", None, token)
        count = self._count() if self._accept(":") else None
        return Literal("relative", (token.word, count), token)

    def _path_or_aggregate(self) -> Path | Aggregate:
        is_aggregate = self._peek().word in AGGREGATES and self._following("(")
        return self._aggregate() if is_aggregate else self._path()

    def _order(self) -> Order:
        path = self._path_or_aggregate()
        descending = self._accept("DESC")
        if not descending:
            self._accept("ASC")
        nulls_last = False
        if self._accept("NULLS"):
            nulls_last = self._accept("LAST")
            if not nulls_last:
                self._expect("FIRST")
        return Order(path, descending, nulls_last)

    def _scope(self) -> None:
        if self._accept("USING"):
            self._expect("SCOPE")
            self._name()

    def _alias(self) -> str | None:
        token = self._peek()
        if token.kind == "name" and token.word not in _RESERVED:
            self._place += 1
            return token.text
        return None

    def _count(self) -> int:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit() or len(token.text) > COUNT_DIGITS_MAX:
            raise self._unexpected(token)
        return int(token.text)

    def _listed(self, read: Any) -> list[Any]:
        found = [read()]
        while self._accept(","):
            found.append(read())
        return found

    def _name(self) -> Token:
        token = self._next()
        if token.kind != "name" or token.word in ("FROM", "SELECT", "WHERE"):
            raise self._unexpected(token)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._place]

    def _following(self, text: str) -> bool:
        return self._tokens[self._place + 1].text == text

    def _next(self) -> Token:
        token = self._tokens[self._place]
        if token.kind == "end":
            raise self._unexpected(token)
        self._place += 1
        return token

    def _accept(self, word: str) -> bool:
        if self._peek().word == word and self._peek().kind in ("name", "sign"):
            self._place += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected()

    def _unexpected(self, token: Token | None = None) -> SoqlError:
        wrong = token or self._peek()
        text = "unexpected end of file" if wrong.kind == "end" else f"unexpected token: '{wrong.text}'"
        return self._error(text, wrong)

    def _error(self, message: str, token: Token | None = None) -> SoqlError:
        return SoqlError("MALFORMED_QUERY", self._soql, (token or self._peek()).start, message)

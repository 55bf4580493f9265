"""Aggregate queries: COUNT, MIN, MAX, SUM and AVG, with or without GROUP BY.

Source: SOQL and SOSL Reference, "Aggregate Functions": a result without an alias is called expr0, expr1 and so on.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sfsync.simorg.schema import NUMBER_TYPES, FieldDef
from sfsync.simorg.soql_fields import Column, Scope
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, Order, Path, Query
from sfsync.simorg.soql_where import compile_test
from sfsync.simorg.values import to_json
from sfsync.simorg.world import Row

INLINE_LENGTH_MAX = 255
_AGGREGATED = {"SUM": NUMBER_TYPES, "AVG": NUMBER_TYPES}


def is_grouped(query: Query) -> bool:
    """Tell whether the query answers groups instead of records."""
    return bool(query.group_by) or any(isinstance(selected, Aggregate) for selected in query.select)


def grouped(query: Query, scope: Scope, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the finished rows of an aggregate query. Raises SoqlError."""
    keys = [_groupable(path, scope) for path in query.group_by]
    plan = _plan(query, scope, keys)
    members: dict[tuple[Any, ...], list[Any]] = {} if keys else {(): []}
    for _, fields in rows:
        members.setdefault(tuple(key.get(fields) for key in keys), []).append(fields)
    passing = _having(query, scope, keys)
    ordered = _ordered(query, scope, [group for group in members.items() if passing(group)], keys)
    groups = []
    for key, group in ordered[query.offset :]:
        row: dict[str, Any] = {"attributes": {"type": "AggregateResult"}}
        for name, what in plan:
            row[name] = to_json(key[what] if isinstance(what, int) else _aggregate(what[0], what[1], group))
        groups.append(row)
    return groups if query.limit is None else groups[: query.limit]


_What = int | tuple[Aggregate, Column | None]


def _plan(query: Query, scope: Scope, keys: list[Column]) -> list[tuple[str, _What]]:
    names = [key.name for key in keys]
    plan: list[tuple[str, _What]] = []
    unnamed = 0
    for selected in query.select:
        if isinstance(selected, Aggregate):
            name = selected.alias or f"expr{unnamed}"
            unnamed += selected.alias is None
            plan.append((name, (selected, _column(selected, scope))))
            continue
        if not isinstance(selected, Path):
            raise SoqlError("MALFORMED_QUERY", query.soql, None, "only fields and aggregates can be grouped")
        column = scope.resolve(selected)
        if column.name not in names:
            raise scope.error(
                "MALFORMED_QUERY", selected, f"Field must be grouped or aggregated: {column.name}"
            )
        plan.append((column.field.name, names.index(column.name)))
    return plan


def _groupable(path: Path, scope: Scope) -> Column:
    column = scope.resolve(path)
    if column.field.is_address or column.field.length > INLINE_LENGTH_MAX:
        message = f"field '{column.field.name}' can not be grouped in a query call"
        raise scope.error("MALFORMED_QUERY", path, message)
    return column


def _column(aggregate: Aggregate, scope: Scope) -> Column | None:
    if aggregate.path is None:
        return None
    column = _groupable(aggregate.path, scope)
    kinds = _AGGREGATED.get(aggregate.function)
    if kinds is not None and column.field.type not in kinds:
        message = f"field {column.field.name} does not support aggregate operator {aggregate.function}"
        raise scope.error("MALFORMED_QUERY", aggregate, message)
    return column


def _having(query: Query, scope: Scope, keys: list[Column]) -> Callable[[Any], bool]:
    if query.having is None:
        return lambda _: True

    def resolve(path: Path | Aggregate) -> Column:
        value = _sort_value(Order(path), scope, keys)
        if isinstance(path, Path):
            return Column((), scope.resolve(path).field, value)
        counted = path.path is None or path.function.startswith("COUNT")
        field = FieldDef("expr", "int") if counted or path.path is None else scope.resolve(path.path).field
        return Column((), field, value)

    def semijoin(inner: Query) -> set[Any]:
        raise SoqlError("MALFORMED_QUERY", query.soql, inner.entity_start, "HAVING takes no subquery")

    return compile_test(query.having, scope, semijoin, resolve)


def _aggregate(aggregate: Aggregate, column: Column | None, group: list[Any]) -> Any:
    if column is None:
        return len(group)
    found = [value for fields in group if (value := column.get(fields)) is not None]
    match aggregate.function:
        case "COUNT":
            return len(found)
        case "COUNT_DISTINCT":
            return len({value.lower() if isinstance(value, str) else value for value in found})
        case "MIN" | "MAX":
            return (min if aggregate.function == "MIN" else max)(found, default=None)
        case _:
            total = float(sum(found)) if found else None
            return total if aggregate.function == "SUM" or total is None else total / len(found)


def _ordered(
    query: Query, scope: Scope, groups: list[tuple[tuple[Any, ...], list[Any]]], keys: list[Column]
) -> list[tuple[tuple[Any, ...], list[Any]]]:
    for term in reversed(query.order_by):
        value = _sort_value(term, scope, keys)
        empty = [group for group in groups if value(group) is None]
        full = sorted((g for g in groups if value(g) is not None), key=value, reverse=term.descending)
        groups = full + empty if term.nulls_last else empty + full
    return groups


def _sort_value(term: Order, scope: Scope, keys: list[Column]) -> Any:
    path = term.path
    if isinstance(path, Aggregate):
        column = _column(path, scope)
        return lambda group: _aggregate(path, column, group[1])
    name = scope.resolve(path).name
    names = [key.name for key in keys]
    if name not in names:
        raise scope.error("MALFORMED_QUERY", path, f"Field must be grouped or aggregated: {name}")
    place = names.index(name)
    return lambda group: group[0][place]

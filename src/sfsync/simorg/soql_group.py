"""Aggregate queries: COUNT, MIN, MAX, SUM and AVG, with or without GROUP BY.

Source: SOQL and SOSL Reference, "Aggregate Functions": a result without an alias is called expr0, expr1 and so on.
"""

from typing import Any

from sfsync.simorg.soql_fields import Column, Scope
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, Order, Path, Query
from sfsync.simorg.values import to_json
from sfsync.simorg.world import Row


def is_grouped(query: Query) -> bool:
    """Tell whether the query answers groups instead of records."""
    return bool(query.group_by) or any(isinstance(selected, Aggregate) for selected in query.select)


def grouped(query: Query, scope: Scope, rows: list[Row]) -> list[dict[str, Any]]:
    """Return the finished rows of an aggregate query. Raises SoqlError."""
    keys = [scope.resolve(path) for path in query.group_by]
    plan = _plan(query, scope, keys)
    members: dict[tuple[Any, ...], list[Any]] = {} if keys else {(): []}
    for _, fields in rows:
        members.setdefault(tuple(key.get(fields) for key in keys), []).append(fields)
    ordered = _ordered(query, scope, list(members.items()), keys)
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


def _column(aggregate: Aggregate, scope: Scope) -> Column | None:
    return None if aggregate.path is None else scope.resolve(aggregate.path)


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

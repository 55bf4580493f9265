"""A parsed query answered from a snapshot of the world.

Why: the access path matters as soon as there are a hundred thousand records: ids named in the condition are looked
up, a floor on SystemModstamp walks the index from there, and a LIMIT stops the walk when the order is the index's
own. Everything else is a scan and a sort.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from sfsync.simorg.errors import ApiError
from sfsync.simorg.generated import GeneratedEntity
from sfsync.simorg.ids import normalize
from sfsync.simorg.schema import REFERENCE_TYPES, EntityDef
from sfsync.simorg.soql_fields import Scope
from sfsync.simorg.soql_generated import Rows, passing, span_of
from sfsync.simorg.soql_group import grouped, is_grouped
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, Order, Path, Query, parse
from sfsync.simorg.soql_rows import Renderer, compile_renderer, sorted_rows
from sfsync.simorg.soql_where import Test, bound, compile_test, wanted_ids
from sfsync.simorg.world import BEFORE_ALL, Row, Snapshot

SOQL_LENGTH_MAX = 100_000
OFFSET_MAX = 2_000
# Sorting and grouping more generated records than this takes longer than a query may.
SORTED_MAX = 200_000
_INDEX_ORDERS = (["id"], ["systemmodstamp"], ["systemmodstamp", "id"])


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a query, still records; *groups* are the finished rows of an aggregate query instead."""

    entity: str
    total: int
    rows: list[Row] | Rows
    renderer: Renderer | None
    groups: list[dict[str, Any]] | None = None

    def json(self, start: int, end: int, version: str) -> list[dict[str, Any]]:
        """Return rows *start* to *end* in REST form."""
        if self.groups is not None:
            return self.groups[start:end]
        return self.renderer.json(self.rows[start:end], version) if self.renderer else []

    def encoded(self, start: int, end: int, version: str) -> list[Any]:
        """Return what `json` does, encoded already where that saves work."""
        if self.groups is not None or self.renderer is None:
            return self.json(start, end, version)
        return self.renderer.encoded(self.rows[start:end], version)

    def csv_slices(self, delimiter: str, line_end: str, size: int) -> Iterator[list[str]]:
        """Yield the lines of all rows, *size* at a time, without the header."""
        assert self.renderer is not None, "a bulk query is never an aggregate one"  # noqa: S101  # narrows the type
        if isinstance(self.rows, Rows):
            yield from self.rows.lines(self.renderer, delimiter, line_end, size)
            return
        for start in range(0, len(self.rows), size):
            yield self.renderer.csv(self.rows[start : start + size], delimiter, line_end)

    def __len__(self) -> int:
        return len(self.rows) if self.groups is None else len(self.groups)


def run(soql: str, snapshot: Snapshot, *, deleted: bool) -> Result:
    """Answer *soql*; with *deleted*, what lies in the recycle bin is seen too. Raises SoqlError or ApiError."""
    if len(soql) > SOQL_LENGTH_MAX:
        raise ApiError(
            "MALFORMED_QUERY", f"SOQL statements cannot be longer than {SOQL_LENGTH_MAX} characters."
        )
    return answer(parse(soql), snapshot, deleted=deleted)


def answer(query: Query, snapshot: Snapshot, *, deleted: bool) -> Result:
    """Answer a parsed query. Raises SoqlError or ApiError."""
    scope = scope_of(query, snapshot)
    if query.offset > OFFSET_MAX:
        raise ApiError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {OFFSET_MAX}")
    base = scope.snapshot.generated(scope.entity.name)
    if base is not None and wanted_ids(query.where) is None:
        return _among_generated(query, scope, base, deleted=deleted)
    matching = _matching(query, scope, deleted=deleted)
    if is_grouped(query):
        return grouped_result(query, scope, list(matching))
    renderer = compile_renderer(query, scope, deleted=deleted)
    order = _checked_order(query, scope)
    if order and not _is_index_order(query):
        rows = sorted_rows(list(matching), order)[query.offset :]
        rows = rows if query.limit is None else rows[: query.limit]
    else:
        end = None if query.limit is None else query.offset + query.limit
        rows = list(islice(matching, query.offset, end))
    return Result(scope.entity.name, len(rows), rows, renderer)


def _among_generated(query: Query, scope: Scope, base: GeneratedEntity, *, deleted: bool) -> Result:
    """Answer a query of an entity whose records are generated for the most part. Raises SoqlError or ApiError."""
    runs = _runs(query, scope, base, deleted=deleted)
    if is_grouped(query):
        rows = Rows(base, runs)
        return grouped_result(query, scope, rows if _is_total(query) else _few(rows))
    renderer = compile_renderer(query, scope, deleted=deleted)
    order = _checked_order(query, scope)
    names = _order_names(query)
    if not order or names in _INDEX_ORDERS:
        rows = Rows.limited(base, runs, query.offset, query.limit)
    elif _order_names(query, descending=True) in _INDEX_ORDERS:
        rows = Rows.limited(base, Rows(base, runs).backwards(), query.offset, query.limit)
    else:
        ordered = sorted_rows(_few(Rows(base, runs)), order)[query.offset :]
        ordered = ordered if query.limit is None else ordered[: query.limit]
        return Result(scope.entity.name, len(ordered), ordered, renderer)
    return Result(scope.entity.name, len(rows), rows, renderer)


def _runs(query: Query, scope: Scope, base: GeneratedEntity, *, deleted: bool) -> Iterator[Row | range]:
    """Return what matches: records that were written, and runs of generated ones, by stamp or by id.

    Errors in the condition are raised at once, not at the first row.
    """
    snapshot, entity = scope.snapshot, scope.entity.name
    test = _test(query, scope, deleted=deleted)
    span, is_exact = span_of(query.where, base)
    floor = bound(query.where, "systemmodstamp", (">", ">=", "="), min)
    if _orders_by_stamp(query) or _orders_by_stamp(query, descending=True) or (floor and not query.order_by):
        stored, place_of = snapshot.stored_by_stamp(entity, floor or BEFORE_ALL), base.place_by_stamp
    else:
        stored, place_of = snapshot.stored_by_id(entity, _first_id(query)), base.place_by_id
    rows = ((place_of(row), row) for row in _passing(stored, test, deleted=deleted))
    runs = base.woven(rows, span)
    veil = snapshot.veil if snapshot.veil is not None and entity in snapshot.veil.entities else None
    if is_exact and veil is None:
        return runs

    def is_wanted(fields: Mapping[str, Any]) -> bool:
        return (veil is None or not veil.hides(entity, fields)) and (is_exact or test is None or test(fields))

    return chain.from_iterable(
        passing(base, run, is_wanted) if isinstance(run, range) else (run,) for run in runs
    )


def _is_total(query: Query) -> bool:
    match query.select:
        case (Aggregate(function="COUNT", path=None),):
            return True
        case _:
            return False


def _few(rows: Rows) -> list[Row]:
    """Return the rows as records. Raises ApiError if they are too many to be sorted or grouped, as the real org."""
    if len(rows) > SORTED_MAX:
        raise ApiError("QUERY_TIMEOUT", "Your query request was running for too long.")
    return list(rows)


def grouped_result(query: Query, scope: Scope, rows: list[Row] | Rows) -> Result:
    """Return the result of an aggregate query; `COUNT()` alone is only a total."""
    if _is_total(query):
        total = len(rows) if query.limit is None else min(len(rows), query.limit)
        return Result(scope.entity.name, total, [], None)
    groups = grouped(query, scope, rows)
    return Result("AggregateResult", len(groups), [], None, groups)


def scope_of(query: Query, snapshot: Snapshot) -> Scope:
    """Return what the names of *query* mean. Raises SoqlError INVALID_TYPE."""
    entity = snapshot.world.schema.source(query.entity)
    if entity is None:
        message = (
            f"sObject type '{query.entity}' is not supported. If you are attempting to use a custom object, be sure to "
            "append the '__c' after the entity name. Please reference your WSDL or the describe call for the "
            "appropriate names."
        )
        raise SoqlError("INVALID_TYPE", query.soql, query.entity_start, message)
    return Scope(query.soql, entity, query.alias, snapshot)


def _matching(query: Query, scope: Scope, *, deleted: bool) -> Iterator[Row]:
    """Return the rows that match; errors in the condition are raised at once, not at the first row."""
    base = scope.snapshot.generated(scope.entity.name)
    if base is not None and wanted_ids(query.where) is None:
        return iter(Rows(base, _runs(query, scope, base, deleted=deleted)))
    test = _test(query, scope, deleted=deleted)
    return _passing(_candidates(query, scope.entity, scope.snapshot), test, deleted=deleted)


def _test(query: Query, scope: Scope, *, deleted: bool) -> Test | None:
    """Return the condition as a test of one record. Raises SoqlError or ApiError."""

    def semijoin(inner: Query) -> set[Any]:
        path = inner.select[0]
        if len(inner.select) != 1 or not isinstance(path, Path):
            message = "a subquery in a condition selects exactly one field"
            raise SoqlError("MALFORMED_QUERY", query.soql, inner.entity_start, message)
        inner_scope = scope_of(inner, scope.snapshot)
        column = inner_scope.resolve(path)
        if column.field.type not in REFERENCE_TYPES:
            message = f"The inner select field '{column.field.name}' must be an ID or reference field"
            raise inner_scope.error("INVALID_FIELD", path, message)
        found = {column.get(fields) for _, fields in _matching(inner, inner_scope, deleted=deleted)}
        return found - {None}

    return compile_test(query.where, scope, semijoin) if query.where else None


def _passing(rows: Iterable[Row], test: Test | None, *, deleted: bool) -> Iterator[Row]:
    for row in rows:
        if (deleted or not row[1]["IsDeleted"]) and (test is None or test(row[1])):
            yield row


def _candidates(query: Query, entity: EntityDef, snapshot: Snapshot) -> Iterator[Row]:
    ids = wanted_ids(query.where)
    if ids is not None:
        found = ((record_id, snapshot.get(record_id)) for record_id in ids)
        return ((i, f) for i, f in found if f is not None and snapshot.world.entity_of(i) == entity.name)
    floor = bound(query.where, "systemmodstamp", (">", ">=", "="), min)
    if floor is not None or _orders_by_stamp(query):
        ceiling = bound(query.where, "systemmodstamp", ("<", "<=", "="), max)
        rows = snapshot.stored_by_stamp(entity.name, floor or BEFORE_ALL)
        if ceiling is None:
            return rows
        return _until(rows, ceiling)
    return snapshot.stored_by_id(entity.name, _first_id(query))


def _first_id(query: Query) -> str:
    """Return the id that none of the wanted ones precedes."""
    return normalize(bound(query.where, "id", (">", ">=", "="), min) or "") or ""


def _until(rows: Iterator[Row], ceiling: Any) -> Iterator[Row]:
    for row in rows:
        if row[1]["SystemModstamp"] > ceiling:
            return
        yield row


def _checked_order(query: Query, scope: Scope) -> list[tuple[Any, Order]]:
    terms = []
    for term in query.order_by:
        if isinstance(term.path, Aggregate):
            message = "aggregates in ORDER BY need an aggregate query"
            raise SoqlError("MALFORMED_QUERY", query.soql, term.path.start, message)
        column = scope.resolve(term.path)
        if column.field.is_address or column.field.length > 255:
            message = f"field '{column.field.name}' can not be sorted in a query call"
            raise scope.error("INVALID_FIELD", term.path, message)
        terms.append((column, term))
    return terms


def _order_names(query: Query, *, descending: bool = False) -> list[str]:
    """Return the names of a plain order in one direction, in small letters; empty if it is anything else."""
    names = []
    for term in query.order_by:
        if (
            term.descending != descending
            or isinstance(term.path, Aggregate)
            or term.path.function
            or len(term.path.names) != 1
        ):
            return []
        names.append(term.path.names[0].lower())
    return names


def _orders_by_stamp(query: Query, *, descending: bool = False) -> bool:
    return _order_names(query, descending=descending) in (["systemmodstamp"], ["systemmodstamp", "id"])


def _is_index_order(query: Query) -> bool:
    """Whether the candidates already come in the order asked for."""
    if wanted_ids(query.where) is not None:
        return _order_names(query) == ["id"]
    if _orders_by_stamp(query):
        return True
    has_floor = bound(query.where, "systemmodstamp", (">", ">=", "="), min) is not None
    return _order_names(query) == ["id"] and not has_floor

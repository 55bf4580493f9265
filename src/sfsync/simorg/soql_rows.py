"""Records turned into the rows that a SELECT list asks for: JSON objects for REST, text columns for Bulk.

Why: a page of two thousand rows is rendered by a plan made once per query; stored values need no conversion except
instants and days.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec

from sfsync.simorg.generated import GeneratedFields, Source
from sfsync.simorg.schema import FieldDef
from sfsync.simorg.soql_fields import Column, Getter, Scope, getter_of
from sfsync.simorg.soql_lex import SoqlError
from sfsync.simorg.soql_parse import Aggregate, FieldsFunction, Order, Path, Query
from sfsync.simorg.soql_where import compile_test
from sfsync.simorg.values import csv_text, to_json
from sfsync.simorg.world import Row, Snapshot

FIELDS_LIMIT_MAX = 200
# Names of the child relationships that subqueries may use: parent entity and name to child entity and lookup.
CHILD_RELATIONSHIPS = {
    ("Account", "contacts"): ("Contact", "AccountId"),
    ("Account", "childaccounts"): ("Account", "ParentId"),
    ("Account", "opportunities"): ("Opportunity", "AccountId"),
}


@dataclass(slots=True)
class _Node:
    """The columns read from one record, and the records behind its lookups."""

    entity: str
    columns: list[tuple[str, Getter]] = field(default_factory=list)
    parents: dict[str, tuple[str, "_Node"]] = field(default_factory=dict)
    children: list[tuple[str, Callable[[str, str], Any]]] = field(default_factory=list)


class Renderer:
    """Renders the rows of one query."""

    def __init__(self, snapshot: Snapshot, root: _Node, columns: list[Column]) -> None:
        self._snapshot = snapshot
        self._root = root
        self.columns = columns
        # Whether a row follows from the fields of its record alone.
        is_stored = root.entity in snapshot.world.schema.entities
        is_stored &= all(not c.relations and c.field.formula is None for c in columns)
        self.is_flat = is_stored and not root.children and not root.parents

    def sources(self) -> list[Source] | None:
        """Return for each column the field that its value follows from, how, and whether that is a lookup.

        None if there are children.
        """
        if self._root.children:
            return None
        entity = self._snapshot.world.schema.source(self._root.entity)
        out = []
        for column in self.columns:
            lookup = column.relations[0] if column.relations else None
            if column.field.formula is not None and lookup is None and entity is not None:
                lookup = entity.relation(column.field.formula.partition(".")[0])
            out.append(Source((lookup or column.field).name, column.get, lookup is not None))
        return out

    def json(self, rows: Iterable[Row], version: str) -> list[dict[str, Any]]:
        """Return *rows* as REST answers them."""
        return [self._object(self._root, record_id, fields, version) for record_id, fields in rows]

    def encoded(self, rows: Iterable[Row], version: str) -> list[Any]:
        """Return *rows* as `json` does, already encoded where the text of a record version can be kept."""
        if not self.is_flat:
            return self.json(rows, version)
        encode = msgspec.json.Encoder().encode

        def text_of(record_id: str, fields: Any) -> msgspec.Raw:
            return msgspec.Raw(encode(self._object(self._root, record_id, fields, version)))

        return self._kept(rows, ("json", version), text_of)

    def csv(self, rows: Iterable[Row], delimiter: str, line_end: str) -> list[str]:
        """Return the lines of *rows* as Bulk answers them: every value quoted, nothing for null, no header."""
        getters = [column.get for column in self.columns]
        quoted = f'"{delimiter}"'

        def text_of(_record_id: str, fields: Any) -> str:
            return '"' + quoted.join([csv_text(get(fields)) for get in getters]) + '"' + line_end

        if not self.is_flat:
            return [text_of(*row) for row in rows]
        return self._kept(rows, ("csv", delimiter, line_end), text_of)

    def _kept(
        self, rows: Iterable[Row], form: tuple[str, ...], text_of: Callable[[str, Any], Any]
    ) -> list[Any]:
        """Return the text of each row, made once per record version.

        A state is never changed once written, except together with the schema's version, which is part of the key.
        """
        world = self._snapshot.world
        names = tuple(column.name for column in self.columns)
        texts = world.texts.of((self._root.entity, world.schema.version, form, names))
        out = []
        for record_id, fields in rows:
            # What was made for this reader is at a place that another record will have tomorrow.
            key = None if type(fields) is GeneratedFields else id(fields)
            text = texts.get(key) if key is not None else text_of(record_id, fields)
            if text is None and key is not None:
                text = texts[key] = text_of(record_id, fields)
            out.append(text)
        return out

    def _object(self, node: _Node, record_id: str, fields: Any, version: str) -> dict[str, Any]:
        url = f"/services/data/v{version}/sobjects/{node.entity}/{record_id}"
        row: dict[str, Any] = {"attributes": {"type": node.entity, "url": url}}
        for name, get in node.columns:
            value = get(fields)
            row[name] = to_json(value) if isinstance(value, date) else value
        for name, (lookup, parent) in node.parents.items():
            target = fields.get(lookup)
            found = self._snapshot.get(target) if target else None
            row[name] = None if found is None else self._object(parent, target, found, version)
        for name, rows_of in node.children:
            row[name] = rows_of(record_id, version)
        return row


def compile_renderer(query: Query, scope: Scope, *, deleted: bool) -> Renderer:
    """Return the renderer of a SELECT list. Raises SoqlError."""
    root = _Node(scope.entity.name)
    columns: dict[str, Column] = {}
    for selected in query.select:
        match selected:
            case FieldsFunction():
                columns |= {column.name: column for column in _all_fields(selected, query, scope)}
            case Path():
                column = _selected_column(selected, columns, scope)
                columns[column.name] = column
            case Query():
                root.children.append(_children(selected, scope, deleted=deleted))
            case Aggregate():
                raise SoqlError("MALFORMED_QUERY", query.soql, selected.start, "aggregates need GROUP BY")
    for column in columns.values():
        _plant(root, column, scope)
    return Renderer(scope.snapshot, root, list(columns.values()))


def render_fields(fields: list[FieldDef], entity_name: str, snapshot: Snapshot) -> Renderer:
    """Return the renderer of a plain list of fields, as retrieving a record by id needs it."""
    entity = snapshot.world.schema.entities[entity_name]
    columns = [Column((), chosen, getter_of(entity, chosen, snapshot)) for chosen in fields]
    root = _Node(entity_name, [(column.field.name, column.get) for column in columns])
    return Renderer(snapshot, root, columns)


def sorted_rows(rows: list[Row], order: list[tuple[Column, Order]]) -> list[Row]:
    """Return *rows* in the order asked for; nulls come first unless NULLS LAST, text is compared without case."""
    for column, term in reversed(order):
        keyed = [(column.get(fields), (record_id, fields)) for record_id, fields in rows]
        empty = [row for key, row in keyed if key is None]
        full = [
            (key.lower() if isinstance(key, str) and not _is_id(column) else key, row)
            for key, row in keyed
            if key is not None
        ]
        full.sort(key=lambda pair: pair[0], reverse=term.descending)
        ordered = [row for _, row in full]
        rows = ordered + empty if term.nulls_last else empty + ordered
    return rows


def _is_id(column: Column) -> bool:
    return column.field.type in ("id", "reference")


def _selected_column(path: Path, columns: Mapping[str, Column], scope: Scope) -> Column:
    column = scope.resolve(path)
    if column.name in columns:
        raise scope.error("INVALID_FIELD", path, f"duplicate field selected: {column.name}")
    return column


def _all_fields(selected: FieldsFunction, query: Query, scope: Scope) -> list[Column]:
    if selected.kind != "STANDARD" and (query.limit is None or query.limit > FIELDS_LIMIT_MAX):
        message = f"The SOQL FIELDS function must have a LIMIT of at most {FIELDS_LIMIT_MAX}"
        raise SoqlError("MALFORMED_QUERY", query.soql, None, message)
    wanted = [
        f
        for f in scope.entity
        if not f.hidden and selected.kind in ("ALL", "CUSTOM" if f.custom else "STANDARD")
    ]
    return [Column((), chosen, getter_of(scope.entity, chosen, scope.snapshot)) for chosen in wanted]


def _plant(root: _Node, column: Column, scope: Scope) -> None:
    """Add a column to the tree of records that it is read from."""
    node, entity = root, scope.entity
    for relation in column.relations:
        entity = scope.snapshot.world.schema.target(relation) or entity
        fresh = (relation.name, _Node(entity.name))
        node = node.parents.setdefault(str(relation.relationship), fresh)[1]
    node.columns.append((column.field.name, getter_of(entity, column.field, scope.snapshot)))


def _children(query: Query, scope: Scope, *, deleted: bool) -> tuple[str, Callable[[str, str], Any]]:
    key = (scope.entity.name, query.entity.lower())
    if key not in CHILD_RELATIONSHIPS:
        message = f"Didn't understand relationship '{query.entity}' in FROM part of query call."
        raise SoqlError("INVALID_TYPE", query.soql, query.entity_start, message)
    child, lookup = CHILD_RELATIONSHIPS[key]
    snapshot = scope.snapshot
    inner = Scope(query.soql, snapshot.world.schema.entities[child], query.alias, snapshot)
    renderer = compile_renderer(query, inner, deleted=deleted)
    test = compile_test(query.where, inner, _no_semijoin) if query.where else None
    order = [(inner.resolve(term.path), term) for term in query.order_by if isinstance(term.path, Path)]

    def rows_of(record_id: str, version: str) -> Any:
        found = ((i, snapshot.get(i)) for i in snapshot.world.children(child, lookup, record_id))
        rows = [(i, f) for i, f in found if f is not None and f.get(lookup) == record_id]
        rows = [
            row for row in rows if (deleted or not row[1]["IsDeleted"]) and (test is None or test(row[1]))
        ]
        records = renderer.json(sorted_rows(rows, order)[: query.limit], version)
        return {"totalSize": len(records), "done": True, "records": records} if records else None

    return query.entity, rows_of


def _no_semijoin(query: Query) -> set[Any]:
    message = "a subquery in the SELECT list cannot hold another in its condition"
    raise SoqlError("MALFORMED_QUERY", query.soql, query.entity_start, message)

"""The whole truth for the control API: every record that ever was, and the log of commits."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Any

from sfsync.simorg.generated import GeneratedEntity
from sfsync.simorg.history import Commit, Record
from sfsync.simorg.soql_fields import Getter, getter_of
from sfsync.simorg.values import to_json
from sfsync.simorg.world import World


def records(world: World, entity: str | None, after: str, limit: int | None) -> list[dict[str, Any]]:
    """Return the present state of every record that ever existed, in ascending order of id.

    A purged record shows its last state. Fields carry their REST names and forms; compounds are left out.
    """
    getters = {name: _getters(world, name) for name in world.schema.entities}
    entities = tuple(getters) if entity is None else (entity,)
    written = (r for i, r in sorted(world.records.items()) if i > after and r.entity in entities)
    generated = [
        _generated(base, after) for name, base in world.generated.entities.items() if name in entities
    ]
    wanted = merge(written, *generated, key=lambda record: record.id) if generated else written
    return [_record(record, getters[record.entity]) for record in islice(wanted, limit)]


def _generated(base: GeneratedEntity, after: str) -> Iterator[Record]:
    """Yield the generated records with ids above *after* that nobody has changed, one at a time."""
    first = bisect_right(range(base.count), after, key=base.ids.one)
    for run in base.unchanged(first, base.count):
        for record_id, fields in base.rows(run):
            record = Record(base.name, record_id)
            record.write(0, fields)
            yield record


def commits(world: World, after: int, limit: int | None) -> list[dict[str, Any]]:
    """Return the commits with numbers above *after*."""
    return [
        commit_json(commit) for commit in islice(world.log, after, None if limit is None else after + limit)
    ]


def commit_json(commit: Commit) -> dict[str, Any]:
    """Return one commit in JSON form, with the fields that each change touched."""
    return {
        "number": commit.number,
        "transaction_key": commit.transaction_key,
        "started_at": commit.started_at.isoformat(),
        "committed_at": commit.committed_at.isoformat(),
        "user_id": commit.user_id,
        "origin": commit.origin,
        "silent": commit.silent,
        "changes": [
            {
                "entity": change.entity,
                "id": change.record_id,
                "kind": change.kind,
                "fields": _difference(change.before or {}, change.after or {}),
            }
            for change in commit.changes
        ],
    }


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: to_json(after.get(name)) for name in names}


def _getters(world: World, entity: str) -> list[tuple[str, Getter]]:
    definition, snapshot = world.schema.entities[entity], world.snapshot()
    return [
        (field.name, getter_of(definition, field, snapshot)) for field in definition if not field.is_address
    ]


def _record(record: Record, getters: list[tuple[str, Getter]]) -> dict[str, Any]:
    fields = record.states[-1]
    shown = fields if fields is not None else next(f for f in reversed(record.states) if f is not None)
    return {
        "entity": record.entity,
        "id": record.id,
        "fields": {name: to_json(get(shown)) for name, get in getters},
        "deleted": bool(shown["IsDeleted"]),
        "purged": fields is None,
        "master": shown.get("MasterRecordId"),
    }

"""What another mapping would do to a store, compared with the one that was bound last.

Why: a changed mapping is read again by itself, which costs API calls and changes what applications see; an operator
should know before. What is compared is the store's memory rather than two files: the file of before may be gone, and
columns that are suspended or half read are the store's to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Literal

from .ids import Entity
from .mapping import BoundMapping, Column, Memory
from .mapping_file import Table

Kind = Literal["added", "fed again", "fed otherwise", "resumed", "suspended", "no longer fed"]


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """What becomes of one column. `column` is None when no field feeds it any more; `waits_for`: why it is paused."""

    table: Table
    name: str
    kind: Kind
    column: Column | None
    before: Mapping[Entity, str]
    waits_for: str = ""

    @property
    def exists(self) -> bool:
        """Whether the column is in the store already."""
        return self.kind != "added"

    @property
    def is_written(self) -> bool:
        """Whether its rows may show other values than before."""
        return self.kind not in ("suspended", "no longer fed")


@dataclass(frozen=True, slots=True)
class FullReading:
    """An entity that must be read whole: for fields that are new to the mirror, or to drop fields from it.

    One without either was never read whole, as far as the store remembers.
    """

    entity: Entity
    gained: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows besides `Memory`: columns that are suspended now, and those that were once fed."""

    suspended: Set[tuple[Table, str]]
    released: Set[tuple[Table, str]]


def column_changes(mapping: BoundMapping, memory: Memory, known: Known) -> list[ColumnChange]:
    """List the columns of which something changes, by table and name."""
    tables: tuple[Table, ...] = ("company", "person")
    wanted = {(table, column.name): column for table in tables for column in mapping.stored(table)}
    suspended = {(one.table, one.column.name): one.field for one in mapping.paused if one.is_suspended}
    changes = list(_wanted_changes(wanted, suspended, memory, known))
    changes += [
        ColumnChange(table, name, "no longer fed", None, before.sources)
        for (table, name), before in memory.columns.items()
        if (table, name) not in wanted
    ]
    return sorted(changes, key=lambda change: (change.table, change.name))


def _wanted_changes(
    wanted: Mapping[tuple[Table, str], Column],
    suspended: Mapping[tuple[Table, str], str],
    memory: Memory,
    known: Known,
) -> Iterator[ColumnChange]:
    for place, column in wanted.items():
        before = memory.columns.get(place)
        kind: Kind | None = None
        if before is None:
            kind = "fed again" if place in known.released else "added"
        elif place in suspended:
            kind = "suspended"
        elif before.sources != column.sources or before.role != column.role:
            kind = "fed otherwise"
        elif place in known.suspended:
            kind = "resumed"
        if kind is not None:
            sources = before.sources if before is not None else {}
            yield ColumnChange(*place, kind, column, sources, suspended.get(place, ""))


def full_readings(mapping: BoundMapping, memory: Memory) -> list[FullReading]:
    """List the entities that the store would read whole."""
    readings = []
    for entity, plan in mapping.plans.items():
        covered = memory.covered.get(entity)
        planned = frozenset(plan.coverage.split())
        if covered is None:
            readings.append(FullReading(entity, (), ()))
        elif covered != planned:
            gained, dropped = sorted(planned - covered), sorted(covered - planned - {"*"})
            readings.append(FullReading(entity, tuple(map(_name, gained)), tuple(map(_name, dropped))))
    return readings


def _name(token: str) -> str:
    return token.partition(":")[0]

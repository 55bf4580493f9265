"""Make the plan of a changed mapping: columns, readings, calls, rows and sample values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core.commands import Snapshot
from ..core.events import Value
from ..core.ids import Entity, RecordId
from ..core.mapping import BoundMapping, Memory, PausedColumn, bind
from ..core.mapping_file import MappingFile, Table
from ..core.mapping_plan import ColumnChange, FullReading, Known, column_changes, full_readings
from ..salesforce.rest import Rest
from ..store.adoption import Adoption
from ..store.columns import load_known, load_memory, refuse_foreign_columns
from ..store.database import Database
from ..store.preview import Preview, preview, preview_sample, sample_ids
from ..store.report import certificates
from ..sync.describing import describe_entities
from ..sync.reading import read_records

_SAMPLE = 200
DESCRIBES = 3
_RATE_RECORDS_MIN = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What to plan for. `given`: columns of the application that are to be taken over."""

    mapping: MappingFile
    rest: Rest
    page: int
    given: Sequence[tuple[Table, str]]
    adoption: Adoption = field(default_factory=Adoption)
    with_sample: bool = True


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading an entity whole costs; `duration_s` at the pace of its last sweep, None when that is not known."""

    reading: FullReading
    records: int
    api_calls: int
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mapping would do to this store. `first`: nothing was ever bound, so everything is new."""

    org: str
    first: bool
    changes: Sequence[ColumnChange]
    costs: Sequence[Cost]
    previews: Mapping[tuple[Table, str], Sequence[Preview]]
    warnings: Sequence[str]
    settings: Sequence[str]
    api_calls_made: int

    @property
    def changes_anything(self) -> bool:
        return bool(self.changes or self.costs or self.settings)


async def make_plan(asked: Asked, database: Database | None, org: str) -> Plan:
    """Compare the mapping with what the store knows; writes nothing.

    Raises `ConfigError` or `SchemaError` listing what would be refused.
    """
    memory, known = Memory(), Known(frozenset(), frozenset())
    if database is not None:
        memory, known = await load_memory(database, org), await load_known(database)
    mapping = bind(asked.mapping, await describe_entities(asked.rest), memory)
    if database is not None:
        await refuse_foreign_columns(database, mapping, asked.given)
        known = Known(known.suspended, known.released | set(asked.given))
    changes = column_changes(mapping, memory, known)
    work = _Previewing(asked, database, org, mapping)
    costs = [await work.cost(reading) for reading in full_readings(mapping, memory)]
    previews = {}
    for change in changes:
        if change.is_written and (found := await work.look_at(change)):
            previews[(change.table, change.name)] = found
    return Plan(
        org=org,
        first=not memory.columns,
        changes=changes,
        costs=costs,
        previews=previews,
        warnings=[str(warning) for warning in mapping.warnings],
        settings=await work.adoption_changes(),
        api_calls_made=work.api_calls,
    )


@dataclass(slots=True)
class _Previewing:
    """The work of one plan: what was asked of Salesforce is asked once."""

    asked: Asked
    database: Database | None
    org: str
    mapping: BoundMapping
    api_calls: int = DESCRIBES
    samples: dict[Entity, dict[RecordId, Mapping[str, Value]]] = field(default_factory=dict)

    async def cost(self, reading: FullReading) -> Cost:
        records = await self.asked.rest.count(reading.entity.value)
        self.api_calls += 1
        rate = await self._seconds_per_record(reading.entity)
        duration_s = None if rate is None else round(records * rate, 1)
        return Cost(reading, records, records // self.asked.page + 1, duration_s)

    async def adoption_changes(self) -> list[str]:
        """Tell what a changed choice of who is adopted would do; it is followed by the same reload."""
        if self.database is None:
            return []
        [was] = await self.database.fetch("count_adoption", self.org)
        adoption, lines = self.asked.adoption, []
        adopt = "on_request" if adoption.on_request else "all"
        mirror = "adopted" if adoption.minimal else "all"
        many = f"{was['unadopted']:,} records"
        if (was["adopt"] or "all") != adopt:
            effect = (
                f"{many} of the mirror become people and companies"
                if adopt == "all"
                else "whoever is a person or company stays one; others become one only when imported or requested"
            )
            lines.append(f"adopt: {was['adopt'] or 'all'} → {adopt}: {effect}")
        if (was["mirror"] or "all") != mirror:
            effect = (
                f"{await self._whole_org()} are read again" if mirror == "all" else f"{many} leave the mirror"
            )
            lines.append(f"mirror: {was['mirror'] or 'all'} → {mirror}: {effect}")
        return lines

    async def _whole_org(self) -> str:
        counts = [await self.asked.rest.count(entity.value) for entity in Entity]
        self.api_calls += len(counts)
        calls = sum(count // self.asked.page + 1 for count in counts)
        return f"{sum(counts):,} records ({calls:,} API calls)"

    async def look_at(self, change: ColumnChange) -> list[Preview]:
        """Return what would change in a column: of all rows, or of a sample per entity that must be read first."""
        if self.database is None or change.column is None:
            return []
        if not self._is_unread(change):
            found = await preview(self.database, self.org, change.table, change.column, exists=change.exists)
            return [found]
        if not self.asked.with_sample:
            return []
        column, exists = change.column, change.exists
        samples = [records for entity in column.sources if (records := await self._sample(entity))]
        return [
            await preview_sample(self.database, self.org, column, records, exists=exists)
            for records in samples
        ]

    def _is_unread(self, change: ColumnChange) -> bool:
        paused: Sequence[PausedColumn] = self.mapping.paused
        return any(one.table == change.table and one.column.name == change.name for one in paused)

    async def _sample(self, entity: Entity) -> Mapping[RecordId, Mapping[str, Value]]:
        if entity not in self.samples and self.database is not None:
            self.samples[entity] = {}
            ids = await sample_ids(self.database, self.org, entity, _SAMPLE)
            if ids:
                self.api_calls += 1
                found = await read_records(self.asked.rest, self.mapping.plans[entity], ids)
                self.samples[entity] = {
                    command.record_id: command.fields
                    for command in found.commands
                    if isinstance(command, Snapshot)
                }
        return self.samples[entity]

    async def _seconds_per_record(self, entity: Entity) -> float | None:
        if self.database is None:
            return None
        for one in await certificates(self.database, self.org):
            if one["entity"] == entity.value and one["records_read"] >= _RATE_RECORDS_MIN:
                return float(one["duration_ms"]) / 1000 / float(one["records_read"])
        return None

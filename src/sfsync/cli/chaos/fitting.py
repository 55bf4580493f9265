"""Make the simulated org fit the user's mapping, and tell the judge what the mapping makes of it.

Why: a mapping of one's own names fields that the simulated org was not born with. They are added by the control API, as
an administrator would add them. A mapping states no types, so a new field gets that of the other field of its column,
of Salesforce's own field of that name, or text; `--field` says another. The judge cannot read a mapping and must not
learn it from the daemon, so it is given a table of columns that is made here from what the org describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import Settings
from ...config.login import open_login
from ...config.mapping import load_mapping
from ...core.ids import Entity
from ...core.mapping import Column, bind
from ...core.mapping_file import MappedColumn, MappingFile, Table, default_mapping_text
from ...core.standard_fields import STANDARD_TYPES, UNANNOUNCED
from ...errors import ConfigError
from ...salesforce.rest import Rest
from ...sync.describing import describe_entities
from ..demo.stage import Org

NOTE_COLUMN, NOTE_FIELD = "chaos_note", "Chaos_Note__c"
_PERSON_TABLE = re.compile(r"^\[person\][ \t]*(#.*)?$", re.MULTILINE)
_JUDGED_TYPES = {"timestamptz": "timestamp with time zone"}
_UNJUDGED_TYPES = frozenset({"time"})
_SAMPLES: Mapping[str, Any] = {"boolean": True, "date": "2026-04-01", "datetime": "2026-04-01T09:00:00.000Z"}
_Fields = Mapping[Entity, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class MappedField:
    """A field of the org that a column shows."""

    entity: str
    name: str
    type: str
    column: str
    is_custom: bool

    def __str__(self) -> str:
        return f"{self.entity}.{self.name}"


@dataclass(frozen=True, slots=True)
class Fit:
    """An org that fits a mapping.

    `columns` is what the judge reads. `values` are values for the fields of each entity that nobody fills in by habit.
    `losable` fields can be hidden by an administrator, those that are custom can be removed. `added` were not there.
    """

    columns: Mapping[str, Mapping[str, Mapping[str, Any]]]
    values: Mapping[str, Mapping[str, Any]]
    losable: tuple[MappedField, ...]
    added: tuple[MappedField, ...]
    unjudged: tuple[str, ...]


def with_custom_field(settings: Settings, directory: Path) -> Path | None:
    """Write a copy of the mapping that has a custom field; None when it has one, or no column can be added to it.

    Only a custom field can be removed from an org, and the shipped mapping has none.
    """
    mapping = load_mapping(settings.mapping)
    if any(name.endswith("__c") for column in mapping.columns for name in column.sources.values()):
        return None
    if settings.mapping.file is None:
        text = default_mapping_text(company_address=settings.mapping.company_address)
    else:
        text = settings.mapping.file.read_text(encoding="utf-8")
    line = f'{NOTE_COLUMN} = {{ contact = "{NOTE_FIELD}", lead = "{NOTE_FIELD}" }}'
    extended, count = _PERSON_TABLE.subn(lambda found: f"{found[0]}\n{line}", text, count=1)
    if not count or "company_address" in settings.mapping.model_fields_set:
        return None
    path = directory / "mapping.toml"
    path.write_text(extended, encoding="utf-8")
    return path


async def fit(settings: Settings, org: Org, types: Mapping[str, str]) -> Fit:
    """Add to *org* what the mapping of *settings* needs, and say what was added. Raises `ConfigError`.

    *types* are those that the user gives to fields, by names like `Lead.Score__c`.
    """
    mapping = load_mapping(settings.mapping)
    added: list[MappedField] = []
    async with open_login(settings) as connection:
        rest = Rest(connection)
        before = _by_name(await describe_entities(rest))
        for missing in _missing(mapping, before, types):
            await _add(org, missing)
            added.append(missing)
        describes = await describe_entities(rest)
    bound = bind(mapping, describes)
    fields = _by_name(describes)
    tables: Mapping[Table, tuple[Column, ...]] = {"person": bound.person, "company": bound.company}
    judged: dict[str, dict[str, Mapping[str, Any]]] = {
        table: {c.name: _stated(c) for c in columns if _is_judged(c, fields)}
        for table, columns in tables.items()
    }
    left_out = tuple(
        f"{t}.{c.name}" for t, columns in tables.items() for c in columns if c.name not in judged[t]
    )
    return Fit(judged, _values(mapping, fields), tuple(_losable(mapping, fields)), tuple(added), left_out)


def _by_name(describes: Mapping[Entity, Mapping[str, Any]]) -> _Fields:
    return {entity: {str(f["name"]): f for f in told["fields"]} for entity, told in describes.items()}


def _missing(mapping: MappingFile, fields: _Fields, types: Mapping[str, str]) -> list[MappedField]:
    found: dict[str, MappedField] = {}
    for column in mapping.columns:
        for entity, name in column.sources.items():
            if name not in fields[entity]:
                kind = types.get(f"{entity.value}.{name}") or _guess(column, entity, fields)
                place = f"{column.table}.{column.name}"
                field = MappedField(entity.value, name, kind, place, name.endswith("__c"))
                found.setdefault(str(field), field)
    return list(found.values())


def _guess(column: MappedColumn, entity: Entity, fields: _Fields) -> str:
    others = [fields[e][name] for e, name in column.sources.items() if name in fields[e]]
    if others:
        return str(others[0]["type"])
    if column.name in ("latitude", "longitude"):
        return "double"
    return STANDARD_TYPES[entity].get(column.sources[entity], "string")


async def _add(org: Org, field: MappedField) -> None:
    """Add a field, or show it where the org has it and hides it."""
    state = (await org.ask(f"state?entity={field.entity}&limit=1"))["records"]
    if state and field.name in state[0]["fields"]:
        await org.tell("fields", {"entity": field.entity, "action": "show", "field": {"name": field.name}})
        return
    definition = {"name": field.name, "type": field.type, **({} if field.is_custom else {"standard": True})}
    try:
        await org.tell("fields", {"entity": field.entity, "action": "add", "field": definition})
    except ConfigError as error:
        raise ConfigError(
            f"{field.column} maps {field}, which cannot be made as {field.type}; say --field {field}=TYPE\n{error}"
        ) from error


def _is_judged(column: Column, fields: _Fields) -> bool:
    """Tell whether the store can be held to it: not what no event announces, and no type that the org has not."""
    described = [fields[entity][name] for entity, name in column.sources.items()]
    is_announced = not any(one.get("calculated") or one["name"] in UNANNOUNCED for one in described)
    return is_announced and column.pg_type not in _UNJUDGED_TYPES


def _stated(column: Column) -> Mapping[str, Any]:
    sources = {entity.value.lower(): name for entity, name in column.sources.items()}
    keeps_lead = column.role == "plain" and set(sources) == {"lead"}
    return {"type": _JUDGED_TYPES.get(column.pg_type, column.pg_type), **sources, "keeps_lead": keeps_lead}


def _values(mapping: MappingFile, fields: _Fields) -> Mapping[str, Mapping[str, Any]]:
    """Return values for the mapped custom fields, so that their columns are put to the test."""
    values: dict[str, dict[str, Any]] = {entity.value: {} for entity in Entity}
    for column in mapping.columns:
        for entity, name in column.sources.items():
            described = fields[entity].get(name)
            if described and described["custom"] and described["createable"]:
                values[entity.value][name] = _sample(described)
    return values


def _sample(described: Mapping[str, Any]) -> Any:
    kind = str(described["type"])
    if kind in ("int", "double", "currency", "percent"):
        return 7
    return {"email": "chaos@example.com", "url": "https://example.com"}.get(kind) or _SAMPLES.get(
        kind, "chaos"
    )


def _losable(mapping: MappingFile, fields: _Fields) -> Iterator[MappedField]:
    """Yield the fields that can go away; those that are custom and those that one column alone shows come first."""
    found = []
    for column in mapping.columns:
        for entity, name in column.sources.items():
            told = fields[entity].get(name)
            if told and told["nillable"] and told["updateable"] and told["type"] != "reference":
                place = f"{column.table}.{column.name}"
                found.append(MappedField(entity.value, name, str(told["type"]), place, bool(told["custom"])))
    yield from sorted(found, key=lambda field: (field.entity != "Lead", not field.is_custom))


def typed(text: str) -> tuple[str, str]:
    """Read `ENTITY.FIELD=TYPE`. Raises `ConfigError`."""
    field, _, kind = text.partition("=")
    entity, _, name = field.partition(".")
    if entity not in {e.value for e in Entity} or not name or not kind:
        raise ConfigError(f"--field {text}: say it like Lead.Score__c=double")
    return field, kind


def extended(settings: Settings, mapping: Path) -> Settings:
    """Return *settings* with another mapping file."""
    return settings.model_copy(update={"mapping": settings.mapping.model_copy(update={"file": mapping})})

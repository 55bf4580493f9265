"""Values that break other programs, from each form they travel in to a mapped column and back."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from sfsync.core.commands import Image
from sfsync.core.ids import Entity, RecordId, record_id
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import MappedColumn, MappingFile, default_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.core.values import TYPES, read_value
from tests.core.test_values import FORMS
from tests.store.harness import at, open_store

BEYOND_DOUBLE = Decimal("123456789012345678901234567890.12345678901234567890")


def one_column_per_type() -> BoundMapping:
    """The shipped mapping, and a column of contacts for each type that a column can hold."""
    describes = {entity: standard_describe(entity) for entity in Entity}
    columns = list(default_mapping().columns)
    for name in TYPES:
        digits = {"digits": 18} if name == "long" else {}
        kind = "int" if name == "long" else name
        describes[Entity.CONTACT]["fields"].append({"name": f"A_{name}__c", "type": kind, **digits})
        columns.append(MappedColumn("person", f"a_{name}", "plain", {Entity.CONTACT: f"A_{name}__c"}))
    return bind(MappingFile(tuple(columns)), describes)


def spelled(stored: Any) -> Any:
    """A value of a column as `read_value` would spell it."""
    match stored:
        case datetime():
            return stored.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return stored.isoformat()
        case time():
            return stored.isoformat(timespec="milliseconds")
        case _:
            return stored


async def test_every_form_of_every_value_is_stored_alike(pg_dsn: str) -> None:
    """A column must say what Salesforce says, whichever way it was heard: byte for byte, digit for digit."""
    mapping = one_column_per_type()
    corpus: list[tuple[str, Any]] = [
        *((name, read_value(name, raw)) for name, raw, _, _ in FORMS),
        *((name, read_value(name, cell, "bulk")) for name, _, cell, _ in FORMS),
        *((name, read_value(name, avro, "avro")) for name, _, _, avro in FORMS),
        ("double", read_value("double", BEYOND_DOUBLE)),
        ("currency", read_value("currency", str(BEYOND_DOUBLE), "bulk")),
    ]
    contacts = {number: record_id(f"003{number:012}") for number in range(len(corpus))}
    async with open_store(pg_dsn, mapping=mapping) as store:
        images = [image(mapping, contacts[n], name, value) for n, (name, value) in enumerate(corpus)]
        outcome = await store.apply(*images)
        assert outcome.parked == 0
        rows = {row["salesforce_id"]: row for row in await store.people()}
    stored = [spelled(rows[contacts[n]][f"a_{name}"]) for n, (name, _) in enumerate(corpus)]
    assert stored == [value for _, value in corpus]
    assert stored[-1] == stored[-2] == BEYOND_DOUBLE


def image(mapping: BoundMapping, contact: RecordId, name: str, value: Any) -> Image:
    fields = {**dict.fromkeys(mapping.plans[Entity.CONTACT].fields), f"A_{name}__c": value}
    return Image(Entity.CONTACT, contact, at(0), fields)

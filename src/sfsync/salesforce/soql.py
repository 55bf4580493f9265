"""SOQL texts, built from checked parts only.

Why: SOQL has no bind parameters. So nothing but identifiers that look like identifiers, record ids whose
checksum fits and instants that we format ourselves ever enters a text; there is no place to pass a literal.
Paging is by keyset, (SystemModstamp, Id) or Id: a keyset survives a lost locator, a restart and a deleted row,
and each page is a read of its own with its own instants. OFFSET ends at 2,000 rows.

Source: Salesforce SOQL and SOSL reference; datetimes are unquoted, ids quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..core.ids import RecordId, record_id
from ..errors import QueryError, SalesforceError

PAGE_ROWS = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)
_FIELD = re.compile(rf"{_NAME.pattern}(?:\.{_NAME.pattern}){{0,5}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which fields of which entity to read. `Id` and `SystemModstamp` are always among them.

    Raises `QueryError` for a name that is no identifier.
    """

    entity: str
    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.entity):
            raise QueryError("the entity's name is no identifier", code="NAME")
        for field in self.fields:
            if not _FIELD.fullmatch(field):
                raise QueryError(f"a field of {self.entity} has a name that is no identifier", code="NAME")

    def names(self) -> list[str]:
        """Return each field once, whatever the case it is written in."""
        return list({field.lower(): field for field in (*self.fields, "Id", "SystemModstamp")}.values())

    def columns(self) -> str:
        """Return the SELECT list."""
        return ", ".join(self.names())


@dataclass(frozen=True, slots=True)
class Keyset:
    """The last row of a page: the next page starts after it."""

    modstamp_ms: int
    record_id: RecordId

    @classmethod
    def of(cls, record: Mapping[str, object]) -> Keyset:
        """Return the keyset of a record as read. Raises `SalesforceError` when it lacks what was selected."""
        try:
            stamp = datetime.fromisoformat(str(record["SystemModstamp"]))
            # In whole milliseconds: a float would lose one now and then, and with it a record.
            return cls((stamp - _EPOCH) // timedelta(milliseconds=1), record_id(str(record["Id"])))
        except (KeyError, ValueError, TypeError) as error:
            raise SalesforceError(
                "a record came without readable Id or SystemModstamp", code="RECORD"
            ) from error


def changed_since(selection: Selection, since_ms: int, *, limit: int = PAGE_ROWS) -> str:
    """Return the first page of what changed at or after an instant, oldest first."""
    return _stamped(selection, f"SystemModstamp >= {literal(since_ms)}", limit)


def changed_after(selection: Selection, after: Keyset, *, limit: int = PAGE_ROWS) -> str:
    """Return the page that follows *after*."""
    stamp = literal(after.modstamp_ms)
    return _stamped(
        selection,
        f"(SystemModstamp > {stamp} OR (SystemModstamp = {stamp} AND Id > {quoted(after.record_id)}))",
        limit,
    )


def by_id(selection: Selection, after: RecordId | None, *, limit: int = PAGE_ROWS) -> str:
    """Return a page of the whole entity in the order of ids."""
    where = f" WHERE Id > {quoted(after)}" if after else ""
    return f"SELECT {selection.columns()} FROM {selection.entity}{where} ORDER BY Id LIMIT {limit:d}"


def by_ids(selection: Selection, ids: Sequence[RecordId]) -> str:
    """Return a read of exactly these records."""
    wanted = ",".join(quoted(one) for one in ids)
    return f"SELECT {selection.columns()} FROM {selection.entity} WHERE Id IN ({wanted})"


def count(entity: str) -> str:
    """Return a count of the entity."""
    return f"SELECT COUNT() FROM {Selection(entity, ()).entity}"


def literal(instant_ms: int) -> str:
    """Return an instant as SOQL writes it: UTC, milliseconds, no quotes."""
    instant = datetime.fromtimestamp(instant_ms // 1000, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant_ms % 1000:03d}Z"


def quoted(one: str) -> str:
    """Return a record id in quotes. Raises `QueryError` when it is none."""
    try:
        return f"'{record_id(one)}'"
    except ValueError as error:
        raise QueryError("an id to read is no record id", code="ID") from error


def _stamped(selection: Selection, where: str, limit: int) -> str:
    return f"SELECT {selection.columns()} FROM {selection.entity} WHERE {where} ORDER BY SystemModstamp, Id LIMIT {limit:d}"

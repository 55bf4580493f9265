"""Make what follows the mapping besides columns: views, and the triggers that protect the columns.

Why: an application reads crm with SQL, so what it may ask is a view there. A view over mapped columns can only
be written once the mapping is bound, and again whenever it changes; the same is true of the protection. What is new
is given to the roles that were let in before. A suspended column is mapped still: it shows and keeps its last value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..core.address import Side
from ..core.mapping import BoundMapping, Column
from ..core.mapping_file import Table
from .address_views import address_objects
from .database import Connection
from .generated import Generated, ensure_generated
from .projection import pending_view
from .protection import ensure_protection
from .sql import Schemas, load

_SIDES: Mapping[Side, Table] = {Side.COMPANY: "company", Side.PERSON: "person"}

Stored = Mapping[Table, Sequence[Column]]
"""The mapped columns that exist, by table."""


async def ensure_views(connection: Connection, schemas: Schemas, mapping: BoundMapping) -> None:
    """Bring views and triggers up to date with *mapping*, and let who was let in use what is new."""
    stored = {table: await _stored(connection, schemas, mapping, table) for table in _SIDES.values()}
    await connection.execute(schemas.rename("SELECT sfsync.refresh_active_person()"))
    for wanted in _views(mapping, stored):
        await ensure_generated(connection, schemas, wanted)
    names = {table: [column.name for column in columns] for table, columns in stored.items()}
    await ensure_protection(connection, schemas, names)
    await connection.execute(schemas.rename("SELECT sfsync.renew_grants()"))


async def _stored(
    connection: Connection, schemas: Schemas, mapping: BoundMapping, table: Table
) -> list[Column]:
    """Return the mapped columns of a table; one that is suspended may have been dropped by somebody."""
    existing = {
        row["column_name"]
        for row in await connection.fetch(load("load_columns", schemas), schemas.crm, table)
    }
    return [column for column in mapping.stored(table) if column.name in existing]


def _views(mapping: BoundMapping, stored: Stored) -> Iterator[Generated]:
    yield Generated(
        "VIEW", "crm.pending_decision", "Who waits for a decision, and what differs.", pending_view(mapping)
    )
    yield from address_objects(
        {
            side: {column.name: column.pg_type for column in stored[table] if column.role == "address"}
            for side, table in _SIDES.items()
        }
    )

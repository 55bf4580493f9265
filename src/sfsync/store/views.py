"""Make what follows the mapping besides columns: views, and the triggers that protect the columns.

Why: an application reads crm with SQL, so what it may ask is a view there. A view over mapped columns can only
be written once the mapping is bound, and again whenever it changes; the same is true of the protection. What is new
is given to the roles that were let in before. A suspended column is mapped still: it shows and keeps its last value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..core.address import Side
from ..core.mapping import BoundMapping
from .address_views import address_objects
from .database import Connection
from .generated import Generated, ensure_generated
from .projection import pending_view
from .protection import ensure_protection
from .sql import Schemas

_SUSPENDED = """
SELECT table_name, column_name, pg_type, role FROM sfsync.mapped_column WHERE suspended_since IS NOT NULL
"""

Kept = Mapping[str, Mapping[str, tuple[str, str]]]
"""Type and role of the columns that Salesforce owns, by table and name."""


async def ensure_views(connection: Connection, schemas: Schemas, mapping: BoundMapping) -> None:
    """Bring views and triggers up to date with *mapping*, and let who was let in use what is new."""
    columns = await _kept(connection, schemas, mapping)
    await connection.execute(schemas.rename("SELECT sfsync.refresh_active_person()"))
    for wanted in _views(mapping, columns):
        await ensure_generated(connection, schemas, wanted)
    await ensure_protection(connection, schemas, columns)
    await connection.execute(schemas.rename("SELECT sfsync.renew_grants()"))


async def _kept(connection: Connection, schemas: Schemas, mapping: BoundMapping) -> Kept:
    columns = {
        table: {column.name: (column.pg_type, str(column.role)) for column in mapped}
        for table, mapped in (("person", mapping.person), ("company", mapping.company))
    }
    for row in await connection.fetch(schemas.rename(_SUSPENDED)):
        columns[row["table_name"]].setdefault(row["column_name"], (row["pg_type"], row["role"]))
    return columns


def _views(mapping: BoundMapping, columns: Kept) -> Iterator[Generated]:
    yield Generated(
        "VIEW", "crm.pending_decision", "Who waits for a decision, and what differs.", pending_view(mapping)
    )
    yield from address_objects(
        {
            side: {name: kind for name, (kind, role) in columns[str(side)].items() if role == "address"}
            for side in Side
        }
    )

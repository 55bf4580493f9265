"""Make the views whose columns follow the mapping.

Why: an application reads crm with SQL, so what it may ask is a view there. A view over mapped columns can only
be written once the mapping is bound, and again whenever it changes.
"""

from __future__ import annotations

from ..core.mapping import BoundMapping
from .database import Connection
from .sql import Schemas

_ACTIVE_PERSON = """
CREATE OR REPLACE VIEW crm.active_person AS
SELECT p.* FROM crm.person AS p
WHERE p.merged_into IS NULL AND p.deleted_at IS NULL
    AND p.org = (SELECT o.id FROM sfsync.org AS o WHERE o.is_bound)
"""


async def ensure_views(connection: Connection, schemas: Schemas, mapping: BoundMapping) -> None:
    """Bring the views over mapped columns up to date with *mapping*."""
    await connection.execute(schemas.rename(_ACTIVE_PERSON))

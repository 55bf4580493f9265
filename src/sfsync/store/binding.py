"""Bind the store to one org, and refuse any other until an operator says so.

Why: after a sandbox refresh the same login leads to another org with other records under other ids. Going on
would mix two orgs in one store, silently. Source: Salesforce help, "Sandbox refresh".
"""

from __future__ import annotations

import structlog

from ..errors import OrgMismatchError
from .database import Database

_log = structlog.get_logger()


async def bound_org(database: Database) -> str | None:
    """Return the org this store is bound to; None before the first start."""
    rows = await database.fetch("load_bound_org")
    return rows[0]["id"] if rows else None


async def bind_org(database: Database, org: str) -> None:
    """Bind the store at its first start. Raises `OrgMismatchError` when it is bound to another org."""
    if await database.execute("bind_org", org):
        _log.info("org.bound", org=org)
    # failpoint: org.bound - the store knows its org
    bound = await bound_org(database)
    if bound != org:
        _log.error("org.refused", org=org, bound_org=bound)
        raise OrgMismatchError(
            f"the login leads to org {org}, but this store holds org {bound}; if that is intended"
            f" (a refreshed sandbox), run `sfsync rebind`"
        )


async def rebind_org(database: Database, org: str) -> str | None:
    """Bind the store to *org* from now on; return the org it was bound to.

    Rows of the old org stay as they are; the new one is loaded from the beginning.
    """
    before = await bound_org(database)
    async with database.transaction() as connection:
        await connection.execute(database.sql("unbind_org"), org)
        await connection.execute(database.sql("rebind_org"), org, before)
    return before

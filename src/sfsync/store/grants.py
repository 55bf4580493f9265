"""Let roles of the database read people and companies, or work with them as an application does.

Why: which privileges that takes is known here, not to the operator, and changes with each version; so who was let in
is remembered, and each start of a daemon gives what is new. What belongs to sfsync itself is nobody's: schema
sfsync is closed to both kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError, SchemaError
from .database import Connection, Database
from .sql import quote

Kind = Literal["reader", "application"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a role: `was` its kind before, and what was `given` now, one line per privilege."""

    was: str | None
    created: bool
    given: tuple[str, ...]


async def let_in(database: Database, role: str, kind: Kind, *, create: bool = False) -> Admission:
    """Give a role what its kind needs and take what only the other kind may.

    Raises `ConfigError` when there is no such role, unless it is to be created, without login and password.
    """
    async with database.transaction() as connection:
        known = await connection.fetchrow(database.sql("find_role"), role)
        if known is None:
            if not create:
                raise ConfigError(f"there is no role {role}: CREATE ROLE it first, or add --create")
            await _create(connection, role)
        was = known["kind"] if known else None
        if was not in (None, kind):
            await connection.fetchval(database.sql("shut_out_role"), role)
        await connection.execute(database.sql("insert_granted"), role, kind)
        given = await connection.fetch(database.sql("renew_grants"))
        return Admission(was, known is None, tuple(row["given"] for row in given))


async def shut_out(database: Database, role: str) -> str | None:
    """Take everything from a role that sfsync gives; return the kind it had. Raises `ConfigError` as `let_in`."""
    async with database.transaction() as connection:
        if await connection.fetchrow(database.sql("find_role"), role) is None:
            raise ConfigError(f"there is no role {role}")
        was: str | None = await connection.fetchval(database.sql("shut_out_role"), role)
        await connection.fetch(database.sql("renew_grants"))
        return was


async def _create(connection: Connection, role: str) -> None:
    may = await connection.fetchval(
        "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    if not may:
        raise SchemaError(f"sfsync's own role may not create roles: have an administrator CREATE ROLE {role}")
    try:
        name = quote(role)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    await connection.execute(f"CREATE ROLE {name}")

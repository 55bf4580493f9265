"""Make views, functions and triggers that follow the mapping, and leave those alone that are as they must be.

Why: to replace an object that did not change waits for everybody who uses its table, and lets them wait behind it, at
every start of a daemon. So each carries a digest of the statement that made it, in its comment, where an operator
sees it too. Replacing, never dropping: privileges that were granted stay, and views of the application on ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .database import Connection
from .sql import Schemas

Kind = Literal["VIEW", "FUNCTION", "TRIGGER"]
# A trigger that was disabled counts as missing: to replace it enables it.
_COMMENTS: Mapping[Kind, str] = {
    "VIEW": "SELECT obj_description(to_regclass($1), 'pg_class')",
    "FUNCTION": "SELECT obj_description(to_regprocedure($1), 'pg_proc')",
    "TRIGGER": "SELECT obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE tgname = split_part($1, ' ON ', 1)"
    " AND tgrelid = to_regclass(split_part($1, ' ON ', 2)) AND tgenabled IN ('O', 'A')",
}


@dataclass(frozen=True, slots=True)
class Generated:
    """An object of the database; `name` (of a trigger: `name ON table`) and `statement` in the default schemas."""

    kind: Kind
    name: str
    meaning: str
    statement: str

    @property
    def comment(self) -> str:
        digest = hashlib.sha256(self.statement.encode()).hexdigest()[:12]
        return f"{self.meaning} Made by sfsync ({digest})."


async def ensure_generated(connection: Connection, schemas: Schemas, wanted: Generated) -> bool:
    """Make or replace *wanted* unless it is there as stated; return whether it was made."""
    name = schemas.rename(wanted.name)
    if await connection.fetchval(_COMMENTS[wanted.kind], name) == wanted.comment:
        return False
    await connection.execute(schemas.rename(wanted.statement))
    await connection.execute(f"COMMENT ON {wanted.kind} {name} IS '{wanted.comment}'")
    return True

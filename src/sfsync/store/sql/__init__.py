"""The SQL of the store: one statement per file, `<verb>_<noun>.sql`, loaded by name.

Why: a statement is read, reviewed and explained as SQL, not as a Python string. The schema names `crm` and
`sfsync` are written as they are by default; an installation that names them otherwise has them replaced, as
quoted identifiers, when a statement is loaded. Values are always parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

# `sfsync.writer` is a session setting, whatever the schema is called.
_SCHEMA = re.compile(r"\b(crm|sfsync)(?=\.(?!writer\b))|(?<=SCHEMA IF NOT EXISTS )(crm|sfsync)\b")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def quote(name: str) -> str:
    """Return *name* as a quoted SQL identifier. Raises `ValueError` when Postgres would cut or refuse it."""
    if not name or "\0" in name or len(name.encode()) > 63:
        raise ValueError(f"{name!r} cannot be a Postgres identifier: 1 to 63 bytes without NUL are needed")
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Schemas:
    """The names of the two schemas: what applications read, and what is internal."""

    crm: str = "crm"
    internal: str = "sfsync"
    _names: dict[str, str] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        for name in (self.crm, self.internal):
            if not _NAME.fullmatch(name):
                raise ValueError(f"schema name {name!r}: lower-case letters, digits and _ are allowed")
        object.__setattr__(self, "_names", {"crm": quote(self.crm), "sfsync": quote(self.internal)})

    def rename(self, statement: str) -> str:
        """Put this installation's schema names into *statement*."""
        return _SCHEMA.sub(lambda match: self._names[match.group()], statement)


@lru_cache(maxsize=512)
def load(name: str, schemas: Schemas) -> str:
    """Return the statement of `<name>.sql`."""
    return schemas.rename(resources.files(__package__).joinpath(f"{name}.sql").read_text("utf-8"))

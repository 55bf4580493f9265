"""Tell records that were erased, so that nothing brings them back.

Why: Salesforce may go on announcing somebody whom we had to forget, and an id is personal data too. So what is kept
is a keyed hash: it answers "was this one erased?" for an id that is shown to us, and cannot be turned back into ids
by whoever reads the table alone. A plain hash could be: record ids are easily counted through. The whole set is held
in memory, because the question is asked for every command.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from .database import Connection, Database


@dataclass(frozen=True, slots=True)
class Erased:
    """The erased records of one org, as known when it was loaded."""

    key: bytes
    hashes: frozenset[bytes] = frozenset()

    def hash(self, text: str) -> bytes:
        """Return the keyed hash of a record id of 18 characters."""
        return hmac.digest(self.key, text.encode(), "sha256")

    def is_erased(self, record_id: str) -> bool:
        """Tell whether the record with this id, of 18 characters, was erased."""
        return bool(self.hashes) and self.hash(record_id) in self.hashes

    def erased_of(self, record_ids: Iterable[str]) -> set[str]:
        """Return those of *record_ids* that were erased."""
        return {one for one in record_ids if self.hash(one) in self.hashes} if self.hashes else set()


async def load_erased(connection: Connection, database: Database, org: str) -> Erased:
    """Load the erased records of *org*; in a transaction of the leader it stays true, since only leaders erase."""
    row = await connection.fetchrow(database.sql("load_erased"), org)
    return Erased(row["erasure_key"], frozenset(row["hashes"])) if row else Erased(b"")


async def find_erased(database: Database, org: str, record_ids: Iterable[str]) -> set[str]:
    """Return those of *record_ids* that were erased, outside a transaction: before a read is spent on them."""
    rows = await database.fetch("load_erased", org)
    return (
        Erased(rows[0]["erasure_key"], frozenset(rows[0]["hashes"])).erased_of(record_ids) if rows else set()
    )

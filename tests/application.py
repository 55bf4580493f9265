"""The application that writes letters: it keeps our ids, with foreign keys that forbid to delete what they name.

Why: whatever becomes of a person or company, the history that hangs on its row must survive it and lead to
somebody. So tests write a letter for every row they ever see, and ask at the end for whom the letters are now.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

_INSTALL = """
CREATE SCHEMA IF NOT EXISTS letters;
CREATE TABLE IF NOT EXISTS letters.to_person (
    person_id bigint PRIMARY KEY REFERENCES crm.person (id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
CREATE TABLE IF NOT EXISTS letters.to_company (
    company_id bigint PRIMARY KEY REFERENCES crm.company (id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
"""
_WRITE = """
INSERT INTO letters.to_{noun} SELECT id FROM crm.{noun} WHERE id > $1 ON CONFLICT DO NOTHING
"""
_LOST = """
SELECT l.{noun}_id
FROM letters.to_{noun} AS l
LEFT JOIN crm.{noun} AS r ON r.id = crm.resolve_{noun}(l.{noun}_id)
WHERE l.{noun}_id > $1 AND (r.id IS NULL OR r.merged_into IS NOT NULL)
ORDER BY 1
"""
NOUNS = ("person", "company")


@dataclass(frozen=True, slots=True)
class Application:
    """One application on one store."""

    connection: asyncpg.Connection

    async def install(self) -> None:
        """Make its tables."""
        await self.connection.execute(_INSTALL)

    async def write_letters(self, *, after: int = 0) -> None:
        """Write to every person and company with an id above *after*, once."""
        for noun in NOUNS:
            await self.connection.execute(_WRITE.format(noun=noun), after)

    async def lost_letters(self, *, after: int = 0) -> list[str]:
        """Return the ids above *after* that were written to and lead to nobody today."""
        return [
            f"{noun} {row[0]}"
            for noun in NOUNS
            for row in await self.connection.fetch(_LOST.format(noun=noun), after)
        ]

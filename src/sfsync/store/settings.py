"""Keep the settings that SQL must know in the database.

Why: views and functions answer applications while no daemon runs, so what they depend on stands beside them. The
leader writes them at its start; what did not change is not written.
"""

from __future__ import annotations

from .database import Database


async def put_setting(database: Database, name: str, value: str) -> None:
    """Let the setting *name* be *value* from now on."""
    await database.execute("upsert_setting", name, value)

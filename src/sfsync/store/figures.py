"""Keep the figures of a daemon's work in the store: its API calls of a day, and how late events were.

Why: an org counts calls over 24 hours, so a daemon that forgot its own at every restart would take its share twice.
And whoever asks how things stand asks the store, since the daemon may be on another machine, hang, or be gone. One
small row a minute; the rejected alternative, a row for each call, costs more than many a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .database import Database


async def keep_figures(database: Database, org: str, told: Mapping[str, Any]) -> None:
    """Keep *told* until the next time; numbers and words that JSON can hold."""
    await database.execute("upsert_figures", org, json.dumps(told))


async def recall_figures(database: Database, org: str) -> tuple[dict[str, Any], datetime | None]:
    """Return what was kept last and when; nothing, when nothing ever was."""
    rows = await database.fetch("load_figures", org)
    if not rows:
        return {}, None
    return json.loads(rows[0]["told"]), rows[0]["told_at"]

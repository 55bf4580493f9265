"""Follow a changed choice of who is adopted: bring everybody in, forget who is not wanted, or read all again.

Why: whether `adopt` and `mirror` changed is known only by what the store last followed. Each step is done slice by
slice between other batches and may be repeated, so the choice is noted last: a crash on the way begins again.
"""

from __future__ import annotations

import structlog

from ..core.ids import RecordId
from ..store.database import Connection
from ..store.settings import put_setting
from .work import Work

_log = structlog.get_logger()


async def follow_adoption(work: Work) -> None:
    """Make the store what `adopt` and `mirror` now ask for. Raises what makes writing impossible."""
    adoption = work.options.adoption
    adopt, mirror = (
        "on_request" if adoption.on_request else "all",
        "adopted" if adoption.minimal else "all",
    )
    rows = await work.database.fetch("load_settings", ["adopt", "mirror"])
    followed = {row["name"]: row["value"] for row in rows}
    if followed.get("mirror") == "adopted" and mirror == "all":
        # What the mirror left out was read by nobody.
        await work.database.execute("restart_backfill", work.org)
    if adopt == "all" and followed.get("adopt") == "on_request":
        await _in_slices(work, "adopt_next")
    if mirror == "adopted" and followed.get("mirror", "all") == "all":
        await _in_slices(work, "forget_next")
    if (followed.get("adopt", "all"), followed.get("mirror", "all")) != (adopt, mirror):
        _log.info("adoption.changed", adopt=adopt, mirror=mirror)
    await put_setting(work.database, "adopt", adopt)
    await put_setting(work.database, "mirror", mirror)


async def _in_slices(work: Work, statement: str) -> None:
    """Run a statement that takes the next slice of records until there are none; project what it returns."""
    is_done = False
    while not is_done:

        async def take(connection: Connection) -> list[RecordId]:
            nonlocal is_done
            rows = await connection.fetch(work.database.sql(statement), work.org)
            is_done = not rows
            return [RecordId(row["id"]) for row in rows]

        await work.writer.change("mapping", take)

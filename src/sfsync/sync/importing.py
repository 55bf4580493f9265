"""Take a file of people that waits in the store: requests of the kind `import`; the argument is the file's id.

Why: the file is taken part by part between other batches, so that events are not kept waiting, and each part commits
with its count, so that a daemon that is killed goes on where it was. A row that Postgres refuses (an application may
check its own columns) is found by taking ever smaller parts, and costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from ..core.ids import RecordId
from ..core.importing import Fate, Tally
from ..errors import StoreError
from ..store.database import Connection, Database
from ..store.import_files import PART_ROWS, Waiting, next_rows
from ..store.import_statements import FedColumn, compose_import
from ..store.importing import ImportFile, plan_part, take_part
from .requests import Answer, Request
from .work import Work

_log = structlog.get_logger()


@dataclass(slots=True)
class _Progress:
    """How far one file is: the line taken last, what became of its rows, and how many there are."""

    request: Request
    import_id: int
    tally: Tally
    total: int
    after: int = 0

    @property
    def detail(self) -> dict[str, object]:
        return {**self.tally.as_json(), "rows": self.total}


class Importing:
    """Serves requests of the kind `import`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # Two requests for one file, as after a connection that was lost while asking, must not share its rows.
        self._one_at_a_time = asyncio.Lock()

    @property
    def _database(self) -> Database:
        return self._work.database

    async def serve(self, request: Request) -> Answer:
        """Take the file. Raises `ValueError` when there is none, or the mapping lost one of its columns."""
        import_id = _import_id(request)
        async with self._one_at_a_time:
            return await self._serve(request, import_id)

    async def _serve(self, request: Request, import_id: int) -> Answer:
        rows = await self._database.fetch("load_import_file", self._work.org, import_id)
        if not rows:
            raise ValueError("no such file waits in the store: import it again")
        tally = Tally.of_json(json.loads(rows[0]["taken"]))
        progress = _Progress(request, import_id, tally, tally.rows + rows[0]["rows_left"])
        await self._take_all(self._described(rows[0], request), progress)
        counts = {str(fate): count for fate, count in progress.tally.counts.items()}
        _log.info("import.completed", request=request.id, rows=progress.total, fates=counts)
        return Answer("imported", progress.detail)

    def _described(self, row: asyncpg.Record, request: Request) -> ImportFile:
        mapping = self._work.mapping
        people = {column.name: column.pg_type for column in mapping.stored("person")}
        companies = {column.name: column.pg_type for column in mapping.stored("company")}
        statements = compose_import(
            _fed(row["person_columns"], people, ""),
            _fed(row["company_columns"], companies, "company."),
            self._database.schemas,
        )
        return ImportFile(statements, f"request {request.id}", row["address_preference"])

    async def _take_all(self, file: ImportFile, progress: _Progress) -> None:
        rows_max = PART_ROWS
        while True:
            try:
                taken = await self._take(file, progress, rows_max)
            except StoreError as error:
                if type(error) is not StoreError:
                    raise
                # A row of this part cannot be stored. Find out which one.
                if rows_max == 1:
                    taken = await self._reject_next(progress, f"Postgres refuses the row: {error}")
                else:
                    rows_max //= 2
                    continue
            if not taken:
                return
            rows_max = min(PART_ROWS, rows_max * 2)

    async def _take(self, file: ImportFile, progress: _Progress, rows_max: int) -> int:
        """Take the next rows in one transaction; return how many there were."""
        org, after, planned, count = self._work.org, progress.after, progress.tally, 0

        async def work(connection: Connection) -> Sequence[RecordId]:
            nonlocal after, planned, count
            waiting = Waiting(progress.import_id)
            rows = await next_rows(connection, self._database, waiting, progress.after, rows_max)
            if not rows:
                return []
            part = await plan_part(connection, self._database, org, rows, progress.tally)
            record_ids = await take_part(connection, self._database, org, file, part)
            # failpoint: import.taken - a part of a file is taken
            after, planned, count = rows[-1]["line"], part.tally, len(rows)
            await self._note(connection, progress, planned, [row["line"] for row in rows], part.rejected)
            return record_ids

        await self._work.writer.change("import", work, source=f"request {progress.request.id}")
        # failpoint: import.committed - a part of a file is committed
        progress.after, progress.tally = after, planned
        return count

    async def _reject_next(self, progress: _Progress, reason: str) -> int:
        """Keep the next row as one that cannot be taken; return 1."""
        planned, after = progress.tally.copy(), progress.after

        async def work(connection: Connection) -> Sequence[RecordId]:
            nonlocal after
            [row] = await next_rows(
                connection, self._database, Waiting(progress.import_id), progress.after, 1
            )
            after = row["line"]
            planned.note(Fate.REJECTED, after, row["record_id"], reason)
            await self._note(connection, progress, planned, [], [(after, reason)])
            return []

        await self._work.writer.change("import", work, source=f"request {progress.request.id}")
        progress.after, progress.tally = after, planned
        return 1

    async def _note(
        self,
        connection: Connection,
        progress: _Progress,
        tally: Tally,
        lines: Sequence[int],
        rejected: Sequence[tuple[int, str]],
    ) -> None:
        """Forget the rows that were taken, keep the reasons of the others, and say how far it is."""
        kept = {line for line, _ in rejected}
        taken = [line for line in lines if line not in kept]
        await connection.execute(self._database.sql("delete_import_rows"), progress.import_id, taken)
        await connection.execute(
            self._database.sql("reject_import_rows"),
            progress.import_id,
            [line for line, _ in rejected],
            [reason for _, reason in rejected],
        )
        detail = json.dumps({**tally.as_json(), "rows": progress.total})
        await connection.execute(
            self._database.sql("note_import"), progress.import_id, progress.request.id, detail
        )


def _import_id(request: Request) -> int:
    text = request.argument or ""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("the argument of an import is the id of a file that waits in the store")
    return int(text)


def _fed(names: Sequence[str], types: dict[str, str], prefix: str) -> list[FedColumn]:
    missing = [prefix + name for name in names if name not in types]
    if missing:
        raise ValueError(
            f"the leader's mapping has no column {', '.join(missing)}: reload it, then import again"
        )
    return [FedColumn(name, types[name]) for name in names]

"""Ask about people whose decision is open, and let those go who are no question.

Why: nothing of an undecided person's row may change, so the question is kept beside it: which record would speak.
The view crm.pending_decision shows it column by column, with the values of this moment. Somebody in whom nothing
differs is no question and is synced at once; only people whose records were decided differently are always one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.consent import Reason
from .database import Connection, Database
from .grouping import Question, Regrouping

Provenance = tuple[str, str]
"""Who says so: the origin (event, sweep, ...), and its source: a position, the id of a sweep or a request."""


class Consent:
    """The open questions of one org, in one transaction of the applier."""

    def __init__(self, connection: Connection, database: Database, org: str, provenance: Provenance) -> None:
        self._connection = connection
        self._database = database
        self._org = org
        self._provenance = provenance

    async def settle(self, found: Regrouping, differing: str) -> None:
        """Write the open questions of *found*; add those without a difference to what is to be projected.

        *differing* is the statement of the projection that tells whose rows differ.
        """
        if found.adopting:
            await self._execute("adopt_records", self._org, found.adopting)
        differ = await self._differing_rows(differing, found.questions)
        # A question is none when it is about rows that Salesforce would leave as they are.
        equal = [
            q for q in found.questions if q.reason is Reason.DIFFERS and differ.isdisjoint(q.waiting_ids)
        ]
        _add_equal(found, equal)
        if equal:
            records = [record_id for question in equal for record_id in question.record_ids]
            await self._execute("sync_records", self._org, records)
        if found.released:
            await self._execute("release_people", self._org, self._provenance, found.released)
        if found.unasked:
            await self._execute("delete_pending", found.unasked)
        settled = {question.subject_id for question in equal}
        await self._ask(
            [question for question in found.questions if question.subject_id not in settled], differ
        )

    async def _differing_rows(self, differing: str, questions: Sequence[Question]) -> set[int]:
        """Return the rows of pending records that differ from who would speak for them."""
        compared = [(row_id, q.speaker, q.lead) for q in questions for row_id in q.waiting_ids]
        if not compared:
            return set()
        arrays = [list(column) for column in zip(*compared, strict=True)]
        rows = await self._connection.fetch(differing, self._org, *arrays)
        return {row["subject_id"] for row in rows}

    async def _ask(self, questions: Sequence[Question], differ: set[int]) -> None:
        """Keep the questions, and let each row that would be written say that it waits."""
        if not questions:
            return
        rows = [(q.subject_id, q.speaker, q.lead, str(q.reason), _row_shown(q, differ)) for q in questions]
        arrays = [list(column) for column in zip(*rows, strict=True)]
        await self._execute("upsert_pending", self._org, self._provenance, *arrays)
        waiting = [(row_id, str(q.reason)) for q in questions for row_id in q.row_ids]
        if waiting:
            ids, reasons = zip(*waiting, strict=True)
            await self._execute("suspend_people", self._org, self._provenance, list(ids), list(reasons))

    async def _execute(self, name: str, *values: object) -> None:
        await self._connection.execute(self._database.sql(name), *values)


def _add_equal(found: Regrouping, equal: Sequence[Question]) -> None:
    filled = set(found.subject_ids) if equal else set()
    for question in equal:
        if question.subject_id not in filled:
            found.project(question.subject_id, question.speaker, question.lead)
        found.merged.extend((alias, question.subject_id) for alias in question.alias_ids)
        found.released.extend(question.row_ids)
        found.unasked.append(question.subject_id)


def _row_shown(question: Question, differ: set[int]) -> int:
    """Say which row is shown beside Salesforce: one that waits and differs, else the person's own."""
    if question.reason is Reason.MERGED:
        return question.subject_id
    waiting = question.waiting_ids
    return next((one for one in waiting if one in differ), waiting[0] if waiting else question.subject_id)

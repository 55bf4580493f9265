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


async def settle_questions(
    connection: Connection, database: Database, org: str, differing: str, found: Regrouping
) -> None:
    """Write the open questions of *found*; add those without a difference to what is to be projected.

    *differing* is the statement of the projection that tells whose rows differ. Runs in the apply transaction.
    """
    if found.adopting:
        await connection.execute(database.sql("adopt_records"), org, found.adopting)
    equal = await _equal(connection, org, differing, found.questions)
    filled = set(found.subject_ids) if equal else set()
    for question in equal:
        if question.subject_id not in filled:
            found.project(question.subject_id, question.speaker, question.lead)
        found.merged.extend((alias, question.subject_id) for alias in question.alias_ids)
        found.released.extend(question.row_ids)
        found.unasked.append(question.subject_id)
    if equal:
        records = [record_id for question in equal for record_id in question.record_ids]
        await connection.execute(database.sql("sync_records"), org, records)
    if found.released:
        await connection.execute(database.sql("release_people"), found.released)
    if found.unasked:
        await connection.execute(database.sql("delete_pending"), found.unasked)
    settled = {question.subject_id for question in equal}
    await _ask(connection, database, org, [q for q in found.questions if q.subject_id not in settled])


async def _equal(
    connection: Connection, org: str, differing: str, questions: Sequence[Question]
) -> list[Question]:
    """Return the questions that are none, because nothing differs."""
    compared = [question for question in questions if question.reason is Reason.DIFFERS]
    if not compared:
        return []
    rows = await connection.fetch(
        differing,
        org,
        [question.subject_id for question in compared],
        [question.speaker for question in compared],
        [question.lead for question in compared],
    )
    differ = {row["subject_id"] for row in rows}
    return [question for question in compared if question.subject_id not in differ]


async def _ask(connection: Connection, database: Database, org: str, questions: Sequence[Question]) -> None:
    """Keep the questions, and let each row that would be written say that it waits."""
    if not questions:
        return
    rows = [(q.subject_id, q.speaker, q.lead, str(q.reason)) for q in questions]
    await connection.execute(
        database.sql("upsert_pending"), org, *[list(column) for column in zip(*rows, strict=True)]
    )
    waiting = [(row_id, str(q.reason)) for q in questions for row_id in q.row_ids]
    if waiting:
        ids, reasons = zip(*waiting, strict=True)
        await connection.execute(database.sql("suspend_people"), list(ids), list(reasons))

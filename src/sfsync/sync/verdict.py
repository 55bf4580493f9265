"""Say in one word what a record that was just read is worth to whoever is about to act on it.

Why: the word is found from how things stand after the commit, compared with how they stood before, and not from what
the ordering rule said of the read: a person may be spoken for by another record, be declined, or wait for a decision.
What we doubt is called unsettled, even where the read agreed with us; only of a deletion we say both, what we know and
when it will be looked at again.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ..core.ids import RecordId
from ..store.standing import Question, Standing
from .answering import Answer


def judge(
    asked: RecordId, before: Standing, after: Standing, question: Question | None, *, as_of_ms: int
) -> Answer:
    """Return the verdict on a record; *question* is what its person waits for, where it does."""
    detail: dict[str, object] = {"salesforce_id": asked, "as_of": _instant(as_of_ms)}
    if after.person_id is not None:
        detail["person_id"] = after.person_id
    if after.company_id is not None:
        detail["company_id"] = after.company_id
    outcome = _outcome(before, after)
    if after.retry_ms is not None:
        detail["retry_at"] = _instant(after.retry_ms)
    if outcome == "pending":
        detail |= _shown(after, question)
    elif outcome == "unsettled" and after.parked is not None:
        detail["error"] = f"what was read could not be stored: {after.parked}"
    elif outcome == "declined":
        detail["is_deleted"] = after.is_deleted
    return Answer(outcome, detail)


def _outcome(before: Standing, after: Standing) -> str:
    """Choose the word: first what the person's state forbids, then what Salesforce said, then what changed."""
    if after.sync == "declined":
        return "declined"
    lost = _lost(after)
    if lost is not None:
        return lost
    if after.sync == "pending":
        return "pending"
    if after.retry_ms is not None or not _has_row(after):
        return "unsettled"
    return _changed(before, after)


def _lost(after: Standing) -> str | None:
    """Say how the record is lost, if it is. Whoever waits for a decision is asked about a deletion too."""
    is_deleted = after.deleted_at is not None or (after.is_deleted and not _has_row(after))
    if is_deleted and after.sync != "pending":
        return "deleted"
    if after.unseen_since_ms is not None or (not after.is_known and after.retry_ms is None):
        return "absent"
    return None


def _changed(before: Standing, after: Standing) -> str:
    if not _has_row(before):
        return "created"
    return "equal" if before.version == after.version else "updated"


def _has_row(standing: Standing) -> bool:
    return standing.person_id is not None or standing.company_id is not None


def _shown(after: Standing, question: Question | None) -> dict[str, object]:
    """Put the question: why it is one, and each column that would change."""
    if question is None:
        return {"reason": after.sync_reason, "columns": []}
    return {
        "reason": question.reason,
        "is_deleted": question.is_deleted,
        "columns": [
            {"column": one.column, "stored": one.stored, "salesforce": one.salesforce}
            for one in question.differences
        ],
    }


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

"""What the decisions on the records of one person make of the person.

Why: decisions belong to records, because people are joined by conversions and merges and parted again by an
undelete, and nobody must then be asked a second time. A person whose records disagree is a question anew: to
overwrite somebody who was declined is as wrong as to stop following somebody who was not.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Decision(StrEnum):
    """Whether a record's person follows Salesforce."""

    SYNCED = "synced"
    PENDING = "pending"
    DECLINED = "declined"


class Reason(StrEnum):
    """Why a person waits for a decision."""

    UNREAD = "unread"
    ABSENT = "absent"
    DIFFERS = "differs"
    MERGED = "merged"


def combine(decisions: Iterable[Decision]) -> tuple[Decision, bool]:
    """Return a person's state from those of its records, and whether it is a question because they were merged.

    Raises `ValueError` when there is no record.
    """
    found = set(decisions)
    if not found:
        raise ValueError("a person has at least one record")
    if len(found) == 1:
        return found.pop(), False
    return Decision.PENDING, Decision.DECLINED in found

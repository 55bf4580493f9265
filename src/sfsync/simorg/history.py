"""Changes, commits and the versions of a record: what the org's log consists of.

A field map is sparse: a field without a value is absent, so read it with `.get`.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Fields = dict[str, Any]
Kind = Literal["CREATE", "UPDATE", "DELETE", "UNDELETE", "PURGE"]


@dataclass(frozen=True, slots=True)
class Change:
    """The net change of one record in one transaction; PURGE left the recycle bin and never makes an event."""

    entity: str
    record_id: str
    kind: Kind
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    commit_skew_s: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed transaction; a silent one is announced to nobody (lost by design)."""

    number: int
    transaction_key: str
    started_at: datetime
    committed_at: datetime
    user_id: str
    origin: str
    changes: tuple[Change, ...]
    silent: bool = False


class Record:
    """All versions of one record, oldest first, each under the number of the commit that wrote it."""

    __slots__ = ("entity", "id", "numbers", "states")

    def __init__(self, entity: str, record_id: str) -> None:
        self.entity = entity
        self.id = record_id
        self.numbers: list[int] = []
        self.states: list[Mapping[str, Any] | None] = []

    def at(self, number: int) -> Mapping[str, Any] | None:
        """Return the fields as commit *number* left them; None if unborn or purged then."""
        if self.numbers and self.numbers[-1] <= number:
            return self.states[-1]
        place = bisect_right(self.numbers, number)
        return self.states[place - 1] if place else None

    def write(self, number: int, fields: Mapping[str, Any] | None) -> None:
        """Append the version that commit *number* makes."""
        self.numbers.append(number)
        self.states.append(fields)


def net_kind(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Kind:
    """Name what happened to a record between two states, whatever the steps in between."""
    if after is None:
        return "PURGE"
    if after["IsDeleted"]:
        return "DELETE"
    if before is None:
        return "CREATE"
    return "UNDELETE" if before["IsDeleted"] else "UPDATE"

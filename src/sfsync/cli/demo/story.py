"""Tell what the org did in words a person would use, one sentence per transaction.

Why: people watch names, not ids. The sentences come from the org's own commit log, never from the daemon, so that
what is shown as true is what Salesforce said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NOUNS = {"Lead": "lead", "Contact": "contact", "Account": "company"}
_VERBS = {
    "CREATE": "is created",
    "DELETE": "is deleted",
    "UNDELETE": "is restored",
    "PURGE": "leaves the recycle bin",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One transaction of the org: what it was, in words, and a record to look for in the store."""

    kind: str
    sentence: str
    record_id: str
    committed_at: str


class Storyteller:
    """Remembers names, since a change tells only what changed."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._companies: dict[str, str | None] = {}
        self._moved: set[str] = set()

    def tell(self, commit: Mapping[str, Any]) -> Happening | None:
        """Return what *commit* means; None when it touches nothing that sfsync follows."""
        changes = [change for change in commit["changes"] if change["entity"] in _NOUNS]
        self._moved.clear()
        for change in changes:
            self._learn(change)
        if not changes or commit["silent"]:
            return None
        kind, sentence, subject = self._sentence(changes)
        return Happening(kind, sentence, subject["id"], commit["committed_at"])

    def _learn(self, change: Mapping[str, Any]) -> None:
        fields = change.get("fields") or {}
        if change["entity"] == "Account":
            name = fields.get("Name")
        else:
            name = " ".join(filter(None, (fields.get("LastName"), fields.get("FirstName"))))
        if name:
            self._names[change["id"]] = name
        if change["entity"] == "Contact" and "AccountId" in fields:
            if self._companies.get(change["id"], fields["AccountId"]) != fields["AccountId"]:
                self._moved.add(change["id"])
            self._companies[change["id"]] = fields["AccountId"]

    def _sentence(self, changes: Sequence[Mapping[str, Any]]) -> tuple[str, str, Mapping[str, Any]]:
        converted = next(
            (c for c in changes if c["entity"] == "Lead" and _says(c, "ConvertedContactId")), None
        )
        if converted is not None and converted["kind"] == "UPDATE":
            return "convert", f"lead {self._name(converted)} is converted to a contact", converted
        losers = [c for c in changes if c["kind"] == "DELETE" and _says(c, "MasterRecordId")]
        if losers:
            winner = self._names.get(str(losers[0]["fields"]["MasterRecordId"]), "another")
            noun = _NOUNS[losers[0]["entity"]]
            return "merge", f"{noun} {self._name(losers[0])} is merged into {winner}", losers[0]
        first = changes[0]
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return (
            first["kind"].lower(),
            f"{_NOUNS[first['entity']]} {self._name(first)} {self._verb(first)}{more}",
            first,
        )

    def _verb(self, change: Mapping[str, Any]) -> str:
        if change["kind"] in _VERBS:
            return _VERBS[change["kind"]]
        if change["id"] in self._moved:
            return f"moves to {self._names.get(str(self._companies[change['id']]), 'no company')}"
        return "is changed"

    def _name(self, change: Mapping[str, Any]) -> str:
        return self._names.get(change["id"], str(change["id"]))


def _says(change: Mapping[str, Any], field: str) -> bool:
    return bool((change.get("fields") or {}).get(field))

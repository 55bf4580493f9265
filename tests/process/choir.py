"""Transactions of the org that can be told apart in the store: a few records that always change together.

Why: whether a reader sees half of a Salesforce transaction can be decided exactly only if each transaction leaves the same
mark on all that it touches. A choir is an account, a contact and a lead; a verse is one transaction that writes its
number into all three, and often does a deed besides: converts a lead into a contact of the account, or merges two leads.
In any one snapshot all voices must sing the same verse, and a deed must be seen exactly from its verse on.

The org's users leave choirs alone as long as they began before the choir was founded: they know whom they found.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.stage import SimOrg

DEEDS_KEPT = 4


@dataclass(frozen=True, slots=True)
class Deed:
    """What a verse did besides: *kind* is `convert` or `merge`; *other_id* is the contact it became, or the winner."""

    verse: int
    kind: str
    record_id: str
    other_id: str


@dataclass(eq=False, slots=True)
class Choir:
    """Three records, the verses they sang, and where the stream stood after each.

    `sung` are (verse, the last replay id that the org had given when the verse was committed), the latest at the end.
    """

    account: str
    contact: str
    lead: str
    draw: random.Random
    verse: int = 1
    sung: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=500))
    deeds: deque[Deed] = field(default_factory=lambda: deque(maxlen=DEEDS_KEPT))
    _understudies: list[str] = field(default_factory=list)

    @classmethod
    def found(cls, org: SimOrg, draw: random.Random) -> Choir:
        """Make the three records, in one transaction: the first verse."""
        ids = org.transact(
            {"op": "create", "entity": "Account", "fields": {"Name": "Choir", "Phone": "1"}, "as": "a"},
            _create("Contact", "c", AccountId="$a", Phone="1"),
            _create("Lead", "l", Phone="1"),
        )
        choir = cls(ids["a"], ids["c"], ids["l"], draw)
        choir._heard(org)
        return choir

    @property
    def voices(self) -> tuple[str, str, str]:
        return self.account, self.contact, self.lead

    def sing(self, org: SimOrg) -> int:
        """Sing the next verse; return its number."""
        verse = self.verse + 1
        told, kind = str(verse), self.draw.choice(["", "found", "convert", "merge"])
        steps: list[dict[str, Any]] = [
            {"op": "update", "id": voice, "fields": {"Phone": told}} for voice in self.voices
        ]
        if kind == "convert" and self._understudies:
            lead = self._understudies.pop()
            steps.append({"op": "convert", "lead": lead, "account": self.account, "as": "made"})
            self.deeds.append(Deed(verse, kind, lead, org.transact(*steps)["made"]))
        elif kind == "merge" and len(self._understudies) > 1:
            loser, winner = self._understudies.pop(), self._understudies[-1]
            steps.append({"op": "merge", "winner": winner, "losers": [loser], "fields": {"Phone": told}})
            org.transact(*steps)
            self.deeds.append(Deed(verse, kind, loser, winner))
        else:
            ids = org.transact(*steps, *([_create("Lead", "l")] if kind else []))
            self._understudies += ids.values()
        self.verse = verse
        self._heard(org)
        return verse

    def _heard(self, org: SimOrg) -> None:
        self.sung.append((self.verse, org.stats()["bus"]["last_replay_id"]))

    def verse_at(self, replay_id: int) -> int:
        """Return a verse that was sung, at the latest, by that place in the stream."""
        return max((verse for verse, heard in list(self.sung) if heard <= replay_id), default=0)


def _create(entity: str, name: str, **fields: str) -> dict[str, Any]:
    company = {"Company": "Choir"} if entity == "Lead" else {}
    return {
        "op": "create",
        "entity": entity,
        "fields": {"LastName": "Choir", **company, **fields},
        "as": name,
    }

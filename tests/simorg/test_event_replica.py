"""The stream alone tells the world: a replica fed with nothing but events ends equal to the org.

Why: if the simulated events lost or invented anything, a correct daemon would look broken, and a broken one correct.
The replica below reads payloads in its own way and imports nothing of the event engine.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfsync.simorg.app import make_org
from sfsync.simorg.feed import Feed
from sfsync.simorg.life import MIX, Life, Pace
from sfsync.simorg.org import Org
from sfsync.simorg.population import populate
from sfsync.simorg.text_diff import diff_of

ENTITIES = ("Lead", "Contact", "Account")
SILENT = {
    "Id", "IsDeleted", "MasterRecordId", "SystemModstamp", "LastActivityDate", "LastViewedDate",
    "LastReferencedDate", "PhotoUrl", "IsEmailBounced", "DoNotCall", "HasOptedOutOfFax", "Private_Note__c",
    "Account_Tier__c",
}  # fmt: skip
STEPS = 1_500


class Replica:
    """What a subscriber knows that only ever saw events."""

    def __init__(self) -> None:
        self.live: dict[str, dict[str, Any]] = {}

    def hear(self, payload: Mapping[str, Any]) -> None:
        """Take in one event."""
        head = payload["ChangeEventHeader"]
        said = {name: value for name, value in payload.items() if name != "ChangeEventHeader"}
        for record_id in head["recordIds"]:
            match head["changeType"]:
                case "CREATE" | "UNDELETE":
                    self.live[record_id] = _flat(said)
                case "UPDATE":
                    self._patch(self.live[record_id], said)
                case "DELETE":
                    del self.live[record_id]
                case other:
                    raise AssertionError(f"unexpected {other}")

    def _patch(self, known: dict[str, Any], said: Mapping[str, Any]) -> None:
        for name, value in said.items():
            if value is None and name.endswith("Address"):
                prefix = name.removesuffix("Address")
                for component in (
                    "Street",
                    "City",
                    "State",
                    "PostalCode",
                    "Country",
                    "Latitude",
                    "Longitude",
                ):
                    known.pop(prefix + component, None)
                known.pop(prefix + "GeocodeAccuracy", None)
            elif isinstance(value, dict) and "diff" in value:
                known[name] = apply_diff(known[name], value["diff"])
            else:
                known.update(_flat({name: value}))


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, dict):
            prefix = "" if name == "Name" else name.removesuffix("Address")
            flat |= {prefix + component: part for component, part in value.items()}
        else:
            flat[name] = value
    return flat


def apply_diff(old: str, diff: str) -> str:
    """Return the text that *diff* makes of *old*; fail if its hash is not the one the diff names."""
    ends = re.findall(r"\r\n|\r|\n", old)
    lines = re.split(r"\r\n|\r|\n", old)
    _, hashed, *body = diff.split("\n")
    result: list[str] = []
    place = 0
    for line in body:
        hunk = re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", line)
        if hunk:
            start = int(hunk[1]) - (1 if int(hunk[2]) else 0)
            result += lines[place:start]
            place = start
        elif line[0] == "-":
            assert lines[place] == line[1:]
            place += 1
        else:
            result.append(line[1:])
    text = (ends[0] if ends else "\n").join(result + lines[place:])
    assert hashlib.sha256(text.encode()).hexdigest() == hashed.removeprefix("+++ ")
    return text


def said_of(fields: Mapping[str, Any], entity: str) -> dict[str, Any]:
    """Return what events may say of a record, in their words."""
    hidden = SILENT | ({"Name"} if entity != "Account" else set())
    told: dict[str, Any] = {}
    for name, value in fields.items():
        if name in hidden or value is None:
            continue
        if isinstance(value, datetime):
            told[name] = value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        else:
            told[name] = value.isoformat() if isinstance(value, date) else value
    return told


def living(seed: int, **options: Any) -> tuple[Org, Life]:
    """Return a populated org that announces from now on, and a life to step through."""
    org = make_org(seed)
    for name, value in options.items():
        setattr(org.settings, name, value)
    populate(org.world, 120, seed)
    org.world.on_commit(Feed(org).announce)
    return org, Life(org, Pace(1.0, seed, {**MIX, "purge": 3.0}))


@pytest.mark.parametrize(("seed", "style"), [(1, "bare"), (2, "dotted"), (3, "bare")])
def test_replica_of_events_equals_the_org(seed: int, style: str) -> None:
    """With merging, splitting, skew and shuffling on, after every kind of change."""
    org, life = living(seed, cleared_compound=style, split_share=0.2, merge_share=0.7, skew_share=0.3)
    start = {
        record_id: said_of(fields, entity)
        for entity in ENTITIES
        for record_id, fields in org.world.snapshot().by_id(entity)
        if not fields["IsDeleted"]
    }
    replica = Replica()
    replica.live = {record_id: dict(fields) for record_id, fields in start.items()}
    cursor = org.bus.tip
    rng = random.Random(seed)
    for _ in range(STEPS):
        life.step()
        org.clock.advance(rng.choice((0, 0, 0.3, 7)))
        if rng.random() < 0.1:
            clear_an_address(org, rng)
    heard, _ = org.bus.read(cursor, 1_000_000, ENTITIES)
    for retained in heard:
        replica.hear(json.loads(retained.body)["payload"])

    expected = {
        record_id: said_of(fields, entity)
        for entity in ENTITIES
        for record_id, fields in org.world.snapshot().by_id(entity)
        if not fields["IsDeleted"]
    }
    assert {kind for kind, count in life.done.items() if count} >= {
        "create",
        "update",
        "convert",
        "merge",
        "undelete",
    }
    known = {key: {n: v for n, v in fields.items() if v is not None} for key, fields in replica.live.items()}
    purged_live = set(known) - set(expected)
    assert all(org.world.get(each) is None for each in purged_live), "only a silent purge may go unheard"
    assert {key: fields for key, fields in known.items() if key in expected} == expected


def clear_an_address(org: Org, rng: random.Random) -> None:
    """Empty one contact's whole mailing address, or fill it."""
    contacts = [key for key, fields in org.world.snapshot().by_id("Contact") if not fields["IsDeleted"]]
    value = rng.choice((None, "x"))
    with org.world.transaction() as transaction:
        parts = (
            "Street",
            "City",
            "State",
            "PostalCode",
            "Country",
            "Latitude",
            "Longitude",
            "GeocodeAccuracy",
        )
        numbers = {"Latitude": 35.0, "Longitude": 139.0}
        filled = {f"Mailing{part}": value and numbers.get(part, value) for part in parts}
        transaction.update(rng.choice(contacts), filled)


LINES = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=60), min_size=30
)


@given(LINES, st.integers(0, 29), st.text("abc", max_size=40), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_diff_applied_to_the_old_text_gives_the_new_one(
    lines: list[str], place: int, text: str, end: str
) -> None:
    """Whatever characters the text holds: only CR and LF end a line."""
    old = end.join(lines) + "." * 1_000
    new = end.join([*lines[:place], text, *lines[place + 1 :]]) + "." * 1_000
    removed = end.join([*lines[:place], *lines[place + 1 :]]) + "." * 1_000

    for changed in (new, removed):
        diff = diff_of(old, changed)
        assert diff is None or apply_diff(old, diff) == changed

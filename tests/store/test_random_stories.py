"""Stories that nobody thought of, told to the store alone: identity and consent over random facts and decisions.

Why: a conversion, a merge and a decision are each simple; what they make of each other is not. Without processes
between, hundreds of stories take as long as one history end to end, and the oracle judges each. Orders of arrival
that need a clock are told elsewhere (test_identity_order.py, tests/core/test_order_model.py): here each fact is told
late enough to be believed, or lost until a read finds it.

`SFSYNC_STORIES=1000:2000` plays that range of seeds instead.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from sfsync.core.commands import Cause, Command
from sfsync.core.ids import RecordId, record_id
from sfsync.simorg.oracle import compare
from sfsync.simorg.oracle_consent import Given
from sfsync.simorg.oracle_state import OrgRecord, load_store
from sfsync.store.database import Connection
from tests.application import Application
from tests.store.harness import ORG, Store, absent, at, gap, image, patch, read, tombstone

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENTITIES = {"Lead": "00Q", "Contact": "003", "Account": "001"}
STEP_S = 200
TABLES = (
    "crm.person, crm.company, sfsync.record, sfsync.identity, sfsync.dirty, sfsync.pending, sfsync.change"
)


def seeds() -> range:
    first, _, end = os.environ.get("SFSYNC_STORIES", "0:25").partition(":")
    return range(int(first), int(end))


@dataclass(slots=True)
class Record:
    """What the org holds of one record now."""

    entity: str
    id: RecordId
    fields: dict[str, Any]
    stamp: int
    is_deleted: bool = False
    is_purged: bool = False
    read_deleted: bool = False

    @property
    def master(self) -> RecordId | None:
        return self.fields.get("MasterRecordId")

    def believed(self, begun: int) -> Command:
        """What a read says of it."""
        if self.is_purged:
            return absent(self.id, begun=begun)
        fields = {name: value for name, value in self.fields.items() if name != "MasterRecordId"}
        return read(self.id, self.stamp, begun=begun, deleted=self.is_deleted, master=self.master, **fields)

    def shown(self) -> OrgRecord:
        """How the control API would show it."""
        stamp = datetime.fromtimestamp(at(self.stamp) / 1000, UTC).isoformat()
        fields = {**self.fields, "SystemModstamp": stamp}
        return OrgRecord(self.entity, self.id, fields, self.is_deleted, self.is_purged)


@dataclass(slots=True)
class Tale:
    """One story: an org drawn from a seed, the store it is told to, and who was declined meanwhile."""

    store: Store
    draw: random.Random
    records: dict[RecordId, Record] = field(default_factory=dict)
    frozen: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    now: int = 0

    # What happens in the org, and what its events say

    def create(self) -> list[Command]:
        entity = self.draw.choice(["Lead", "Lead", "Contact", "Contact", "Account"])
        number = len(self.records)
        name = {"Name": f"A{number}"} if entity == "Account" else {"LastName": f"P{number}"}
        if entity == "Lead":
            name |= {"Website": f"{number}.test", "Company": f"C{number}"}
        if entity == "Contact" and (account := self.pick("Account")):
            name["AccountId"] = account.id
        made = Record(entity, record_id(f"{ENTITIES[entity]}5r{number:010d}"), name, self.now)
        self.records[made.id] = made
        return [image(made.id, self.now, **made.fields)]

    def update(self) -> list[Command]:
        found = self.pick(self.draw.choice(list(ENTITIES)))
        return [self.change(found, Phone=str(self.now))] if found else []

    def reparent(self) -> list[Command]:
        contact, account = self.pick("Contact"), self.pick("Account")
        return [self.change(contact, AccountId=account.id)] if contact and account else []

    def convert(self) -> list[Command]:
        lead, contact = self.pick("Lead"), self.pick("Contact")
        if lead is None:
            return []
        told: list[Command] = []
        if contact is None or self.draw.random() < 0.5:
            number = len(self.records)
            fields = {"LastName": lead.fields["LastName"]}
            contact = Record("Contact", record_id(f"0035r{number:010d}"), fields, self.now)
            self.records[contact.id] = contact
            told = [image(contact.id, self.now, **fields)]
        date = f"2026-{1 + self.now // STEP_S // 28 % 12:02d}-{1 + self.now // STEP_S % 28:02d}"
        marks = {"IsConverted": True, "ConvertedContactId": contact.id, "ConvertedDate": date}
        return [*told, self.change(lead, **marks)]

    def merge(self) -> list[Command]:
        entity = self.draw.choice(list(ENTITIES))
        chosen = [r for r in self.records.values() if self.may_act(r, entity)]
        if len(chosen) < 2:
            return []
        winner, *losers = self.draw.sample(chosen, self.draw.choice([2, min(3, len(chosen))]))
        told = [command for loser in losers for command in self.remove(loser, into=winner)]
        return [*told, self.change(winner, Fax=str(self.now))]

    def delete(self) -> list[Command]:
        live = [r for r in self.records.values() if not r.is_deleted]
        return self.remove(self.draw.choice(live)) if live else []

    def undelete(self) -> list[Command]:
        binned = [r for r in self.records.values() if r.is_deleted and not r.is_purged]
        if not binned:
            return []
        back = self.draw.choice(binned)
        back.fields.pop("MasterRecordId", None)
        back.is_deleted, back.read_deleted, back.stamp = False, False, self.now
        return [image(back.id, self.now, **back.fields)]

    def purge(self) -> list[Command]:
        # Only what was read deleted: nobody could tell why the others are gone.
        binned = [r for r in self.records.values() if r.is_deleted and r.read_deleted and not r.is_purged]
        if binned:
            self.draw.choice(binned).is_purged = True
        return []

    def pick(self, entity: str) -> Record | None:
        found = [r for r in self.records.values() if self.may_act(r, entity)]
        return self.draw.choice(found) if found else None

    def may_act(self, record: Record, entity: str) -> bool:
        return record.entity == entity and not record.is_deleted and not record.fields.get("IsConverted")

    def change(self, record: Record, **fields: Any) -> Command:
        record.fields |= fields
        record.stamp = self.now
        return patch(record.id, self.now, **fields)

    def remove(self, record: Record, into: Record | None = None) -> list[Command]:
        record.is_deleted, record.stamp = True, self.now
        if into is not None:
            record.fields["MasterRecordId"] = into.id
        return [tombstone(record.id, self.now), gap(record.id, self.now, Cause.DELETE)]

    # What the application decides

    async def decline(self) -> None:
        person = await self.some_person("true")
        if person is not None:
            connection = self.store.connection
            await connection.execute("SELECT crm.decide($1, 'decline')", person)
            for row in await connection.fetch(_DECLINED, person):
                self.frozen.setdefault(row["id"], json.loads(row["row"]))

    async def want(self) -> None:
        person = await self.some_person("sync <> 'synced'")
        if person is None:
            return
        for row in await self.store.connection.fetch(_ROWS_OF, person):
            self.frozen.pop(row["id"], None)

        async def take(connection: Connection) -> Sequence[RecordId]:
            members: list[RecordId] = await connection.fetchval(
                "SELECT sfsync.take_decision($1, 'sync', 'me', 'cli')", person
            )
            return members

        await self.store.applier.change("decision", take)

    async def some_person(self, condition: str) -> int | None:
        rows = await self.store.connection.fetch(
            f"SELECT id FROM crm.person WHERE crm.resolve_person(id) = id AND {condition} ORDER BY id"
        )
        return self.draw.choice(rows)["id"] if rows else None

    # How it is told

    async def play(self, steps: int) -> None:
        happenings: list[Callable[[], list[Command]]] = [
            *[self.create] * 4,
            *[self.update] * 2,
            *[self.reparent] * 2,
            *[self.convert] * 4,
            *[self.merge] * 4,
            *[self.delete] * 2,
            *[self.undelete] * 4,
            self.purge,
        ]
        decisions: list[Callable[[], Awaitable[None]]] = [self.decline, self.want]
        for _ in range(steps):
            self.now += STEP_S
            told = self.draw.choice(happenings)()
            if self.draw.random() < 0.85:
                await self.tell(told)
            if self.draw.random() < 0.3:
                await self.read_again(self.draw.randint(1, 3))
            if self.draw.random() < 0.25:
                await self.draw.choice(decisions)()
            await self.application.write_letters()

    @property
    def application(self) -> Application:
        return Application(self.store.connection)

    async def tell(self, commands: Sequence[Command]) -> None:
        """Tell an org's transaction at once, or cut in two."""
        cut = self.draw.randint(0, len(commands))
        for part in (commands[:cut], commands[cut:]):
            if part:
                await self.store.apply(*part, heard=self.now)

    async def read_again(self, count: int) -> None:
        """Read some records, dirty ones first, as a sweep or a refetch would."""
        dirty = [RecordId(of) for of in await self.store.dirty()]
        ids = [*dirty, *self.draw.sample(list(self.records), len(self.records))][:count]
        begun = self.now + 100
        reads = [self.records[of].believed(begun) for of in dict.fromkeys(ids)]
        for of in ids:
            self.records[of].read_deleted = self.records[of].is_deleted
        await self.store.apply(*reads, heard=begun, refetched=True)

    async def settle(self) -> None:
        await self.store.connection.execute(
            "UPDATE sfsync.record SET hold_until = now() - interval '1 s' WHERE hold_until IS NOT NULL"
        )
        await self.store.applier.release_held()
        begun = self.now + 150
        reads = [record.believed(begun) for record in self.records.values()]
        await self.store.apply(*reads, heard=begun, refetched=True)

    async def differences(self) -> list[str]:
        people, companies = await load_store(self.store.dsn, ORG)
        shown = [record.shown() for record in self.records.values()]
        return compare(shown, people, companies, Given(frozen=self.frozen)).differences


_ROWS_OF = "SELECT id FROM crm.person WHERE crm.resolve_person(id) = $1"
_DECLINED = """
SELECT p.id, to_jsonb(p)::text AS row FROM crm.person AS p
WHERE p.sync = 'declined' AND p.merged_into IS NULL AND crm.resolve_person(p.id) = crm.resolve_person($1)
"""


@pytest.mark.parametrize("seed", seeds())
async def test_story_ends_as_the_oracle_says(shared_store: Store, seed: int) -> None:
    """Whatever happens and whatever is decided: rows, ids, questions and declined rows are what the rules say."""
    async with shared_store.connection.transaction():
        await shared_store.connection.execute("SET LOCAL sfsync.writer = 'on'")
        await shared_store.connection.execute(f"TRUNCATE {TABLES} CASCADE")
    tale = Tale(shared_store, random.Random(seed))
    await tale.play(40)
    await tale.settle()
    assert await tale.differences() == []
    assert await tale.application.lost_letters() == []

"""What is written and decoded: believable Japanese people, the same for every method that is measured.

A batch is a mix: of ten records two are new (CREATE), two change in every mapped field, six in one to five fields
(a CDC update always says LastModifiedDate besides). Leads and contacts by halves; contacts belong to companies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from sfsync.core.commands import Command, Image, Patch
from sfsync.core.events import Position, RawEvent
from sfsync.core.ids import Entity, RecordId, record_id
from tests.store.harness import MAPPING, at

PREFIX = {Entity.LEAD: "00Q5i", Entity.CONTACT: "0035i", Entity.ACCOUNT: "0015i"}
_TEXTS = {
    **dict.fromkeys(("LastName", "FirstName"), ("山田", "佐藤", "太郎", "花子", "Okafor", "Müller")),
    **dict.fromkeys(("Company", "Name"), ("株式会社サンプル商事", "有限会社みどり工務店", "Globex GmbH")),
    **dict.fromkeys(("City", "MailingCity", "BillingCity"), ("千代田区", "横浜市中区", "Springfield")),
    **dict.fromkeys(
        ("Street", "MailingStreet", "BillingStreet"), ("丸の内1-2-3\r\n丸の内ビル5F", "742 Evergreen Terrace")
    ),
    **dict.fromkeys(("State", "MailingState", "BillingState"), ("東京都", "神奈川県", "Oregon")),
    **dict.fromkeys(
        ("PostalCode", "MailingPostalCode", "BillingPostalCode"), ("100-0005", "01234", "231-0023")
    ),
}
_STRUCTURAL = {"IsConverted", "ConvertedContactId", "ConvertedDate", "ConvertedAccountId", "AccountId"}
CREATES, FULL = 0.2, 0.2


def new_id(entity: Entity, number: int) -> RecordId:
    """Return the id of the record of that number."""
    return record_id(f"{PREFIX[entity]}{number:010d}")


def value_of(entity: Entity, name: str, rng: random.Random) -> Any:
    """Make up a value for a mapped field, by its type."""
    make = _BY_TYPE.get(MAPPING.plans[entity].fields[name].type)
    if make is not None:
        return make(rng)
    texts = _TEXTS.get(name)
    return rng.choice(texts) if texts else f"{name} {rng.randint(1, 10**6)}"


def _instant(rng: random.Random) -> str:
    moment = datetime.fromtimestamp(1_790_000_000 + rng.randrange(10**7), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rng.randrange(1000):03d}Z"


def _user(rng: random.Random) -> RecordId:
    return record_id(f"0055i{rng.randint(1, 50):010d}")


_BY_TYPE: Mapping[str, Callable[[random.Random], Any]] = {
    "boolean": lambda rng: rng.random() < 0.5,
    "datetime": _instant,
    "date": lambda rng: _instant(rng)[:10],
    "int": lambda rng: rng.randint(1, 5000),
    "currency": lambda rng: Decimal(rng.randint(1, 10**9)) / 100,
    "reference": _user,
}


@dataclass(slots=True)
class People:
    """A store's people and companies, and the batches of changes to them."""

    rng: random.Random
    companies: list[RecordId] = field(default_factory=list)
    known: list[tuple[Entity, RecordId]] = field(default_factory=list)
    _number: int = 0
    _second: float = 0.0

    def found(self, people: int) -> list[Command]:
        """Return what creates *people* people, and a company for every fifth."""
        self.companies = [new_id(Entity.ACCOUNT, number) for number in range(max(people // 5, 1))]
        accounts: list[Command] = [
            Image(Entity.ACCOUNT, one, at(0), self._image(Entity.ACCOUNT)) for one in self.companies
        ]
        return accounts + [self._create() for _ in range(people)]

    def batch(self, size: int) -> list[Command]:
        """Return changes of *size* different records."""
        self._second += 2
        kinds = [self.rng.random() for _ in range(size)]
        changed = iter(self.rng.sample(self.known, sum(kind >= CREATES for kind in kinds)))
        return [
            self._create() if kind < CREATES else self._change(*next(changed), whole=kind < CREATES + FULL)
            for kind in kinds
        ]

    def _create(self) -> Command:
        entity = Entity.LEAD if self._number % 2 else Entity.CONTACT
        one = new_id(entity, self._number)
        self._number += 1
        self.known.append((entity, one))
        return Image(entity, one, at(self._second), self._image(entity))

    def _change(self, entity: Entity, one: RecordId, *, whole: bool) -> Command:
        names = sorted(MAPPING.plans[entity].announced - _STRUCTURAL)
        if not whole:
            names = [*self.rng.sample(names, self.rng.randint(1, 5)), "LastModifiedDate"]
        return Patch(
            entity, one, at(self._second), {name: value_of(entity, name, self.rng) for name in names}
        )

    def _image(self, entity: Entity) -> dict[str, Any]:
        plan = MAPPING.plans[entity]
        fields = {
            name: None if name in _STRUCTURAL else value_of(entity, name, self.rng) for name in plan.fields
        }
        if entity is Entity.CONTACT:
            fields["AccountId"] = self.rng.choice(self.companies)
        if "IsConverted" in fields:
            fields["IsConverted"] = False
        return fields


def heap_rows(size: int, rng: random.Random) -> list[tuple[Any, ...]]:
    """Return *size* people as values of the mapped columns: what pure COPY has to write."""
    rows = []
    for number in range(size):
        entity = Entity.LEAD if number % 2 else Entity.CONTACT
        rows.append(tuple(_cell(entity, column.sources.get(entity), rng) for column in MAPPING.person))
    return rows


def _cell(entity: Entity, name: str | None, rng: random.Random) -> Any:
    if name is None:
        return None
    value = value_of(entity, name, rng)
    kind = MAPPING.plans[entity].fields[name].type
    if kind == "datetime":
        return datetime.fromisoformat(value).astimezone(UTC)
    return date.fromisoformat(value) if kind == "date" else value


def raw_events(count: int, rng: random.Random) -> Sequence[RawEvent]:
    """Return CDC messages as CometD brings them: nine updates of 1 to 5 fields to one create."""
    people = People(rng)
    people.found(count)
    raw = []
    for number in range(count):
        is_create = number % 10 == 0
        command = people._create() if is_create else people._change(*people.known[number], whole=False)
        assert isinstance(command, Image | Patch)
        raw.append(RawEvent(Position(str(number).encode()), _payload(command, number, is_create=is_create)))
    return raw


def _payload(command: Image | Patch, number: int, *, is_create: bool) -> bytes:
    header = {
        "entityName": command.entity.value,
        "recordIds": [command.record_id],
        "changeType": "CREATE" if is_create else "UPDATE",
        "changeOrigin": "com/salesforce/api/rest/66.0;client=Example",
        "transactionKey": f"0003bc59-a5e1-4a5b-9c1f-{number:012d}",
        "sequenceNumber": 1,
        "commitTimestamp": command.commit_ms,
        "commitNumber": 10_000_000_000_000 + number,
        "commitUser": "0055i00000Usr01AAB",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": [] if is_create else list(command.fields),
    }
    fields = {name: value for name, value in command.fields.items() if not is_create or value is not None}
    return msgspec.json.Encoder(decimal_format="number").encode({"ChangeEventHeader": header, **fields})

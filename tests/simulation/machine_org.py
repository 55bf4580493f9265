"""Rules of what people do: in the org, each in a transaction of its own, and in the application that owns the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from sfsync.simorg.convert import Conversion, convert
from sfsync.simorg.transaction import Transaction

from .machine_step import (
    ACCOUNTS,
    ANYBODY,
    CONTACTS,
    DICE,
    FIELDS,
    LEADS,
    LONG_TEXTS,
    NAMES,
    PLACES,
    SPANS_S,
    Machine,
    fields_of,
    step,
)
from .machine_world import Place
from .stage import ENTITIES

Fields = Mapping[str, str | None]
_NUMBERS = st.sampled_from(PLACES)
_KINDS = st.sampled_from(ENTITIES)


class OrgRules(Machine):
    """What users do with records."""

    @step()
    async def change(self) -> None:
        """Somebody's telephone number changes."""
        # The rule of fewest arguments and lowest name is the simplest: what Hypothesis fills an example up with.
        world = self.here.stage.org.world
        record = Place(ENTITIES[world.number % 3], world.number // 3)
        await self.here.transact(lambda tx: self._change(tx, [record], {"phone": str(world.number)}), 0)

    @step(fields=FIELDS, spans_s=SPANS_S)
    async def create_lead(self, fields: Fields, spans_s: float) -> None:
        """A lead is made."""
        values = {"LastName": "new", "Company": "firm", **fields_of("Lead", fields)}
        await self.here.transact(lambda tx: tx.create("Lead", values), spans_s)

    @step(company=st.none() | ACCOUNTS, fields=FIELDS, spans_s=SPANS_S)
    async def create_contact(self, company: Place | None, fields: Fields, spans_s: float) -> None:
        """A contact is made, with an account or without."""
        values = {"LastName": "new", **fields_of("Contact", fields)}
        if company:
            values["AccountId"] = self.here.live(company)
        await self.here.transact(lambda tx: tx.create("Contact", values), spans_s)

    @step(fields=FIELDS, spans_s=SPANS_S)
    async def create_account(self, fields: Fields, spans_s: float) -> None:
        """An account is made."""
        values = {"Name": "new", **fields_of("Account", fields)}
        await self.here.transact(lambda tx: tx.create("Account", values), spans_s)

    @step(record=LEADS | CONTACTS, fields=FIELDS)
    async def edit(self, record: Place, fields: Fields) -> None:
        """A person changes."""
        await self.here.transact(lambda tx: self._change(tx, [record], fields), 0)

    @step(record=ANYBODY, name=st.sampled_from(sorted(NAMES)))
    async def clear(self, record: Place, name: str) -> None:
        """A field is emptied."""
        await self.here.transact(lambda tx: self._change(tx, [record], {name: None}), 0)

    @step(records=st.lists(ANYBODY, min_size=1, max_size=3, unique=True), fields=FIELDS, spans_s=SPANS_S)
    async def update(self, records: Sequence[Place], fields: Fields, spans_s: float) -> None:
        """Records get the same new values in one transaction, which may be one event."""
        await self.here.transact(lambda tx: self._change(tx, records, fields), spans_s)

    @step(records=st.lists(ANYBODY, min_size=2, max_size=5), fields=FIELDS)
    async def burst(self, records: Sequence[Place], fields: Fields) -> None:
        """Several transactions commit within one second; a record may be in more than one of them."""
        for number, record in enumerate(records):
            told = {**fields, "phone": str(number)}
            await self.here.transact(lambda tx, r=record, f=told: self._change(tx, [r], f), 0)  # type: ignore[misc]

    @step(record=ANYBODY, lines=st.integers(0, 4), spans_s=SPANS_S)
    async def write_long(self, record: Place, lines: int, spans_s: float) -> None:
        """A long text changes, of which events tell the difference."""
        text = "東京都千代田区丸の内 1-2-3\n" * lines + f"{lines}F"
        values = {LONG_TEXTS[record.entity]: text}
        record_id = self.here.live(record)
        await self.here.transact(lambda tx: tx.update(record_id, values), spans_s)

    @step(person=CONTACTS, company=ACCOUNTS, spans_s=SPANS_S)
    async def reparent(self, person: Place, company: Place, spans_s: float) -> None:
        """A contact goes to another account."""
        contact_id, account_id = self.here.live(person), self.here.live(company)
        await self.here.transact(lambda tx: tx.update(contact_id, {"AccountId": account_id}), spans_s)

    @step(person=LEADS, into=st.none() | ACCOUNTS | CONTACTS, spans_s=SPANS_S)
    async def convert(self, person: Place, into: Place | None, spans_s: float) -> None:
        """A lead becomes a new contact of a new account, a new one of a known account, or a known contact."""
        world = self.here
        found = world.live(into) if into else None
        is_account = into is not None and into.entity == "Account"
        conversion = Conversion(
            world.live(person),
            found if is_account else None,
            None if is_account else found,
            opportunity=False,
        )
        await world.transact(lambda tx: convert(world.stage.org.world, tx, conversion), spans_s)

    @step(entity=_KINDS, numbers=st.lists(_NUMBERS, min_size=2, max_size=3, unique=True), spans_s=SPANS_S)
    async def merge(self, entity: str, numbers: Sequence[int], spans_s: float) -> None:
        """One or two records are merged into the first."""
        found = list(dict.fromkeys(self.here.live(Place(entity, number)) for number in numbers))
        await self.here.transact(lambda tx: tx.merge(found[0], found[1:]), spans_s)

    @step(record=ANYBODY, spans_s=SPANS_S)
    async def delete(self, record: Place, spans_s: float) -> None:
        """A record goes to the recycle bin, an account with its contacts."""
        record_id = self.here.live(record)
        await self.here.transact(lambda tx: tx.delete(record_id), spans_s)

    @step(number=_NUMBERS, spans_s=SPANS_S)
    async def undelete(self, number: int, spans_s: float) -> None:
        """A record comes back from the recycle bin."""
        record_id = self.here.binned(number)
        await self.here.transact(lambda tx: tx.undelete(record_id), spans_s)

    @step(number=_NUMBERS)
    async def purge(self, number: int) -> None:
        """A record leaves the recycle bin for good, and nothing tells of it."""
        record_id = self.here.binned(number)
        await self.here.transact(lambda tx: tx.purge(record_id), 0)

    @step(record=LEADS | CONTACTS)
    async def delete_hard(self, record: Place) -> None:
        """A live record is gone without a word."""
        record_id = self.here.live(record)
        await self.here.transact(lambda tx: tx.purge(record_id), 0)

    @step("sweep", "both", records=st.lists(ANYBODY, min_size=1, max_size=3, unique=True), fields=FIELDS)
    async def update_silently(self, records: Sequence[Place], fields: Fields) -> None:
        """A transaction changes records, and no event tells of it."""
        await self.here.transact(lambda tx: self._change(tx, records, fields), 0, silent=True)

    def _change(self, tx: Transaction, records: Sequence[Place], fields: Fields) -> None:
        # Looked up first: what one of them locks would move the others to another place.
        found = [(self.here.live(record), record.entity) for record in records]
        for record_id, entity in found:
            tx.update(record_id, fields_of(entity, fields))


class StoreRules(Machine):
    """What applications do at the store."""

    @step(dice=DICE)
    async def decline(self, dice: Sequence[int]) -> None:
        """One or two people are not to be followed any more."""
        await self.happen("decline", dice)

    @step(dice=DICE)
    async def decide(self, dice: Sequence[int]) -> None:
        """Of those in doubt, and those declined, some shall be followed after all."""
        await self.happen("decide", dice)

    @step(records=st.lists(ANYBODY, min_size=1, max_size=3, unique=True))
    async def ask(self, records: Sequence[Place]) -> None:
        """An application asks for records."""
        for record in records:
            record_id = self.here.live(record)
            await self.here.stage.judge.connection.execute("SELECT crm.request_sync($1)", record_id)
            self.here.stage.wants({record_id})

"""A lead is converted: every kind, told in every order, cut at every point, disturbed in every way.

Why: a conversion is the one moment at which two records turn out to be one human being, and it comes in parts. An
application that already wrote to the lead must find the same person before, between and after the parts.

The grid is 4 kinds × 6 orders of arrival × 4 cuts × 4 disturbances = 384, and what has no account beside it. One
database serves all of it: each case tells of records of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, permutations
from typing import Any

import pytest

from sfsync.core.commands import Command
from sfsync.core.ids import RecordId, record_id
from sfsync.errors import FencedError, StoreUnavailableError
from sfsync.store.batch import Batch
from sfsync.store.database import Connection
from tests.application import Application
from tests.store.harness import Store, at, image, patch, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCOUNT, CONTACT, LEAD = "account", "contact", "lead"
DISTURBANCES = ("nothing", "reconnect", "crash", "sweep")
COMMIT, SWEPT = 6, 100


@dataclass(frozen=True, slots=True)
class Kind:
    """What the lead is converted into. An account that is `moved` to is new, and the contact had another."""

    contact: str
    account: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The records that the conversion writes."""
        return (CONTACT, LEAD) if self.account == "no" else (ACCOUNT, CONTACT, LEAD)

    def __str__(self) -> str:
        return f"{self.contact} contact, {self.account} account"


KINDS = (
    Kind("new", "new"),
    Kind("new", "existing"),
    Kind("existing", "existing"),
    Kind("existing", "moved"),
)
WITHOUT_ACCOUNT = (Kind("new", "no"), Kind("existing", "no"))


@dataclass(frozen=True, slots=True)
class Case:
    """One telling of one conversion: its parts in this order, disturbed after the first `cut` of them."""

    kind: Kind
    order: tuple[str, ...]
    cut: int
    disturbance: str

    def __str__(self) -> str:
        told = ">".join(self.order)
        return f"{self.kind}: {told}, {self.disturbance} after {self.cut}"


def cases(kinds: Sequence[Kind]) -> Iterator[Case]:
    for kind in kinds:
        for order in permutations(kind.parts):
            for cut in range(len(order) + 1):
                for disturbance in DISTURBANCES:
                    yield Case(kind, order, cut, disturbance)


GRID = [*cases(KINDS)]
_numbers = count(1)


@dataclass(slots=True)
class Telling:
    """The records of one case, what became of them in the org, and what the store was told so far."""

    case: Case
    by_read: bool = False
    number: int = field(default_factory=lambda: next(_numbers))
    told: set[str] = field(default_factory=set)

    def id(self, part: str) -> RecordId:
        prefix, name = {
            ACCOUNT: ("001", "Acc01"),
            "other": ("001", "Acc02"),
            CONTACT: ("003", "Con01"),
            LEAD: ("00Q", "Lea01"),
        }[part]
        return record_id(f"{prefix}5c{self.number:05d}{name}")

    @property
    def account(self) -> RecordId | None:
        return None if self.case.kind.account == "no" else self.id(ACCOUNT)

    def before(self) -> list[Command]:
        """What there was before; the contact that the lead will be is older than the lead, or younger."""
        kind = self.case.kind
        lead = image(self.id(LEAD), 0, LastName="Doe", Company="Acme", Website="lead.test")
        owner = self.id("other") if kind.account == "moved" else self.account
        contact = image(self.id(CONTACT), 0, LastName="Doe", AccountId=owner)
        told: list[Command] = []
        if kind.account == "moved":
            told.append(image(self.id("other"), 0, Name="Other"))
        if kind.account == "existing":
            told.append(image(self.id(ACCOUNT), 0, Name="Acme"))
        if kind.contact == "new":
            return [*told, lead]
        return [*told, lead, contact] if kind.account == "moved" else [*told, contact, lead]

    def truth(self, part: str) -> Mapping[str, Any]:
        """What the org says of a record once the conversion is committed."""
        if part == ACCOUNT:
            return {"Name": "Acme", "Phone": "03-1234-5678"}
        if part == CONTACT:
            return {"LastName": "Doe", "Title": "CEO", "AccountId": self.account}
        return {
            "LastName": "Doe",
            "Company": "Acme",
            "Website": "lead.test",
            "Status": "Closed - Converted",
            "IsConverted": True,
            "ConvertedContactId": self.id(CONTACT),
            "ConvertedDate": "2026-11-24",
        }

    def telling(self, part: str) -> Command:
        """How the store hears of one part: by its change event, or by a read."""
        kind, of = self.case.kind, self.id(part)
        if self.by_read:
            return self.reading(part)
        is_new = part == ACCOUNT and kind.account in ("new", "moved")
        if is_new or (part == CONTACT and kind.contact == "new"):
            return image(of, COMMIT, **self.truth(part))
        changed = {
            ACCOUNT: ("Phone",),
            CONTACT: ("Title", "AccountId") if kind.account == "moved" else ("Title",),
            LEAD: ("Status", "IsConverted", "ConvertedContactId", "ConvertedDate"),
        }[part]
        return patch(of, COMMIT, **{name: self.truth(part)[name] for name in changed})

    def reading(self, part: str, begun: float = SWEPT) -> Command:
        return read(self.id(part), COMMIT, begun=begun, **self.truth(part))

    def knows(self, part: str) -> bool:
        """Whether the store must know this part, told or from before."""
        return part in self.told or (part == CONTACT and self.case.kind.contact == "existing")


class Trial:
    """One telling, told to a store step by step, and looked at after each."""

    def __init__(self, store: Store, telling: Telling) -> None:
        self._store = store
        self._telling = telling
        self._application = Application(store.connection)
        self._own: dict[str, int] = {}
        self._mark = 0
        self._feed_mark = 0

    @property
    def person_id(self) -> int:
        """Whose id it must be: the oldest that was handed out before the conversion."""
        return min(self._own.values())

    async def begin(self) -> None:
        """Tell what there was before, and write letters to it."""
        self._mark = await self._value("SELECT nextval('sfsync.own_id')")
        self._feed_mark = await self._value("SELECT COALESCE(max(seq), 0) FROM sfsync.change")
        await self._tell(*self._telling.before())
        rows = await self._store.connection.fetch(
            "SELECT source, own_id FROM crm.person_record WHERE salesforce_id = ANY ($1)",
            [self._telling.id(LEAD), self._telling.id(CONTACT)],
        )
        self._own = {row["source"]: row["own_id"] for row in rows}

    async def play(self) -> None:
        """Tell the parts, disturbed as the case says."""
        case = self._telling.case
        first, rest = case.order[: case.cut], case.order[case.cut :]
        await self._tell_parts(first)
        if case.disturbance == "crash":
            await self._crash(rest)
        if case.disturbance in ("crash", "reconnect"):
            await self._tell_parts(first)
        if case.disturbance == "sweep":
            await self._sweep()
        await self._tell_parts(rest)

    async def _sweep(self) -> None:
        for part in self._telling.case.kind.parts:
            self._telling.told.add(part)
            await self._store.apply(self._telling.reading(part), heard=SWEPT)
            await self.look()

    async def _crash(self, rest: Sequence[str]) -> None:
        """Die with the rest of it in flight; the successor comes when nobody waits for other halves any more."""

        async def die(_connection: Connection) -> None:
            raise ConnectionResetError

        commands = [self._telling.telling(part) for part in rest]
        with pytest.raises(StoreUnavailableError):
            await self._store.applier.apply(Batch(commands, "event", at(COMMIT), progress=die))
        fenced = await self._store.succeed()
        with pytest.raises(FencedError):
            await fenced.apply(Batch(commands, "event", at(COMMIT)))
        await self._release()
        await self.look()

    async def settle(self) -> None:
        """Let what waits go, and prove what is in doubt."""
        await self._release()
        for begun in (300, 600):
            reads = [self._telling.reading(part, begun) for part in await self._doubted()]
            await self._store.apply(*reads, heard=begun, refetched=True)
        assert await self._doubted() == []
        await self.look()

    async def look(self) -> None:
        """Whatever was told so far: nobody is lost, nobody is two, and nobody is deleted."""
        await self._application.write_letters(after=self._mark)
        assert await self._application.lost_letters(after=self._mark) == []
        live = {row["id"] for row in await self._people() if row["deleted_at"] is None}
        if self._telling.knows(LEAD) and self._telling.knows(CONTACT):
            assert live == {self.person_id}
        else:
            assert self._own.items() <= {(r["source"], r["id"]) for r in await self._people()}
            assert len(live) == 1 + self._telling.knows(CONTACT)

    async def verdict(self) -> None:
        """One person under the id that the application knew, and nothing of it told twice."""
        [person] = await self._people()
        assert person["id"] == self.person_id
        assert (person["salesforce_id"], person["source"]) == (self._telling.id(CONTACT), "contact")
        assert (person["last_name"], person["title"], person["company_name"]) == ("Doe", "CEO", None)
        assert (person["website"], person["status"]) == ("lead.test", "Closed - Converted")
        assert person["account"] == self._telling.account
        letters = await self._store.connection.fetch(
            "SELECT crm.resolve_person(person_id) FROM letters.to_person WHERE person_id > $1", self._mark
        )
        assert {row[0] for row in letters} == {self.person_id}
        assert await self._repeated_news() == []

    async def nothing_changes_when_all_is_told_again(self) -> None:
        """What is delivered twice is written once, down to the version of the row."""
        before = await self._rows()
        for part in self._telling.case.order:
            await self._store.apply(self._telling.telling(part), heard=COMMIT)
        await self._release()
        assert await self._rows() == before

    async def _tell_parts(self, parts: Sequence[str]) -> None:
        self._telling.told.update(parts)
        await self._tell(*(self._telling.telling(part) for part in parts))

    async def _tell(self, *commands: Command) -> None:
        if commands:
            await self._store.apply(*commands, heard=COMMIT)
            if self._own:
                await self.look()

    async def _release(self) -> None:
        await self._store.connection.execute(
            "UPDATE sfsync.record SET hold_until = now() - interval '1 s' WHERE hold_until IS NOT NULL"
        )
        await self._store.applier.release_held()

    async def _doubted(self) -> list[str]:
        dirty = await self._store.dirty()
        return [part for part in self._telling.case.kind.parts if self._telling.id(part) in dirty]

    async def _people(self) -> list[Any]:
        return await self._store.connection.fetch(
            """
            SELECT p.*, c.salesforce_id AS account
            FROM crm.person AS p LEFT JOIN crm.company AS c ON c.id = p.company_id
            WHERE p.id > $1 AND p.merged_into IS NULL
            """,
            self._mark,
        )

    async def _repeated_news(self) -> list[Any]:
        return await self._store.connection.fetch(
            """
            SELECT subject, subject_id, action FROM sfsync.change
            WHERE seq > $1 AND action IN ('created', 'merged')
            GROUP BY 1, 2, 3 HAVING count(*) > 1
            """,
            self._feed_mark,
        )

    async def _rows(self) -> list[Any]:
        return await self._store.connection.fetch(
            """
            SELECT 'person', p.xmin::text, p::text FROM crm.person AS p WHERE p.id > $1
            UNION ALL SELECT 'company', c.xmin::text, c::text FROM crm.company AS c WHERE c.id > $1
            UNION ALL SELECT 'change', '', x::text FROM sfsync.change AS x WHERE x.seq > $2
            ORDER BY 1, 3
            """,
            self._mark,
            self._feed_mark,
        )

    async def _value(self, query: str) -> int:
        found: int = await self._store.connection.fetchval(query)
        return found


async def must_make_one_person(store: Store, telling: Telling) -> None:
    trial = Trial(store, telling)
    await trial.begin()
    await trial.play()
    await trial.settle()
    await trial.verdict()
    await trial.nothing_changes_when_all_is_told_again()


@pytest.mark.parametrize("case", GRID, ids=str)
async def test_conversion_makes_one_person_for_ever(shared_store: Store, case: Case) -> None:
    """The application wrote to the lead; its letters are the contact's, however and whenever we heard of it."""
    await must_make_one_person(shared_store, Telling(case))


@pytest.mark.parametrize("case", [*cases(WITHOUT_ACCOUNT)], ids=str)
async def test_conversion_without_an_account_makes_one_person(shared_store: Store, case: Case) -> None:
    """A private contact has no company, and is the lead all the same."""
    await must_make_one_person(shared_store, Telling(case))


@pytest.mark.parametrize("kind", [*KINDS, *WITHOUT_ACCOUNT], ids=str)
async def test_conversion_heard_by_reads_makes_one_person(shared_store: Store, kind: Kind) -> None:
    """A sweep's pages come by entity, one transaction each, in any order that its schedule has."""
    for case in cases([kind]):
        if case.disturbance in ("nothing", "crash"):
            await must_make_one_person(shared_store, Telling(case, by_read=True))


async def test_grid_is_whole() -> None:
    """A case that fell out of the grid would be missed by nobody."""
    assert len(set(GRID)) == len(KINDS) * 6 * 4 * len(DISTURBANCES) == 384

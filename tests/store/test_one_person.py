"""One person for ever: merges, deletions and restorations of every kind, with letters on every id ever handed out.

Why: whoever wrote to an id must find the same human being under it years later, and a foreign key on it must never
be in the way. A story is told step by step, and after each step the whole cast is looked at: who is there, who
speaks for whom, and where each id leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, permutations
from typing import Any

import pytest

from sfsync.core.commands import Cause, Command
from sfsync.core.ids import RecordId, record_id
from tests.application import Application
from tests.store.harness import Store, absent, gap, image, patch, read, tombstone

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIXES = {**dict.fromkeys("KLM", "00Q"), **dict.fromkeys("ABC", "003"), **dict.fromkeys("XYZ", "001")}
_numbers = count(1)


@dataclass(slots=True)
class Cast:
    """Records of one telling, by letter: leads K L M, contacts A B C, accounts X Y Z."""

    store: Store
    number: int = field(default_factory=lambda: next(_numbers))
    mark: int = 0

    def __call__(self, name: str) -> RecordId:
        return record_id(f"{PREFIXES[name]}5o{self.number:05d}{name * 5}")

    def born(self, name: str, seconds: float, **fields: Any) -> Command:
        """Its CREATE or UNDELETE event: one value of its own, and what is given."""
        return image(self(name), seconds, **self.values(name, fields))

    def gone(self, name: str, stamp: float, begun: float, into: str | None = None, **fields: Any) -> Command:
        """The read that tells why it was deleted."""
        master = self(into) if into else None
        values = self.values(name, fields)
        return read(self(name), stamp, begun=begun, deleted=True, master=master, **values)

    def values(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        names = {"00Q": {"LastName": name, "Website": f"{name}.test"}, "003": {"LastName": name}}
        ids = {key: self(value) if key.endswith("Id") else value for key, value in fields.items()}
        return {**names.get(PREFIXES[name], {"Name": name}), **ids}

    def deleted(self, name: str, seconds: float) -> tuple[Command, Command]:
        """Its DELETE event, which asks for a read."""
        return tombstone(self(name), seconds), gap(self(name), seconds, Cause.DELETE)

    def converted(self, lead: str, contact: str, seconds: float, date: str = "2026-11-24") -> Command:
        """The UPDATE event of a converted lead."""
        return patch(
            self(lead), seconds, IsConverted=True, ConvertedContactId=self(contact), ConvertedDate=date
        )

    async def begin(self) -> None:
        """Take note of where our ids begin."""
        self.mark = await self.store.connection.fetchval("SELECT nextval('sfsync.own_id')")

    async def letters(self) -> None:
        """Write to everybody, and find everybody who was ever written to."""
        application = Application(self.store.connection)
        await application.write_letters(after=self.mark)
        assert await application.lost_letters(after=self.mark) == []

    async def names(self) -> dict[int | RecordId, str]:
        """Name the records, and the ids that they were handed out under."""
        rows = await self.store.connection.fetch(
            "SELECT id, own_id FROM sfsync.record WHERE id = ANY ($1)", [self(name) for name in PREFIXES]
        )
        letters: dict[int | RecordId, str] = {self(name): name for name in PREFIXES}
        return letters | {row["own_id"]: letters[row["id"]] for row in rows if row["own_id"]}

    async def seen(self) -> dict[str, str]:
        """Tell each row that stands for itself: under whose id, who speaks, of which company, if deleted."""
        rows = await self.store.connection.fetch(_ROWS, self.mark)
        names = await self.names()
        return {
            names[row["id"]]: names[row["salesforce_id"]]
            + (f" of {names[row['company_id']]}" if row["company_id"] else "")
            + (" deleted" if row["deleted_at"] else "")
            for row in rows
        }

    async def crossed(self) -> list[Any]:
        """Find records whose id leads elsewhere than the record itself."""
        return await self.store.connection.fetch(_CROSSED, self.mark)

    async def release(self) -> None:
        """Let what waits for its other half wait no longer."""
        await self.store.connection.execute(
            "UPDATE sfsync.record SET hold_until = now() - interval '1 s' WHERE hold_until IS NOT NULL"
        )
        await self.store.applier.release_held()


_ROWS = """
SELECT id, salesforce_id, company_id, deleted_at FROM crm.person
WHERE id > $1 AND merged_into IS NULL
UNION ALL
SELECT id, salesforce_id, NULL, deleted_at FROM crm.company
WHERE id > $1 AND merged_into IS NULL
"""
_CROSSED = """
SELECT salesforce_id FROM crm.person_record WHERE own_id > $1 AND person_id <> crm.resolve_person(own_id)
UNION ALL
SELECT salesforce_id FROM crm.company_record WHERE own_id > $1 AND company_id <> crm.resolve_company(own_id)
"""

Step = tuple[Sequence[Command], dict[str, str]]
Story = Callable[[Cast], Sequence[Step]]


def three_merged(p: str, q: str, r: str) -> Story:
    """Three records are merged in one transaction, and the losers restored one after the other."""

    def story(c: Cast) -> Sequence[Step]:
        all_three = {name: name for name in (p, q, r)}
        return [
            ([c.born(p, 0), c.born(q, 0), c.born(r, 0)], all_three),
            ([*c.deleted(q, 10), *c.deleted(r, 10), patch(c(p), 10, Phone="1")], all_three),
            ([c.gone(q, 10, 20, p)], {p: p, r: r}),
            ([c.gone(r, 10, 20, p)], {p: p}),
            ([c.born(q, 100)], {p: p, q: q}),
            ([c.born(r, 200)], all_three),
            ([*c.deleted(q, 300), c.gone(q, 300, 400)], {**all_three, q: f"{q} deleted"}),
            ([c.born(q, 500)], all_three),
        ]

    return story


def two_losers_read_at_once(c: Cast) -> Sequence[Step]:
    """A sweep finds both losers on one page, and the oldest id is a loser's."""
    return [
        ([c.born("A", 0), c.born("B", 0), c.born("C", 0)], {"A": "A", "B": "B", "C": "C"}),
        ([c.gone("A", 10, 100, "C"), c.gone("B", 10, 100, "C")], {"C": "C"}),
        ([c.born("A", 200), c.born("B", 200)], {"A": "A", "B": "B", "C": "C"}),
    ]


def chain_of_merges(c: Cast) -> Sequence[Step]:
    """C goes into B, and B into A; then the middle one comes back, with what was merged into it."""
    return [
        ([c.born("A", 0), c.born("B", 0), c.born("C", 0)], {"A": "A", "B": "B", "C": "C"}),
        ([c.gone("C", 10, 100, "B")], {"A": "A", "B": "B"}),
        ([c.gone("B", 110, 200, "A")], {"A": "A"}),
        ([c.born("B", 300)], {"A": "A", "B": "B"}),
        ([c.born("C", 400)], {"A": "A", "B": "B", "C": "C"}),
    ]


def converted_lead_deleted(c: Cast) -> Sequence[Step]:
    """Orgs clean converted leads away, first into the bin, then out of it."""
    return [
        ([c.born("L", 0)], {"L": "L"}),
        ([c.born("A", 5), c.converted("L", "A", 5)], {"L": "A"}),
        ([*c.deleted("L", 20)], {"L": "A"}),
        ([c.gone("L", 20, 100, ConvertedContactId="A")], {"L": "A"}),
        ([absent(c("L"), begun=300)], {"L": "A"}),
        ([patch(c("A"), 400, Title="CEO")], {"L": "A"}),
    ]


def contact_deleted_after_conversion(c: Cast) -> Sequence[Step]:
    """The lead is still there, and speaks until the contact is restored; a person dies with the last record."""
    return [
        ([c.born("X", 0), c.born("L", 0)], {"X": "X", "L": "L"}),
        ([c.born("A", 5, AccountId="X"), c.converted("L", "A", 5)], {"X": "X", "L": "A of X"}),
        ([*c.deleted("A", 20), c.gone("A", 20, 100, AccountId="X")], {"X": "X", "L": "L"}),
        ([c.born("A", 200, AccountId="X")], {"X": "X", "L": "A of X"}),
        ([*c.deleted("A", 300), c.gone("A", 300, 400, AccountId="X")], {"X": "X", "L": "L"}),
        ([*c.deleted("L", 500), c.gone("L", 500, 600)], {"X": "X", "L": "A of X deleted"}),
        ([c.born("L", 700, IsConverted=True)], {"X": "X", "L": "L"}),
    ]


def contact_merged_after_conversion(c: Cast) -> Sequence[Step]:
    """The lead's contact loses a merge: the winner keeps its own id, and the lead's comes back with its contact."""
    return [
        ([c.born("L", 0), c.born("B", 0)], {"L": "L", "B": "B"}),
        ([c.born("A", 5), c.converted("L", "A", 5)], {"L": "A", "B": "B"}),
        ([*c.deleted("A", 20), c.gone("A", 20, 30, "B")], {"B": "B"}),
        ([c.born("A", 100)], {"L": "A", "B": "B"}),
        ([*c.deleted("B", 200), c.gone("B", 200, 210, "A")], {"L": "A"}),
        ([c.born("B", 300)], {"L": "A", "B": "B"}),
    ]


def leads_merged_before_conversion(c: Cast) -> Sequence[Step]:
    """What was merged into the lead goes with it, and comes back as itself."""
    return [
        ([c.born("K", 0), c.born("L", 0), c.born("M", 0)], {"K": "K", "L": "L", "M": "M"}),
        ([c.gone("K", 10, 100, "L"), c.gone("M", 10, 100, "L")], {"L": "L"}),
        ([c.born("A", 105), c.converted("L", "A", 105)], {"L": "A"}),
        ([c.born("K", 200)], {"K": "K", "L": "A"}),
        ([c.born("M", 200)], {"K": "K", "L": "A", "M": "M"}),
    ]


def two_leads_converted_into_one_contact(c: Cast) -> Sequence[Step]:
    """The older of the two ids is the person's for ever; the other leads there."""
    return [
        ([c.born("K", 0), c.born("L", 0)], {"K": "K", "L": "L"}),
        ([c.born("A", 5), c.converted("L", "A", 5)], {"K": "K", "L": "A"}),
        ([c.converted("K", "A", 20)], {"K": "A"}),
        ([*c.deleted("K", 30), c.gone("K", 30, 100)], {"K": "A"}),
    ]


def accounts_merged(c: Cast) -> Sequence[Step]:
    """People follow the winner at once, whether or not their own event has come; and back."""
    companies = {"X": "X", "Y": "Y", "Z": "Z"}
    return [
        ([c.born("X", 0), c.born("Y", 0), c.born("Z", 0)], companies),
        (
            [c.born("A", 0, AccountId="Y"), c.born("B", 0, AccountId="Z")],
            {**companies, "A": "A of Y", "B": "B of Z"},
        ),
        ([*c.deleted("Y", 10), *c.deleted("Z", 10)], {**companies, "A": "A of Y", "B": "B of Z"}),
        ([c.gone("Y", 10, 20, "X"), c.gone("Z", 10, 20, "X")], {"X": "X", "A": "A of X", "B": "B of X"}),
        ([patch(c("A"), 10, AccountId=c("X"))], {"X": "X", "A": "A of X", "B": "B of X"}),
        ([c.born("Y", 100), c.born("Z", 100)], {**companies, "A": "A of X", "B": "B of Z"}),
    ]


def late_company(c: Cast) -> Sequence[Step]:
    """The contact's event came first; its company links it on arrival, and a re-parenting unlinks it again."""
    return [
        ([c.born("A", 0, AccountId="X")], {"A": "A"}),
        ([c.born("X", 0)], {"A": "A of X", "X": "X"}),
        ([patch(c("A"), 10, AccountId=c("Y"))], {"A": "A", "X": "X"}),
        ([c.born("Y", 5)], {"A": "A of Y", "X": "X", "Y": "Y"}),
    ]


STORIES: dict[str, Story] = {
    "three leads merged": three_merged("L", "K", "M"),
    "three contacts merged": three_merged("A", "B", "C"),
    "three accounts merged": three_merged("X", "Y", "Z"),
    "two losers read at once": two_losers_read_at_once,
    "chain of merges": chain_of_merges,
    "converted lead deleted": converted_lead_deleted,
    "contact deleted after conversion": contact_deleted_after_conversion,
    "contact merged after conversion": contact_merged_after_conversion,
    "leads merged before conversion": leads_merged_before_conversion,
    "two leads converted into one contact": two_leads_converted_into_one_contact,
    "accounts merged": accounts_merged,
    "late company": late_company,
}


async def test_row_that_a_merge_emptied_is_filled_when_its_declined_person_is_parted(
    shared_store: Store,
) -> None:
    """The decision was on both records, the loser's row was empty then: nobody meant to keep an empty person."""
    c = Cast(shared_store)
    await c.begin()
    await shared_store.apply(c.born("A", 0), c.born("B", 0, Title="CEO"))
    loser = await shared_store.person_of(c("B"))
    await shared_store.apply(c.gone("B", 10, 100, "A"))
    await shared_store.connection.execute(
        "SELECT crm.decide($1, 'decline')", await shared_store.person_of(c("A"))
    )
    await shared_store.apply(c.born("B", 200, Title="CTO"))
    assert await c.seen() == {"A": "A", "B": "B"}
    await shared_store.apply(patch(c("B"), 300, Title="gone"))
    row = await shared_store.connection.fetchrow("SELECT sync, title FROM crm.person WHERE id = $1", loser)
    assert row is not None
    assert tuple(row) == ("declined", "CTO")


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_every_step_of_a_story_leaves_one_person_each(shared_store: Store, story: Story) -> None:
    """An id means the same human being after each step, and every letter still leads to somebody."""
    cast = Cast(shared_store)
    await cast.begin()
    for number, (commands, expected) in enumerate(story(cast)):
        await shared_store.apply(*commands, heard=1000)
        assert await cast.seen() == expected, number
        await cast.letters()
        assert await cast.crossed() == [], number


async def test_reparenting_is_one_update(shared_store: Store) -> None:
    """A contact changes companies: one row gets one new version and one line in the feed, all others stay."""
    c = Cast(shared_store)
    await c.begin()
    await shared_store.apply(c.born("X", 0), c.born("Y", 0), c.born("B", 0, AccountId="X"))
    await shared_store.apply(c.born("A", 0, AccountId="X"))
    before = await _versions(c)
    seq = await shared_store.connection.fetchval("SELECT max(seq) FROM sfsync.change")
    await shared_store.apply(patch(c("A"), 10, AccountId=c("Y")))
    after = await _versions(c)
    names = await c.names()
    assert [names[row] for row in after if after[row] != before[row]] == ["A"]
    fed = await shared_store.connection.fetch("SELECT * FROM sfsync.change WHERE seq > $1", seq)
    assert [(row["subject"], names[row["subject_id"]], row["action"]) for row in fed] == [
        ("person", "A", "changed")
    ]


async def _versions(c: Cast) -> dict[int, str]:
    rows = await c.store.connection.fetch(
        "SELECT id, xmin::text FROM crm.person WHERE id > $1"
        " UNION ALL SELECT id, xmin::text FROM crm.company WHERE id > $1",
        c.mark,
    )
    return {row["id"]: row["xmin"] for row in rows}


# A conversion, two merges, an undelete and a purge in every order

FACTS: Mapping[str, Callable[[Cast], Sequence[Command]]] = {
    "conversion": lambda c: (patch(c("B"), 5, Title="CEO"), c.converted("L", "B", 5)),
    "merge of B": lambda c: (*c.deleted("B", 9), c.gone("B", 9, 10, "A", Title="CEO")),
    "merge of C": lambda c: (*c.deleted("C", 9), c.gone("C", 9, 10, "A")),
    "undelete of C": lambda c: (c.born("C", 20),),
    "deletion of L": lambda c: c.deleted("L", 25),
    "purge of L": lambda c: (absent(c("L"), begun=120),),
}
# A record's own events come in the order of the stream; what was purged no read can tell.
ORDERS = [order for order in permutations(FACTS) if order.index("conversion") < order.index("deletion of L")]


def proofs(c: Cast, begun: float) -> dict[RecordId, Command]:
    """What a read of each record says once everything has happened."""
    return {
        c("A"): read(c("A"), 9, begun=begun, **c.values("A", {"AccountId": "X"})),
        c("B"): c.gone("B", 9, begun, "A", Title="CEO"),
        c("C"): read(c("C"), 20, begun=begun, **c.values("C", {})),
        c("L"): absent(c("L"), begun=begun),
    }


async def test_conversion_merges_undelete_and_purge_in_every_order_give_one_result(
    shared_store: Store,
) -> None:
    """All 360 orders in which these facts can be heard end in the same people, the same ids, the same values."""
    casts = [Cast(shared_store) for _ in ORDERS]
    await casts[0].begin()
    await shared_store.apply(*(command for cast in casts for command in born(cast)))
    await casts[0].letters()
    for place in range(len(FACTS)):
        # The first fact of every order in one transaction, then the second of every order, and so on.
        told = (FACTS[order[place]](cast) for cast, order in zip(casts, ORDERS, strict=True))
        await shared_store.apply(*(command for facts in told for command in facts), heard=20)
        await casts[0].letters()
    await casts[0].release()
    for begun in (300, 600):
        reads = {of: said for cast in casts for of, said in proofs(cast, begun).items()}
        doubted = [reads[RecordId(of)] for of in await shared_store.dirty() if of in reads]
        await shared_store.apply(*doubted, heard=begun, refetched=True)
    results = [await _result(cast) for cast in casts]
    assert len(ORDERS) == 360
    assert [order for order, result in zip(ORDERS, results, strict=True) if result != results[0]] == []
    assert [(row["id"], row["speaker"], row["company"]) for row in results[0] if row["speaker"]] == [
        ("A", "A", "X"),
        ("C", "C", None),
    ]
    await casts[0].letters()
    assert await casts[0].crossed() == []


def born(cast: Cast) -> Sequence[Command]:
    """What there was before, so that each order hands out its ids alike."""
    people = (cast.born("L", 0), cast.born("A", 0, AccountId="X"), cast.born("B", 0), cast.born("C", 0))
    return (cast.born("X", 0), *people)


async def _result(cast: Cast) -> list[dict[str, Any]]:
    """Everything an application can see of these people, in the order of their ids, named by their records."""
    names = await cast.names()
    rows = await cast.store.connection.fetch(
        """
        SELECT p.id, p.salesforce_id, p.company_id, p.merged_into, p.deleted_at IS NULL AS lives,
            to_jsonb(p) - '{id, salesforce_id, company_id, merged_into, synced_at, deleted_at}'::text[] AS own,
            array(SELECT r.salesforce_id FROM crm.person_record AS r WHERE r.person_id = p.id ORDER BY 1) AS records
        FROM crm.person AS p WHERE p.id = ANY ($1) ORDER BY p.id
        """,
        [own_id for own_id in names if isinstance(own_id, int)],
    )
    return [
        {
            "id": names[row["id"]],
            "speaker": names.get(row["salesforce_id"]),
            "company": names.get(row["company_id"]),
            "merged into": names.get(row["merged_into"]),
            "lives": row["lives"],
            "values": row["own"],
            "records": [names[record] for record in row["records"]],
        }
        for row in rows
    ]

"""The generated population: leads, contacts and companies by the million, from a few thousand invented entries.

An entry is Eastern or Western by its place modulo five, and every period is a multiple of five: a Japanese name has a
Japanese address, though names, places and particulars come from lists of different length.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sfsync.simorg.convert import CONVERTED_STATUS, USER_ZONE
from sfsync.simorg.generated import Ages, Generated, GeneratedEntity, Ids, Oddity, ages_of
from sfsync.simorg.history import Fields
from sfsync.simorg.population import LEAD_SHARE, OLDEST, SYLLABLES, YOUNGEST, Populace, flags
from sfsync.simorg.users import owners
from sfsync.simorg.world import World

PEOPLE_MAX = 10_000_000
# Three primes, so that the three together repeat after a thousand million records.
NAMES, PLACES, PARTICULARS = 5 * 401, 5 * 599, 5 * 797
EAST_OF_FIVE = 3
# One lead in fifty was converted, one contact in fourteen has no company, one company in twelve has a parent.
CONVERTED, PRIVATE, CHILD = (50, 7), (14, 13), (12, 7)
_NAMES = {"LastName", "FirstName", "Salutation", "Title"}
_PLACE_ENDS = ("Street", "City", "State", "PostalCode", "Country", "Phone")
_WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]


def generate(world: World, people: int, companies: int, seed: int) -> None:
    """Let the org begin with generated records: two fifths of *people* are leads, the others contacts.

    They are the same for the same seed and day: the youngest was changed some days before today.
    """
    leads = int(people * LEAD_SHARE)
    site = _Site(world, Populace(seed), companies)
    world.generated = Generated(
        [site.leads(leads), site.contacts(people - leads), site.accounts()],
        lambda entity, lookup, place: _children(entity, lookup, place, people - leads, companies),
    )


class _Site:
    def __init__(self, world: World, populace: Populace, companies: int) -> None:
        self._world = world
        self._populace = populace
        self._companies = companies
        self._owners = owners(world)
        self._ids = {name: Ids(name) for name in ("Lead", "Contact", "Account")}
        self._names = _parts(_invented(populace.lead, NAMES), _NAMES.__contains__)

    def leads(self, count: int) -> GeneratedEntity:
        """Return the leads; a converted one looks like the contact that it became."""

        def converted(place: int) -> Mapping[str, Any]:
            contact = place - 1 if place % PRIVATE[0] == PRIVATE[1] else place
            account = self._ids["Account"].one(contact % self._companies) if self._companies else None
            return {
                "Status": CONVERTED_STATUS,
                "IsConverted": True,
                "ConvertedDate": ages.at(place).astimezone(USER_ZONE).date(),
                "ConvertedContactId": self._ids["Contact"].one(contact),
                "ConvertedAccountId": account,
                "IsUnreadByOwner": False,
                "Email": _emails("c")(contact, contact + 1)[0],
            }

        ages = self._ages(count)
        oddity = Oddity(*CONVERTED, frozenset(converted(0)), converted)
        return self._entity("Lead", count, ages, self._populace.lead, {"Email": _emails("l")}, oddity)

    def contacts(self, count: int) -> GeneratedEntity:
        """Return the contacts, company after company."""

        def employers(first: int, end: int) -> list[str | None]:
            if not self._companies:
                return [None] * (end - first)
            out: list[str | None] = []
            while first + len(out) < end:
                start = (first + len(out)) % self._companies
                out += self._ids["Account"].many(start, min(self._companies, start + end - first - len(out)))
            return out

        oddity = Oddity(*PRIVATE, frozenset({"AccountId"}), lambda _: {"AccountId": None})
        computed = {"Email": _emails("c"), "AccountId": employers}
        return self._entity(
            "Contact", count, self._ages(count), lambda: self._populace.contact(None), computed, oddity
        )

    def accounts(self) -> GeneratedEntity:
        """Return the companies."""
        ids = self._ids["Account"]
        oddity = Oddity(*CHILD, frozenset({"ParentId"}), lambda place: {"ParentId": ids.one(place // 2)})
        numbers = {"AccountNumber": lambda first, end: [f"{place:07d}" for place in range(first, end)]}
        ages = self._ages(self._companies)
        return self._entity("Account", self._companies, ages, self._populace.account, numbers, oddity)

    def _entity(  # noqa: PLR0913 - one call for each of three entities
        self,
        name: str,
        count: int,
        ages: Ages,
        invent: Callable[[], Fields],
        computed: Mapping[str, Callable[[int, int], list[Any]]],
        oddity: Oddity,
    ) -> GeneratedEntity:
        taken = {*_NAMES, "Name", "Website", *computed}
        invented = _invented(invent)
        names = (
            self._names if name != "Account" else _parts(invented[:NAMES], {"Name", "Website"}.__contains__)
        )
        places = _parts(invented[:PLACES], _is_place)
        particulars = _parts(invented, lambda n: n not in taken and not _is_place(n))
        for at, entry in enumerate(places):
            _leave_out(entry, at)
        for entry in particulars:
            entry.update(self._system_fields(name))
        return GeneratedEntity(
            name, count, self._ids[name], ages, (names, places, particulars), computed, oddity
        )

    def _system_fields(self, entity: str) -> Fields:
        user = self._world.user_id
        owner = self._populace.dice.pick(self._owners)
        stamps = {"CreatedById": user, "LastModifiedById": user, "IsDeleted": False}
        return {**flags(entity), "OwnerId": owner, **stamps}

    def _ages(self, count: int) -> Ages:
        today = self._world.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return ages_of(count, today - OLDEST, OLDEST - YOUNGEST)


def _invented(invent: Callable[[], Fields], count: int = PARTICULARS) -> list[Fields]:
    """Return invented records, Eastern and Western ones in their places."""
    out: list[Fields] = []
    while len(out) < count:
        fields = invent()
        if _is_eastern(fields) == (len(out) % 5 < EAST_OF_FIVE):
            out.append(fields)
    return out


def _parts(entries: Iterable[Fields], wanted: Callable[[str], bool]) -> list[Fields]:
    return [{name: value for name, value in fields.items() if wanted(name)} for fields in entries]


def _is_place(name: str) -> bool:
    return name.endswith(_PLACE_ENDS)


def _is_eastern(fields: Fields) -> bool:
    return any("\u3040" <= char <= "\u9fff" for char in str(fields.get("LastName") or fields.get("Name")))


def _leave_out(entry: Fields, at: int) -> None:
    """Make some addresses incomplete, as real ones are."""
    for every, part in ((17, "PostalCode"), (19, "City"), (23, "State")):
        if at % every == 0:
            for name in [name for name in entry if name.endswith(part)]:
                del entry[name]


def _emails(letter: str) -> Callable[[int, int], list[Any]]:
    count = len(_WORDS)
    return lambda first, end: [
        f"{_WORDS[place % count]}.{letter}{place}@{_WORDS[place % (count - 2)]}.example"
        for place in range(first, end)
    ]


def _children(entity: str, lookup: str, place: int, contacts: int, companies: int) -> Iterable[int]:
    if (entity, lookup) == ("Contact", "AccountId"):
        return (child for child in range(place, contacts, companies) if child % PRIVATE[0] != PRIVATE[1])
    if (entity, lookup) == ("Account", "ParentId"):
        doubled = (2 * place, 2 * place + 1)
        return (child for child in doubled if child % CHILD[0] == CHILD[1] and child < companies)
    return ()

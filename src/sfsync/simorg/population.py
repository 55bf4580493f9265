"""Believable people and companies, Japanese and Western, the same for the same seed.

Why: field values decide which bugs show: prefectures, full-width digits, two-line streets, phone numbers with
hyphens, leading zeros, quotes and emoji. The population was committed in the past and silently, so that a client
finds an org that has lived, and its stream begins empty.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sfsync.simorg.history import Change, Commit, Fields
from sfsync.simorg.names import COMPANIES_EAST, COMPANIES_WEST, EAST, PLACES_EAST, PLACES_WEST, WEST, Names
from sfsync.simorg.schema import PICKLISTS
from sfsync.simorg.users import owners
from sfsync.simorg.world import World

T = TypeVar("T")
COMMIT_RECORDS = 200
OLDEST = timedelta(days=700)
YOUNGEST = timedelta(days=4)
EASTERN_SHARE = 0.6
LEAD_SHARE = 0.4
TITLES_EAST = ("代表取締役", "部長", "課長", "営業担当", "情報システム室長", "主任", None)
TITLES_WEST = ("CEO", "Head of Sales", "Buyer", "VP Operations", "IT Manager", "Engineer", None)
SYLLABLES = ("ka", "mi", "to", "ra", "no", "shi", "lo", "ben", "mar")
DEPARTMENTS = ("営業部", "総務部", "Sales", "Operations", None, None)


class Dice(random.Random):
    """A source of choices from one multiplication each: the library's even-handed ones cost four times as much."""

    def pick(self, options: Sequence[T]) -> T:
        """Return one of *options*."""
        return options[int(self.random() * len(options))]

    def below(self, end: int) -> int:
        """Return a whole number from 0 to below *end*."""
        return int(self.random() * end)

    def between(self, start: int, end: int) -> int:
        """Return a whole number from *start* to below *end*."""
        return start + int(self.random() * (end - start))


class Populace:
    """Invents field values for new records."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)

    def account(self) -> Fields:
        """Return the values of a company."""
        dice = self.dice
        eastern = dice.random() < EASTERN_SHARE
        values: Fields = {
            "Name": _company(dice, eastern=eastern),
            "Phone": _phone(dice, eastern=eastern),
            "Industry": dice.pick(PICKLISTS["Industry"]),
            "Type": dice.pick(PICKLISTS["Type"]),
            "NumberOfEmployees": int(dice.paretovariate(0.9) * 5) % 100_000,
            "AnnualRevenue": float(dice.between(1, 90_000) * 100_000),
            "Tier__c": dice.pick((*PICKLISTS["Tier__c"], None)),
            "AccountNumber": f"{dice.below(10**6):06d}",
        }
        values["Website"] = f"https://www.{_slug(dice)}.example"
        values |= {f"Billing{name}": value for name, value in _address(dice, eastern=eastern).items()}
        if dice.random() < 0.3:
            values |= {f"Shipping{name}": value for name, value in _address(dice, eastern=eastern).items()}
        return _present(values)

    def contact(self, account_id: str | None) -> Fields:
        """Return the values of a person at a company."""
        dice = self.dice
        values, eastern = self._person()
        values |= {
            "AccountId": account_id,
            "Department": dice.pick(DEPARTMENTS),
            "HasOptedOutOfEmail": dice.random() < 0.1,
            "Loyalty__c": dice.pick(("A", "B", "0012", None)),
        }
        # Many contacts leave the address to their company: the preferred side is then empty.
        if dice.random() < 0.6:
            values |= {f"Mailing{name}": value for name, value in _address(dice, eastern=eastern).items()}
        return _present(values)

    def lead(self) -> Fields:
        """Return the values of a lead."""
        dice = self.dice
        values, eastern = self._person()
        values |= {
            "Company": _company(dice, eastern=eastern),
            "Status": dice.pick(PICKLISTS["Status"][:2]),
            "Industry": dice.pick((*PICKLISTS["Industry"], None)),
            "Rating": dice.pick((*PICKLISTS["Rating"], None)),
            "Score__c": dice.pick((None, round(dice.random() * 100, 1))),
            "IsUnreadByOwner": dice.random() < 0.3,
        }
        if dice.random() < 0.8:
            values |= _address(dice, eastern=eastern)
        return _present(values)

    def _person(self) -> tuple[Fields, bool]:
        dice = self.dice
        eastern = dice.random() < EASTERN_SHARE
        names: Names = EAST if eastern else WEST
        values: Fields = {
            "LastName": dice.pick(names.last),
            "FirstName": dice.pick(names.first) if dice.random() < 0.95 else None,
            "Salutation": None if eastern else dice.pick(("Mr.", "Ms.", "Dr.", None)),
            "Title": dice.pick(TITLES_EAST if eastern else TITLES_WEST),
            "Email": f"{_slug(dice)}{dice.below(1000)}@{_slug(dice)}.example",
            "Phone": _phone(dice, eastern=eastern),
            "MobilePhone": _mobile(dice, eastern=eastern) if dice.random() < 0.4 else None,
            "LeadSource": dice.pick(PICKLISTS["LeadSource"]),
        }
        return values, eastern


def populate(world: World, people: int, seed: int) -> None:
    """Commit *people* leads and contacts and a quarter as many companies, dated over the last two years."""
    populace = Populace(seed)
    records = list(_records(world, populace, people))
    now = world.clock.now().replace(microsecond=0)
    chunks = range(0, len(records), COMMIT_RECORDS)
    step = (OLDEST - YOUNGEST) / max(1, len(chunks))
    for count, start in enumerate(chunks):
        instant = (now - OLDEST + step * count).replace(microsecond=0)
        _commit(world, records[start : start + COMMIT_RECORDS], instant)


def _records(world: World, populace: Populace, people: int) -> Iterator[tuple[str, str, Fields]]:
    dice, users = populace.dice, owners(world)
    accounts = [world.ids.next("Account") for _ in range(people // 4)]
    for place, account_id in enumerate(accounts):
        values = populace.account()
        # A parent comes before its children, so that no circle can arise.
        if place and dice.random() < 0.08:
            values["ParentId"] = accounts[dice.below(place)]
        yield "Account", account_id, values | {"OwnerId": dice.pick(users)}
    for _ in range(people):
        is_lead = dice.random() < LEAD_SHARE
        entity = "Lead" if is_lead else "Contact"
        employer = dice.pick(accounts) if accounts and dice.random() < 0.93 else None
        values = populace.lead() if is_lead else populace.contact(employer)
        yield entity, world.ids.next(entity), values | {"OwnerId": dice.pick(users)}


def _commit(world: World, records: list[tuple[str, str, Fields]], instant: datetime) -> None:
    stamps = {
        "IsDeleted": False,
        "CreatedDate": instant,
        "LastModifiedDate": instant,
        "SystemModstamp": instant,
        "CreatedById": world.user_id,
        "LastModifiedById": world.user_id,
    }
    changes = tuple(
        Change(entity, record_id, "CREATE", None, {"Id": record_id, **flags(entity), **values, **stamps})
        for entity, record_id, values in records
    )
    number = world.number + 1
    world.publish(
        Commit(number, f"population-{number}", instant, instant, world.user_id, "", changes, silent=True)
    )


def flags(entity: str) -> dict[str, Any]:
    """Return the switches that every new record has, all off."""
    if entity == "Account":
        return {}
    flags = {"HasOptedOutOfEmail": False, "HasOptedOutOfFax": False, "DoNotCall": False}
    return flags | ({"IsConverted": False, "IsUnreadByOwner": False} if entity == "Lead" else {})


def _company(dice: Dice, *, eastern: bool) -> str:
    names = COMPANIES_EAST if eastern else COMPANIES_WEST
    stem, branch = dice.pick(names.last), dice.pick(names.first)
    if not eastern:
        return f"{stem} {branch} {dice.pick(('Ltd.', 'Inc.', 'GmbH', 'B.V.', '& Sons'))}"
    form = dice.pick(("株式会社", "有限会社", "合同会社"))
    return f"{form}{stem}{branch}" if dice.random() < 0.6 else f"{stem}{branch}{form}"


def _address(dice: Dice, *, eastern: bool) -> Fields:
    if not eastern:
        city, state, country, street = dice.pick(PLACES_WEST)
        number = dice.between(1, 400)
        return {
            "PostalCode": f"{dice.below(10**5):05d}",
            "State": state,
            "City": city,
            "Street": f"{number} {street}" if country != "Germany" else f"{street} {number}",
            "Country": country,
        }
    postal, state, city, town = dice.pick(PLACES_EAST)
    street = f"{town}{dice.between(1, 9)}-{dice.between(1, 30)}-{dice.between(1, 20)}"
    if dice.random() < 0.5:
        street += f"\r\n{dice.pick(('サンプルビル', '第二ビル', 'タワー東棟'))}{dice.between(1, 40)}F"
    return {
        "PostalCode": _postal(dice, postal),
        "State": state,
        "City": city,
        "Street": street,
        "Country": dice.pick(("Japan", "日本", None)),
    }


def _postal(dice: Dice, prefix: str) -> str:
    code = f"{prefix}-{dice.below(10_000):04d}"
    style = dice.random()
    if style < 0.08:
        return code.replace("-", "")
    return code.translate(_FULL_WIDTH) if style < 0.12 else code


_FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")


def _phone(dice: Dice, *, eastern: bool) -> str:
    if eastern:
        return f"0{dice.pick((3, 6, 45, 52, 11, 92))}-{dice.between(1000, 9999)}-{dice.below(10_000):04d}"
    return f"+{dice.pick((1, 44, 49, 31))} {dice.between(10, 999)} {dice.below(10**6):06d}"


def _mobile(dice: Dice, *, eastern: bool) -> str:
    if eastern:
        return f"0{dice.pick((70, 80, 90))}-{dice.between(1000, 9999)}-{dice.below(10_000):04d}"
    return f"+49 17{dice.below(10)} {dice.below(10**7):07d}"


def _slug(dice: Dice) -> str:
    return dice.pick(SYLLABLES) + dice.pick(SYLLABLES) + dice.pick(SYLLABLES)


def _present(values: Fields) -> Fields:
    return {name: value for name, value in values.items() if value is not None}

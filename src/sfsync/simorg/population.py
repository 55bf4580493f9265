"""Believable people and companies, Japanese and Western, the same for the same seed.

Why: field values decide which bugs show: prefectures, full-width digits, two-line streets, phone numbers with
hyphens, leading zeros, quotes and emoji. The population was committed in the past and silently, so that a client
finds an org that has lived, and its stream begins empty.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sfsync.simorg.history import Change, Commit, Fields
from sfsync.simorg.names import COMPANIES_EAST, COMPANIES_WEST, EAST, PLACES_EAST, PLACES_WEST, WEST, Names
from sfsync.simorg.schema import PICKLISTS
from sfsync.simorg.users import owners
from sfsync.simorg.world import World

COMMIT_RECORDS = 200
OLDEST = timedelta(days=700)
YOUNGEST = timedelta(days=4)
EASTERN_SHARE = 0.6
LEAD_SHARE = 0.4
TITLES_EAST = ("代表取締役", "部長", "課長", "営業担当", "情報システム室長", "主任", None)
TITLES_WEST = ("CEO", "Head of Sales", "Buyer", "VP Operations", "IT Manager", "Engineer", None)
DEPARTMENTS = ("営業部", "総務部", "Sales", "Operations", None, None)


class Populace:
    """Invents field values for new records."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def account(self) -> Fields:
        """Return the values of a company."""
        rng = self.rng
        eastern = rng.random() < EASTERN_SHARE
        values: Fields = {
            "Name": _company(rng, eastern=eastern),
            "Phone": _phone(rng, eastern=eastern),
            "Industry": rng.choice(PICKLISTS["Industry"]),
            "Type": rng.choice(PICKLISTS["Type"]),
            "NumberOfEmployees": int(rng.paretovariate(0.9) * 5) % 100_000,
            "AnnualRevenue": float(rng.randrange(1, 90_000) * 100_000),
            "Tier__c": rng.choice((*PICKLISTS["Tier__c"], None)),
            "AccountNumber": f"{rng.randrange(10**6):06d}",
        }
        values["Website"] = f"https://www.{_slug(rng)}.example"
        values |= {f"Billing{name}": value for name, value in _address(rng, eastern=eastern).items()}
        if rng.random() < 0.3:
            values |= {f"Shipping{name}": value for name, value in _address(rng, eastern=eastern).items()}
        return _present(values)

    def contact(self, account_id: str | None) -> Fields:
        """Return the values of a person at a company."""
        rng = self.rng
        values, eastern = self._person()
        values |= {
            "AccountId": account_id,
            "Department": rng.choice(DEPARTMENTS),
            "HasOptedOutOfEmail": rng.random() < 0.1,
            "Loyalty__c": rng.choice(("A", "B", "0012", None)),
        }
        # Many contacts leave the address to their company: the preferred side is then empty.
        if rng.random() < 0.6:
            values |= {f"Mailing{name}": value for name, value in _address(rng, eastern=eastern).items()}
        return _present(values)

    def lead(self) -> Fields:
        """Return the values of a lead."""
        rng = self.rng
        values, eastern = self._person()
        values |= {
            "Company": _company(rng, eastern=eastern),
            "Status": rng.choice(PICKLISTS["Status"][:2]),
            "Industry": rng.choice((*PICKLISTS["Industry"], None)),
            "Rating": rng.choice((*PICKLISTS["Rating"], None)),
            "Score__c": rng.choice((None, round(rng.random() * 100, 1))),
            "IsUnreadByOwner": rng.random() < 0.3,
        }
        if rng.random() < 0.8:
            values |= _address(rng, eastern=eastern)
        return _present(values)

    def _person(self) -> tuple[Fields, bool]:
        rng = self.rng
        eastern = rng.random() < EASTERN_SHARE
        names: Names = EAST if eastern else WEST
        values: Fields = {
            "LastName": rng.choice(names.last),
            "FirstName": rng.choice(names.first) if rng.random() < 0.95 else None,
            "Salutation": None if eastern else rng.choice(("Mr.", "Ms.", "Dr.", None)),
            "Title": rng.choice(TITLES_EAST if eastern else TITLES_WEST),
            "Email": f"{_slug(rng)}{rng.randrange(1000)}@{_slug(rng)}.example",
            "Phone": _phone(rng, eastern=eastern),
            "MobilePhone": _mobile(rng, eastern=eastern) if rng.random() < 0.4 else None,
            "LeadSource": rng.choice(PICKLISTS["LeadSource"]),
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
    rng, users = populace.rng, owners(world)
    accounts = [world.ids.next("Account") for _ in range(people // 4)]
    for account_id in accounts:
        values = populace.account()
        if rng.random() < 0.08:
            values["ParentId"] = (
                rng.choice(accounts[: accounts.index(account_id) or 1])
                if rng.random() < 0.01
                else accounts[0]
            )
            if values["ParentId"] == account_id:
                del values["ParentId"]
        yield "Account", account_id, values | {"OwnerId": rng.choice(users)}
    for _ in range(people):
        is_lead = rng.random() < LEAD_SHARE
        entity = "Lead" if is_lead else "Contact"
        employer = rng.choice(accounts) if accounts and rng.random() < 0.93 else None
        values = populace.lead() if is_lead else populace.contact(employer)
        yield entity, world.ids.next(entity), values | {"OwnerId": rng.choice(users)}


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
        Change(entity, record_id, "CREATE", None, {"Id": record_id, **_flags(entity), **values, **stamps})
        for entity, record_id, values in records
    )
    number = world.number + 1
    world.publish(
        Commit(number, f"population-{number}", instant, instant, world.user_id, "", changes, silent=True)
    )


def _flags(entity: str) -> dict[str, Any]:
    if entity == "Account":
        return {}
    flags = {"HasOptedOutOfEmail": False, "HasOptedOutOfFax": False, "DoNotCall": False}
    return flags | ({"IsConverted": False, "IsUnreadByOwner": False} if entity == "Lead" else {})


def _company(rng: random.Random, *, eastern: bool) -> str:
    names = COMPANIES_EAST if eastern else COMPANIES_WEST
    stem, branch = rng.choice(names.last), rng.choice(names.first)
    if not eastern:
        return f"{stem} {branch} {rng.choice(('Ltd.', 'Inc.', 'GmbH', 'B.V.', '& Sons'))}"
    form = rng.choice(("株式会社", "有限会社", "合同会社"))
    return f"{form}{stem}{branch}" if rng.random() < 0.6 else f"{stem}{branch}{form}"


def _address(rng: random.Random, *, eastern: bool) -> Fields:
    if not eastern:
        city, state, country, street = rng.choice(PLACES_WEST)
        number = rng.randrange(1, 400)
        return {
            "PostalCode": f"{rng.randrange(10**5):05d}",
            "State": state,
            "City": city,
            "Street": f"{number} {street}" if country != "Germany" else f"{street} {number}",
            "Country": country,
        }
    postal, state, city, town = rng.choice(PLACES_EAST)
    street = f"{town}{rng.randrange(1, 9)}-{rng.randrange(1, 30)}-{rng.randrange(1, 20)}"
    if rng.random() < 0.5:
        street += f"\r\n{rng.choice(('サンプルビル', '第二ビル', 'タワー東棟'))}{rng.randrange(1, 40)}F"
    return {
        "PostalCode": _postal(rng, postal),
        "State": state,
        "City": city,
        "Street": street,
        "Country": rng.choice(("Japan", "日本", None)),
    }


def _postal(rng: random.Random, prefix: str) -> str:
    code = f"{prefix}-{rng.randrange(10_000):04d}"
    style = rng.random()
    if style < 0.08:
        return code.replace("-", "")
    return code.translate(_FULL_WIDTH) if style < 0.12 else code


_FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")


def _phone(rng: random.Random, *, eastern: bool) -> str:
    if eastern:
        return (
            f"0{rng.choice((3, 6, 45, 52, 11, 92))}-{rng.randrange(1000, 9999)}-{rng.randrange(10_000):04d}"
        )
    return f"+{rng.choice((1, 44, 49, 31))} {rng.randrange(10, 999)} {rng.randrange(10**6):06d}"


def _mobile(rng: random.Random, *, eastern: bool) -> str:
    if eastern:
        return f"0{rng.choice((70, 80, 90))}-{rng.randrange(1000, 9999)}-{rng.randrange(10_000):04d}"
    return f"+49 17{rng.randrange(10)} {rng.randrange(10**7):07d}"


def _slug(rng: random.Random) -> str:
    return "".join(rng.choice(("ka", "mi", "to", "ra", "no", "shi", "lo", "ben", "mar")) for _ in range(3))


def _present(values: Fields) -> Fields:
    return {name: value for name, value in values.items() if value is not None}

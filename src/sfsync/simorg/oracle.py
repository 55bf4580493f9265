"""Judge a store: compute from the org's state what it must hold, and list where it differs.

Why: a verdict is worth something only if it shares nothing with what it judges. So this file stands alone: it
imports nothing of sfsync, reads the org through the control API and the store through `crm.*`, and says the rules
again in plain Python: which records are one person, which of them speaks, which field feeds which column. The
table of columns is written by hand, not read from the shipped mapping, for the same reason.

Ids are the only thing it takes from the store: a record's own id is whatever the store once gave it, so the
comparison is "equal up to the naming of ids".

What nobody can know is not held against the store, but listed apart as `undetectable`: a record that left the org
without an event (hard delete), and the last values of one that left the recycle bin before it could be read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg

POLL_S = 0.3
PAGE = 20_000

TEXT, FLAG, INSTANT, WHOLE, EXACT = "text", "boolean", "timestamp with time zone", "integer", "numeric"
DAY = "date"


@dataclass(frozen=True, slots=True)
class Column:
    """One mapped column: its Postgres type, and the field that feeds it from each entity.

    With `keeps_lead`, a person whose contact speaks goes on showing the value of its lead.
    """

    type: str
    contact: str | None = None
    lead: str | None = None
    account: str | None = None
    keeps_lead: bool = False


PERSON_COLUMNS: Mapping[str, Column] = {
    "last_name": Column(TEXT, "LastName", "LastName"),
    "first_name": Column(TEXT, "FirstName", "FirstName"),
    "salutation": Column(TEXT, "Salutation", "Salutation"),
    "company_name": Column(TEXT, None, "Company"),
    "title": Column(TEXT, "Title", "Title"),
    "department": Column(TEXT, "Department"),
    "email": Column(TEXT, "Email", "Email"),
    "phone": Column(TEXT, "Phone", "Phone"),
    "mobile_phone": Column(TEXT, "MobilePhone", "MobilePhone"),
    "fax": Column(TEXT, "Fax", "Fax"),
    "website": Column(TEXT, None, "Website", keeps_lead=True),
    "status": Column(TEXT, None, "Status", keeps_lead=True),
    "converted_on": Column(DAY, None, "ConvertedDate", keeps_lead=True),
    "lead_source": Column(TEXT, "LeadSource", "LeadSource"),
    "industry": Column(TEXT, None, "Industry", keeps_lead=True),
    "has_opted_out_of_email": Column(FLAG, "HasOptedOutOfEmail", "HasOptedOutOfEmail"),
    "owner_id": Column(TEXT, "OwnerId", "OwnerId"),
    "created_at": Column(INSTANT, "CreatedDate", "CreatedDate"),
    "modified_at": Column(INSTANT, "LastModifiedDate", "LastModifiedDate"),
    "postal_code": Column(TEXT, "MailingPostalCode", "PostalCode"),
    "prefecture": Column(TEXT, "MailingState", "State"),
    "city": Column(TEXT, "MailingCity", "City"),
    "street": Column(TEXT, "MailingStreet", "Street"),
    "country": Column(TEXT, "MailingCountry", "Country"),
}
COMPANY_COLUMNS: Mapping[str, Column] = {
    "name": Column(TEXT, account="Name"),
    "type": Column(TEXT, account="Type"),
    "industry": Column(TEXT, account="Industry"),
    "parent_salesforce_id": Column(TEXT, account="ParentId"),
    "phone": Column(TEXT, account="Phone"),
    "fax": Column(TEXT, account="Fax"),
    "website": Column(TEXT, account="Website"),
    "number_of_employees": Column(WHOLE, account="NumberOfEmployees"),
    "annual_revenue": Column(EXACT, account="AnnualRevenue"),
    "owner_id": Column(TEXT, account="OwnerId"),
    "created_at": Column(INSTANT, account="CreatedDate"),
    "modified_at": Column(INSTANT, account="LastModifiedDate"),
    "postal_code": Column(TEXT, account="BillingPostalCode"),
    "prefecture": Column(TEXT, account="BillingState"),
    "city": Column(TEXT, account="BillingCity"),
    "street": Column(TEXT, account="BillingStreet"),
    "country": Column(TEXT, account="BillingCountry"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict: how many live people and companies the org has, and where the store differs.

    `differences` is cut at the asked limit, `count` is not.
    """

    people: int
    companies: int
    differences: list[str]
    count: int = 0
    undetectable: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether the store is what the org says."""
        return self.count == 0

    def __str__(self) -> str:
        if self.is_equal:
            return f"store equals org: {self.people} people, {self.companies} companies"
        shown = "\n".join(f"  {line}" for line in self.differences)
        left_out = self.count - len(self.differences)
        more = f"\n  and {left_out} more" if left_out else ""
        return f"store differs from org in {self.count} places:\n{shown}{more}"


# What the org says ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrgRecord:
    """The last state of one record that the org ever had."""

    entity: str
    id: str
    fields: Mapping[str, Any]
    is_deleted: bool
    is_purged: bool

    @property
    def vanished(self) -> bool:
        """Whether it left the org live, of which no event and no query ever tells."""
        return self.is_purged and not self.is_deleted

    @property
    def contact_id(self) -> str | None:
        """The contact this lead became, for ever."""
        return self.fields.get("ConvertedContactId") if self.entity == "Lead" else None

    @property
    def master_id(self) -> str | None:
        """The record this one was merged into, as long as it is deleted."""
        return self.fields.get("MasterRecordId") if self.is_deleted else None

    def __str__(self) -> str:
        return f"{self.entity} {self.id}"


async def load_org(control_url: str) -> tuple[str, list[OrgRecord]]:
    """Return the org's id and all its leads, contacts and accounts."""
    records: list[OrgRecord] = []
    org = ""
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for entity in ("Lead", "Contact", "Account"):
            after = ""
            while True:
                query = {"entity": entity, "after": after, "limit": str(PAGE)}
                async with http.get(f"{control_url.rstrip('/')}/state", params=query) as answer:
                    page = await answer.json()
                org = page["org_id"]
                records += map(_org_record, page["records"])
                if len(page["records"]) < PAGE:
                    break
                after = page["records"][-1]["id"]
    return org, records


def _org_record(shown: Mapping[str, Any]) -> OrgRecord:
    return OrgRecord(shown["entity"], shown["id"], shown["fields"], shown["deleted"], shown["purged"])


# What the store says --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """One record as the store lists it: the id it was first handed out under, and whose it is today."""

    own_id: int | None
    subject_id: int
    source: str


@dataclass(frozen=True, slots=True)
class Side:
    """The people, or the companies, of a store."""

    noun: str
    columns: Mapping[str, Column]
    types: Mapping[str, str]
    rows: Mapping[int, Mapping[str, Any]]
    records: Mapping[str, Known]
    resolved: Mapping[int, int | None]


async def load_store(dsn: str, org: str) -> tuple[Side, Side]:
    """Return the people and the companies of *org*, read at one instant."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            people = await _load_side(connection, org, "person", PERSON_COLUMNS)
            return people, await _load_side(connection, org, "company", COMPANY_COLUMNS)
    finally:
        await connection.close()


async def _load_side(
    connection: asyncpg.Connection[Any], org: str, noun: str, columns: Mapping[str, Column]
) -> Side:
    types = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'crm' AND table_name = $1",
        noun,
    )
    source = "source" if noun == "person" else "'account'"
    listed = await connection.fetch(
        f"SELECT salesforce_id, own_id, {noun}_id AS subject_id, {source} AS source"
        f" FROM crm.{noun}_record WHERE org = $1",
        org,
    )
    rows = await connection.fetch(f"SELECT * FROM crm.{noun} WHERE org = $1", org)
    own_ids = [row["own_id"] for row in listed if row["own_id"] is not None]
    resolved = await connection.fetch(
        f"SELECT id, crm.resolve_{noun}(id) AS subject_id FROM unnest($1::bigint[]) AS id",
        own_ids + [row["id"] for row in rows],
    )
    return Side(
        noun,
        columns,
        {row["column_name"]: row["data_type"] for row in types},
        {row["id"]: dict(row) for row in rows},
        {
            row["salesforce_id"]: Known(row["own_id"], row["subject_id"], row["source"] or "")
            for row in listed
        },
        {row["id"]: row["subject_id"] for row in resolved},
    )


# Who is one -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """The records that are one person or company; `subject_id` is None as long as none was handed an id."""

    members: tuple[OrgRecord, ...]
    root: OrgRecord
    subject_id: int | None

    def live(self, *, vanished_lives: bool) -> list[OrgRecord]:
        """Return the members that are live, counting vanished ones in or out."""
        return [m for m in self.members if not m.is_deleted and (vanished_lives or not m.vanished)]


def group_records(records: Iterable[OrgRecord], side: Side) -> list[Group]:
    """Group the records that the store can know of: leads and contacts, or accounts."""
    present = {r.id: r for r in records if not r.is_purged or r.id in side.records}
    lasting = _edges(present, side, {r.id: r.contact_id for r in present.values()})
    revocable = _edges(present, side, {r.id: r.master_id for r in present.values()})
    _cut_cycles(present, lasting, revocable)
    neighbours: defaultdict[str, set[str]] = defaultdict(set)
    for source, target in [*lasting.items(), *revocable.items()]:
        neighbours[source].add(target)
        neighbours[target].add(source)
    groups, seen = [], set[str]()
    for start in present:
        if start not in seen:
            ids = _reachable(start, neighbours)
            seen |= ids
            groups.append(_group([present[i] for i in sorted(ids)], lasting, revocable, side))
    return groups


def _edges(present: Mapping[str, OrgRecord], side: Side, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return the edges between records that the store can know.

    Where a record left the recycle bin, only the store knows whether it had read its edge in time.
    """
    edges = {}
    for source, target in wanted.items():
        if target is None or target not in present:
            continue
        known_source, known_target = side.records.get(source), side.records.get(target)
        together = known_source and known_target and known_source.subject_id == known_target.subject_id
        if together or not present[source].is_purged:
            edges[source] = target
    return edges


def _cut_cycles(
    present: Mapping[str, OrgRecord], lasting: Mapping[str, str], revocable: dict[str, str]
) -> None:
    """Ignore, in each cycle, the merge whose loser has the oldest SystemModstamp."""
    for start in list(revocable):
        path, step = [start], revocable.get(start)
        while step is not None and step not in path:
            path.append(step)
            step = revocable.get(step) or lasting.get(step)
        if step == start:
            losers = [i for i in path if i in revocable]
            del revocable[min(losers, key=lambda i: (present[i].fields.get("SystemModstamp") or "", i))]


def _reachable(start: str, neighbours: Mapping[str, set[str]]) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        fresh = neighbours.get(frontier.pop(), set()) - found
        found |= fresh
        frontier += fresh
    return found


def _group(
    members: Sequence[OrgRecord], lasting: Mapping[str, str], revocable: Mapping[str, str], side: Side
) -> Group:
    root = max(
        (m for m in members if m.id not in lasting and m.id not in revocable),
        key=lambda m: (m.entity == "Contact", m.id),
    )
    naming = [m for m in members if m is root or _leads_to(m.id, root.id, lasting)]
    own_ids = _own_ids(naming, side) or _own_ids(members, side)
    return Group(tuple(members), root, min(own_ids, default=None))


def _leads_to(source: str, goal: str, lasting: Mapping[str, str]) -> bool:
    step = lasting.get(source)
    for _ in lasting:
        if step is None or step == goal:
            break
        step = lasting.get(step)
    return step == goal


def _own_ids(members: Iterable[OrgRecord], side: Side) -> list[int]:
    known = (side.records.get(member.id) for member in members)
    return [k.own_id for k in known if k is not None and k.own_id is not None]


# What its row must be -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """The row of one group; `guesses` names the columns whose last value nobody could read."""

    speaker: OrgRecord
    is_deleted: bool
    values: Mapping[str, Any]
    guesses: frozenset[str]


def expect(
    group: Group, side: Side, company_ids: Mapping[str, int | None], *, vanished_lives: bool
) -> Expected:
    """Return what the row of *group* must be; *company_ids* tells the company of each account."""
    live = group.live(vanished_lives=vanished_lives)
    speaker = max(group.members, key=lambda m: _rank(m, group.root, is_live=m in live))
    leads = [m for m in group.members if m.entity == "Lead"]
    lead = min(leads, key=lambda m: (m.fields.get("ConvertedDate") or "9999", m.id), default=None)
    values: dict[str, Any] = {}
    guesses = set[str]()
    for name, column in side.columns.items():
        source = lead if column.keeps_lead and speaker.entity == "Contact" else speaker
        values[name] = _value(column, source)
        if source is not None and source.is_purged:
            guesses.add(name)
    if side.noun == "person":
        values["source"] = speaker.entity.lower()
        account = speaker.fields.get("AccountId") if speaker.entity == "Contact" else None
        values["company_id"] = company_ids.get(account) if account else None
        if speaker.is_purged:
            guesses.add("company_id")
    return Expected(speaker, not live, {"salesforce_id": speaker.id, **values}, frozenset(guesses))


def _rank(member: OrgRecord, root: OrgRecord, *, is_live: bool) -> tuple[Any, ...]:
    return (
        is_live,
        member.entity != "Lead",
        not member.fields.get("ConvertedContactId"),
        member.fields.get("ConvertedDate") or "",
        member is root,
        member.id,
    )


def _value(column: Column, source: OrgRecord | None) -> Any:
    if source is None:
        return None
    name = {"Lead": column.lead, "Contact": column.contact, "Account": column.account}[source.entity]
    raw = source.fields.get(name) if name else None
    return None if raw is None or raw == "" else _READERS[column.type](raw)


def _instant(raw: str) -> datetime:
    return datetime.strptime(raw, "%Y-%m-%dT%H:%M:%S.%f%z")


def _text(raw: str) -> str:
    # What no database holds is replaced, and that is declared.
    return raw.replace("\0", "\ufffd")


def _exact(raw: float) -> Decimal:
    return Decimal(repr(raw))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    TEXT: _text,
    FLAG: bool,
    INSTANT: _instant,
    WHOLE: int,
    EXACT: _exact,
    DAY: date.fromisoformat,
}


# Where they differ ----------------------------------------------------------------------------------------


def compare(records: Sequence[OrgRecord], people: Side, companies: Side) -> Report:
    """Compare a whole org with a whole store; `differences` is not cut."""
    accounts = [r for r in records if r.entity == "Account"]
    company_groups = group_records(accounts, companies)
    company_ids = {m.id: g.subject_id for g in company_groups for m in g.members}
    person_groups = group_records([r for r in records if r.entity != "Account"], people)
    found: list[str] = []
    for side, groups in ((companies, company_groups), (people, person_groups)):
        found += _wrong_types(side)
        for group in groups:
            found += _group_differences(group, side, company_ids)
        found += _strangers(groups, side)
    return Report(
        sum(bool(g.live(vanished_lives=False)) for g in person_groups),
        sum(bool(g.live(vanished_lives=False)) for g in company_groups),
        found,
        len(found),
        [
            f"{r} was hard-deleted while live"
            for r in records
            if r.vanished and _is_shown(r, people, companies)
        ],
    )


def _is_shown(record: OrgRecord, people: Side, companies: Side) -> bool:
    side = companies if record.entity == "Account" else people
    return record.id in side.records


def _wrong_types(side: Side) -> Iterator[str]:
    for name, column in side.columns.items():
        if (type_ := side.types.get(name)) != column.type:
            yield f"crm.{side.noun}.{name}: the column is {type_ or 'missing'}, it must be {column.type}"


def _group_differences(group: Group, side: Side, company_ids: Mapping[str, int | None]) -> Iterator[str]:
    for member in group.members:
        yield from _record_differences(member, group, side)
    if group.subject_id is None:
        return
    row = side.rows.get(group.subject_id)
    if row is None:
        yield f"{side.noun} {group.subject_id} ({group.root}): its row is missing"
        return
    found = list(_row_differences(row, expect(group, side, company_ids, vanished_lives=True), side))
    if found and any(member.vanished for member in group.members):
        other = list(_row_differences(row, expect(group, side, company_ids, vanished_lives=False), side))
        found = min(found, other, key=len)
    yield from found


def _record_differences(member: OrgRecord, group: Group, side: Side) -> Iterator[str]:
    known = side.records.get(member.id)
    if known is None:
        if group.subject_id is not None or not member.is_deleted:
            yield f"{member}: the store does not list it"
        return
    if known.source != member.entity.lower():
        yield f"{member}: the store lists it as {known.source}"
    if known.subject_id != group.subject_id:
        yield f"{member}: listed as {side.noun} {known.subject_id}, it must be {group.subject_id}"
    if known.own_id is None:
        if not member.is_deleted:
            yield f"{member}: live, and without an id of its own"
    elif side.resolved.get(known.own_id) != group.subject_id:
        resolved = side.resolved.get(known.own_id)
        yield f"{member}: its id {known.own_id} resolves to {resolved}, it must be {group.subject_id}"


def _row_differences(row: Mapping[str, Any], expected: Expected, side: Side) -> Iterator[str]:
    place = f"{side.noun} {row['id']} ({expected.speaker})"
    if row["merged_into"] is not None:
        yield f"{place}: is marked as merged into {row['merged_into']}, but it speaks for itself"
        return
    if (row["deleted_at"] is not None) != expected.is_deleted:
        yield f"{place}: the store has it {_state(is_deleted=not expected.is_deleted)}, the org {_state(is_deleted=expected.is_deleted)}"
    for name, value in expected.values.items():
        if name in row and row[name] != value and name not in expected.guesses:
            yield f"{place}: {name}: store {_shown(row[name])}, org {_shown(value)}"


def _strangers(groups: Iterable[Group], side: Side) -> Iterator[str]:
    """Find rows and listed records that nothing in the org accounts for, and merged-away rows with values."""
    subjects = {g.subject_id for g in groups}
    merged = {
        known.own_id: g.subject_id
        for g in groups
        for m in g.members
        if (known := side.records.get(m.id)) is not None and known.own_id != g.subject_id
    }
    in_org = {m.id for g in groups for m in g.members}
    for record_id in side.records.keys() - in_org:
        yield f"{side.noun}: record {record_id} is listed, but the org never had it"
    for row_id, row in side.rows.items():
        place = f"{side.noun} {row_id}"
        if row_id in subjects:
            continue
        if row_id not in merged:
            yield f"{place}: no record of the org accounts for it"
        elif row["merged_into"] != merged[row_id]:
            yield f"{place}: merged into {row['merged_into']}, it must be {merged[row_id]}"
        elif kept := [n for n in (*side.columns, "company_id") if row.get(n) is not None]:
            yield f"{place}: merged away, but it still has {', '.join(kept)}"
    yield from _shared_ids(side)


def _shared_ids(side: Side) -> Iterator[str]:
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for record_id, known in side.records.items():
        if known.own_id is not None:
            owners[known.own_id].append(record_id)
    for own_id, ids in owners.items():
        if len(ids) > 1:
            yield f"{side.noun}: id {own_id} was handed out to {', '.join(sorted(ids))}"


def _state(*, is_deleted: bool) -> str:
    return "deleted" if is_deleted else "live"


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, date | datetime) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# The way in -----------------------------------------------------------------------------------------------


async def differences(control_url: str, dsn: str, *, org: str | None = None, limit: int = 50) -> Report:
    """Compare the store at *dsn* with the org behind *control_url*, as both are now.

    *org* names the rows to judge; by default those of the org's present id.
    """
    org_id, records = await load_org(control_url)
    people, companies = await load_store(dsn, org or org_id)
    report = compare(records, people, companies)
    return Report(
        report.people, report.companies, report.differences[:limit], report.count, report.undetectable
    )


async def wait_until_equal(control_url: str, dsn: str, timeout_s: float, *, limit: int = 50) -> Report:
    """Compare again and again until the store equals the org; return the last report, whatever it says.

    A store that cannot be read yet counts as different.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            report = await differences(control_url, dsn, limit=limit)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            report = Report(0, 0, [f"the store cannot be read: {type(error).__name__}: {error}"], 1)
        if report.is_equal or asyncio.get_running_loop().time() >= deadline:
            return report
        await asyncio.sleep(POLL_S)


def main() -> int:
    """Print the verdict; return 1 when the store differs."""
    parser = argparse.ArgumentParser(
        prog="python -m sfsync.simorg.oracle", description="Compare a store with a simulated org."
    )
    parser.add_argument("--control", required=True, metavar="URL", help="control_url of the org")
    parser.add_argument(
        "--dsn",
        default=os.environ.get("SFSYNC_STORE__DSN"),
        help="the store (default: SFSYNC_STORE__DSN, which does not show up in the list of processes)",
    )
    parser.add_argument("--org", help="judge the rows of this org id (default: the org's own)")
    parser.add_argument("--limit", type=int, default=50, help="differences to print at most (default 50)")
    parser.add_argument("--timeout", type=float, default=0.0, metavar="S", help="wait that long for equality")
    options = parser.parse_args()
    if not options.dsn:
        parser.error("--dsn is needed, or SFSYNC_STORE__DSN")
    report = asyncio.run(_judge(options))
    sys.stdout.write(f"{report}\n" + "".join(f"  undetectable: {line}\n" for line in report.undetectable))
    return 0 if report.is_equal else 1


async def _judge(options: argparse.Namespace) -> Report:
    if options.timeout > 0:
        return await wait_until_equal(options.control, options.dsn, options.timeout, limit=options.limit)
    return await differences(options.control, options.dsn, org=options.org, limit=options.limit)


if __name__ == "__main__":
    sys.exit(main())

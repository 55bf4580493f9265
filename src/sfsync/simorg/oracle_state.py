"""What the oracle looks at: all records of the org, and all that the store shows of them.

Why: it reads the org through the control API and the store through `crm.*`, as a user and an application do. The
table of columns is written by hand, not read from the shipped mapping, so that a fault there is not repeated here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import asyncpg

PAGE = 20_000

TEXT, FLAG, INSTANT, WHOLE, EXACT = "text", "boolean", "timestamp with time zone", "integer", "numeric"
DAY, WIDE = "date", "bigint"


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

Columns = Mapping[str, Mapping[str, Column]]
SHIPPED: Columns = {"person": PERSON_COLUMNS, "company": COMPANY_COLUMNS}
"""What the mapping that ships with sfsync makes of a person and of a company."""


def read_columns(text: str) -> Columns:
    """Return the columns that a JSON text states for both tables. Raises ValueError that says what is wrong."""
    try:
        stated = json.loads(text)
        columns = {
            noun: {name: Column(**column) for name, column in stated[noun].items()} for noun in SHIPPED
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            'columns are stated as {"person": {"title": {"type": "text", "contact": "Title", "lead": "Title"}},'
            ' "company": {"name": {"type": "text", "account": "Name"}}}'
        ) from error
    known = (TEXT, FLAG, INSTANT, WHOLE, EXACT, DAY, WIDE)
    for noun, table in columns.items():
        for name, column in table.items():
            if column.type not in known:
                raise ValueError(
                    f"{noun}.{name}: type must be one of {', '.join(known)}; got {column.type!r}"
                )
    return columns


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
    decision: str


Row = Mapping[str, Any]
RowsOf = Mapping[int, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Side:
    """The people, or the companies, of a store.

    Only of people: `undecided` rows are those that may not be written, every column as JSON; `pending`, `addresses`
    and `candidates` are what the views show of each.
    """

    noun: str
    columns: Mapping[str, Column]
    types: Mapping[str, str]
    rows: Mapping[int, Mapping[str, Any]]
    records: Mapping[str, Known]
    resolved: Mapping[int, int | None]
    undecided: Mapping[int, Row] = field(default_factory=dict)
    pending: RowsOf = field(default_factory=dict)
    addresses: Mapping[int, Row] = field(default_factory=dict)
    candidates: RowsOf = field(default_factory=dict)


async def load_store(dsn: str, org: str, columns: Columns = SHIPPED) -> tuple[Side, Side]:
    """Return the people and the companies of *org*, read at one instant; *columns* are those of the mapping."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            people = await _load_side(connection, org, "person", columns["person"])
            people = replace(people, **await _load_views(connection, org))
            return people, await _load_side(connection, org, "company", columns["company"])
    finally:
        await connection.close()


async def freeze(dsn: str) -> dict[int, Row]:
    """Return the rows of people who may not be written, to be held against a later store."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await _load_undecided(connection)
    finally:
        await connection.close()
    # One that was merged away before has nothing in it to keep.
    return {person: row for person, row in rows.items() if row["merged_into"] is None}


async def _load_undecided(connection: asyncpg.Connection[Any]) -> dict[int, Row]:
    rows = await connection.fetch(
        "SELECT p.id, to_jsonb(p)::text AS row FROM crm.person AS p WHERE p.sync <> 'synced'"
    )
    return {row["id"]: json.loads(row["row"]) for row in rows}


async def _load_views(connection: asyncpg.Connection[Any], org: str) -> dict[str, Any]:
    """Return what the views show of each person."""
    of_org = "WHERE person_id IN (SELECT p.id FROM crm.person AS p WHERE p.org = $1)"
    shown: dict[str, defaultdict[int, list[Row]]] = {}
    for view in ("pending_decision", "person_address", "address_candidate"):
        shown[view] = defaultdict(list)
        for row in await connection.fetch(f"SELECT * FROM crm.{view} {of_org}", org):
            shown[view][row["person_id"]].append(dict(row))
    return {
        "undecided": await _load_undecided(connection),
        "pending": shown["pending_decision"],
        "addresses": {person: rows[0] for person, rows in shown["person_address"].items()},
        "candidates": shown["address_candidate"],
    }


async def _load_side(
    connection: asyncpg.Connection[Any], org: str, noun: str, columns: Mapping[str, Column]
) -> Side:
    types = await connection.fetch(
        "SELECT attname::text AS column_name, format_type(atttypid, NULL) AS data_type FROM pg_attribute"
        " WHERE attrelid = to_regclass('crm.' || $1) AND attnum > 0 AND NOT attisdropped",
        noun,
    )
    source, decision = ("source", "decision") if noun == "person" else ("'account'", "'synced'")
    listed = await connection.fetch(
        f"SELECT salesforce_id, own_id, {noun}_id AS subject_id, {source} AS source,"
        f" {decision} AS decision"
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
            row["salesforce_id"]: Known(
                row["own_id"], row["subject_id"], row["source"] or "", row["decision"]
            )
            for row in listed
        },
        {row["id"]: row["subject_id"] for row in resolved},
    )

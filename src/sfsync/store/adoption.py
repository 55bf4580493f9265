"""Which records become people and companies: every one, or only those that somebody imported or asked for.

Why: an org may hold a million leads of which an application wants a thousand. Adoption is kept per record and never
taken back, so that going over to `on_request` leaves everybody who is there. It spreads along what a record points
to: the contact a lead became, the record it was merged into, the account of a contact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .database import Connection, Database
from .grouping import Touched


@dataclass(frozen=True, slots=True)
class Adoption:
    """`on_request`: only adopted records become anybody. `minimal`: the others are not even kept in the mirror."""

    on_request: bool = False
    minimal: bool = False


async def adopt_accounts(
    connection: Connection, database: Database, org: str, accounts: list[Touched]
) -> list[Touched]:
    """Return *accounts* as they are once those that adopted contacts belong to are adopted."""
    unwanted = [account.record_id for account in accounts if not account.adopted]
    if not unwanted:
        return accounts
    rows = await connection.fetch(database.sql("adopt_wanted_accounts"), org, unwanted)
    wanted = {row["id"] for row in rows}
    return [
        Touched(a.record_id, a.subject_id, a.is_linked, a.may_be_linked, a.adopted or a.record_id in wanted)
        for a in accounts
    ]


async def adopt_accounts_of(
    connection: Connection, database: Database, org: str, speakers: Iterable[str]
) -> list[Touched]:
    """Adopt the known accounts of contacts that speak for people; return those that were not adopted before."""
    rows = await connection.fetch(database.sql("adopt_accounts_of"), org, list(speakers))
    return [Touched(row["id"], row["subject_id"], is_linked=row["is_linked"]) for row in rows]


async def want_targets(
    connection: Connection, database: Database, org: str, changed: Sequence[str]
) -> list[str]:
    """Ask for the records that *changed* ones point to and that the mirror, being minimal, does not hold.

    Return them.
    """
    return [row["id"] for row in await connection.fetch(database.sql("insert_wanted"), org, changed)]

"""One person for ever, end to end: the org's own rules of conversion, merge, cascade and recycle bin.

Why: the store is told facts in other tests; here Salesforce's rules make them. A merge moves contacts, a deletion of an
account takes its contacts along, and an undelete brings them back, each with events of their own. Each step is done by
the org, seen by push, and judged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.acceptance.stage import Daemon, Stage, open_stage
from tests.application import Application


@dataclass(slots=True)
class Office:
    """An application that writes to everybody after each step, and remembers under which id it knew whom."""

    stage: Stage
    daemon: Daemon
    ids: Mapping[str, str]
    connection: asyncpg.Connection
    known: dict[str, int] = field(default_factory=dict)

    async def settle(self) -> None:
        """Wait for what the org says; write letters, and find everybody who was ever written to."""
        await self.stage.must_be_equal()
        application = Application(self.connection)
        await application.write_letters()
        assert await application.lost_letters() == []

    async def do(self, *steps: Mapping[str, object]) -> None:
        """Do this in one transaction of the org, and settle."""
        self.stage.org.transact(*steps)
        await self.settle()

    async def people(self, names: str) -> set[int]:
        """Return whose these records are."""
        rows = await self.connection.fetch(
            "SELECT person_id FROM crm.person_record WHERE salesforce_id = ANY ($1)",
            [self.ids[name] for name in names],
        )
        return {row["person_id"] for row in rows}

    async def companies(self, names: str) -> set[str | None]:
        """Return the names of the companies of these records' people."""
        rows = await self.connection.fetch(
            "SELECT c.name FROM crm.person AS p LEFT JOIN crm.company AS c ON c.id = p.company_id WHERE p.id = ANY ($1)",
            list(await self.people(names)),
        )
        return {row["name"] for row in rows}


@asynccontextmanager
async def open_office(dsn: str, directory: Path) -> AsyncIterator[Office]:
    """Three leads, and three contacts of an account each; everybody is known, and has had a letter."""
    with open_stage(dsn, directory) as stage:
        ids = {name: stage.org.create("Account", Name=name) for name in "XYZ"}
        for name, account in zip("ABC", "XYZ", strict=True):
            ids[name] = stage.org.create("Contact", LastName=name, AccountId=ids[account])
        for name in "KLM":
            ids[name] = stage.org.create("Lead", LastName=name, Company=name)
        daemon = stage.daemon().wait_ready()
        connection = await asyncpg.connect(dsn)
        try:
            office = Office(stage, daemon, ids, connection)
            await Application(connection).install()
            await office.settle()
            for name in "ABCKLM":
                [office.known[name]] = await office.people(name)
            yield office
        finally:
            await connection.close()


async def test_people_keep_their_ids_through_merges_and_conversions(empty_dsn: str, tmp_path: Path) -> None:
    """Three leads become one, who becomes a contact, who is merged away and comes back; a kill changes nothing."""
    async with open_office(empty_dsn, tmp_path) as office:
        ids, known, org = office.ids, office.known, office.stage.org
        await office.do({"op": "merge", "winner": ids["L"], "losers": [ids["K"], ids["M"]]})
        assert await office.people("KLM") == {known["L"]}
        org.transact({"op": "convert", "lead": ids["L"], "contact": ids["A"]})
        org.transact({"op": "undelete", "id": ids["K"]})
        office.daemon.kill()
        org.transact({"op": "convert", "lead": ids["K"], "account": ids["Y"]})
        org.transact({"op": "merge", "winner": ids["B"], "losers": [ids["A"], ids["C"]]})
        office.stage.daemon().wait_ready()
        await office.settle()
        assert await office.people("ABCLM") == {known["B"]}
        assert await office.people("K") == {known["K"]}
        await office.do({"op": "undelete", "id": ids["A"]}, {"op": "delete", "id": ids["L"]})
        assert await office.people("AL") == {min(known["A"], known["L"])}
        assert await office.people("BC") == {known["B"]}


async def test_people_follow_their_accounts_through_merge_deletion_and_undelete(
    empty_dsn: str, tmp_path: Path
) -> None:
    """Three accounts become one; it is deleted with its contacts, and comes back with them."""
    async with open_office(empty_dsn, tmp_path) as office:
        ids, known = office.ids, office.known
        await office.do({"op": "convert", "lead": ids["K"], "account": ids["Y"]})
        assert await office.companies("K") == {"Y"}
        await office.do({"op": "merge", "winner": ids["X"], "losers": [ids["Y"], ids["Z"]]})
        assert await office.companies("ABCK") == {"X"}
        await office.do({"op": "delete", "id": ids["X"]})
        await office.do({"op": "undelete", "id": ids["X"]})
        assert await office.companies("ABCK") == {"X"}
        assert await office.people("ABCK") == {known[name] for name in "ABCK"}

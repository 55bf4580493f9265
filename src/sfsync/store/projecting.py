"""Bring people and companies up to date with records of the mirror that changed, in the transaction that wrote them.

Why: identity and consent decide whose row is written, the statements of the projection write it (set by set), and
the feed learns from the same statement what was written and who said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.ids import Entity
from .adoption import Adoption, adopt_accounts, adopt_accounts_of
from .consent import Consent, Provenance
from .database import Connection, Database
from .grouping import Regrouping, Touched, regroup_touched
from .projection import Projection
from .staging import Staged


@dataclass(slots=True)
class Written:
    """How many rows of crm a batch changed."""

    people: int = 0
    companies: int = 0


class Projector:
    """Projects the records of one org under one mapping."""

    def __init__(self, database: Database, org: str, projection: Projection, adoption: Adoption) -> None:
        self._database = database
        self._org = org
        self._projection = projection
        self._adoption = adoption

    async def patch(self, staged: Staged, entities: set[Entity], provenance: Provenance) -> Written:
        """Put new values into the rows of records of these entities that feed a row all alone."""
        written = Written()
        if Entity.ACCOUNT in entities:
            written.companies = await staged.run(self._projection.patched_companies, self._org, provenance)
        if entities - {Entity.ACCOUNT}:
            written.people = await staged.run(self._projection.patched_people, self._org, provenance)
        return written

    async def project(
        self, connection: Connection, touched: Sequence[tuple[Entity, Touched]], provenance: Provenance
    ) -> Written:
        """Bring companies, then people, up to date; people follow a company whose id changed."""
        written = Written()
        accounts = [t for entity, t in touched if entity is Entity.ACCOUNT]
        people = {t.record_id: t for entity, t in touched if entity is not Entity.ACCOUNT}
        if accounts:
            found = await self._project_companies(connection, accounts, provenance, written)
            if found.moved:
                for row in await connection.fetch(
                    self._database.sql("find_children"), self._org, found.moved
                ):
                    child = Touched(
                        row["id"], row["subject_id"], is_linked=row["is_linked"], adopted=row["adopted"]
                    )
                    people.setdefault(child.record_id, child)
        if people:
            await self._project_people(connection, list(people.values()), provenance, written)
        return written

    async def _project_companies(
        self, connection: Connection, accounts: list[Touched], provenance: Provenance, written: Written
    ) -> Regrouping:
        if self._adoption.on_request:
            accounts = await adopt_accounts(connection, self._database, self._org, accounts)
        found = await regroup_touched(connection, self._database, self._org, accounts)
        if found.subject_ids:
            written.companies += await connection.fetchval(
                self._projection.companies, self._org, provenance, found.subject_ids, found.speakers
            )
            # failpoint: companies.projected - companies are written
        if found.merged:
            written.companies += await self._merge(
                connection, self._projection.merged_companies, found, provenance
            )
            # failpoint: companies.merged - companies that were merged away are emptied
        return found

    async def _project_people(
        self, connection: Connection, people: list[Touched], provenance: Provenance, written: Written
    ) -> None:
        found = await regroup_touched(connection, self._database, self._org, people)
        consent = Consent(connection, self._database, self._org, provenance)
        await consent.settle(found, self._projection.differing)
        # failpoint: people.asked - questions to people are written and ended
        if found.subject_ids:
            written.people += await connection.fetchval(
                self._projection.people,
                self._org,
                provenance,
                found.subject_ids,
                found.speakers,
                found.leads,
            )
            # failpoint: people.projected - people are written, deleted and restored
        if found.merged:
            written.people += await self._merge(connection, self._projection.merged_people, found, provenance)
            # failpoint: people.merged - people that were merged away are emptied
        if self._adoption.on_request and found.adopted_speakers:
            accounts = await adopt_accounts_of(connection, self._database, self._org, found.adopted_speakers)
            if accounts:
                await self._project_companies(connection, accounts, provenance, written)

    async def _merge(
        self, connection: Connection, statement: str, found: Regrouping, provenance: Provenance
    ) -> int:
        ids, into = zip(*found.merged, strict=True)
        changed: int = await connection.fetchval(statement, self._org, provenance, list(ids), list(into))
        return changed

"""The judge of a history: the store against the org, and what must hold at any moment.

Why: the oracle is the one of all other tests; here it reads the org's world directly instead of over HTTP, which the
weather would spoil. Between two acts the store may lag behind the org, but what is checked here never bends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from sfsync.simorg.control_state import records
from sfsync.simorg.oracle import Given, Report, compare
from sfsync.simorg.oracle_state import OrgRecord, load_store
from sfsync.simorg.org import Org

from . import versions

_ALWAYS: Mapping[str, str] = {
    "a record went back to an older version without a mark": versions.FIND,
    "an id that was handed out leads to nobody": """
        SELECT r.salesforce_id FROM crm.person_record AS r
        LEFT JOIN crm.person AS p ON p.id = crm.resolve_person(r.own_id)
        WHERE r.own_id IS NOT NULL AND (p.id IS NULL OR p.merged_into IS NOT NULL)
        UNION ALL
        SELECT r.salesforce_id FROM crm.company_record AS r
        LEFT JOIN crm.company AS c ON c.id = crm.resolve_company(r.own_id)
        WHERE r.own_id IS NOT NULL AND (c.id IS NULL OR c.merged_into IS NOT NULL)
    """,
    "two live people for one record": """
        SELECT salesforce_id FROM crm.person WHERE deleted_at IS NULL AND merged_into IS NULL AND salesforce_id IS NOT NULL
        GROUP BY salesforce_id HAVING count(*) > 1
        UNION ALL
        SELECT salesforce_id FROM crm.company WHERE deleted_at IS NULL AND merged_into IS NULL AND salesforce_id IS NOT NULL
        GROUP BY salesforce_id HAVING count(*) > 1
    """,
    "created twice in the feed": """
        SELECT subject || ' ' || subject_id FROM sfsync.change WHERE action = 'created'
        GROUP BY subject, subject_id HAVING count(*) > 1
    """,
    "a record without a mark that is not known in full": """
        SELECT r.id FROM sfsync.record AS r LEFT JOIN sfsync.dirty AS d ON d.org = r.org AND d.record_id = r.id
        WHERE NOT r.complete AND NOT r.is_deleted AND r.unseen_since_ms IS NULL AND d.record_id IS NULL
    """,
}
_BROKEN = " UNION ALL ".join(
    f"SELECT '{rule}' AS rule, broken.what FROM ({query}) AS broken (what)" for rule, query in _ALWAYS.items()
)
_KNOWN = "SELECT id, is_deleted, master_record_id FROM sfsync.record"
_SHOWN = "SELECT 'person' AS noun, id, xmin::text FROM crm.person UNION ALL SELECT 'company', id, xmin::text FROM crm.company"


class Judge:
    """Sees one org and one store."""

    def __init__(self, org: Org, dsn: str) -> None:
        self._org = org
        self._dsn = dsn
        self._replay_id = 0
        self.connection: asyncpg.Connection[Any]

    async def open(self) -> None:
        """Connect."""
        self.connection = await asyncpg.connect(self._dsn, server_settings={"search_path": "pg_catalog"})

    async def report(self, given: Given, *, may_be_unheard: bool) -> Report:
        """Compare the whole store with the whole org.

        Of a record that has left the recycle bin nothing can be read any more. So the store need not know into which
        record it was merged, nor, with *may_be_unheard*, that it was deleted; what it does know must be true.
        """
        people, companies = await load_store(self._dsn, self._org.world.org_id)
        known = {row["id"]: row for row in await self.connection.fetch(_KNOWN)}
        listed = [
            _as_known(shown, known.get(shown["id"]), may_be_unheard=may_be_unheard)
            for entity in ("Lead", "Contact", "Account")
            for shown in records(self._org.world, entity, "", None)
        ]
        return compare(listed, people, companies, given)

    async def broken(self) -> list[str]:
        """List what never may be and is."""
        rows = await self.connection.fetch(_BROKEN)
        return [f"{row['rule']}: {row['what']}" for row in rows[:3]] + await self._position_goes_back()

    async def _position_goes_back(self) -> list[str]:
        replay = await self.connection.fetchval("SELECT replay FROM sfsync.position")
        if replay is None:
            return []
        before, self._replay_id = self._replay_id, int(replay)
        if self._replay_id < before:
            return [f"the position went back from {before} to {self._replay_id}"]
        if self._replay_id > self._org.bus.last_replay_id:
            return [f"the position {self._replay_id} is ahead of the org's {self._org.bus.last_replay_id}"]
        return []

    async def versions(self) -> dict[tuple[str, int], str]:
        """Return which transaction wrote each row."""
        rows = await self.connection.fetch(_SHOWN)
        return {(row["noun"], row["id"]): row["xmin"] for row in rows}


def _as_known(
    shown: Mapping[str, Any], known: Mapping[str, Any] | None, *, may_be_unheard: bool
) -> OrgRecord:
    """Return a record of the org; of a purged one, only as much as the store can be asked to know."""
    fields, is_deleted = shown["fields"], shown["deleted"]
    if shown["purged"]:
        is_deleted = is_deleted and not (may_be_unheard and (known is None or not known["is_deleted"]))
        if known is None or known["master_record_id"] is None:
            fields = {**fields, "MasterRecordId": None}
    return OrgRecord(shown["entity"], shown["id"], fields, is_deleted, shown["purged"])

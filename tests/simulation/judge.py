"""The judge of a history: the store against the org, and what must hold at any moment.

Why: the oracle is the one of all other tests; here it reads the org's world directly instead of over HTTP, which the
weather would spoil. Between two acts the store may lag behind the org, but what is checked here never bends.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg

from sfsync.simorg import oracle_consent
from sfsync.simorg.control_state import records
from sfsync.simorg.oracle import Given, compare
from sfsync.simorg.oracle_state import TEXT, Column, OrgRecord, Side, load_store
from sfsync.simorg.org import Org
from sfsync.store.erased import Erased

from .announced import Announced
from .met import Met
from .watch import FIND, REVIVED

if TYPE_CHECKING:
    from .stage import Stage

_ALWAYS: Mapping[str, str] = {
    # Nobody was given the id of one whose group waits for its other half, nor of one that nobody adopted.
    "an id that was handed out leads to nobody": """
        SELECT r.id FROM sfsync.record AS r
        LEFT JOIN crm.person AS p ON p.id = crm.resolve_person(r.own_id)
        LEFT JOIN crm.person AS own ON own.id = r.own_id
        WHERE r.entity <> 'Account' AND r.own_id IS NOT NULL AND r.adopted
            AND (p.id IS NULL OR p.merged_into IS NOT NULL)
            AND (own.id IS NOT NULL OR NOT EXISTS (SELECT FROM sfsync.record WHERE hold_until IS NOT NULL))
        UNION ALL
        SELECT r.id FROM sfsync.record AS r
        LEFT JOIN crm.company AS c ON c.id = crm.resolve_company(r.own_id)
        LEFT JOIN crm.company AS own ON own.id = r.own_id
        WHERE r.entity = 'Account' AND r.own_id IS NOT NULL AND r.adopted
            AND (c.id IS NULL OR c.merged_into IS NOT NULL)
            AND (own.id IS NOT NULL OR NOT EXISTS (SELECT FROM sfsync.record WHERE hold_until IS NOT NULL))
    """,
    "two live people for one record": """
        SELECT salesforce_id FROM crm.person
        WHERE deleted_at IS NULL AND merged_into IS NULL AND salesforce_id IS NOT NULL AND sync = 'synced'
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
_BROKEN = (
    " UNION ALL ".join(
        f"SELECT '{rule}: ' || broken.what FROM ({query}) AS broken (what)" for rule, query in _ALWAYS.items()
    )
    + f" UNION ALL {FIND}"
)
_KNOWN = "SELECT id, is_deleted, master_record_id FROM sfsync.record"
_SHOWN = "SELECT 'person' AS noun, id, xmin::text FROM crm.person UNION ALL SELECT 'company', id, xmin::text FROM crm.company"
_ERASED = """
SELECT o.erasure_key, array_agg(e.hash) AS hashes FROM sfsync.org AS o
JOIN sfsync.erased AS e ON e.org = o.id GROUP BY o.erasure_key
"""
# A dead letter that names no record is kept until its retention ends.
_OWED = """
SELECT 'a mark: ' || d.record_id || ' ' || array_to_string(d.causes, ',') FROM sfsync.dirty AS d
UNION ALL SELECT 'a dead letter: ' || record_id FROM sfsync.dead_letter WHERE record_id IS NOT NULL
UNION ALL SELECT 'a reading: ' || entity || ' ' || reason FROM sfsync.resweep
UNION ALL SELECT 'an answer: ' || kind || ' ' || id FROM sfsync.request WHERE done_at IS NULL
UNION ALL SELECT 'an end of waiting: ' || id FROM sfsync.record WHERE hold_until IS NOT NULL
UNION ALL SELECT 'a projection: ' || table_name || '.' || column_name FROM sfsync.mapped_column
    WHERE suspended_since IS NOT NULL
"""
# Marks that SQL makes pass no function that could be counted.
_MARKED = """
SELECT c.cause, count(*) FROM sfsync.dirty, unnest(causes) AS c (cause)
WHERE c.cause IN ('parent_changed', 'requested') GROUP BY c.cause
"""
# A line of a file that was refused because it names somebody erased is kept for whoever brought the file.
_TRACES = """
SELECT 'sfsync.record' FROM sfsync.record WHERE id = $1
UNION ALL SELECT 'sfsync.dirty' FROM sfsync.dirty WHERE record_id = $1
UNION ALL SELECT 'sfsync.dead_letter' FROM sfsync.dead_letter WHERE record_id = $1
UNION ALL SELECT 'sfsync.change' FROM sfsync.change WHERE record_id = $1
UNION ALL SELECT 'sfsync.decision' FROM sfsync.decision WHERE $1 = ANY (record_ids)
UNION ALL SELECT 'sfsync.import_row' FROM sfsync.import_row WHERE record_id = $1 AND reason IS NULL
UNION ALL SELECT 'crm.person' FROM crm.person WHERE salesforce_id = $1
UNION ALL SELECT 'crm.company' FROM crm.company WHERE salesforce_id = $1
"""


_UNSTORABLE = """
    SELECT argument FROM sfsync.request WHERE kind = 'pull' GROUP BY argument
    HAVING bool_and(outcome IN ('refused', 'unsettled') AND detail ->> 'error' LIKE '%SQLSTATE%')
"""


class Judge:
    """Sees one org and one store."""

    def __init__(self, org: Org, dsn: str, met: Met) -> None:
        self._org = org
        self.dsn = dsn
        self._met = met
        self._announced = Announced(org)
        self._again_until = 0
        self.connection: asyncpg.Connection[Any]

    async def open(self) -> None:
        """Connect."""
        self.connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "pg_catalog"})

    async def begin(self) -> None:
        """Wait until there is a store to be judged: the first history of a database begins without."""
        while not await self.connection.fetchval("SELECT to_regclass('crm.person_address') IS NOT NULL"):  # noqa: ASYNC110 - it polls
            await asyncio.sleep(1)

    async def ask(self, kind: str, argument: str | None) -> None:
        """Ask the daemon for something, as the command line does."""
        await self.connection.execute(
            "INSERT INTO sfsync.request (kind, argument) VALUES ($1, $2)", kind, argument
        )

    def may_go_back(self, cursor: int, until: int) -> None:
        """Say that the stream delivers again from this place on; what was asked for begins behind the id *until*."""
        self._announced.may_go_back(cursor)
        self._again_until = max(self._again_until, until)

    def last_events(self) -> int:
        """Count the events at the end of the stream of which each is the last one of its records."""
        return self._announced.last_events()

    # At the end -------------------------------------------------------------------------------------------

    async def differences(self, stage: Stage) -> list[str]:
        """Compare the whole store with the whole org, and list what the daemon still owes.

        Of a record that has left the recycle bin nothing can be read any more. So the store need not know into which
        record it was merged, nor, where events were lost, that it was deleted; what it does know must be true.
        """
        people, companies = await load_store(self.dsn, self._org.world.org_id)
        people = replace(
            people,
            columns={
                **people.columns,
                "nickname": Column(TEXT, "Nickname__c", "Nickname__c"),
                "description": Column(TEXT, "Description", "Description"),
            },
        )
        known = {row["id"]: row for row in await self.connection.fetch(_KNOWN)}
        listed = [
            _as_known(shown, known.get(shown["id"]), may_be_unheard=stage.loses_events)
            for entity in ("Lead", "Contact", "Account")
            for shown in records(self._org.world, entity, "", None)
        ]
        # Of somebody imported with an id that no org has, only the row tells.
        declined = {row["salesforce_id"] for row in stage.frozen.values() if row["salesforce_id"]}
        erased = await self._erased(self._org.world.records.keys() | declined)
        frozen = {id_: row for id_, row in stage.frozen.items() if row["salesforce_id"] not in erased}
        adopted = None
        if stage.adopted is not None:
            asked = stage.adopted - await self._unstorable()
            adopted = _adopted(self._org, asked, (people, companies))
        with patch.object(oracle_consent, "COMPARED", oracle_consent.COMPARED | {"nickname", "description"}):
            report = compare(listed, people, companies, Given(frozen, frozenset(erased), adopted))
        stage.note(
            f"settled: {report.people} people, {report.companies} companies, {report.count} differences"
        )
        stage.met.note("end", "people", report.people)
        return [*report.differences, *await self._owed(stage), *await self._traces(erased)]

    async def _unstorable(self) -> set[str]:
        """Return the records that were asked for in vain, because Postgres refused their rows."""
        return {row["argument"] for row in await self.connection.fetch(_UNSTORABLE)}

    async def _owed(self, stage: Stage) -> list[str]:
        """List what must come by itself, and has not come yet."""
        rows = await self.connection.fetch(_OWED)
        owed = [f"still owed: {row[0]}" for row in rows]
        left = await self._announced.left(self.connection) if stage.mode != "sweep" else 0
        return [*owed, *([f"still owed: {left} events"] if left else [])]

    async def _erased(self, record_ids: Collection[str]) -> set[str]:
        row = await self.connection.fetchrow(_ERASED)
        return Erased(row["erasure_key"], frozenset(row["hashes"])).erased_of(record_ids) if row else set()

    async def _traces(self, erased: Iterable[str]) -> list[str]:
        found = []
        for record_id in sorted(erased):
            rows = await self.connection.fetch(_TRACES, record_id)
            found += [f"erased, and still in {row[0]}: {record_id}" for row in rows]
        return found

    # At any moment ----------------------------------------------------------------------------------------

    async def broken(self) -> list[str]:
        """List what never may be and is."""
        found = [row[0] for row in (await self.connection.fetch(_BROKEN, self._again_until))[:3]]
        for row in await self.connection.fetch(_MARKED):
            self._met.note("mark", row["cause"], row["count"])
        found += [f"deleted without proof: {record_id}" for record_id in await self._phantoms()]
        found += [f"back to life without proof: {record_id}" for record_id in await self._revived()]
        return found + await self._announced.broken(self.connection)

    async def _phantoms(self) -> list[str]:
        """List records that the store has deleted and the org never had."""
        rows = await self.connection.fetch("SELECT id FROM sfsync.record WHERE is_deleted")
        return [row["id"] for row in rows if True not in set(self._states(row["id"]))]

    async def _revived(self) -> list[str]:
        """List records that the store had deleted and has live again, though nobody restored them."""
        rows = await self.connection.fetch(REVIVED)
        return [row["record_id"] for row in rows if not _was_restored(list(self._states(row["record_id"])))]

    def _states(self, record_id: str) -> Iterator[bool]:
        """Tell of each version of a record whether it is deleted."""
        record = self._org.world.records.get(record_id)
        return (state["IsDeleted"] for state in (record.states if record else ()) if state is not None)

    async def versions(self) -> dict[tuple[str, int], str]:
        """Return which transaction wrote each row."""
        rows = await self.connection.fetch(_SHOWN)
        return {(row["noun"], row["id"]): row["xmin"] for row in rows}


def _was_restored(states: list[bool]) -> bool:
    return any(before and not after for before, after in pairwise(states))


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


def _adopted(org: Org, asked: Collection[str], sides: tuple[Side, Side]) -> frozenset[str]:
    """Return whom the store must or may have adopted: those asked for, and listed ones that ever were led to by them."""
    leads_to: defaultdict[str, set[str]] = defaultdict(set)
    for record in org.world.records.values():
        for state in record.states:
            for name in ("MasterRecordId", "ConvertedContactId"):
                if state is not None and state.get(name):
                    leads_to[record.id].add(state[name])
                    leads_to[state[name]].add(record.id)
            if state is not None and record.entity == "Contact" and state.get("AccountId"):
                leads_to[record.id].add(state["AccountId"])
    reached, frontier = set(asked), list(asked)
    while frontier:
        fresh = leads_to[frontier.pop()] - reached
        reached |= fresh
        frontier += fresh
    shown = {
        record_id
        for side in sides
        for record_id, record in side.records.items()
        if record.own_id in side.rows or record.subject_id in side.rows
    }
    return frozenset(asked) | (reached & shown)

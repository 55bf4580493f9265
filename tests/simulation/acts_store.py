"""Acts of applications and operators on the store: decisions, pulls, imports, erasures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg

from sfsync.core.ids import RecordId
from sfsync.core.people_cells import ImportRow
from sfsync.simorg.ids import to_18
from sfsync.store.database import StoreOptions, open_database
from sfsync.store.import_files import Feeds, stage_file
from sfsync.store.import_statements import FedColumn
from sfsync.store.requests import put_requests

from .stage import ENTITIES, Stage

_DECLINED = """
SELECT p.id, to_jsonb(p)::text AS row FROM crm.person AS p
WHERE p.sync = 'declined' AND p.merged_into IS NULL AND crm.resolve_person(p.id) = crm.resolve_person($1)
"""
_UNDECIDED = """
SELECT id, sync FROM crm.person WHERE sync <> 'synced' AND merged_into IS NULL AND crm.resolve_person(id) = id
ORDER BY id
"""
_FED = {"last_name": "LastName", "first_name": "FirstName", "email": "Email", "phone": "Phone"}


async def declined(s: Stage) -> None:
    """An application decides that somebody is not to be followed, and knows how the row was."""
    people = await s.judge.connection.fetch("SELECT id FROM crm.active_person ORDER BY id")
    for person in s.rng.sample(people, min(2, len(people))):
        await decline_person(s, person["id"])


async def decline_person(s: Stage, person_id: int) -> None:
    try:
        async with s.judge.connection.transaction():
            await s.judge.connection.execute("SELECT crm.decide($1, 'decline')", person_id)
            rows = await s.judge.connection.fetch(_DECLINED, person_id)
    except asyncpg.CheckViolationError:
        # The application refuses this row from everybody, itself included.
        s.met.note("fault", "decline refused")
        return
    s.met.note("fault", "decline")
    for row in rows:
        s.frozen.setdefault(row["id"], json.loads(row["row"]))


async def decided(s: Stage) -> None:
    """People decide about those who wait, and sometimes anew about those who were declined."""
    waiting = await s.judge.connection.fetch(_UNDECIDED)
    for person in s.rng.sample(waiting, min(3, len(waiting))):
        if person["sync"] == "pending" and s.rng.random() < 0.4:
            await decline_person(s, person["id"])
            continue
        members = await s.judge.connection.fetch(
            "SELECT id FROM crm.person WHERE crm.resolve_person(id) = $1", person["id"]
        )
        await s.judge.connection.execute("SELECT crm.decide($1, 'sync')", person["id"])
        s.met.note("fault", f"sync of {person['sync']}")
        for row in members:
            s.frozen.pop(row["id"], None)


async def asked(s: Stage) -> None:
    """Applications ask for records: known ones, deleted ones, people by their ids, and ones that nobody ever had."""
    wanted = [record_id for entity in ENTITIES for record_id in s.live(entity, 2)]
    gone = sorted(record_id for record_id in s.org.world.records if s.org.world.get(record_id) is None)
    wanted += s.rng.sample(gone, min(1, len(gone)))
    if s.rng.random() < 0.3:
        wanted.append(to_18(s.rng.choice(["00Q", "003", "001"]) + f"5i{s.rng.randrange(10**10):010d}"))
    people = await s.judge.connection.fetch("SELECT id FROM crm.active_person ORDER BY id")
    wanted += [str(person["id"]) for person in s.rng.sample(people, min(1, len(people)))]
    for argument in wanted:
        if not argument.isdigit() and argument[:3] not in ("00Q", "003", "001"):
            continue
        await s.judge.connection.execute("SELECT crm.request_sync($1)", argument)
        s.wants({argument})
        s.met.note("fault", "pull asked for")


async def imported(s: Stage) -> None:
    """An application brings in people whom it had before: equal ones, differing ones, and ones that no org has."""
    chosen = [*s.live("Lead", 3), *s.live("Contact", 3)]
    if s.rng.random() < 0.4:
        chosen.append(to_18(f"0035i{s.rng.randrange(10**10):010d}"))
    org = await s.judge.connection.fetchval("SELECT id FROM sfsync.org")
    if org is None or not chosen:
        return
    rows = list(_rows(s, chosen))
    feeds = Feeds(
        [FedColumn(name, "text") for name in _FED],
        [FedColumn("name", "text")],
        s.rng.choice([None, "person"]),
    )
    async with open_database(StoreOptions(s.judge.dsn), connections_max=1) as database:
        staged = await stage_file(database, org, feeds, rows)
        await put_requests(database, org, "import", [str(staged.import_id)])
    s.imported.update(chosen)
    s.wants({*chosen, *(row.company for row in rows if row.company)})
    s.met.note("fault", "import", len(rows))


def _rows(s: Stage, record_ids: list[str]) -> Iterator[ImportRow]:
    for line, record_id in enumerate(record_ids, 2):
        fields: Mapping[str, Any] = s.org.world.get(record_id) or {}
        cells = {column: fields.get(name) for column, name in _FED.items()}
        if s.rng.random() < 0.5:
            cells[s.rng.choice(list(_FED))] = f"as it was {s.rng.randint(1, 9)}"
        company = fields.get("AccountId") if s.rng.random() < 0.5 else None
        yield ImportRow(line, RecordId(record_id), company, cells, {"name": "as it was"} if company else {})


async def erased(s: Stage) -> None:
    """Somebody must be forgotten."""
    people = await s.judge.connection.fetch("SELECT id FROM crm.active_person ORDER BY id")
    for person in s.rng.sample(people, min(1, len(people))):
        await s.judge.ask(
            "purge", json.dumps({"purge": str(person["id"]), "reason": "asked to be forgotten"})
        )
        s.met.note("fault", "erasure asked for")

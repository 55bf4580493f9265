"""Who is erased is gone from every table, and stays away whatever comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from sfsync.core.commands import Command, Resweep
from sfsync.core.ids import RecordId
from sfsync.core.order import Verdict
from sfsync.store.adoption import Adoption
from sfsync.store.batch import Batch, DeadLetter
from sfsync.store.database import Connection
from sfsync.store.erased import find_erased
from sfsync.store.erasure import ErasedBeforeError, erase, find_trace, forget_erasure, scrub_requests, target
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    CONTACT2,
    CONTACT3,
    LEAD,
    LEAD2,
    ORG,
    Store,
    absent,
    at,
    gap,
    image,
    open_store,
    patch,
    read,
    tombstone,
)

NAME = "Qwertz-Distinctive"
EMAIL = "forget.me@distinctive.example"
COMPANY_NAME = "Erstwhile Distinctive KK"
CONVERTED = {"IsConverted": True, "ConvertedContactId": CONTACT, "ConvertedDate": "2026-11-24"}

_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name
FROM information_schema.columns AS c
JOIN information_schema.tables AS t USING (table_schema, table_name)
WHERE c.table_schema IN ('crm', 'sfsync') AND t.table_type = 'BASE TABLE'
"""
# What is there when nobody ever came, or is about nobody.
HOLDS_NOBODY = {
    "org", "epoch", "position", "resweep", "watermark", "sweep", "mapped_column", "released_column", "setting",
    "erased", "granted", "import_file", "migration", "postal_code", "figures",
}  # fmt: skip
SEARCHED = {
    "record", "identity", "dirty", "dead_letter", "change", "request", "pending", "decision", "import_row",
    "person", "company",
}  # fmt: skip


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn, other_half_wait_s=0) as opened:
        await opened.connection.execute("SET sfsync.writer = on")
        yield opened


async def purge(store: Store, named: str, request: int = 0) -> dict[str, int]:
    """Erase whom *named* names, as the leader does it; return the counts by table."""
    counts: dict[str, int] = {}

    async def work(connection: Connection) -> Sequence[RecordId]:
        trace = await find_trace(connection, store.database, ORG, target(named))
        counts.update(await erase(connection, store.database, ORG, trace, source="request 1"))
        await scrub_requests(connection, store.database, ORG, trace, but=request)
        return ()

    await store.applier.change("purge", work)
    return counts


async def places_of(store: Store, *texts: str) -> list[str]:
    """Return every column of every table that holds one of these texts anywhere."""
    found = []
    for row in await store.connection.fetch(_COLUMNS):
        table, column = f"{row['table_schema']}.{row['table_name']}", row["column_name"]
        query = f'SELECT bool_or(strpos("{column}"::text, text) > 0) FROM {table}, unnest($1::text[]) AS text'
        if await store.connection.fetchval(query, list(texts)):
            found.append(f"{table}.{column}")
    return found


def spellings(*records: RecordId) -> list[str]:
    return [spelling for record in records for spelling in (record, record[:15])]


async def live_a_life(store: Store) -> int:
    """A lead becomes a contact, another contact is merged into it, and all else that names them happens."""
    await store.apply(image(ACCOUNT, 0, Name=COMPANY_NAME))
    await store.apply(image(LEAD, 0, LastName=NAME, Company="X", Email=EMAIL))
    await store.apply(
        image(CONTACT, 1, LastName=NAME, Email=EMAIL, AccountId=ACCOUNT), patch(LEAD, 1, **CONVERTED)
    )
    await store.apply(image(CONTACT2, 1, LastName=NAME, Email=EMAIL))
    await store.apply(read(CONTACT2, 100, begun=200, deleted=True, master=CONTACT, LastName=NAME), heard=200)
    await store.apply(image(CONTACT3, 1, LastName="Bystander", AccountId=ACCOUNT))
    await store.apply(gap(CONTACT, 300), gap(LEAD, 300))
    await store.applier.apply(
        Batch([gap(CONTACT, 301)], "event", at(301), dead_letters=[DeadLetter("odd", "Contact", CONTACT)])
    )
    person = await store.person_of(CONTACT)
    assert person is not None
    await store.connection.execute(
        "INSERT INTO sfsync.request (org, kind, argument, outcome, detail, done_at) VALUES"
        " ($1, 'pull', $2, 'pending', $3, now()), (NULL, 'pull', $4, NULL, NULL, NULL),"
        " ($1, 'decide', $5, 'decided', '{}', now()), ($1, 'pull', $6, 'equal', '{}', now())",
        ORG, CONTACT, f'{{"columns": [{{"stored": "{NAME}"}}]}}', LEAD[:15],
        f'{{"person_id": {person}, "choice": "sync"}}', CONTACT3,
    )  # fmt: skip
    await store.connection.execute(
        "INSERT INTO sfsync.decision (org, person_id, record_ids, choice, decided_by, via)"
        " VALUES ($1, $2, $3, 'sync', 'somebody', 'sql'), ($1, -1, $4, 'sync', 'somebody', 'sql')",
        ORG, person, [LEAD, CONTACT], [CONTACT3, LEAD],
    )  # fmt: skip
    await store.connection.execute(
        "INSERT INTO sfsync.pending (subject_id, org, speaker, reason) VALUES ($1, $2, $3, 'differs')",
        person, ORG, CONTACT,
    )  # fmt: skip
    await store.connection.execute(
        "INSERT INTO sfsync.import_row (import_id, line, record_id, cells, company_cells) VALUES (1, 2, $1, $2, '{}')",
        CONTACT2, f'{{"last_name": "{NAME}"}}',
    )  # fmt: skip
    await store.connection.execute(
        "INSERT INTO sfsync.change (org, subject, subject_id, action, origin, record_id)"
        " VALUES ($1, 'person', -1, 'changed', 'event', $2)", ORG, CONTACT2,
    )  # fmt: skip
    await store.connection.execute(
        "INSERT INTO sfsync.watermark (org, entity, backfill_after_id) VALUES ($1, 'Contact', $2)",
        ORG,
        CONTACT,
    )
    return person


async def test_every_table_is_either_searched_or_holds_nobody(store: Store) -> None:
    """A table that somebody adds must be thought of here, or it keeps whom we were told to forget."""
    rows = await store.connection.fetch(_COLUMNS)
    assert {row["table_name"] for row in rows} - HOLDS_NOBODY - SEARCHED == set()


async def test_nothing_is_left_of_the_whole_person_by_whichever_id(store: Store) -> None:
    """Somebody asked to be forgotten, not one of the records that he was."""
    person = await live_a_life(store)
    alias = await store.connection.fetchval("SELECT own_id FROM sfsync.record WHERE id = $1", CONTACT2)
    async with store.database.transaction() as connection:
        traces = [
            await find_trace(connection, store.database, ORG, target(named))
            for named in (LEAD, CONTACT, CONTACT[:15], CONTACT2, str(person), f"person:{alias}")
        ]
    assert traces[1:] == traces[:-1]
    gone = spellings(LEAD, CONTACT, CONTACT2)
    assert len(await places_of(store, *gone, NAME, EMAIL)) > 8
    counts = await purge(store, f"person:{alias}")
    assert await places_of(store, *gone, NAME, EMAIL) == []
    assert counts["record"] == 3
    assert counts["person"] >= 2
    assert {table: counts[table] for table in ("pending", "decision", "dead_letter", "import_row")} == {
        "pending": 1, "decision": 1, "dead_letter": 1, "import_row": 1,
    }  # fmt: skip
    for one in (person, alias):
        assert await store.connection.fetchval("SELECT crm.resolve_person($1)", one) is None
    [bystander] = await store.live()
    assert (bystander["last_name"], bystander["company_id"] is None) == ("Bystander", False)


async def test_feed_says_that_a_person_is_gone_and_nothing_else(store: Store) -> None:
    """An application that follows the feed has letters of its own to destroy."""
    person = await live_a_life(store)
    await purge(store, CONTACT)
    rows = await store.connection.fetch("SELECT * FROM sfsync.change WHERE subject_id = $1", person)
    [(action, record, columns)] = [(row["action"], row["record_id"], row["columns"]) for row in rows]
    assert (action, record, columns) == ("purged", None, None)


async def test_requests_keep_their_place_but_not_the_id(store: Store) -> None:
    """One that is open would be served; what only looks like the id is somebody else's business."""
    person = await live_a_life(store)
    kept = [
        ("pull", CONTACT3),
        ("pull", f"{person}7"),
        ("import", str(person)),
        ("decide", f'{{"person_id": {person}7, "choice": "sync"}}'),
        ("purge", f'{{"purge": "company:{person}"}}'),
    ]
    scrubbed = [
        ("pull", f"{CONTACT} with company"),
        ("pull", str(person)),
        ("pull", f"{person} with company"),
        ("purge", f'{{"purge":"person:{person}"}}'),
    ]
    insert = "INSERT INTO sfsync.request (kind, argument) VALUES ($1, $2)"
    await store.connection.executemany(insert, kept + scrubbed)
    await purge(store, CONTACT)
    rows = await store.connection.fetch(
        "SELECT kind, argument, outcome, done_at FROM sfsync.request ORDER BY id"
    )
    old, others, gone = rows[:4], rows[4 : 4 + len(kept)], rows[4 + len(kept) :]
    assert [row["outcome"] for row in old] == ["pending", "refused", "decided", "equal"]
    assert all(row["done_at"] for row in old)
    assert [(row["kind"], row["argument"]) for row in others] == kept
    assert not any(row["done_at"] for row in others)
    assert {(row["outcome"], len(row["argument"])) for row in gone} == {("refused", 64)}


def coming_back() -> dict[str, list[Command]]:
    """Every way in: what is heard or read of an erased contact after its purge."""
    return {
        "create": [image(CONTACT, 1000, LastName=NAME)],
        "change": [patch(CONTACT, 1000, LastName=NAME)],
        "delete": [tombstone(CONTACT, 1000)],
        "gap": [gap(CONTACT, 1000)],
        "read": [read(CONTACT, 900, begun=1000, LastName=NAME)],
        "read of an old mark": [read(CONTACT, 900, begun=1000, LastName=NAME), absent(LEAD, begun=1000)],
        "merge into it": [
            read(CONTACT3, 900, begun=1000, deleted=True, master=CONTACT, LastName="Bystander")
        ],
        "its own merge": [read(CONTACT, 900, begun=1000, deleted=True, master=CONTACT3, LastName=NAME)],
        "conversion to it": [image(LEAD2, 1000, LastName="Other", Company="Y", **CONVERTED)],
        "its account turns": [tombstone(ACCOUNT, 1000)],
    }


@pytest.mark.parametrize("anew", [False, True], ids=["same life", "next life"])
async def test_nothing_brings_an_erased_person_back(store: Store, anew: bool) -> None:
    """Salesforce may hold the record for years, and sweeps read it every time it changes."""
    await live_a_life(store)
    await purge(store, CONTACT)
    if anew:
        await store.succeed()
    for way, commands in coming_back().items():
        await store.connection.execute(
            "INSERT INTO sfsync.dirty (org, record_id, entity, causes, since_ms, next_try_ms)"
            " VALUES ($1, $2, 'Contact', '{gap}', 0, 0) ON CONFLICT DO NOTHING", ORG, CONTACT,
        )  # fmt: skip
        outcome = await store.apply(*commands, heard=1000, refetched=True)
        dropped = sum(not isinstance(c, Resweep) and c.record_id in (CONTACT, LEAD) for c in commands)
        assert outcome.verdicts[Verdict.ERASED] == dropped, way
        # The mark of old goes with the next command about it.
        await store.apply(gap(CONTACT, 1001))
        await store.applier.release_held()
        assert not {CONTACT, LEAD} & {row["salesforce_id"] for row in await store.people()}, way
    # What others say of it is theirs: an edge to a record that does not exist.
    assert set(await places_of(store, *spellings(CONTACT, LEAD), NAME)) == {
        "sfsync.record.fields", "sfsync.record.master_record_id", "sfsync.record.converted_contact_id"
    }  # fmt: skip
    assert {row["last_name"] for row in await store.live()} == {"Other"}


async def test_letter_about_an_erased_record_is_not_kept(store: Store) -> None:
    """An event of it that nobody could read would name it again."""
    await live_a_life(store)
    await purge(store, CONTACT)
    letter = DeadLetter("odd", "Contact", CONTACT)
    await store.applier.apply(Batch([gap(CONTACT, 999)], "event", at(999), dead_letters=[letter]))
    assert await places_of(store, *spellings(CONTACT)) == []


async def test_mirror_that_asks_for_what_is_pointed_to_asks_for_no_erased_record(store: Store) -> None:
    """Under `mirror = "adopted"` a record that is pointed to gets an empty row, and would be read into it."""
    store.term.adoption = Adoption(on_request=True, minimal=True)
    await store.succeed()
    requested = [image(ACCOUNT, 0, Name=COMPANY_NAME), image(CONTACT, 0, LastName=NAME)]
    await store.applier.apply(Batch(requested, "pull", at(0), adopts=True))
    for named in (ACCOUNT, CONTACT):
        await purge(store, named)
    pointing = [
        image(LEAD2, 1, LastName="Other", Company="Y", **CONVERTED),
        image(CONTACT3, 1, LastName="Bystander", AccountId=ACCOUNT),
    ]
    await store.applier.apply(Batch(pointing, "pull", at(1), adopts=True))
    assert await store.dirty() == {}
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.record") == 2
    # However it came there: a row that was never filled is not filled now.
    await store.connection.execute(
        "INSERT INTO sfsync.record"
        " (org, id, entity, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms)"
        " VALUES ($1, $2, 'Account', false, false, false, 0, 0)", ORG, ACCOUNT,
    )  # fmt: skip
    await store.apply(read(ACCOUNT, 900, begun=1000, Name=COMPANY_NAME), heard=1000)
    assert await store.companies() == []
    assert await store.connection.fetchval("SELECT count(*) FROM sfsync.record") == 2


async def test_people_of_an_erased_company_stay_without_one(store: Store) -> None:
    """Its people did not ask for anything, and their AccountId still names it."""
    await live_a_life(store)
    counts = await purge(store, ACCOUNT)
    assert (counts["company"], counts["people_of_company"]) == (1, 2)
    assert await store.companies() == []
    assert await places_of(store, COMPANY_NAME) == []
    person = await store.person_of(CONTACT3)
    fed = await store.connection.fetchrow(
        "SELECT action, columns FROM sfsync.change WHERE subject_id = $1 ORDER BY seq DESC LIMIT 1", person
    )
    assert fed is not None
    assert (fed["action"], fed["columns"]) == ("changed", ["company_id"])
    await store.apply(image(ACCOUNT, 1000, Name=COMPANY_NAME))
    await store.apply(
        patch(CONTACT3, 1001, LastName="Bystander II", AccountId=ACCOUNT), image(LEAD2, 1001, LastName="N")
    )
    assert {row["company_id"] for row in await store.live()} == {None}
    assert await store.companies() == []


async def test_company_is_named_by_its_own_id_too(store: Store) -> None:
    """An application knows our id, not Salesforce's; a bare number is a person's."""
    await live_a_life(store)
    [company] = await store.companies()
    with pytest.raises(ValueError, match="no person has this id"):
        await purge(store, str(company["id"]))
    assert (await purge(store, f"company:{company['id']}"))["company"] == 1


@pytest.mark.parametrize("rule", ["RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"])
async def test_table_that_forbids_it_keeps_the_person_whole(store: Store, rule: str) -> None:
    """Half an erasure would leave letters to a person that nobody can name."""
    person = await live_a_life(store)
    await refer(store, rule, person)
    before = await everything(store)
    with pytest.raises(
        ValueError, match=r"public\.letter \(person_id, ON DELETE (NO ACTION|RESTRICT)\): 2 rows"
    ):
        await purge(store, CONTACT)
    assert await everything(store) == before
    assert await find_erased(store.database, ORG, [CONTACT]) == set()
    await store.apply(patch(CONTACT, 2000, LastName="Alive"))
    assert (
        await store.connection.fetchval("SELECT last_name FROM crm.person WHERE id = $1", person) == "Alive"
    )


@pytest.mark.parametrize(("rule", "left"), [("CASCADE", []), ("SET NULL", [None, None])])
async def test_table_that_allows_it_is_told_of_beforehand(store: Store, rule: str, left: list[Any]) -> None:
    """What goes with the person must be known before somebody says yes."""
    person = await live_a_life(store)
    await refer(store, rule, person)
    async with store.database.transaction() as connection:
        trace = await find_trace(connection, store.database, ORG, target(CONTACT))
    [reference] = trace.references
    assert str(reference) == f"public.letter (person_id, ON DELETE {rule}): 2 rows"
    await purge(store, CONTACT)
    rows = await store.connection.fetch("SELECT person_id FROM public.letter")
    assert [row["person_id"] for row in rows] == left


async def test_nothing_of_it_happens_when_the_transaction_fails(store: Store) -> None:
    """A crash between two deletions must leave the person as it was, and followed."""
    await live_a_life(store)
    before = await everything(store)

    async def work(connection: Connection) -> Sequence[RecordId]:
        trace = await find_trace(connection, store.database, ORG, target(CONTACT))
        await erase(connection, store.database, ORG, trace, source="request 1")
        raise asyncpg.ConnectionDoesNotExistError("the line was cut")

    with pytest.raises(Exception, match="ConnectionDoesNotExistError"):
        await store.applier.change("purge", work)
    assert await everything(store) == before
    outcome = await store.apply(patch(CONTACT, 2000, LastName="Alive"))
    assert outcome.people_changed == 1


async def test_dry_run_counts_what_the_purge_then_removes(store: Store) -> None:
    """A number that is shown before is a promise."""
    await live_a_life(store)
    async with store.database.transaction() as connection:
        trace = await find_trace(connection, store.database, ORG, target(LEAD))
    assert trace.record_ids == tuple(sorted((LEAD, CONTACT, CONTACT2)))
    counts = await purge(store, LEAD)
    assert {table: trace.counts[table] for table in counts} == counts
    assert trace.counts["request"] == 3


async def test_unknown_erased_and_foreign_ids_are_told_apart(store: Store) -> None:
    """Whoever is answerable for an erasure must know whether it is done."""
    with pytest.raises(ValueError, match="is unknown"):
        await purge(store, CONTACT)
    await live_a_life(store)
    await purge(store, CONTACT)
    with pytest.raises(ErasedBeforeError, match="erased before"):
        await purge(store, LEAD)
    await store.connection.execute(
        "UPDATE sfsync.record SET org = '00D5i000000OtherEAA' WHERE id = $1", CONTACT3
    )
    with pytest.raises(ValueError, match="belongs to org 00D5i000000OtherEAA, but the store follows"):
        await purge(store, CONTACT3)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "12a", "006000000000001", "somebody", "lead:3", "company:", "9" * 19]
)
def test_what_names_nobody_is_refused(text: str) -> None:
    """A typing error must not erase somebody else."""
    with pytest.raises(ValueError, match="give the id of"):
        target(text)


async def test_person_of_no_record_is_erased_by_id(store: Store) -> None:
    """An import may bring people whom Salesforce does not know."""
    await store.connection.execute("INSERT INTO crm.person (id, org) VALUES (77, $1)", ORG)
    assert (await purge(store, "77"))["person"] == 1
    assert await store.people() == []


async def test_record_of_a_person_whose_row_does_not_name_it_goes_too(store: Store) -> None:
    """Whoever waits for a decision has a row that nothing of Salesforce's was written into."""
    await store.apply(image(CONTACT, 0, LastName=NAME))
    person = await store.person_of(CONTACT)
    await store.connection.execute("UPDATE crm.person SET salesforce_id = NULL, sync = 'pending'")
    assert (await purge(store, str(person)))["record"] == 1
    assert await find_erased(store.database, ORG, [CONTACT]) == {CONTACT}
    assert await places_of(store, *spellings(CONTACT), NAME) == []


async def test_table_that_we_may_not_read_is_left_to_the_database(store: Store) -> None:
    """An application need not let us look: the rows are not counted, the constraint still holds."""
    person = await live_a_life(store)
    await refer(store, "RESTRICT", person)
    role = f"erasure_{person}_{store.dsn.rpartition('/')[2].replace('-', '_')}"[:60]
    connection = store.connection
    await connection.execute(
        f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA crm, sfsync TO "{role}";'
        f'GRANT SELECT ON ALL TABLES IN SCHEMA crm, sfsync TO "{role}"; SET ROLE "{role}"'
    )
    try:
        trace = await find_trace(connection, store.database, ORG, target(CONTACT))
    finally:
        await connection.execute(f'RESET ROLE; DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    [reference] = trace.references
    assert (reference.rows, trace.refusal) == (None, "")
    assert str(reference) == "public.letter (person_id, ON DELETE RESTRICT): rows that we may not count"


async def test_record_that_could_never_be_stored_is_erased_from_its_letter(store: Store) -> None:
    """Its dead letter and its mark name it although the mirror never held it."""
    letter = DeadLetter("odd", "Contact", CONTACT)
    await store.applier.apply(Batch([gap(CONTACT, 1)], "event", at(1), dead_letters=[letter]))
    counts = await purge(store, CONTACT)
    assert (counts["dead_letter"], counts["dirty"], counts["record"]) == (1, 1, 0)
    assert await find_erased(store.database, ORG, [CONTACT, LEAD]) == {CONTACT}


async def test_forgotten_erasure_lets_the_person_come_back_as_somebody_new(store: Store) -> None:
    """Who becomes a customer again is a new person: the old id meant somebody who is gone."""
    before = await live_a_life(store)
    await purge(store, CONTACT)

    async def forget(connection: Connection) -> Sequence[RecordId]:
        await forget_erasure(connection, store.database, ORG, CONTACT)
        return ()

    await store.applier.change("purge", forget)
    await store.apply(read(CONTACT, 900, begun=1000, LastName=NAME), heard=1000)
    after = await store.person_of(CONTACT)
    assert after is not None
    assert after > before
    with pytest.raises(ValueError, match="was not erased"):
        await store.applier.change("purge", forget)


async def test_two_stores_keep_different_hashes_of_one_record(store: Store) -> None:
    """Without the key, the few thousand million possible ids could be tried through."""
    await store.connection.execute(
        "INSERT INTO sfsync.org (id, is_bound) VALUES ('00D5i000000OtherEAA', false)"
    )
    keys = await store.connection.fetch("SELECT erasure_key FROM sfsync.org")
    assert len({bytes(row["erasure_key"]) for row in keys}) == 2
    assert {len(row["erasure_key"]) for row in keys} == {32}


async def refer(store: Store, rule: str, person: int) -> None:
    """Let an application keep two letters to a person."""
    await store.connection.execute(
        f"CREATE TABLE public.letter (person_id bigint REFERENCES crm.person (id) ON DELETE {rule})"
    )
    await store.connection.execute("INSERT INTO public.letter VALUES ($1), ($1)", person)


async def everything(store: Store) -> list[list[asyncpg.Record]]:
    """Return every row of every table, to compare."""
    tables = sorted(
        {f"{row['table_schema']}.{row['table_name']}" for row in await store.connection.fetch(_COLUMNS)}
    )
    return [await store.connection.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in tables]

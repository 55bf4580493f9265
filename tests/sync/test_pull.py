"""Pulls: a verdict that holds after the commit, ahead of all other work, through outages and restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

from sfsync.core.commands import Cause, Image, Refetch
from sfsync.core.ids import Entity, record_id
from sfsync.core.order import Clocks
from sfsync.core.people_cells import ImportRow
from sfsync.errors import UnavailableError
from sfsync.salesforce.connection import Connection
from sfsync.store.adoption import Adoption
from sfsync.store.batch import Batch
from sfsync.store.erased import Erased
from sfsync.store.import_files import Feeds, stage_file
from sfsync.store.import_statements import FedColumn
from sfsync.store.requests import put_requests
from sfsync.sync.answering import Request
from sfsync.sync.pull import Pull
from tests.simorg.site import eventually
from tests.sync.room import Room, furnished

NOBODY = record_id("0035i00000Nobdy")
SETTLE = {"clocks": Clocks(fuzz_ms=1_000, settle_ms=60_000)}
Told = tuple[str, dict[str, Any]]


@pytest.fixture
async def room(pg_dsn: str) -> AsyncIterator[Room]:
    async with furnished(pg_dsn) as opened:
        yield opened


@pytest.fixture
async def settling(pg_dsn: str) -> AsyncIterator[Room]:
    """A room whose org may lag by a minute, as a real one may."""
    async with furnished(pg_dsn, **SETTLE) as opened:
        yield opened


async def answered(room: Room, request: int) -> Told:
    """Wait for what became of a request."""

    async def outcome() -> Any:
        query = "SELECT outcome, detail FROM sfsync.request WHERE id = $1 AND done_at IS NOT NULL"
        return await room.rows(query, request)

    [row] = await eventually(outcome)
    return row["outcome"], json.loads(row["detail"])


async def pulled(room: Room, argument: str, *, expires_s: float | None = None) -> Told:
    """Ask as the CLI does, with whatever argument; return the verdict."""
    return await answered(room, await asked(room, argument, expires_s=expires_s))


async def asked(room: Room, argument: str, *, expires_s: float | None = None) -> int:
    insert = (
        "WITH r AS (INSERT INTO sfsync.request (kind, argument, expires_at)"
        " VALUES ('pull', $1, now() + make_interval(secs => $2::double precision)) RETURNING id)"
        " SELECT id FROM r, pg_notify('sfsync_request', '')"
    )
    request: int = await room.value(insert, argument, expires_s)
    return request


async def silently(room: Room, *steps: dict[str, Any]) -> dict[str, str]:
    """Change the org so that no event tells, and let what was read before be old enough to be compared."""
    await room.site.control("POST", "clock", {"advance_s": 10})
    ids = await room.site.transact(*steps, silent=True)
    await room.site.control("POST", "clock", {"advance_s": 10})
    return ids


async def person_of(room: Room, record: str) -> int:
    query = "SELECT person_id FROM crm.person_record WHERE salesforce_id = $1"
    person: int = await room.value(query, record)
    return person


async def queries(room: Room) -> int:
    return room.work.connection.calls["query"]


# Verdicts -----------------------------------------------------------------------------------------------


async def test_created_then_equal_then_updated(room: Room) -> None:
    """The application asks because it is about to act on the answer."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact[:15])
        assert outcome == "created"
        assert detail["salesforce_id"] == contact
        assert detail["person_id"] == await person_of(room, contact)
        assert detail["as_of"].endswith("+00:00")
        assert (await pulled(room, contact))[0] == "equal"
        await silently(room, {"op": "update", "id": contact, "fields": {"LastName": "B"}})
        assert (await pulled(room, contact))[0] == "updated"
        assert await room.last_names() == {"B"}


async def test_change_feed_names_the_request(room: Room) -> None:
    """Who asks why a value changed is told which pull wrote it."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        request = await asked(room, contact)
        await answered(room, request)
    [row] = await room.rows("SELECT origin, source FROM sfsync.change")
    assert (row["origin"], row["source"]) == ("pull", f"request {request}")


async def test_record_that_cannot_be_stored_says_why(room: Room) -> None:
    """To wait for it would be in vain: somebody must look at the rule that it breaks."""
    await room.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_x CHECK (last_name <> 'X')")
    [contact] = await room.contacts(1)
    await room.update(contact, LastName="X")
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact)
    assert (outcome, "constraint no_x" in detail["error"]) == ("unsettled", True)


async def test_deleted(room: Room) -> None:
    """Nobody must write to somebody whom Salesforce deleted."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        await pulled(room, contact)
        await silently(room, {"op": "delete", "id": contact})
        outcome, detail = await pulled(room, contact)
        assert outcome == "deleted"
        assert detail["person_id"] == await person_of(room, contact)
        await silently(room, {"op": "undelete", "id": contact})
        assert (await pulled(room, contact))[0] == "updated"


async def test_unknown_record_is_absent(room: Room) -> None:
    """Salesforce does not tell purged from hidden, and neither do we."""
    async with room.doing(room.requests.run()):
        assert (await pulled(room, NOBODY))[0] == "absent"


async def test_record_purged_behind_our_back_is_absent_at_once_and_kept(settling: Room) -> None:
    """It was created, swept, deleted and purged without an event, all within the settle time."""
    room = settling
    [contact] = await room.contacts(1)
    await room.backfill()
    await room.site.transact({"op": "delete", "id": contact}, silent=True)
    await room.site.transact({"op": "purge", "id": contact}, silent=True)
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact)
    assert outcome == "absent"
    assert detail["retry_at"], "a read that proves it is still to come"
    assert await room.value("SELECT unseen_since_ms FROM sfsync.record WHERE id = $1", contact)
    assert await room.last_names() == {"Person 0"}


async def test_unsettled_says_when_it_will_be_certain(settling: Room) -> None:
    """An event without a body came: REST may show the state before it for a minute."""
    room = settling
    [contact] = await room.contacts(1)
    await room.backfill()
    async with room.doing(room.requests.run()):
        now_ms = await room.work.connection.clock_ms()
        await room.writer.submit(
            Batch([Refetch(Entity.CONTACT, contact, now_ms, Cause.GAP)], "event", now_ms)
        )
        outcome, detail = await pulled(room, contact)
    assert outcome == "unsettled"
    assert detail["retry_at"] > detail["as_of"]
    assert detail["person_id"] == await person_of(room, contact)


async def test_pending_puts_the_question_column_by_column(room: Room) -> None:
    """Before a letter is sent somebody must choose, and sees what between."""
    [contact] = await room.contacts(1, Title="Baker")
    async with room.doing(room.requests.run()):
        await pulled(room, contact)
        await room.connection.execute("UPDATE sfsync.record SET decision = 'pending' WHERE id = $1", contact)
        await silently(room, {"op": "update", "id": contact, "fields": {"LastName": "B", "Title": None}})
        outcome, detail = await pulled(room, contact)
    assert outcome == "pending"
    assert detail["reason"] == "differs"
    columns = {one["column"]: (one["stored"], one["salesforce"]) for one in detail["columns"]}
    assert columns["last_name"] == ("Person 0", "B")
    assert columns["title"] == ("Baker", None)
    assert await room.last_names() == {"Person 0"}


async def test_declined_is_left_byte_for_byte(room: Room) -> None:
    """Never touched again means not even by who asks for it."""
    [contact] = await room.contacts(1)
    row = "SELECT xmin::text, p::text FROM crm.person AS p"
    async with room.doing(room.requests.run()):
        await pulled(room, contact)
        await room.value("SELECT crm.decide($1, 'decline')", await person_of(room, contact))
        before = await room.rows(row)
        await silently(room, {"op": "update", "id": contact, "fields": {"LastName": "B"}})
        assert (await pulled(room, contact))[0] == "declined"
    assert await room.rows(row) == before


async def test_erased_is_not_even_read(room: Room) -> None:
    """Who had to be forgotten is not asked for by name again."""
    [contact] = await room.contacts(1)
    key = await room.value("SELECT erasure_key FROM sfsync.org")
    await room.connection.execute(
        "INSERT INTO sfsync.erased (org, hash) VALUES ($1, $2)", room.work.org, Erased(key).hash(contact)
    )
    before = await queries(room)
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact)
    assert (outcome, detail) == ("erased", {})
    assert await queries(room) == before


# What is read besides -----------------------------------------------------------------------------------


async def test_contact_brings_its_company_when_it_is_unknown(room: Room) -> None:
    """A letter goes to the company's address."""
    account = await room.create("Account", Name="Bakery")
    [contact] = await room.contacts(1, AccountId=account)
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact)
        assert outcome == "created"
        [company] = await room.rows("SELECT id, salesforce_id FROM crm.company")
        assert (company["id"], company["salesforce_id"]) == (detail["company_id"], account)
        assert await room.value("SELECT company_id FROM crm.person") == company["id"]


async def test_known_company_is_read_when_it_is_asked_for(room: Room) -> None:
    """It costs a call, so who asks decides."""
    account = await room.create("Account", Name="Bakery")
    [contact] = await room.contacts(1, AccountId=account)
    async with room.doing(room.requests.run()):
        await pulled(room, contact)
        await silently(room, {"op": "update", "id": account, "fields": {"Name": "Mill"}})
        assert (await pulled(room, contact))[0] == "equal"
        assert (await pulled(room, f"{contact} with company"))[0] == "updated"
        assert await room.value("SELECT name FROM crm.company") == "Mill"


async def test_account_by_itself(room: Room) -> None:
    """A company is asked for as a person is."""
    account = await room.create("Account", Name="Bakery")
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, account)
        assert outcome == "created"
        assert detail["company_id"] == await room.value("SELECT id FROM crm.company")
        assert "person_id" not in detail
        assert (await pulled(room, account))[0] == "equal"
        await silently(room, {"op": "delete", "id": account})
        assert (await pulled(room, account))[0] == "deleted"


async def test_converted_lead_is_told_as_the_person_it_is_today(room: Room) -> None:
    """The application stored the lead's id years ago; its letter goes to who that is now."""
    lead = await room.create("Lead", LastName="Before", Company="Bakery")
    async with room.doing(room.requests.run()):
        _, detail = await pulled(room, lead)
        person = detail["person_id"]
        await silently(room, {"op": "convert", "lead": lead})
        outcome, detail = await pulled(room, lead)
        assert outcome == "updated"
        assert detail["person_id"] == person
        [row] = await room.rows("SELECT id, source, salesforce_id, company_id FROM crm.active_person")
        assert (row["id"], row["source"]) == (person, "contact")
        assert row["company_id"] == detail["company_id"]
        contact = row["salesforce_id"]
        await silently(room, {"op": "update", "id": contact, "fields": {"LastName": "After"}})
        assert (await pulled(room, lead))[0] == "updated", "the contact speaks, so it is read too"
        assert await room.last_names() == {"After"}


async def test_merged_away_record_is_told_as_the_person_it_was_merged_into(room: Room) -> None:
    """One letter, to the one person that is left."""
    [winner, loser] = await room.contacts(2)
    async with room.doing(room.requests.run()):
        _, detail = await pulled(room, loser)
        old_id = detail["person_id"]
        await silently(room, {"op": "merge", "winner": winner, "losers": [loser]})
        outcome, detail = await pulled(room, loser)
        assert outcome == "updated"
        assert detail["person_id"] == await person_of(room, winner)
        assert (await pulled(room, str(old_id)))[1]["salesforce_id"] == winner
        assert await room.last_names() == {"Person 0"}


async def test_person_id_stands_for_the_record_that_speaks(room: Room) -> None:
    """People at the desk know our numbers, not Salesforce's."""
    [contact] = await room.contacts(1)
    async with room.doing(room.requests.run()):
        _, detail = await pulled(room, contact)
        outcome, detail = await pulled(room, str(detail["person_id"]))
        assert (outcome, detail["salesforce_id"]) == ("equal", contact)
        outcome, detail = await pulled(room, "987654321")
        assert outcome == "refused"
        assert "no person 987654321" in detail["error"]


async def test_asking_for_a_record_adopts_it(pg_dsn: str) -> None:
    """Under `adopt = "on_request"` that is one of the two ways to become a person."""
    async with furnished(pg_dsn, adoption=Adoption(on_request=True)) as room:
        account = await room.create("Account", Name="Bakery")
        [known] = await room.contacts(1, AccountId=account)
        await room.backfill()
        assert await room.value("SELECT count(*) FROM crm.person") == 0
        [unknown] = await room.contacts(1)
        async with room.doing(room.requests.run()):
            for contact in (known, unknown):
                outcome, detail = await pulled(room, contact)
                assert outcome == "created"
                assert detail["person_id"] == await person_of(room, contact)
                assert (await pulled(room, contact))[0] == "equal"
        assert await room.value("SELECT name FROM crm.company") == "Bakery"


async def test_record_that_an_event_tells_of_while_it_is_read_is_adopted(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was unknown when the pull began and known when it was written: neither moment adopted it (history 837)."""
    async with furnished(pg_dsn, adoption=Adoption(on_request=True)) as room:
        [contact] = await room.contacts(1, LastName="Doe")
        asks = Connection.clock_ms

        async def told_meanwhile(connection: Connection) -> int:
            now_ms = await asks(connection)
            image = Image(Entity.CONTACT, contact, now_ms, {"LastName": "Doe"})
            await room.writer.submit(Batch([image], "event", now_ms))
            return now_ms

        monkeypatch.setattr(Connection, "clock_ms", told_meanwhile)
        async with room.doing(room.requests.run()):
            outcome, detail = await pulled(room, contact)
        assert outcome in ("created", "unsettled")
        assert detail["person_id"] == await person_of(room, contact)


async def test_record_that_cannot_be_adopted_spoils_nobody_elses_pull(pg_dsn: str) -> None:
    """They were only asked for together; who asked for it learns why."""
    async with furnished(pg_dsn, adoption=Adoption(on_request=True)) as room:
        contacts = await room.contacts(5)
        await room.update(contacts[3], LastName="X")
        await room.backfill()
        await room.connection.execute("ALTER TABLE crm.person ADD CONSTRAINT no_x CHECK (last_name <> 'X')")
        requests = [await asked(room, one) for one in contacts]
        async with room.doing(room.requests.run()):
            verdicts = [await answered(room, request) for request in requests]
        assert [outcome for outcome, _ in verdicts] == ["created"] * 3 + ["refused", "created"]
        assert "constraint no_x" in verdicts[3][1]["error"]


# What cannot be asked for -------------------------------------------------------------------------------


async def test_id_that_cannot_be_one_is_refused_with_what_is_wrong(room: Room) -> None:
    """A mangled id that were answered "absent" would have somebody struck off the list."""
    wrong = {
        "": "15 or 18",
        NOBODY.lower(): "case was probably changed",
        "00q5i00000Nobdy": "lower case",
        "0035i00000nobdy": "case was probably lost",
        "0065i00000Nobdy": "only a Lead",
        "0035i00000Nobdy without company": "15 or 18",
    }
    async with room.doing(room.requests.run()):
        for argument, said in wrong.items():
            outcome, detail = await pulled(room, argument)
            assert outcome == "refused", argument
            assert said in detail["error"]


async def test_query_that_the_org_refuses_is_refused_at_once(room: Room) -> None:
    """Waiting cures no query; and the daemon lives on."""
    [contact] = await room.contacts(1)
    body = [{"errorCode": "INSUFFICIENT_ACCESS", "message": ""}]
    async with room.doing(room.requests.run()):
        await room.plant("status", code=403, body=body, times=1, match="queryAll")
        outcome, detail = await pulled(room, contact)
        assert outcome == "refused"
        assert "INSUFFICIENT_ACCESS" in detail["error"]
        assert (await pulled(room, contact))[0] == "created"


async def test_id_that_the_org_refuses_spoils_nobody_elses_pull(room: Room) -> None:
    """They were only asked for together."""
    contacts = await room.contacts(8)
    bad = contacts[5]
    body = [{"errorCode": "MALFORMED_ID", "message": ""}]
    await room.plant("status", code=400, body=body, times=None, match=f"queryAll.*{bad}")
    requests = [await asked(room, one) for one in contacts]
    async with room.doing(room.requests.run()):
        outcomes = [(await answered(room, request))[0] for request in requests]
    assert outcomes == ["refused" if one == bad else "created" for one in contacts]


# Outages, restarts, floods ------------------------------------------------------------------------------


async def test_pull_outlasts_an_outage(room: Room) -> None:
    """The usual one is over in seconds, and somebody waits for an answer, not for an error."""
    [contact] = await room.contacts(1)
    await room.plant("status", code=503, times=3, match="queryAll")
    async with room.doing(room.requests.run()):
        assert (await pulled(room, contact, expires_s=60))[0] == "created"


async def test_pull_is_answered_when_its_time_is_over(room: Room) -> None:
    """Who asked has gone by then; the state says why it is not known."""
    [contact] = await room.contacts(1)
    await room.plant("hang", times=None, match="queryAll")
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contact, expires_s=0.2)
        assert outcome == "unsettled"
        assert "did not answer in time" in detail["error"]
        await room.heal()
        assert (await pulled(room, contact))[0] == "created"


async def test_spent_allocation_is_not_asked_again_before_its_time(room: Room) -> None:
    """Each further call would only burn more of what the org lacks."""
    contacts = await room.contacts(2)
    await room.plant("limit_reached", which="concurrent", times=1, match="queryAll")
    async with room.doing(room.requests.run()):
        outcome, detail = await pulled(room, contacts[0], expires_s=0.2)
        assert (outcome, "REQUEST_LIMIT_EXCEEDED" in detail["error"]) == ("unsettled", True)
        before = await queries(room)
        outcome, detail = await pulled(room, contacts[1], expires_s=0.2)
        assert outcome == "unsettled"
        assert detail["retry_at"]
    assert await queries(room) == before


async def test_pull_that_nobody_limits_is_served_after_the_outage_even_by_the_next_daemon(room: Room) -> None:
    """A request is a row: neither an outage nor a restart loses it."""
    [contact] = await room.contacts(1)
    await room.plant("status", code=503, times=None, match="queryAll")
    request = await asked(room, contact)
    async with room.doing(room.requests.run()):

        async def was_tried() -> bool:
            return await queries(room) > 0

        await eventually(was_tried)
    assert await room.value("SELECT done_at FROM sfsync.request WHERE id = $1", request) is None
    await room.heal()
    async with room.doing(room.requests.run()):
        assert (await answered(room, request))[0] == "created"


async def test_read_that_fails_as_it_is_cancelled_ends(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on for ever, and the pipeline that waits for its end would never begin anew."""
    [contact] = await room.contacts(1)

    async def fail_cancelled(*_: object) -> NoReturn:
        serving.cancel()
        raise UnavailableError("away", code="HTTP_503")

    monkeypatch.setattr(Pull, "_read_entity", fail_cancelled)
    serving = asyncio.create_task(Pull(room.work).serve(Request(1, "pull", contact, "test")))
    done, _ = await asyncio.wait({serving}, timeout=5)
    assert done == {serving}
    assert serving.cancelled()


async def test_pulls_that_come_together_are_one_call(room: Room) -> None:
    """A mailing asks for hundreds at once; one call each would spend the org's day."""
    contacts = await room.contacts(150)
    before = await queries(room)
    wanted = [*contacts, *contacts[:10], NOBODY]
    await room.connection.execute(
        "INSERT INTO sfsync.request (kind, argument) SELECT 'pull', one FROM unnest($1::text[]) AS one",
        wanted,
    )
    async with room.doing(room.requests.run()):

        async def all_done() -> bool:
            return bool(await room.value("SELECT count(*) = 0 FROM sfsync.request WHERE done_at IS NULL"))

        await eventually(all_done, 10)
    rows = await room.rows("SELECT outcome, count(*) FROM sfsync.request GROUP BY 1")
    assert {row["outcome"]: row["count"] for row in rows} == {"created": 160, "absent": 1}
    assert await queries(room) == before + 1


async def test_imported_people_have_a_verdict_before_anything_else_read_them(room: Room) -> None:
    """The list was imported a second ago, and the first letter of it is about to go out."""
    contact = await room.create("Contact", LastName="New")
    rows = [
        ImportRow(2, contact, None, {"last_name": "Old"}, {}),
        ImportRow(3, NOBODY, None, {"last_name": "Lost"}, {}),
    ]
    feeds = Feeds([FedColumn("last_name", "text")], [FedColumn("name", "text")], None)
    file = await stage_file(room.work.database, room.work.org, feeds, rows)
    async with room.doing(room.requests.run()):
        await put_requests(room.work.database, room.work.org, "import", [str(file.import_id)])

        async def are_there() -> bool:
            return bool(await room.value("SELECT count(*) = 2 FROM crm.person"))

        await eventually(are_there)
        outcome, detail = await pulled(room, contact)
        assert outcome == "pending"
        assert {"column": "last_name", "stored": "Old", "salesforce": "New"} in detail["columns"]
        outcome, detail = await pulled(room, NOBODY)
        assert outcome == "absent"
        assert detail["person_id"] == await person_of(room, NOBODY)
        assert await room.last_names() == {"Old", "Lost"}

"""The store behind everything: transactions, deletion and its undoing, merges, conversions, reads of the past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sfsync.simorg.clock import Clock
from sfsync.simorg.convert import USER_ZONE, Conversion, convert
from sfsync.simorg.errors import DmlError
from sfsync.simorg.ids import normalize, to_18
from sfsync.simorg.population import populate
from sfsync.simorg.schema import Schema
from sfsync.simorg.soql_run import run
from sfsync.simorg.users import found_users
from sfsync.simorg.world import Commit, Row, Snapshot, World


@pytest.fixture
def world() -> World:
    founded = World(Clock(), Schema(), seed=3)
    found_users(founded)
    return founded


def make(world: World, entity: str, **values: Any) -> str:
    """Create one record in a transaction of its own."""
    with world.transaction() as tx:
        return tx.create(entity, values)


def lead(world: World, **values: Any) -> str:
    return make(world, "Lead", **{"LastName": "Lead", "Company": "Co", **values})


def kinds(commit: Commit | None) -> list[tuple[str, str]]:
    """What a commit did, by entity and kind."""
    assert commit is not None
    return [(change.entity, change.kind) for change in commit.changes]


def state(world: World, record_id: str) -> Any:
    fields = world.get(record_id)
    assert fields is not None
    return fields


def test_ids_carry_the_checksum_of_their_capitals() -> None:
    """Ids that clients cast to 18 characters by themselves must match ours."""
    assert to_18("001D000000IqhSL") == "001D000000IqhSLIAZ"
    assert to_18("0035i00000CON01") == "0035i00000CON01AAH"
    assert normalize("001d000000iqhsliaz") == "001D000000IqhSLIAZ"
    assert normalize("001D000000IqhS") is None
    assert normalize("001D000000Iqh-L") is None


def test_a_transaction_gives_one_net_change_per_record(world: World) -> None:
    """CDC sends one event per record and transaction, with the first kind and the final values."""
    with world.transaction() as tx:
        account = tx.create("Account", {"Name": "A"})
        tx.update(account, {"Phone": "1"})
        tx.update(account, {"Phone": "2"})
    assert kinds(tx.result) == [("Account", "CREATE")]
    assert state(world, account)["Phone"] == "2"


def test_a_failed_transaction_leaves_nothing(world: World) -> None:
    """A statement that fails must not leave the statements before it behind."""
    before = world.number
    tx = world.transaction()
    tx.create("Account", {"Name": "A"})
    with pytest.raises(DmlError), tx:
        tx.create("Account", {})
    assert world.number == before
    assert world.oldest_open() is None
    assert not world.locks


def test_blank_text_is_null_and_text_is_trimmed(world: World) -> None:
    """Salesforce stores no empty string and no outer blanks."""
    account = make(world, "Account", Name="  A  ", Phone="   ")
    assert state(world, account)["Name"] == "A"
    assert "Phone" not in state(world, account)


@pytest.mark.parametrize(
    ("entity", "values", "code", "fields"),
    [
        ("Lead", {"LastName": "x"}, "REQUIRED_FIELD_MISSING", ["Company"]),
        ("Lead", {}, "REQUIRED_FIELD_MISSING", ["LastName", "Company"]),
        ("Lead", {"LastName": "x" * 81, "Company": "c"}, "STRING_TOO_LONG", ["LastName"]),
        ("Contact", {"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS", ["Email"]),
        ("Contact", {"LastName": "x", "Nope__c": 1}, "INVALID_FIELD", []),
        ("Contact", {"LastName": "x", "Private_Note__c": "hidden"}, "INVALID_FIELD", []),
        (
            "Contact",
            {"LastName": "x", "SystemModstamp": None},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            ["SystemModstamp"],
        ),
        ("Contact", {"LastName": "x", "Birthdate": "24.11.2026"}, "JSON_PARSER_ERROR", ["Birthdate"]),
        ("Contact", {"LastName": 5}, "JSON_PARSER_ERROR", ["LastName"]),
        ("Contact", {"LastName": "x", "AccountId": "nope"}, "MALFORMED_ID", ["AccountId"]),
        (
            "Contact",
            {"LastName": "x", "AccountId": "0015i00000AAAAA"},
            "INVALID_CROSS_REFERENCE_KEY",
            ["AccountId"],
        ),
        (
            "Contact",
            {"LastName": "x", "AccountId": "0035i00000AAAAA"},
            "FIELD_INTEGRITY_EXCEPTION",
            ["AccountId"],
        ),
        (
            "Account",
            {"Name": "x", "NumberOfEmployees": 10**8},
            "NUMBER_OUTSIDE_VALID_RANGE",
            ["NumberOfEmployees"],
        ),
    ],
)
def test_a_bad_write_is_refused_with_its_code(
    world: World, entity: str, values: dict[str, Any], code: str, fields: list[str]
) -> None:
    """Clients branch on errorCode and fields; both must be Salesforce's."""
    with pytest.raises(DmlError) as refused, world.transaction() as tx:
        tx.create(entity, values)
    assert (refused.value.code, refused.value.fields) == (code, fields)


def test_deleting_an_account_takes_its_contacts_along_and_brings_them_back(world: World) -> None:
    """The cascade gives each child a change of its own; a contact deleted before stays deleted."""
    account = make(world, "Account", Name="A")
    kept, gone = (make(world, "Contact", LastName=name, AccountId=account) for name in ("kept", "gone"))
    with world.transaction() as tx:
        tx.delete(gone)
    with world.transaction() as tx:
        tx.delete(account)
    assert sorted(kinds(tx.result)) == [("Account", "DELETE"), ("Contact", "DELETE")]
    with world.transaction() as tx:
        tx.undelete(account)
    assert sorted(kinds(tx.result)) == [("Account", "UNDELETE"), ("Contact", "UNDELETE")]
    assert not state(world, kept)["IsDeleted"]
    assert state(world, gone)["IsDeleted"]


def test_a_contact_cannot_come_back_without_its_account(world: World) -> None:
    """A live contact under a deleted account would be a state that Salesforce never shows."""
    account = make(world, "Account", Name="A")
    contact = make(world, "Contact", LastName="c", AccountId=account)
    with world.transaction() as tx:
        tx.delete(account)
    with pytest.raises(DmlError, match="account is deleted"), world.transaction() as tx:
        tx.undelete(contact)


def test_a_merge_deletes_losers_moves_children_and_touches_the_winner(world: World) -> None:
    """No event says "merge": MasterRecordId, re-parenting and the touched winner are all there is to see."""
    winner, first, second = (make(world, "Account", Name=name) for name in "WAB")
    child = make(world, "Contact", LastName="c", AccountId=first)
    with world.transaction() as tx:
        tx.merge(winner, [first, second], {"Phone": "99"})
    assert sorted(kinds(tx.result)) == sorted(
        [("Account", "DELETE"), ("Account", "DELETE"), ("Contact", "UPDATE"), ("Account", "UPDATE")]
    )
    assert {state(world, loser)["MasterRecordId"] for loser in (first, second)} == {winner}
    assert state(world, child)["AccountId"] == winner
    assert state(world, winner)["Phone"] == "99"
    with world.transaction() as tx:
        tx.undelete(first)
    assert "MasterRecordId" not in state(world, first)
    assert state(world, child)["AccountId"] == winner


def test_a_merge_wants_up_to_three_live_records_of_one_entity(world: World) -> None:
    """Salesforce merges at most three, and never a converted lead."""
    accounts = [make(world, "Account", Name=str(n)) for n in range(4)]
    with pytest.raises(DmlError, match="one or two"), world.transaction() as tx:
        tx.merge(accounts[0], accounts[1:])
    with pytest.raises(DmlError, match="of one kind"), world.transaction() as tx:
        tx.merge(accounts[0], [lead(world)])
    converted = lead(world)
    with world.transaction() as tx:
        convert(world, tx, Conversion(converted))
    with pytest.raises(DmlError, match="converted"), world.transaction() as tx:
        tx.merge(lead(world), [converted])


def test_a_conversion_is_one_transaction_in_the_documented_order(world: World) -> None:
    """Account, contact and opportunity are created before the lead is updated, under one key."""
    source = lead(
        world,
        LastName="山田",
        FirstName="太郎",
        Company="株式会社サンプル",
        City="千代田区",
        Email="t@example.jp",
    )
    with world.transaction() as tx:
        made = convert(world, tx, Conversion(source))
    assert kinds(tx.result) == [
        ("Account", "CREATE"),
        ("Contact", "CREATE"),
        ("Opportunity", "CREATE"),
        ("Lead", "UPDATE"),
    ]
    fields = state(world, source)
    assert fields["IsConverted"]
    assert fields["ConvertedContactId"] == made.contact_id
    assert fields["ConvertedDate"] == world.clock.now().astimezone(USER_ZONE).date()
    assert state(world, made.contact_id)["MailingCity"] == "千代田区"
    assert state(world, made.account_id)["Name"] == "株式会社サンプル"
    with pytest.raises(DmlError, match="converted lead"), world.transaction() as tx:
        tx.update(source, {"Title": "x"})


def test_a_conversion_into_an_existing_contact_fills_only_its_blanks(world: World) -> None:
    """What the contact already says is kept."""
    account = make(world, "Account", Name="A")
    contact = make(world, "Contact", LastName="Old", AccountId=account)
    with world.transaction() as tx:
        made = convert(
            world, tx, Conversion(lead(world, LastName="New", Title="CEO"), None, contact, opportunity=False)
        )
    assert (made.account_id, made.contact_id, made.opportunity_id) == (account, contact, None)
    assert (state(world, contact)["LastName"], state(world, contact)["Title"]) == ("Old", "CEO")
    assert kinds(tx.result) == [("Contact", "UPDATE"), ("Lead", "UPDATE")]


def test_a_long_transaction_commits_stamps_older_than_its_commit(world: World) -> None:
    """A sweep whose watermark has passed the stamp would never see such a record: it must look back."""
    tx = world.transaction()
    contact = tx.create("Contact", {"LastName": "late"})
    stamp = world.clock.now().replace(microsecond=0)
    assert world.oldest_open() is not None
    world.clock.advance(120)
    early = make(world, "Contact", LastName="early")
    assert world.get(contact) is None
    commit = tx.commit()
    assert commit is not None
    assert state(world, contact)["SystemModstamp"] <= stamp + timedelta(seconds=1)
    assert commit.committed_at - state(world, contact)["SystemModstamp"] > timedelta(seconds=110)
    assert state(world, contact)["SystemModstamp"] < state(world, early)["SystemModstamp"]
    assert world.oldest_open() is None


def test_records_of_an_open_transaction_are_locked(world: World) -> None:
    """Locks are what keeps the stamps of one record from running backwards."""
    account = make(world, "Account", Name="A")
    tx = world.transaction()
    tx.create("Contact", {"LastName": "c", "AccountId": account})
    with pytest.raises(DmlError) as refused, world.transaction() as other:
        other.delete(account)
    assert refused.value.code == "UNABLE_TO_LOCK_ROW"
    tx.rollback()
    with world.transaction() as other:
        other.delete(account)


def test_a_snapshot_shows_the_past_in_every_index(world: World) -> None:
    """Lagged reads come from the log: what was created, changed, deleted or purged since must be undone."""
    changed, deleted, purged = (
        make(world, "Account", Name=name) for name in ("changed", "deleted", "purged")
    )
    number = world.number
    before = [dict(fields) for _, fields in world.snapshot().by_id("Account")]
    world.clock.advance(60)
    make(world, "Account", Name="later")
    with world.transaction() as tx:
        tx.update(changed, {"Name": "new"})
        tx.delete(deleted)
        tx.purge(purged)
    past = Snapshot(world, number)
    assert [dict(fields) for _, fields in past.by_id("Account")] == before
    assert {record_id for record_id, _ in past.by_stamp("Account")} == {changed, deleted, purged}
    stamps = [(fields["SystemModstamp"], record_id) for record_id, fields in past.by_stamp("Account")]
    assert stamps == sorted(stamps)
    assert {record_id for record_id, _ in world.snapshot().by_id("Account")} >= {changed, deleted}
    assert purged not in {record_id for record_id, _ in world.snapshot().by_id("Account")}


def test_the_recycle_bin_is_emptied_after_fifteen_days_without_a_trace(world: World) -> None:
    """A purge is silent: only a full comparison can find it."""
    account = make(world, "Account", Name="A")
    with world.transaction() as tx:
        tx.delete(account)
    world.clock.advance(14 * 86_400)
    world.empty_bin()
    assert world.get(account) is not None
    world.clock.advance(2 * 86_400)
    world.empty_bin()
    assert world.get(account) is None
    assert kinds(world.log[-1]) == [("Account", "PURGE")]


def test_the_population_is_believable_and_the_same_for_the_same_seed() -> None:
    """A test that fails with a seed must fail again with it."""
    worlds = []
    for _ in range(2):
        world = World(Clock(), Schema(), seed=5)
        found_users(world)
        populate(world, 300, 5)
        worlds.append(world)
    first, second = (
        run("SELECT Id, Name, MailingState FROM Contact", world.snapshot(), deleted=False).json(
            0, 999, "66.0"
        )
        for world in worlds
    )
    assert first == second
    assert run("SELECT COUNT() FROM Account", worlds[0].snapshot(), deleted=False).total == 75
    assert any(row["MailingState"] == "東京都" for row in first)
    assert any(row["MailingState"] is None for row in first)
    assert all(commit.silent for commit in worlds[0].log)
    assert worlds[0].log[-1].committed_at < worlds[0].clock.now() - timedelta(days=3)


class CountingSnapshot(Snapshot):
    """Counts the records it is asked for in the order of their stamps."""

    visited = 0

    def _row(self, record_id: str) -> Row:
        self.visited += 1
        return super()._row(record_id)


def test_a_page_of_a_sweep_costs_what_it_returns_not_what_exists(world: World) -> None:
    """A keyset walk that scanned and sorted for every page would make the org the bottleneck of any measurement."""
    populate(world, 2_000, 1)
    sweep = "SELECT Id, SystemModstamp FROM Contact WHERE {} ORDER BY SystemModstamp, Id LIMIT 50"
    first = CountingSnapshot(world, world.number)
    page = run(sweep.format("SystemModstamp >= 2000-01-01T00:00:00Z"), first, deleted=True).json(
        0, 50, "66.0"
    )
    assert (len(page), first.visited) == (50, 50)
    stamp, last = page[-1]["SystemModstamp"].replace("+0000", "Z"), page[-1]["Id"]
    keyset = f"(SystemModstamp = {stamp} AND Id > '{last}') OR SystemModstamp > {stamp}"
    second = CountingSnapshot(world, world.number)
    assert len(run(sweep.format(keyset), second, deleted=True).rows) == 50
    # A commit of the population stamps 200 records alike: at most those before the key are passed over.
    assert second.visited <= 250

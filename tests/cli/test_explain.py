"""`sfsync explain` as a user has it: the same facts as over HTTP, in lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.console.caller import calling
from tests.store.harness import ACCOUNT, CONTACT, LEAD, Store, gap, image, open_store, patch

SALESFORCE = {
    "SFSYNC_SALESFORCE__LOGIN_URL": "http://127.0.0.1:1",
    "SFSYNC_SALESFORCE__FLOW": "client_credentials",
    "SFSYNC_SALESFORCE__CLIENT_ID": "nobody",
    "SFSYNC_SALESFORCE__CLIENT_SECRET": "nothing",
}


async def tell(store: Store) -> None:
    """Let a lead become a contact of a company, with a value that a terminal would obey."""
    await store.apply(image(LEAD, 0, LastName="Lovelace", Status="Open"))
    await store.apply(
        image(ACCOUNT, 2, Name="Engines"),
        image(CONTACT, 2, LastName="Lovelace", FirstName="\x1b[31mAda", AccountId=ACCOUNT),
        patch(LEAD, 2, IsConverted="true", ConvertedContactId=CONTACT, ConvertedDate="2026-11-24"),
    )
    await store.apply(gap(CONTACT, 50))


@pytest.fixture
def explain(pg_dsn: str, tmp_path: Path) -> Cli:
    """The command line for a store that needs no org to be read."""
    return Cli(SALESFORCE | {"SFSYNC_STORE__DSN": pg_dsn}, tmp_path)


async def test_explain_tells_who_speaks_and_what_wrote_each_column(explain: Cli, pg_dsn: str) -> None:
    """By an id that was handed out before the conversion, in lines that no value can bend."""
    async with open_store(pg_dsn) as store:
        await tell(store)
        person = await store.person_of(LEAD)
    ended = await explain("explain", LEAD[:15])
    assert ended.code == 0, ended.err
    text = ended.out
    assert text.startswith(f"person {person}, also ")
    assert f"speaks      {CONTACT}: {CONTACT} is a contact, {LEAD} is a lead" in text
    assert f"contact {CONTACT} names account {ACCOUNT}" in text
    assert f"record      {LEAD}: Lead, own id {person}, synced, converted to {CONTACT}" in text
    assert f"dirty       {CONTACT}: gap; 0 attempts" in text
    lines = [line.rstrip() for line in text.splitlines()]
    [place] = [number for number, line in enumerate(lines) if line.startswith("first_name")]
    assert lines[place].endswith("�[31mAda")
    assert f"FirstName of {CONTACT}; changed by event" in lines[place + 1]
    [place] = [number for number, line in enumerate(lines) if line.startswith("status ")]
    assert f"Status of {LEAD}; created by event" in lines[place + 1]
    assert "kept 30 days" in text
    assert "\x1b" not in text


async def test_explain_tells_the_same_as_the_api(explain: Cli, pg_dsn: str) -> None:
    """Whoever asks, it is one answer."""
    async with open_store(pg_dsn) as store, calling(pg_dsn) as api:
        await tell(store)
        ended = await explain("explain", CONTACT, "--json")
        assert ended.json == await api.get(f"/v1/people/{CONTACT}/provenance")
        ended = await explain("explain", ACCOUNT, "--json")
        assert ended.json == await api.get(f"/v1/companies/{ACCOUNT}/provenance")


async def test_explain_says_when_an_id_is_nobody(explain: Cli, pg_dsn: str, empty_dsn: str) -> None:
    """A misread id, one that nobody has, a store without an org and no store at all are four things."""
    ended = await explain("explain", CONTACT, SFSYNC_STORE__DSN=empty_dsn)
    assert (ended.code, "holds no store of sfsync yet" in ended.err) == (2, True)
    ended = await explain("explain", CONTACT)
    assert (ended.code, "bound to no org yet" in ended.err) == (2, True)
    async with open_store(pg_dsn):
        pass
    ended = await explain("explain", CONTACT)
    assert (ended.code, ended.err.strip()) == (
        1,
        f"sfsync: {CONTACT} is nobody here: neither a person nor a company",
    )
    ended = await explain("explain", "Ada")
    assert ended.code == 2
    assert "ID is neither an id of ours nor the id of a Lead, Contact or Account" in ended.err

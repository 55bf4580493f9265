"""A foreign Salesforce client against the simulated org: aiosfstream-ng, unchanged but for the token address.

Why: our own client and our own server could agree on the same mistake. This client knows nothing of either.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.simorg.push_rig import ALL_CHANGES, Rig, open_rig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aiosfstream_ng.auth import PasswordAuthenticator, RefreshTokenAuthenticator
    from aiosfstream_ng.client import Client
    from aiosfstream_ng.exceptions import AuthenticationError, ServerError
    from aiosfstream_ng.replay import ReplayMarker, ReplayOption

# The client warns of its own deprecated calls, and its tasks complain when it is closed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class OrgPassword(PasswordAuthenticator):
    """The library's password flow at another address."""

    token_url = ""
    _token_url = property(lambda self: self.token_url)


class OrgRefresh(RefreshTokenAuthenticator):
    """The library's refresh flow at another address."""

    token_url = ""
    _token_url = property(lambda self: self.token_url)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as opened:
        opened.org.settings.long_poll_s = 2.0
        yield opened


def password_of(rig: Rig, password: str | None = None) -> Any:
    """Return the library's authenticator for the org's user."""
    credentials = rig.org.credentials
    known = credentials.password + credentials.security_token
    login = OrgPassword(
        credentials.client_id, credentials.client_secret, credentials.username, password or known
    )
    login.token_url = f"{rig.url}/services/oauth2/token"
    return login


@asynccontextmanager
async def opened(login: Any, **options: Any) -> AsyncIterator[Any]:
    """Open the library's client and close it."""
    client = Client(login, **options)
    async with asyncio.timeout(10):
        await client.open()
    try:
        yield client
    finally:
        async with asyncio.timeout(10):
            await client.close()


async def receive(client: Any, count: int) -> list[dict[str, Any]]:
    """Receive *count* messages."""
    async with asyncio.timeout(10):
        return [await client.receive() for _ in range(count)]


def record_ids(messages: list[dict[str, Any]]) -> list[str]:
    """Return the record ids that *messages* name."""
    return [
        each for message in messages for each in message["data"]["payload"]["ChangeEventHeader"]["recordIds"]
    ]


async def test_foreign_client_receives_a_transaction_in_order(rig: Rig) -> None:
    """It logs in, shakes hands, subscribes and receives, with its own JSON, cookies and timing."""
    async with opened(password_of(rig)) as client:
        await client.subscribe(ALL_CHANGES)
        with rig.org.world.transaction() as transaction:
            account = transaction.create("Account", {"Name": "Acme"})
            contact = transaction.create("Contact", {"LastName": "Okafor", "AccountId": account})
        lead = rig.create("Lead")

        messages = await receive(client, 3)

    assert record_ids(messages) == [account, contact, lead]
    assert {message["channel"] for message in messages} == {ALL_CHANGES}


async def test_foreign_client_replays_from_its_stored_position(rig: Rig) -> None:
    """Its replay extension stores the last id, and a second run begins behind it."""
    stored: dict[str, Any] = {}
    first = rig.create()
    async with opened(password_of(rig), replay=stored) as client:
        await client.subscribe(ALL_CHANGES)
        seen = rig.create()
        assert record_ids(await receive(client, 1)) == [seen]
    missed = [rig.create() for _ in range(150)]

    async with opened(password_of(rig), replay=stored, max_pending_count=0) as client:
        await client.subscribe(ALL_CHANGES)
        assert record_ids(await receive(client, 150)) == missed
    async with opened(password_of(rig), replay=ReplayOption.ALL_EVENTS, max_pending_count=0) as client:
        await client.subscribe(ALL_CHANGES)
        assert record_ids(await receive(client, 152)) == [first, seen, *missed]


async def test_foreign_client_recognises_the_refusals(rig: Rig) -> None:
    """Its own exceptions name our errors: a wrong password, a channel that does not exist, a position gone."""
    with pytest.raises(AuthenticationError):
        async with opened(password_of(rig, "wrong")):
            pass
    async with opened(password_of(rig)) as client:
        with pytest.raises(ServerError, match="Subscribe request failed"):
            await client.subscribe("/data/FooChangeEvent")


async def test_foreign_client_falls_back_when_its_position_is_gone(rig: Rig) -> None:
    """It looks for the 400 of a replay id that is no longer retained."""
    lead = rig.create()
    stored = {ALL_CHANGES: _marker(1)}
    login = password_of(rig)

    async with opened(login, replay=stored, replay_fallback=ReplayOption.ALL_EVENTS) as client:
        await client.subscribe(ALL_CHANGES)
        assert record_ids(await receive(client, 1)) == [lead]


def _marker(replay_id: int) -> Any:
    return ReplayMarker(date="2026-01-01T00:00:00Z", replay_id=replay_id)


async def test_foreign_client_survives_the_end_of_its_session(rig: Rig) -> None:
    """After `403::Unknown client` it shakes hands again and subscribes from its position."""
    stored: dict[str, Any] = {}
    async with opened(password_of(rig), replay=stored) as client:
        await client.subscribe(ALL_CHANGES)
        first = rig.create()
        assert record_ids(await receive(client, 1)) == [first]
        rig.org.faults.add("cometd_unknown_client", match="connect")
        for session in rig.server.sessions.live():
            if session.hold is not None:
                session.hold.release()
        second = rig.create()

        assert record_ids(await receive(client, 1)) == [second]
    assert rig.org.stats.calls["handshake"] == 2


async def test_foreign_client_refreshes_a_revoked_token(rig: Rig) -> None:
    """`401::Authentication invalid` makes it log in again, by a refresh token this time."""
    credentials = rig.org.credentials
    token = rig.org.sessions.issue_refresh_token(credentials.user_id)
    login = OrgRefresh(credentials.client_id, credentials.client_secret, token)
    login.token_url = f"{rig.url}/services/oauth2/token"
    async with opened(login, replay={}) as client:
        await client.subscribe(ALL_CHANGES)
        rig.org.sessions.revoke()
        lead = rig.create()

        assert record_ids(await receive(client, 1)) == [lead]
    assert rig.org.stats.calls["token"] >= 2

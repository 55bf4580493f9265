"""Every refusal that Salesforce documents for CometD ends the session, and the daemon comes back by itself.

Why: clients have gone deaf, hot or dead over each of these texts. One daemon lives through them all, one after
the other, as it would in production; what changed meanwhile must be there afterwards. A subscription that is
not answered at all is tried with the session alone, since that takes its full time.
Source: Streaming API Developer Guide, "Streaming API Error Codes".
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.stage import STREAM_ONLY, Daemon, Stage, open_stage
from tests.postgres import PgFleet, available_servers

HANDSHAKE = (
    "401::Authentication invalid",
    "401::Request requires authentication",
    "400::API version in the URI is mandatory. URI format: '/cometd/66.0'",
    "400::Unsupported API version. Only API versions '37.0' and later are supported. URI format: '/cometd/66.0'",
    "503::Server is too busy.  Please try your request again later.",
    "503::Server is too busy. Please try your request again later.",
)
SUBSCRIBE = (
    "400::The channel you requested to subscribe to does not exist {/data/ChangeEvents}",
    "400::The channel you requested to subscribe to doesn't exist {/data/ChangeEvents}",
    "400::Channel name not specified",
    "400::Channel subscriptions must start with a leading '/'",
    "403::Cannot create channel {/data/ChangeEvents}",
    "403::Restricted channel",
    "403::User not allowed to subscribe CDC without View All Data permissions",
    "403:denied_by_security_policy:create_denied",
    "403::Client has not completed handshake",
    "413::Maximum Request Size Exceeded",
    "400::Authenticated user id does not match the session's user id",
    "401::Authentication invalid",
    "403::Unknown client",
    "a text that nobody has ever seen",
)
LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "too many clients of the organization": ("cometd_concurrent_limit", {"scope": "organization"}),
    "too many clients of the server": ("cometd_concurrent_limit", {"scope": "server"}),
    "too many events, said to a subscribe": ("cometd_daily_limit", {"match": "/meta/subscribe"}),
    "too many events, said to a connect": ("cometd_daily_limit", {"match": "/meta/connect"}),
}
CONNECT: dict[str, tuple[str, dict[str, Any]]] = {
    "401::Authentication invalid": ("cometd_401", {}),
    "403::Unknown client, advice handshake": ("cometd_unknown_client", {"advice": "handshake"}),
    "403::Unknown client, advice none": ("cometd_unknown_client", {"advice": "none"}),
    "403::Unknown client, no advice": ("cometd_unknown_client", {"advice": "absent"}),
    "503 hidden beside a 401": ("cometd_503_busy", {}),
    "a maintenance page": ("cometd_html_503", {}),
    "a page that says 200": ("cometd_html_503", {"status": 200}),
    "a cut line": ("cometd_cut", {}),
}
_names = (f"Name {number}" for number in itertools.count())


@pytest.fixture(scope="module")
def lasting(pg_fleet: PgFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Daemon]]:
    """One org and one daemon for all tests of this module."""
    server = pg_fleet.server(available_servers()[0])
    database = asyncio.run(server._create("template0"))
    try:
        with open_stage(server._dsn_of(database), tmp_path_factory.mktemp("failures")) as stage:
            stage.org.set(long_poll_s=1)
            yield stage, stage.daemon(STREAM_ONLY).wait_ready()
    finally:
        asyncio.run(server._execute(f'DROP DATABASE "{database}" WITH (FORCE)'))


class Ordeal:
    """One refusal: what it does to a session of a daemon that was well before."""

    def __init__(self, stage: Stage, daemon: Daemon) -> None:
        self.stage, self.daemon = stage, daemon.wait_ready()
        self._opened = len(daemon.log.all("stream.subscription.opened"))
        self._lost = len(daemon.log.all("stream.subscription.lost"))
        self._tokens = len(daemon.log.all("salesforce.token.fetched"))

    def lost(self, sessions: int) -> str:
        """Wait until so many sessions ended; return how the last one ended."""
        return str(self.daemon.wait_for("stream.subscription.lost", count=self._lost + sessions)["error"])

    async def recovers(self) -> None:
        """Wait until the daemon is well again, and prove that it hears and has missed nothing."""
        self.daemon.wait_for("stream.subscription.opened", count=self._opened + 1)
        self.daemon.wait_ready()
        self.stage.org.create("Contact", LastName=next(_names))
        await self.stage.must_be_equal()

    @property
    def new_tokens(self) -> int:
        return len(self.daemon.log.all("salesforce.token.fetched")) - self._tokens


@pytest.fixture
def ordeal(lasting: tuple[Stage, Daemon]) -> Iterator[Ordeal]:
    stage, daemon = lasting
    yield Ordeal(stage, daemon)
    stage.org.heal()


def end_session(ordeal: Ordeal) -> None:
    """Make the daemon open a new session, which will meet what was planted."""
    ordeal.stage.org.plant("cometd_unknown_client", match="/meta/connect")
    ordeal.stage.org.create("Contact", LastName=next(_names))


@pytest.mark.parametrize("reason", HANDSHAKE)
async def test_refused_handshake(ordeal: Ordeal, reason: str) -> None:
    """The reason is hidden in `ext.sfdc.failureReason`."""
    ordeal.stage.org.plant("handshake_refuse", reason=reason)
    end_session(ordeal)
    assert reason.split(":", maxsplit=1)[0] in ordeal.lost(2)
    await ordeal.recovers()
    assert ordeal.new_tokens == (1 if reason.startswith("401") else 0)


@pytest.mark.parametrize("error", SUBSCRIBE)
async def test_refused_subscription(ordeal: Ordeal, error: str) -> None:
    """A subscription that is refused while connects go on has made others deaf without an error."""
    ordeal.stage.org.plant("subscribe_refuse", error=error)
    end_session(ordeal)
    assert "/meta/subscribe was refused" in ordeal.lost(2)
    await ordeal.recovers()


@pytest.mark.parametrize("failure", CONNECT)
async def test_failed_connect(ordeal: Ordeal, failure: str) -> None:
    """Whatever the advice, the next session begins from the committed position."""
    kind, params = CONNECT[failure]
    ordeal.stage.org.plant(kind, match="/meta/connect", **params)
    ordeal.stage.org.create("Contact", LastName=next(_names))
    ordeal.lost(1)
    await ordeal.recovers()


@pytest.mark.parametrize("limit", LIMITS)
async def test_spent_limit_waits_until_told_otherwise(ordeal: Ordeal, limit: str) -> None:
    """Knocking at a spent limit burns what is left of others; an operator may cut the wait short by SIGHUP."""
    kind, params = LIMITS[limit]
    ordeal.stage.org.plant(kind, **params)
    before = len(ordeal.daemon.log.all("salesforce.limit.reached"))
    end_session(ordeal)
    reached = ordeal.daemon.wait_for("salesforce.limit.reached", count=before + 1)
    assert reached["retry_after_s"] >= 300
    ordeal.daemon.signal(signal.SIGHUP)
    await ordeal.recovers()


async def test_refused_position_begins_at_the_tip(ordeal: Ordeal) -> None:
    """The one refusal after which the position is given up, and a reading is owed instead."""
    ordeal.stage.org.plant(
        "subscribe_refuse",
        error="400::The replayId {8000001} you provided was invalid.  Please provide a valid ID, -2 to replay all "
        "events, or -1 to replay only new events.",
    )
    end_session(ordeal)
    ordeal.daemon.wait_for("stream.position.expired")
    await ordeal.recovers()
    assert ordeal.daemon.log.all("sweep.entity.completed", entity="Lead")

"""A malicious org: it gets our token by its own login and nothing else, and cannot make us grow, wait or obey."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from sfsync.errors import SalesforceError, UnavailableError
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.cometd import CometdSession, open_session
from sfsync.salesforce.connection import Connection, LinkTimings, open_connection
from sfsync.salesforce.reply import BATCH_BYTES_MAX, REPLY_BYTES_MAX, CometdTimings
from sfsync.salesforce.rest import Rest
from tests.hostile import TEXTS
from tests.salesforce.stub_org import CHANNEL, DATE, StubOrg, answer, event, good, ok, result
from tests.salesforce.test_fuzz_replies import start

PATH = "/services/data/v66.0/limits/"
DESCRIBE = "/services/data/v66.0/sobjects/Contact/describe"
MIB = 1 << 20
QUICK = CometdTimings(long_poll_s=0.5, slack_s=20, reply_s=20, goodbye_s=0.2)


@pytest.fixture
async def trap() -> AsyncIterator[StubOrg]:
    """A second host, which must never hear of us."""
    org = StubOrg()
    server = await start(org)
    yield org
    await server.cleanup()


@pytest.mark.parametrize(
    "path", ["/services/oauth2/token", "/meta/handshake", "/meta/connect", "/meta/subscribe"]
)
@pytest.mark.parametrize("status", [301, 307])
async def test_redirect_of_login_or_stream_takes_nothing_elsewhere(
    stub: StubOrg, credentials: ClientCredentials, trap: StubOrg, path: str, status: int
) -> None:
    """A 307 would carry the client's secret or the token along, body and all."""
    stub.then(path, answer(b"", status=status, headers={"Location": f"{trap.url}/services/oauth2/token"}))
    with pytest.raises(UnavailableError):
        await log_in_and_subscribe(credentials)
    assert not trap.seen


async def log_in_and_subscribe(credentials: ClientCredentials) -> None:
    async with open_connection(credentials) as connection:
        async with open_session(connection, channel=CHANNEL, position=None, timings=QUICK):
            pass


async def test_page_on_another_host_is_not_fetched(
    connection: Connection, stub: StubOrg, trap: StubOrg
) -> None:
    """`nextRecordsUrl` is where the token goes next."""
    for way in (
        f"{trap.url}/services/x",
        f"//{trap.url[7:]}/services/x",
        f"/services/..//{trap.url[7:]}",
        "\\\\evil.test",
    ):
        stub.then("/services/data/v66.0/query", result([{"Id": "x"}], done=False, nextRecordsUrl=way))
        with pytest.raises(SalesforceError, match="nextRecordsUrl"):
            await Rest(connection, tries=1).query_page("SELECT Id FROM Contact", include_deleted=False)
    assert not trap.seen


HEAD = f"HTTP/1.1 200 OK\r\nDate: {DATE}\r\n".encode()
ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a header without end": lambda: (b"X: " if n == 0 else b"x" * 65_536 for n in count()),
    "headers without end": lambda: (
        b"".join(b"X-%d-%d: y\r\n" % (n, m) for m in range(1000)) for n in count()
    ),
    "a body without end": lambda: (
        b"Content-Type: application/json\r\nConnection: close\r\n\r\n" if n == 0 else b" " * 65_536
        for n in count()
    ),
}


@asynccontextmanager
async def endless(
    org: StubOrg, pieces: Callable[[], Iterator[bytes]]
) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve an answer that never ends, and count the bytes of it that were taken."""
    sent = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
                sent[0] += len(piece)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "localhost", 0)
    async with server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}", sent


@pytest.mark.parametrize("name", ENDLESS)
async def test_answer_without_end_is_cut(stub: StubOrg, credentials: ClientCredentials, name: str) -> None:
    """Whatever of an answer has no end: we hang up after a bounded part of it, in bounded memory."""
    async with endless(stub, ENDLESS[name]) as (url, sent):
        stub.instance_url = url
        timings = LinkTimings(request_s=10, login_pause_s=0)
        async with open_connection(credentials, timings=timings) as connection:
            with pytest.raises(UnavailableError):
                await connection.request("GET", PATH)
    assert sent[0] < 80 * MIB


@pytest.mark.parametrize("body", [b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000])
async def test_deep_answer_is_an_outage(stub: StubOrg, connection: Connection, body: bytes) -> None:
    """Ten thousand levels are more than any parser's stack."""
    rest = Rest(connection, tries=1)
    stub.then(PATH, answer(body))
    stub.then("/services/data/v66.0/query", answer(body))
    with pytest.raises(UnavailableError):
        await rest.limits()
    with pytest.raises(UnavailableError):
        await rest.query_page("SELECT Id FROM Contact", include_deleted=False)


async def test_usage_of_many_digits_is_no_usage(stub: StubOrg, connection: Connection) -> None:
    """Python refuses to read a number of five thousand digits."""
    stub.then(PATH, answer(b"{}", headers={"Sforce-Limit-Info": f"api-usage={'9' * 5000}/1"}))
    await connection.request("GET", PATH)
    assert connection.api_usage is None


@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "sentinels"])
@pytest.mark.parametrize("member", ["name", "type"])
async def test_field_of_a_hostile_name_is_refused_unquoted(
    stub: StubOrg, connection: Connection, kind: str, member: str
) -> None:
    """Names of fields stand in queries, in statements, on screens and in the log."""
    told = {"fields": [{"name": "Id", "type": "id"} | {member: TEXTS[kind]}]}
    stub.then(DESCRIBE, answer(json.dumps(told).encode()))
    with pytest.raises(UnavailableError, match="no describe of Contact") as caught:
        await Rest(connection, tries=1).describe("Contact")
    assert TEXTS[kind] not in str(caught.value)


async def test_batch_beyond_all_bounds_is_passed_on_in_parts_and_then_cut(
    stub: StubOrg, connection: Connection
) -> None:
    """More than 64 MiB in one reply: what came whole is delivered, never more than a batch of it is held."""
    events = b",".join(
        json.dumps(event(n, {"t": "x" * MIB})).encode() for n in range(REPLY_BYTES_MAX // MIB + 4)
    )
    compressed = gzip.compress(
        b"[" + events + b"," + json.dumps(ok({"channel": "/meta/connect", "id": "4"})).encode() + b"]"
    )
    del events
    stub.then("/meta/connect", good(), answer(compressed, headers={"Content-Encoding": "gzip"}))
    got: list[Any] = []
    async with open_session(connection, channel=CHANNEL, position=None, timings=QUICK) as session:
        tracemalloc.start()
        try:
            with pytest.raises(UnavailableError, match="larger than"):
                await receive_all(session, got)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert got == [b"%d" % n for n in range(len(got))]
    assert len(got) > 50
    assert peak < 48 * MIB


async def receive_all(session: CometdSession, got: list[Any]) -> None:
    """Receive as the subscription does, which lets go of one batch before it asks for the next."""
    while batch := await session.receive():
        assert sum(len(one.payload) for one in batch) <= BATCH_BYTES_MAX + 2 * MIB
        got += [one.position for one in batch]

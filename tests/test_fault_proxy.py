"""The proxy that other tests trust to break their lines."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from typing import ClassVar, NamedTuple, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.fault_proxy import FaultProxy, StartProxy
from tests.line_language import PostgresWire, SalesforceHttp


class Line(NamedTuple):
    proxy: FaultProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echoed(self, sent: bytes) -> bytes:
        self.writer.write(sent)
        return await self.reader.readexactly(len(sent))


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, chunk: bytes) -> None:
        self.transport.write(chunk)


@pytest.fixture
async def line(fault_proxy: StartProxy) -> AsyncIterator[Line]:
    """A connection to an echo server through the proxy."""

    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    async with server:
        proxy = await fault_proxy("127.0.0.1", server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        yield Line(proxy, reader, writer)
        writer.close()
        proxy.refuse()


async def test_proxy_forwards_both_ways_until_the_client_ends(line: Line) -> None:
    """A proxy that loses bytes of its own accord would make every other result worthless."""
    async with asyncio.timeout(5):
        assert await line.echoed(b"hello" * 50_000) == b"hello" * 50_000
        line.writer.write_eof()
        assert await line.reader.read() == b""


async def test_cut_resets_the_connection(line: Line) -> None:
    """A reset is what a client sees when a load balancer drops it."""
    async with asyncio.timeout(5):
        assert await line.echoed(b"a") == b"a"
        line.proxy.cut()
        with pytest.raises(ConnectionResetError):
            await line.reader.readexactly(1)


async def test_black_hole_is_silent_until_healed_and_loses_nothing(line: Line) -> None:
    """Half-open connections are found by the client's own time-outs only."""
    async with asyncio.timeout(5):
        assert await line.echoed(b"a") == b"a"
        line.proxy.black_hole()
        line.writer.write(b"b")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await line.reader.readexactly(1)
        line.proxy.heal()
        assert await line.reader.readexactly(1) == b"b"


async def test_cut_after_lets_exactly_so_many_bytes_pass(line: Line) -> None:
    """A reply cut in its middle must be reproducible to the byte."""
    async with asyncio.timeout(5):
        line.proxy.cut_after(3)
        line.writer.write(b"abcdef")
        assert await line.reader.read() == b"abc"


async def test_refused_connections_are_reset_and_counted(line: Line) -> None:
    """Counting is how a test waits for a client's next attempt without sleeping."""
    async with asyncio.timeout(5):
        line.proxy.refuse()
        reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
        await line.proxy.connected(2)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_latency_and_slowness_take_their_time_and_lose_nothing(line: Line) -> None:
    """A slow line must be slow, or what is measured behind it means nothing."""
    link = line.proxy.links["line"]
    async with asyncio.timeout(5):
        began = time.monotonic()
        link.latency(0.05)
        assert await line.echoed(b"a") == b"a"
        assert time.monotonic() - began >= 0.1
        line.proxy.heal()
        began = time.monotonic()
        link.slow(100_000)
        assert await line.echoed(b"b" * 10_000) == b"b" * 10_000
        assert time.monotonic() - began >= 0.08
    assert link.struck["latency"] == 2
    assert link.struck["slow"] >= 10


async def test_slicing_sends_small_pieces(line: Line) -> None:
    """Whoever believes that one read brings one message is found by this."""
    line.proxy.links["line"].slice(3)
    received: list[bytes] = []
    async with asyncio.timeout(5):
        line.writer.write(b"abcdefghi")
        while len(b"".join(received)) < 9:
            received.append(await line.reader.read(9))
    assert b"".join(received) == b"abcdefghi"
    assert line.proxy.links["line"].struck["slice"] == 6


class Org(asyncio.Protocol):
    """Answers each request with its path, and keeps the line open."""

    heard: ClassVar[list[bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, chunk: bytes) -> None:
        path = chunk.split()[1]
        self.heard.append(path)
        self.transport.write(path)


@pytest.fixture
async def org_proxy() -> AsyncIterator[FaultProxy]:
    """A proxy that knows the links of an org."""
    Org.heard.clear()
    server = await asyncio.get_running_loop().create_server(Org, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1], SalesforceHttp) as proxy:
        yield proxy


PATHS = {
    "login": b"/services/oauth2/token",
    "cometd": b"/cometd/66.0/connect",
    "rest": b"/services/data/v66.0/query?q=x",
}


async def asked(proxy: FaultProxy, link: str) -> bytes:
    """Ask for a path of *link* on a line of its own; return what came back before it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"POST " + PATHS[link] + b" HTTP/1.1\r\n\r\n")
        return await reader.read(100)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize("broken", PATHS)
@pytest.mark.parametrize(
    ("fault", "is_heard"), [("refuse", False), ("cut_unheard", False), ("cut_unanswered", True)]
)
async def test_one_link_of_an_org_is_broken_and_no_other(
    org_proxy: FaultProxy, broken: str, fault: str, *, is_heard: bool
) -> None:
    """All links lead to one address: only the path tells the login from the stream."""
    async with asyncio.timeout(5):
        getattr(org_proxy.links[broken], fault)()
        answers = {link: await asked(org_proxy, link) for link in PATHS}
        assert answers == {link: b"reset" if link == broken else path for link, path in PATHS.items()}
        assert (PATHS[broken] in Org.heard) == is_heard
        assert org_proxy.links[broken].struck[fault] == 1
        org_proxy.heal()
        assert await asked(org_proxy, broken) == PATHS[broken]


@pytest.mark.parametrize(("fault", "is_there"), [("cut_unheard", False), ("cut_unanswered", True)])
async def test_line_to_postgres_is_cut_around_commit(pg_dsn: str, fault: str, *, is_there: bool) -> None:
    """The client knows as little in both cases, and the database has it or has it not."""
    there = urlsplit(pg_dsn)
    async with (
        asyncio.timeout(20),
        FaultProxy(there.hostname or "", there.port or 5432, PostgresWire) as proxy,
    ):
        user, _, _ = there.netloc.rpartition("@")
        way = there._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
        connection = await asyncpg.connect(way)
        await connection.execute("CREATE TABLE public.kept AS SELECT 'a'::text AS word")
        async with connection.transaction():
            await connection.executemany(
                "INSERT INTO public.kept VALUES ($1)", [("x" * size,) for size in range(2000)]
            )
        getattr(proxy.links["postgres"], fault)()
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            async with connection.transaction():
                await connection.execute("INSERT INTO public.kept VALUES ('b')")
        assert proxy.links["postgres"].struck[fault] == 1
        connection.terminate()
        again = await asyncpg.connect(way)
        words = await again.fetchval("SELECT count(*) FROM public.kept WHERE word = 'b'")
        await again.close()
    assert words == int(is_there)


async def test_commit_is_found_however_the_bytes_are_cut() -> None:
    """A commit that the proxy overlooks would pass for one that it cut."""
    startup = struct.pack("!ii", 8, 80877103), struct.pack("!ii", 8, 196608)
    query = b"".join(
        b"Q" + struct.pack("!i", len(text) + 5) + text + b"\0" for text in (b"SELECT 1", b"COMMIT;", b"END")
    )
    for size in (1, 3, 7, 1000):
        wire = PostgresWire()
        pieces = [
            piece
            for content in (*startup, query)
            for place in range(0, len(content), size)
            for piece in wire.request(content[place : place + size])
        ]
        assert b"".join(piece.content for piece in pieces) == b"".join(startup) + query
        assert [piece.content[5:12] for piece in pieces if piece.is_turn] == [b"COMMIT;"]


async def test_encrypted_line_is_refused_because_nothing_can_be_read() -> None:
    """Silence would look like a proxy that works."""
    wire = PostgresWire()
    wire.request(struct.pack("!ii", 8, 80877103))
    with pytest.raises(ValueError, match="sslmode=disable"):
        wire.answer(b"S")

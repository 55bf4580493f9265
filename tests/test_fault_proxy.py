"""The proxy that other tests trust to break their lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, cast

import pytest

from tests.fault_proxy import FaultProxy, StartProxy


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

"""A TCP proxy that breaks the line in the ways networks do.

Why: a fault injected into the client proves nothing about the client. The proxy stands before the real
server; `cut` resets connections, `black_hole` keeps them open and silent, as a lost route does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class FaultProxy:
    """Forwards 127.0.0.1:`port` to one server, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._bytes_left: int | None = None
        self._arrivals = asyncio.Condition()
        self.connections = 0
        """How many connections were accepted so far, refused ones included."""
        self.delay_s = 0.0
        """How long each chunk waits, in both directions."""
        self.port = 0

    def cut(self) -> None:
        """Reset every connection, without a farewell."""
        for writer in self._writers:
            _reset(writer)

    def refuse(self) -> None:
        """Reset every connection and each new one, as if the server were gone, until `heal`."""
        self._refusing = True
        self.cut()

    def black_hole(self) -> None:
        """Let nothing pass in either direction, and keep all connections open, until `heal`."""
        self._flowing.clear()

    def cut_after(self, size: int) -> None:
        """Let *size* more bytes of the server's answers pass, then close that connection in mid-answer."""
        self._bytes_left = size

    def heal(self) -> None:
        """Forward again, at once and everything, what was held back included."""
        self._refusing = False
        self._bytes_left = None
        self.delay_s = 0.0
        self._flowing.set()

    async def connected(self, count: int) -> None:
        """Wait until *count* connections were accepted in all."""
        async with self._arrivals:
            await self._arrivals.wait_for(lambda: self.connections >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.heal()
        self.refuse()
        await asyncio.gather(*self._served)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Our own task rather than the stream server's: that one cannot be awaited before the loop ends.
        served = asyncio.create_task(self._serve(reader, writer))
        self._served.add(served)
        served.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with self._arrivals:
                self.connections += 1
                self._arrivals.notify_all()
            if self._refusing:
                _reset(writer)
            else:
                await self._forward(reader, writer)
        except* OSError:
            pass  # Broken lines are what this is for.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(*self._target)
        self._writers.add(requests)
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump_requests(reader, requests))
                both_ways.create_task(self._pump_answers(answers, writer))
        finally:
            self._writers.discard(requests)
            requests.close()

    async def _pump_requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            await self._pass(chunk, sink)
        sink.write_eof()

    async def _pump_answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if self._bytes_left is None:
                await self._pass(chunk, sink)
            elif self._bytes_left > len(chunk):
                self._bytes_left -= len(chunk)
                await self._pass(chunk, sink)
            else:
                allowed, self._bytes_left = chunk[: self._bytes_left], None
                await self._pass(allowed, sink)
                raise ConnectionAbortedError
        sink.write_eof()

    async def _pass(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        sink.write(chunk)
        await sink.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of the farewell that closing sends by itself."""
    line = writer.get_extra_info("socket")
    if line.fileno() != -1:  # Not closed already.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


StartProxy = Callable[[str, int], Awaitable[FaultProxy]]

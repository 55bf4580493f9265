"""A TCP proxy that breaks the line in the ways networks do.

Why: a fault injected into the client proves nothing about the client. The proxy stands before the real
server; `cut` resets connections, `black_hole` keeps them open and silent, as a lost route does. Where it knows the
language of a line it can break one link of several (the login, not the stream), and at the very moment that hurts: after
the server has done what it was asked, before the client hears of it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.line_language import Bytes, Language

CHUNK_BYTES = 65_536
STEP_S = 0.02


@dataclass(eq=False, slots=True)
class _Line:
    """One connection of a client, and ours to the server."""

    language: Language
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                _reset(writer)


@dataclass(eq=False, slots=True)
class Link:
    """What is wrong with one link just now; nothing, until told otherwise. `struck` counts what it did to whom."""

    name: str
    lines: set[_Line]
    struck: Counter[str] = field(default_factory=Counter)
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    slice_bytes: int = 0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _is_refusing: bool = False
    _bytes_left: int | None = None
    _traps: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flowing.set()

    # What may be wrong -------------------------------------------------------------------------------

    def latency(self, seconds: float) -> None:
        """Let each chunk wait, in both directions."""
        self.delay_s = seconds

    def slow(self, bytes_per_s: float) -> None:
        """Let no more through than that, in each direction of each line."""
        self.bytes_per_s = bytes_per_s

    def slice(self, size: int) -> None:
        """Send everything in pieces of *size* bytes."""
        self.slice_bytes = size

    def black_hole(self) -> None:
        """Let nothing pass in either direction, and keep all lines open, until `heal`."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every line, without a farewell."""
        for line in [line for line in self.lines if line.language.link == self.name]:
            self.struck["cut"] += 1
            line.reset()

    def refuse(self) -> None:
        """Reset every line and each new one, as if the server were gone, until `heal`."""
        self._is_refusing = True
        self.cut()

    def cut_after(self, size: int) -> None:
        """Let *size* more bytes of the server's answers pass, then close that line in mid-answer."""
        self._bytes_left = size

    def cut_unheard(self) -> None:
        """Reset the line that carries the next turn, before the server hears of it."""
        self._traps.add("cut_unheard")

    def cut_unanswered(self) -> None:
        """Reset the line of the next turn when the server has answered, without passing the answer on."""
        self._traps.add("cut_unanswered")

    def heal(self) -> None:
        """Forward again, at once and everything, what was held back included."""
        self._is_refusing = False
        self._bytes_left = None
        self._traps.clear()
        self.delay_s = self.bytes_per_s = 0.0
        self.slice_bytes = 0
        self._flowing.set()

    # What it does to who passes ----------------------------------------------------------------------

    def refuses(self) -> bool:
        """Tell whether a line must go that has just begun to use this link."""
        self.struck["refuse"] += self._is_refusing
        return self._is_refusing

    def springs(self, trap: str) -> bool:
        """Tell whether a trap was set, which catches once."""
        is_set = trap in self._traps
        self._traps.discard(trap)
        self.struck[trap] += is_set
        return is_set

    def allowed(self, content: bytes) -> tuple[bytes, bool]:
        """Return what may still pass of an answer, and whether its line is cut then."""
        if self._bytes_left is None:
            return content, False
        if self._bytes_left > len(content):
            self._bytes_left -= len(content)
            return content, False
        allowed, self._bytes_left = content[: self._bytes_left], None
        self.struck["cut_after"] += 1
        return allowed, True

    async def carry(self, content: bytes, sink: asyncio.StreamWriter) -> None:
        """Bring *content* to the other end as this link does it now."""
        if not self._flowing.is_set():
            self.struck["black_hole"] += 1
            await self._flowing.wait()
        if self.delay_s:
            self.struck["latency"] += 1
            await asyncio.sleep(self.delay_s)
        for part in self._parts(content):
            sink.write(part)
            await sink.drain()
            if self.bytes_per_s:
                self.struck["slow"] += 1
                await asyncio.sleep(len(part) / self.bytes_per_s)
            elif self.slice_bytes:
                self.struck["slice"] += 1
                await asyncio.sleep(0)

    def _parts(self, content: bytes) -> Iterator[bytes]:
        rest = content
        while rest:
            size = self.slice_bytes or round(self.bytes_per_s * STEP_S) or len(rest)
            yield rest[:size]
            rest = rest[size:]


class FaultProxy:
    """Forwards 127.0.0.1:`port` to one server, until told otherwise: of one of its `links`, or of all."""

    def __init__(self, host: str, port: int, language: type[Language] = Bytes) -> None:
        self.target = (host, port)
        self._language = language
        self._lines: set[_Line] = set()
        self.links: Mapping[str, Link] = {name: Link(name, self._lines) for name in language.LINKS}
        self._served: set[asyncio.Task[None]] = set()
        self._arrivals = asyncio.Condition()
        self.connections = 0
        """How many connections were accepted so far, refused ones included."""
        self.port = 0

    def cut(self) -> None:
        """Reset every connection, without a farewell."""
        for link in self.links.values():
            link.cut()

    def refuse(self) -> None:
        """Reset every connection and each new one, as if the server were gone, until `heal`."""
        for link in self.links.values():
            link.refuse()

    def black_hole(self) -> None:
        """Let nothing pass in either direction, and keep all connections open, until `heal`."""
        for link in self.links.values():
            link.black_hole()

    def cut_after(self, size: int) -> None:
        """Let *size* more bytes of the server's answers pass, then close that connection in mid-answer."""
        for link in self.links.values():
            link.cut_after(size)

    def heal(self) -> None:
        """Forward again, at once and everything, what was held back included."""
        for link in self.links.values():
            link.heal()

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
        line = _Line(self._language(), writer)
        self._lines.add(line)
        try:
            async with self._arrivals:
                self.connections += 1
                self._arrivals.notify_all()
            if len(self.links) == 1 and self._link(line).refuses():
                line.reset()
            else:
                await self._forward(reader, line)
        except* OSError:
            pass  # Broken lines are what this is for.
        finally:
            self._lines.discard(line)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, line: _Line) -> None:
        answers, server = await asyncio.open_connection(*self.target)
        line.server = server
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump_requests(reader, line, server))
                both_ways.create_task(self._pump_answers(answers, line))
        finally:
            server.close()

    async def _pump_requests(
        self, source: asyncio.StreamReader, line: _Line, sink: asyncio.StreamWriter
    ) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            for piece in line.language.request(chunk):
                link = self._link(line)
                if piece.is_turn and (link.refuses() or link.springs("cut_unheard")):
                    _break(line)
                await link.carry(piece.content, sink)
        sink.write_eof()

    async def _pump_answers(self, source: asyncio.StreamReader, line: _Line) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            for piece in line.language.answer(chunk):
                link = self._link(line)
                if piece.is_turn and link.springs("cut_unanswered"):
                    _break(line)
                allowed, is_last = link.allowed(piece.content)
                await link.carry(allowed, line.client)
                if is_last:
                    raise ConnectionAbortedError
        line.client.write_eof()

    def _link(self, line: _Line) -> Link:
        return self.links[line.language.link]


def _break(line: _Line) -> None:
    line.reset()
    raise ConnectionAbortedError


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of the farewell that closing sends by itself."""
    line = writer.get_extra_info("socket")
    if line.fileno() != -1:  # Not closed already.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


StartProxy = Callable[[str, int], Awaitable[FaultProxy]]

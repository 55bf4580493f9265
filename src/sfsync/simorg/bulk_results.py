"""The rows of a finished query job as a file, and one page of it as a response.

Why: a job may hold millions of rows. They are written once, while the job runs, to a file that has no name, with the
place where each row begins; a page is a span of bytes of it, sent in pieces, so that no page is ever in memory and
the org costs little of the two processors that a measurement shares with it.
"""

import asyncio
import os
import tempfile
import weakref
import zlib
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

PIECE_BYTES = 256 * 1024
# As fast as it goes: pages of CSV shrink to a fifth all the same.
GZIP_LEVEL = 1
# A slow page is sent in this many pieces a second.
SLOW_PIECES_S = 20


class ResultFile:
    """Lines of CSV in an unlinked file; whoever holds it may read, and it is gone with its last holder."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        descriptor, path = tempfile.mkstemp(prefix="simorg-bulk-")
        os.unlink(path)
        self._descriptor = descriptor
        self._starts = array("Q", [0])
        weakref.finalize(self, os.close, descriptor)

    def append(self, lines: Sequence[str]) -> None:
        """Write further lines, one for each record."""
        encoded = [line.encode() for line in lines]
        os.write(self._descriptor, b"".join(encoded))
        ends = accumulate(map(len, encoded), initial=self._starts[-1])
        self._starts.extend(islice(ends, 1, None))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Return where the records from *first* to before *end* begin and end, in bytes."""
        return self._starts[first], self._starts[end]

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes between two places."""
        return os.pread(self._descriptor, end - start, start)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a page is sent: compressed or not, at most so many bytes a second."""

    gzip: bool = False
    bytes_s: float | None = None


class Page(web.StreamResponse):
    """The records *first* to before *end* of a result; with *cut_after* the line is cut behind so many bytes."""

    def __init__(self, file: ResultFile, first: int, end: int, manner: Manner) -> None:
        super().__init__()
        self.content_type, self.charset = "text/csv", "UTF-8"
        self.cut_after: int | None = None
        self._file = file
        self._span = file.span(first, end)
        self._manner = manner
        if manner.gzip:
            self.headers["Content-Encoding"] = "gzip"
        else:
            self.content_length = len(file.header) + self._span[1] - self._span[0]

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, then the whole body; like a file's response, whatever sends it needs to do no more."""
        writer = await super().prepare(request)
        if writer is not None and request.method != "HEAD":
            await self._send(request)
        return writer

    async def _send(self, request: web.BaseRequest) -> None:
        left = self.cut_after
        async for piece in self._compressed() if self._manner.gzip else self._plain():
            sent = piece if left is None else piece[:left]
            await self.write(sent)
            if self._manner.bytes_s:
                await asyncio.sleep(len(sent) / self._manner.bytes_s)
            if left is not None:
                left -= len(sent)
                if left <= 0:
                    break
        if self.cut_after is not None and request.transport is not None:
            request.transport.close()

    async def _plain(self) -> AsyncIterator[bytes]:
        size = PIECE_BYTES
        if self._manner.bytes_s:
            size = min(size, max(1, int(self._manner.bytes_s / SLOW_PIECES_S)))
        yield self._file.header
        for start in range(*self._span, size):
            yield self._file.read(start, min(start + size, self._span[1]))

    async def _compressed(self) -> AsyncIterator[bytes]:
        packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
        async for piece in self._plain():
            # Compressing lets go of the interpreter, so others are served meanwhile.
            if packed := await asyncio.to_thread(packer.compress, piece):
                yield packed
        yield packer.flush()

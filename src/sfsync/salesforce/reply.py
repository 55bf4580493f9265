"""The reply to one CometD request: decoded whole while it is small, in parts when it is huge.

Why: decoding whole is fastest and nearly every reply is small. After a long stop one reply may hold more than all
the memory we allow ourselves, so above `WHOLE_BYTES_MAX` it is framed while it arrives. Between two parts
nothing is read: the socket fills, and back pressure reaches the server by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from ..errors import SalesforceError, UnavailableError
from .bayeux import ELEMENT_BYTES_MAX, Arrival, Message, read_element, read_reply
from .framing import ArrayFramer, Element, FramingError
from .transport import Body, read_within

WHOLE_BYTES_MAX = 8 * 1024 * 1024
REPLY_BYTES_MAX = 64 * 1024 * 1024
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 4 * 1024 * 1024
_ERROR_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class CometdTimings:
    """How long to wait: for a held poll, beyond it, for any other reply, for a whole huge reply, for goodbye."""

    long_poll_s: float = 110.0
    slack_s: float = 15.0
    reply_s: float = 30.0
    transfer_s: float = 600.0
    goodbye_s: float = 2.0


class Reply:
    """The answer to one request, part by part."""

    def __init__(self, response: aiohttp.ClientResponse, channel: str, timings: CometdTimings) -> None:
        self.is_over = False
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._body = Body(response, size_max=REPLY_BYTES_MAX)
        self._channel = channel
        self._stall_s = timings.slack_s
        self._deadline = time.monotonic() + timings.transfer_s
        self._framer: ArrayFramer | None = None
        self._elements: deque[Element] = deque()

    async def next_part(self) -> list[Message | Arrival]:
        """Return the whole reply, or the next part of a huge one; `is_over` after the last.

        Raises `UnavailableError` when the reply is cut, stalls, or is no array of messages.
        """
        if self._framer is None:
            whole = bytearray()
            while len(whole) <= WHOLE_BYTES_MAX:
                piece = await self._read()
                if not piece:
                    self._end()
                    return list(read_reply(bytes(whole), self._channel))
                whole += piece
            self._framer = ArrayFramer(element_bytes_max=ELEMENT_BYTES_MAX)
            self._frame(self._framer, bytes(whole))
        return await self._framed_part(self._framer)

    async def _framed_part(self, framer: ArrayFramer) -> list[Message | Arrival]:
        while not self._elements:
            piece = await self._read()
            if not piece:
                _finish(framer)
                self._end()
                return []
            self._frame(framer, piece)
        part: list[Message | Arrival] = []
        size = 0
        while self._elements and len(part) < BATCH_EVENTS_MAX and size < BATCH_BYTES_MAX:
            element = self._elements.popleft()
            size += len(element) if isinstance(element, bytes) else len(element.head)
            part.append(read_element(element, self._channel))
        return part

    def _frame(self, framer: ArrayFramer, piece: bytes) -> None:
        try:
            self._elements.extend(framer.feed(piece))
        except FramingError as error:
            raise UnavailableError(f"the reply is no array of messages: {error}", code="NOT_JSON") from error

    async def _read(self) -> bytes:
        if time.monotonic() > self._deadline:
            raise UnavailableError("the reply took too long to arrive", code="TRANSFER")
        return await read_within(self._body, self._stall_s)

    async def body_for_error(self) -> bytes:
        """Return the beginning of the body of an answer that is a failure; empty when even that fails."""
        try:
            with suppress(SalesforceError, TimeoutError):
                async with asyncio.timeout(self._stall_s):
                    return await self._body.read_up_to(_ERROR_BYTES_MAX)
            return b""
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        self._response.release()

    def close(self) -> None:
        """Drop the answer and its socket."""
        self._response.close()


def _finish(framer: ArrayFramer) -> None:
    try:
        framer.finish()
    except FramingError as error:
        raise UnavailableError(f"the reply is no array of messages: {error}", code="NOT_JSON") from error

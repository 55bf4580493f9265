"""What is spoken on a line, as far as a proxy must know it to break the line at a meant moment.

Why: "cut exactly after COMMIT" and "cut the login, not the stream" cannot be told from bytes alone. A language names the
link that a line belongs to just now, and marks turns: the request that makes something happen, and the first bytes of
its answer. Everything else passes as it came.
Source: PostgreSQL, "Message Formats"; RFC 9112 (a client that does not pipeline begins a request in bytes of its own).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

_REQUEST_LINE = re.compile(rb"[A-Z]+ (/\S*) HTTP/1\.1\r\n")
_LENGTH = struct.Struct("!i")
_STARTUP_HEAD = struct.Struct("!ii")
# Questions before the start: may we speak TLS, or GSSAPI? Answered by one bare byte.
_ENCRYPTION_ASKED = frozenset({80877103, 80877104})


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that pass together; `is_turn`: the request of something begins with them, or its answer."""

    content: bytes
    is_turn: bool = False


class Language(Protocol):
    """One line's language; `LINKS` are all values that `link` may take."""

    LINKS: ClassVar[tuple[str, ...]]
    link: str

    def request(self, chunk: bytes) -> list[Piece]:
        """Take what the client sent; return what may pass."""

    def answer(self, chunk: bytes) -> list[Piece]:
        """Take what the server sent; return what may pass."""


class Bytes:
    """Nothing is known of it."""

    LINKS: ClassVar[tuple[str, ...]] = ("line",)
    link = "line"

    def request(self, chunk: bytes) -> list[Piece]:
        return [Piece(chunk)]

    def answer(self, chunk: bytes) -> list[Piece]:
        return [Piece(chunk)]


class SalesforceHttp:
    """HTTP with an org: what a line carries is told by the path that was asked last."""

    LINKS: ClassVar[tuple[str, ...]] = ("login", "cometd", "rest")

    def __init__(self) -> None:
        self.link = "login"
        self._is_asked = False

    def request(self, chunk: bytes) -> list[Piece]:
        line = _REQUEST_LINE.match(chunk)
        if line is None:
            return [Piece(chunk)]
        self.link, self._is_asked = _link_of(line[1]), True
        return [Piece(chunk, is_turn=True)]

    def answer(self, chunk: bytes) -> list[Piece]:
        is_turn, self._is_asked = self._is_asked, False
        return [Piece(chunk, is_turn)]


def _link_of(path: bytes) -> str:
    if path.startswith(b"/cometd/"):
        return "cometd"
    return "login" if path.startswith(b"/services/oauth2/") else "rest"


class PostgresWire:
    """The protocol of Postgres, unencrypted; the turns are COMMIT and its confirmation."""

    LINKS: ClassVar[tuple[str, ...]] = ("postgres",)
    link = "postgres"

    def __init__(self) -> None:
        self._asked, self._answered = bytearray(), bytearray()
        self._has_started = False
        self._bare_bytes = 0

    def request(self, chunk: bytes) -> list[Piece]:
        self._asked += chunk
        pieces = [] if self._has_started else self._startup()
        if self._has_started:
            pieces += _pieces(self._asked, _is_commit)
        return pieces

    def answer(self, chunk: bytes) -> list[Piece]:
        self._answered += chunk
        bare = bytes(self._answered[: self._bare_bytes])
        if bare.startswith(b"S"):
            raise ValueError("the server agreed to encrypt, so nothing can be read: set sslmode=disable")
        del self._answered[: len(bare)]
        self._bare_bytes -= len(bare)
        return ([Piece(bare)] if bare else []) + _pieces(self._answered, _is_committed)

    def _startup(self) -> list[Piece]:
        """Let pass what comes before typed messages: up to the one that begins the session."""
        pieces = []
        while not self._has_started and len(self._asked) >= _STARTUP_HEAD.size:
            size, code = _STARTUP_HEAD.unpack_from(self._asked)
            if len(self._asked) < size:
                break
            pieces.append(Piece(bytes(self._asked[:size])))
            del self._asked[:size]
            if code in _ENCRYPTION_ASKED:
                self._bare_bytes += 1
            else:
                self._has_started = True
        return pieces


def _is_commit(kind: bytes, body: bytes) -> bool:
    return kind == b"Q" and body.rstrip(b"\0; ").upper() == b"COMMIT"


def _is_committed(kind: bytes, body: bytes) -> bool:
    return kind == b"C" and body == b"COMMIT\0"


def _pieces(buffer: bytearray, is_turn: Callable[[bytes, bytes], bool]) -> list[Piece]:
    """Take the whole messages off *buffer*: one piece up to each turn, and one that begins with it."""
    pieces, begin, turns, whole = [], 0, False, 0
    for start, end, kind, body in _messages(buffer):
        whole = end
        if is_turn(kind, body):
            if start > begin:
                pieces.append(Piece(bytes(buffer[begin:start]), turns))
            begin, turns = start, True
    if whole > begin:
        pieces.append(Piece(bytes(buffer[begin:whole]), turns))
    del buffer[:whole]
    return pieces


def _messages(buffer: bytearray) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield begin, end, kind and body of each whole message; the body only of such as can be a turn."""
    start = 0
    while len(buffer) >= start + 5:
        end = start + 1 + _LENGTH.unpack_from(buffer, start + 1)[0]
        if end > len(buffer):
            return
        body = bytes(buffer[start + 5 : end]) if end - start <= 32 else b""
        yield start, end, bytes(buffer[start : start + 1]), body
        start = end

"""Lines to a real Postgres, one statement at a time, with virtual time in place of the server's clock.

Why: the store is not simulated, since a second store would be a second thing to believe. What a session writes is
kept until nothing else can run; then it is sent, and the loop waits for the whole answer. So virtual time stands still
while SQL runs, and the order of statements is that in which they were written. Only a session that waits for another
one's lock is left alone until that one has gone on.

The protocol's messages are read as far as needed: where an answer ends, and where a statement says `now()`, which
becomes `sim.now()`, a function over a setting that goes with the statement whenever time has moved. What NOTIFY sends
is left out: it would come at a moment of the server's choice, and sfsync polls as well.

Source: PostgreSQL manual, "Frontend/Backend Protocol", "Message Formats".
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

from .loop import EPOCH_S, PROCESS, VirtualLoop

SIM_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS sim;
GRANT USAGE ON SCHEMA sim TO PUBLIC;
CREATE OR REPLACE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS $$SELECT pg_catalog.current_setting('sim.now')::timestamptz$$;
"""
_NOW = re.compile(rb"(?:pg_catalog\.)?\b(?:now|clock_timestamp)\(\)")
_CANCEL = 80877102
_LOCK_WAIT_S = 0.7


class PostgresServer:
    """The way to one database; `fate` says of each write what becomes of it: "arrive", "lost" or "unanswered"."""

    def __init__(self, loop: VirtualLoop, address: tuple[str, int], note: Callable[[str], None]) -> None:
        self._loop = loop
        self._address = address
        self._note = note
        self._waiting: deque[Session] = deque()
        self._blocked: list[Session] = []
        self._leaving: list[Session] = []
        self.sessions: list[Session] = []
        self.is_down = False
        self.fate: Callable[[Session], str] = lambda _session: "arrive"
        self.met: Counter[str] = Counter()
        self.exchanges = 0

    async def connect(self, factory: Callable[[], Any]) -> tuple[Any, Any]:
        """Open a session. Raises `ConnectionRefusedError` while the server is down."""
        await asyncio.sleep(0)
        if self.is_down and PROCESS.get() is not None:
            self.met["refused"] += 1
            raise ConnectionRefusedError(111, "simulated: connection refused")
        session = Session(self, socket.create_connection(self._address))
        self.sessions.append(session)
        process = PROCESS.get()
        if process is not None:
            process.lines.append(session)
        session.protocol = factory()
        session.protocol.connection_made(session)
        return session, session.protocol

    def queue(self, session: Session) -> None:
        """Note that *session* has something to send."""
        if session not in self._waiting:
            self._waiting.append(session)

    def answer_next(self) -> bool:
        """Send what one session has to send and take its answer; tell whether anything happened."""
        self._see_off()
        for session in list(self._blocked):
            if session.receive(self._another_works(session)):
                self._blocked.remove(session)
                return True
        while self._waiting:
            session = self._waiting.popleft()
            if not session.is_closing():
                self._exchange(session)
                return True
        return False

    def _exchange(self, session: Session) -> None:
        self.exchanges += 1
        fate = self.fate(session)
        if fate == "lost":
            self.met["lost before"] += 1
            session.lose()
            return
        if not session.send():
            return
        if not session.receive(self._another_works(session), unanswered=fate == "unanswered"):
            self.met["blocked"] += 1
            self._blocked.append(session)
        elif fate == "unanswered":
            self.met["lost after"] += 1
            session.lose()

    def _another_works(self, session: Session) -> bool:
        return any(other.status in b"TE" for other in self.sessions if other is not session)

    def let_go(self, session: Session) -> None:
        """End a session; it is over when the server has closed its side."""
        if session in self.sessions:
            self.sessions.remove(session)
            self._leaving.append(session)
        if session in self._blocked:
            self._blocked.remove(session)

    def _see_off(self) -> None:
        """Wait until those who left are gone, with their locks: those first who wait for nobody."""
        left, self._leaving = self._leaving, []
        for session in left:
            session.hang_up()
        for session in left:
            session.wait_gone()

    def restart(self) -> None:
        """Cut every session of a process, as a server that is stopped at once does; the judge keeps its own."""
        for session in list(self.sessions):
            if session.process is not None:
                session.lose()

    def note(self, text: str) -> None:
        self._note(text)

    @property
    def loop(self) -> VirtualLoop:
        return self._loop


class Session(asyncio.Transport):
    """One session: the transport that the driver sees."""

    def __init__(self, server: PostgresServer, sock: socket.socket) -> None:
        super().__init__()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        self._sock = sock
        self._context = copy_context()
        self.process = PROCESS.get()
        self._out = bytearray()
        self._in = bytearray()
        self._answer = bytearray()
        self._skipped = 0
        self._begin = b""
        self._awaits = b""
        self._is_begun = False
        self._is_over = False
        self._told_s = -1.0
        self.status = b"0"
        self.protocol: Any = None

    # What protocols ask of a transport ---------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if not self._is_over:
            self._out += data
            self._server.queue(self)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._is_over:
            self.die()
            self._server.loop.call_soon(self.protocol.connection_lost, None, context=self._context)

    def die(self) -> None:
        """End it without telling anybody here; what was not sent yet never is."""
        if not self._is_over:
            self._is_over = True
            self._server.let_go(self)

    def lose(self) -> None:
        """Let the line break."""
        if not self._is_over:
            self.die()
            self._server.note("sql line lost")
            self._server.loop.call_soon(
                self.protocol.connection_lost, ConnectionResetError(104, "reset"), context=self._context
            )

    def is_closing(self) -> bool:
        return self._is_over

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    # One exchange -----------------------------------------------------------------------------------------

    def send(self) -> bool:
        """Send what was written; tell whether it wants an answer."""
        written, self._out = bytes(self._out), bytearray()
        if not self._is_begun:
            if struct.unpack_from("!ii", written)[1] == _CANCEL:
                # It comes too late: what runs is done before anything else happens here.
                self.die()
                self._server.loop.call_soon(self.protocol.connection_lost, None, context=self._context)
                return False
            self._is_begun, self._awaits = True, b"RZ"
            self._sock.sendall(written)
            return True
        messages = list(_messages(written))
        kinds = b"".join(kind for kind, _ in messages)
        if kinds == b"X":
            self.abort()
            return False
        if kinds == b"Q" and self.status == b"I" and messages[0][1][:5] == b"BEGIN":
            self._begin_later(messages[0][1])
            return False
        self._awaits = _answer_end(kinds)
        preamble = self._preamble() if kinds[:1] in b"QPB" else b""
        self._sock.sendall(preamble + b"".join(_rewritten(kind, body) for kind, body in messages))
        return bool(self._awaits)

    def _begin_later(self, statement: bytes) -> None:
        """Answer BEGIN here, and send it with the first statement: one turn less for each transaction."""
        self._begin, self.status = _message(b"Q", statement), b"T"
        self._server.note("sql BEGIN")
        self._answer += _message(b"C", b"BEGIN\0") + _message(b"Z", b"T")
        self._pass_on()

    def _preamble(self) -> bytes:
        """Return what goes before a statement: the time, if it has moved, and the BEGIN that is still owed."""
        now_s = self._server.loop.time()
        begin, self._begin = self._begin, b""
        is_idle = bool(begin) or self.status == b"I"
        self._skipped = bool(begin)
        if self.status == b"E" or (is_idle and now_s == self._told_s):
            return begin
        # Set within a transaction, it is gone when that is rolled back; so it counts only outside.
        self._told_s = now_s if is_idle else -1.0
        shown = datetime.fromtimestamp(EPOCH_S + now_s, UTC).isoformat()
        self._skipped += 1
        return _message(b"Q", f"SET sim.now = '{shown}'".encode() + b"\0") + begin

    def receive(self, another_works: bool, *, unanswered: bool = False) -> bool:
        """Take the answer and pass it on; False when it waits for another session's lock."""
        self._sock.settimeout(_LOCK_WAIT_S if another_works else None)
        while True:
            if self._take_in():
                break
            try:
                came = self._sock.recv(262_144)
            except TimeoutError:
                return False
            if not came:
                self._pass_on()
                self.lose()
                return True
            self._in += came
        if not unanswered:
            self._pass_on()
        return True

    def _take_in(self) -> bool:
        """Move whole messages to the answer; tell whether it is complete."""
        place, is_complete = 0, False
        while not is_complete and len(self._in) - place >= 5:
            end = place + 1 + int.from_bytes(self._in[place + 1 : place + 5], "big")
            if len(self._in) < end:
                break
            is_complete = self._take(bytes(self._in[place:end]))
            place = end
        del self._in[:place]
        return is_complete

    def _take(self, message: bytes) -> bool:
        kind = message[:1]
        if kind == b"Z":
            self.status = message[5:6]
            if self._skipped:
                self._skipped -= 1
                self._answer.clear()
                return False
        if kind == b"A":
            return False
        if kind == b"C" and not self._skipped:
            self._server.note(f"sql {message[5:-1].decode()}")
        if kind == b"E" and not self._skipped:
            self._server.note(f"sql error {_sqlstate(message)}")
        self._answer += message
        if kind == b"R":
            return int.from_bytes(message[5:9], "big") not in (0, 12)
        return kind in self._awaits

    def _pass_on(self) -> None:
        answer, self._answer = bytes(self._answer), bytearray()
        self._server.loop.call_soon(self._deliver, answer, context=self._context)

    def _deliver(self, answer: bytes) -> None:
        if not self._is_over and answer:
            self.protocol.data_received(answer)

    # The end ----------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Tell the server that nobody is here any more."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def wait_gone(self) -> None:
        """Wait until the server's process for this session is gone."""
        with suppress(OSError):
            self._sock.settimeout(20.0)
            while self._sock.recv(262_144):
                pass
        self._sock.close()


def _messages(written: bytes) -> Any:
    place = 0
    while place < len(written):
        end = place + 1 + int.from_bytes(written[place + 1 : place + 5], "big")
        yield written[place : place + 1], written[place + 5 : end]
        place = end


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _rewritten(kind: bytes, body: bytes) -> bytes:
    return _message(kind, _NOW.sub(b"sim.now()", body) if kind in b"PQ" else body)


def _answer_end(kinds: bytes) -> bytes:
    """Say with which messages the answer to these ends; with none of them there is no answer yet."""
    if b"p" in kinds:
        return b"RZ"
    if b"c" in kinds or b"f" in kinds:
        # The end of a COPY, which may have been written together with its beginning.
        return b"Z"
    if b"S" in kinds or b"Q" in kinds:
        return b"ZG"
    return b"TnE" if b"H" in kinds else b""


def _sqlstate(message: bytes) -> str:
    fields = message[5:].split(b"\0")
    return next((field[1:].decode() for field in fields if field[:1] == b"C"), "")

"""Lines to a real Postgres, one statement at a time, with virtual time in place of the server's clock.

Why: the store is not simulated, since a second store would be a second thing to believe. What a session writes is
kept until nothing else can run; then it is sent, and the loop waits for the whole answer. So virtual time stands still
while SQL runs, and the order of statements is that in which they were written. Only a session that waits for another
one's lock is left alone until that one has gone on; the server is asked whether it waits, so no pace decides that.

The protocol's messages are read as far as needed: where an answer ends, and where a statement says `now()`, which
becomes `sim.now()`, a function over a setting that goes ahead when time has moved and the statement may ask for it.
What NOTIFY sends is left out: it would come at a moment of the server's choice, and sfsync polls as well. A session
begins with what the server said when it began so for the first time: the real one behind it is lent from a store of
warm ones (`server_sessions`). So its login is one exchange and checks no password.

Source: PostgreSQL manual, "Frontend/Backend Protocol", "Message Formats".
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from functools import cache
from typing import Any

from .loop import EPOCH_S, PROCESS, VirtualLoop
from .server_sessions import Backend, ServerSessions, message

SIM_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS sim;
GRANT USAGE ON SCHEMA sim TO PUBLIC;
CREATE OR REPLACE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS $$SELECT pg_catalog.current_setting('sim.now')::timestamptz$$;
"""
_NOW = re.compile(rb"(?:pg_catalog\.)?\b(?:now|clock_timestamp)\(\)")
# What reads and calls no function of ours asks for no time; no view does, which EMPTY makes sure of.
_TIMELESS = re.compile(
    rb"\s*(?:--[^\n]*\n\s*)*"
    rb"(?:SELECT\b(?!.*\b(?:crm|sfsync|sim)\"?\.\"?\w+\"?\s*\()|ROLLBACK\b|SAVEPOINT\b|RELEASE\b)",
    re.DOTALL,
)
_CANCEL = 80877102
_PARSE, _BIND, _QUERY = b"PBQ"
_READY, _NOTIFIED, _COMPLETE, _ERROR = _TELLING = b"ZACE"


class PostgresServer:
    """The way to one database; `fate` says of each write what becomes of it: "arrive", "lost" or "unanswered"."""

    def __init__(self, loop: VirtualLoop, real: ServerSessions, note: Callable[[str], None]) -> None:
        self._loop = loop
        self._real = real
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
        session = Session(self)
        self.sessions.append(session)
        process = PROCESS.get()
        if process is not None:
            process.lines.append(session)
        session.protocol = factory()
        session.protocol.connection_made(session)
        return session, session.protocol

    def queue(self, session: Session) -> None:
        """Note that *session* has something to send."""
        self._waiting.append(session)

    def answer_next(self) -> bool:
        """Send what one session has to send and take its answer; tell whether anything happened."""
        if self._leaving:
            self._see_off()
        for session in list(self._blocked):
            if not self.waits(session) and session.receive():
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
        if not session.receive(unanswered=fate == "unanswered"):
            self.met["blocked"] += 1
            self._blocked.append(session)
        elif fate == "unanswered":
            self.met["lost after"] += 1
            session.lose()

    def begin(self, startup: bytes) -> Backend:
        """Borrow the real session for a simulated one."""
        return self._real.take(startup)

    def waits(self, session: Session) -> bool:
        """Whether *session* waits for the lock of one that may go on."""
        return self._real.waits(session.real, [other.real for other in self._blocked])

    def cancel(self, pid: int, secret: int) -> None:
        """Cancel what a session does; only what waits for a lock is not done before anything else happens here."""
        for session in self._blocked:
            if (session.real.pid, session.real.secret) == (pid, secret):
                self._real.cancel(session.real)

    def end_unheard(self, session: Session) -> None:
        """End the real session of an idle one that does not hear of it: its locks are gone."""
        old, session.real = session.real, self._real.take(session.real.startup)
        self._real.give_back([(old, False)])

    def let_go(self, session: Session) -> None:
        """End a session; it is over when the server has ended its side."""
        if session in self.sessions:
            self.sessions.remove(session)
            self._leaving.append(session)
        if session in self._blocked:
            self._blocked.remove(session)

    def _see_off(self) -> None:
        """Wait until those who left are gone, with their locks: those first who wait for nobody."""
        begun = [session for session in self._leaving if session.is_begun]
        self._leaving.clear()
        self._real.give_back([(one.real, one.is_within) for one in begun if one.is_ready])
        self._real.end([one.real for one in begun if not one.is_ready])

    def close(self) -> None:
        """End every session that is left, the judge's, too."""
        for session in list(self.sessions):
            session.die()
        self._see_off()

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

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self._server = server
        self._context = copy_context()
        self.process = PROCESS.get()
        self.real: Backend
        self.is_begun = False
        self.is_ready = False
        self._out = bytearray()
        self._in = b""
        self._answer: list[bytes] = []
        self._skipped = 0
        self._begin = b""
        self._awaits = b""
        self._is_over = False
        self._told_s = -1.0
        self._is_told_within = False
        self._timeless: set[bytes] = set()
        self.status = b"0"
        self.protocol: Any = None

    @property
    def is_within(self) -> bool:
        """Whether the server is within a transaction of this session."""
        return self.status in b"TE" and not self._begin

    # What protocols ask of a transport ---------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if not self._is_over:
            if not self._out:
                self._server.queue(self)
            self._out += data

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
        return default

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
        if not self.is_begun:
            self._greet(written)
            return False
        kinds, needs_time, written = self._understood(written)
        if kinds == b"X":
            self.abort()
            return False
        if kinds == b"Q" and self.status == b"I" and written[5:10] == b"BEGIN":
            self._begin_later(written)
            return False
        self._awaits, self.is_ready = _answer_end(kinds), False
        preamble = self._preamble(needs_time) if kinds[0] in b"QPB" else b""
        self.real.send(preamble + written)
        return bool(self._awaits)

    def _greet(self, written: bytes) -> None:
        """Answer the first message: as the server did when a session began so for the first time."""
        if struct.unpack_from("!i", written, 4)[0] == _CANCEL:
            self._server.cancel(*struct.unpack_from("!ii", written, 8))
            self.die()
            self._server.loop.call_soon(self.protocol.connection_lost, None, context=self._context)
            return
        self.real = self._server.begin(written)
        self.is_begun = self.is_ready = True
        self.status = b"I"
        self._answer.append(self.real.greeting)
        self._pass_on()

    def _understood(self, written: bytes) -> tuple[bytes, bool, bytes]:
        """Return the kinds of messages, whether they may ask for the time, and what to send for them."""
        kinds, sent, needs_time = bytearray(), [], False
        for kind, begin, end in _messages(written):
            kinds.append(kind)
            if kind == _BIND:
                name_at = written.index(0, begin) + 1
                needs_time |= written[name_at : written.index(0, name_at)] not in self._timeless
            elif kind == _QUERY:
                text, needs_time = _in_virtual_time(written[begin : end - 1])
                if self._is_told_within and text[:8] == b"ROLLBACK":
                    # To a savepoint perhaps: what was set since is gone.
                    self._told_s = -1.0
                sent.append(message(b"Q", text + b"\0"))
                continue
            elif kind == _PARSE:
                name, text, types = written[begin:end].split(b"\0", 2)
                text, is_timely = _in_virtual_time(text)
                (self._timeless.discard if is_timely else self._timeless.add)(name)
                sent.append(message(b"P", b"\0".join((name, text, types))))
                continue
            sent.append(written[begin - 5 : end])
        return bytes(kinds), needs_time, b"".join(sent)

    def _begin_later(self, begin: bytes) -> None:
        """Answer BEGIN here, and send it with the first statement: one turn less for each transaction."""
        self._begin, self.status = begin, b"T"
        self._server.note("sql BEGIN")
        self._answer.append(_BEGUN)
        self._pass_on()

    def _preamble(self, needs_time: bool) -> bytes:
        """Return what goes before a statement: the time, if it has moved, and the BEGIN that is still owed."""
        now_s = self._server.loop.time()
        begin, self._begin = self._begin, b""
        self._skipped = 1 if begin else 0
        if self._is_told_within and (begin or self.status == b"I"):
            # Set within a transaction that has ended since: perhaps it was rolled back.
            self._told_s, self._is_told_within = -1.0, False
        if not needs_time or self.status == b"E" or now_s == self._told_s:
            return begin
        self._told_s, self._is_told_within = now_s, self.status == b"T" and not begin
        self._skipped += 1
        shown = datetime.fromtimestamp(EPOCH_S + now_s, UTC).isoformat()
        return message(b"Q", f"SET sim.now = '{shown}'".encode() + b"\0") + begin

    def receive(self, *, unanswered: bool = False) -> bool:
        """Take the answer and pass it on; False when it waits for another session's lock."""
        while True:
            came = self.real.read()
            if came:
                if self._take_in(came):
                    break
            elif came is None:
                if self._server.waits(self):
                    return False
            else:
                self._pass_on()
                self.lose()
                return True
        if not unanswered:
            self._pass_on()
        return True

    def _take_in(self, came: bytes) -> bool:
        """Move whole messages to the answer; tell whether it is complete."""
        came = self._in + came
        begin = place = 0
        size, is_complete = len(came), False
        while not is_complete and place + 5 <= size:
            kind, end = came[place], place + 1 + int.from_bytes(came[place + 1 : place + 5], "big")
            if end > size:
                break
            if kind in _TELLING and not self._is_kept(kind, came[place + 5 : end]):
                # A notification goes alone, the end of a preamble with all that came before it.
                self._answer = [*self._answer, came[begin:place]] if kind == _NOTIFIED else []
                begin = end
            elif kind in self._awaits and not self._skipped:
                is_complete = True
            place = end
        self._answer.append(came[begin:place])
        self._in = came[place:]
        return is_complete

    def _is_kept(self, kind: int, body: bytes) -> bool:
        """Take note of a message; tell whether the driver is to see it."""
        if kind == _READY:
            self.status = body
            if self._skipped:
                self._skipped -= 1
                return False
            self.is_ready = True
        elif kind == _COMPLETE and not self._skipped:
            self._server.note(f"sql {body[:-1].decode()}")
        elif kind == _ERROR and not self._skipped:
            self._server.note(f"sql error {_sqlstate(body)}")
        return kind != _NOTIFIED

    def _pass_on(self) -> None:
        answer = b"".join(self._answer)
        self._answer.clear()
        self._server.loop.call_soon(self._deliver, answer, context=self._context)

    def _deliver(self, answer: bytes) -> None:
        if not self._is_over and answer:
            self.protocol.data_received(answer)


def _messages(written: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each message, and where its body begins and ends."""
    place = 0
    while place < len(written):
        end = place + 1 + int.from_bytes(written[place + 1 : place + 5], "big")
        yield written[place], place + 5, end
        place = end


@cache
def _in_virtual_time(text: bytes) -> tuple[bytes, bool]:
    """Return a statement that asks the simulation for the time, and whether it may ask for it at all."""
    rewritten = _NOW.sub(b"sim.now()", text)
    return rewritten, rewritten != text or not _TIMELESS.match(text)


def _answer_end(kinds: bytes) -> bytes:
    """Say with which messages the answer to these ends; with none of them there is no answer yet."""
    if b"c" in kinds or b"f" in kinds:
        # The end of a COPY, which may have been written together with its beginning.
        return b"Z"
    if b"S" in kinds or b"Q" in kinds:
        return b"ZG"
    return b"TnE" if b"H" in kinds else b""


def _sqlstate(body: bytes) -> str:
    return next((field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C"), "")


_BEGUN = message(b"C", b"BEGIN\0") + message(b"Z", b"T")

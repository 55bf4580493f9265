"""Real sessions of one Postgres, kept warm, and lent to the simulated sessions one after another.

Why: a history makes some twenty sessions, and making one for real (a process, a login, cold catalogs) costs more than
most of them do in their life. So a session is made once for each way to begin one, that is for each startup message,
and when it comes back it is brought to its beginning: ROLLBACK, then DISCARD ALL, which ends what a real end of it
would end: the transaction, all locks, listening, cursors, prepared statements and plans, temporary tables, values of
sequences, the role, and every setting, which goes back to what the startup message says.

What is left of its past is what the server remembers of catalogs, and its process id. The one changes no answer, since
the server keeps it true itself; the other sfsync never asks for. A session that is in the middle of an answer (of a
COPY, of a statement that waits for a lock) is not brought back but ended for real.

Source: PostgreSQL manual, "DISCARD", "Message Flow"; RFC 5802 and 7677 for the login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_PROTOCOL = 196_608
_CANCEL = 80_877_102
# For so long a session is listened to before anybody asks whether it waits for a lock.
_LOOK_S = 0.03
_GONE_S = 20.0
_READ = 262_144


@dataclass(slots=True)
class Backend:
    """One real session: its line, and what the server said when it began."""

    line: socket.socket
    startup: bytes
    greeting: bytes = b""
    pid: int = 0
    secret: int = 0

    def send(self, written: bytes) -> None:
        """Send; that the session is over shows when it is read from."""
        with suppress(OSError):
            self.line.sendall(written)

    def read(self) -> bytes | None:
        """Return what has come; None when nothing came for a while, nothing at all when the session is over."""
        try:
            return self.line.recv(_READ)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def hang_up(self) -> None:
        """Tell the server that nobody is here any more."""
        with suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)

    def is_gone(self, within_s: float) -> bool:
        """Wait until the server's process for this session is gone; False when it is still there."""
        self.line.settimeout(within_s)
        try:
            while self.line.recv(_READ):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        self.line.close()
        return True


class ServerSessions:
    """All real sessions of one worker; `take` one, and give it back by `give_back` or `end`."""

    def __init__(self, dsn: str, directory: str | None = None) -> None:
        parts = urlsplit(dsn)
        assert parts.username and parts.hostname and parts.port
        self._address = (parts.hostname, parts.port)
        self._path = f"{directory}/.s.PGSQL.{parts.port}" if directory else None
        self._password = unquote(parts.password or "")
        self._idle: defaultdict[bytes, list[Backend]] = defaultdict(list)
        self._observer_startup = startup_message(
            {"user": unquote(parts.username), "database": parts.path.removeprefix("/")}
        )
        self._observer: Backend | None = None

    def take(self, startup: bytes) -> Backend:
        """Return a session that stands at its beginning."""
        idle = self._idle[startup]
        return idle.pop() if idle else self._begin(startup)

    def give_back(self, left: Collection[tuple[Backend, bool]]) -> None:
        """Take sessions back that wait for a statement; with each, whether it is within a transaction."""
        for backend, is_within in left:
            backend.send(_ROLLBACK + _DISCARD if is_within else _DISCARD)
        for backend, is_within in left:
            # One that the server has ended meanwhile is gone.
            with suppress(ConnectionError):
                _await_ready(backend, 2 if is_within else 1)
                self._idle[backend.startup].append(backend)

    def end(self, left: Collection[Backend]) -> None:
        """End sessions for real, and wait until they are gone: those first who wait for nobody."""
        for backend in left:
            backend.hang_up()
        for backend in left:
            if not backend.is_gone(_LOOK_S * 10):
                # It waits for a lock of somebody who lives, so it will not notice.
                self.cancel(backend)
                backend.is_gone(_GONE_S)

    def cancel(self, backend: Backend) -> None:
        """Let the server cancel what *backend* does."""
        with self._connected() as line:
            line.sendall(struct.pack("!iiii", 16, _CANCEL, backend.pid, backend.secret))
            line.recv(1)

    def waits(self, backend: Backend, others: Collection[Backend]) -> bool:
        """Whether *backend* waits for a lock of somebody other than those who wait, the *others*, and itself."""
        pids = {backend.pid, *(other.pid for other in others)}
        blockers = self._blockers(pids)
        seen, found = {backend.pid}, [backend.pid]
        while found:
            for pid in blockers[found.pop()] - seen:
                if pid not in pids:
                    return True
                seen.add(pid)
                found.append(pid)
        return False

    def close(self) -> None:
        """End all that are not in use."""
        for idle in self._idle.values():
            self.end(idle)
            idle.clear()
        if self._observer is not None:
            self.end([self._observer])
            self._observer = None

    def _blockers(self, pids: Collection[int]) -> Mapping[int, set[int]]:
        if self._observer is None:
            self._observer = self._begin(self._observer_startup)
        asked = " UNION ALL ".join(
            f"SELECT '{pid} ' || array_to_string(pg_blocking_pids({pid}), ' ')" for pid in sorted(pids)
        )
        self._observer.line.sendall(message(b"Q", asked.encode() + b"\0"))
        rows = [body[6:] for kind, body in _await_ready(self._observer, 1) if kind == b"D"]
        return {int(row.split()[0]): {int(pid) for pid in row.split()[1:]} for row in rows}

    def _connected(self) -> socket.socket:
        if self._path is not None:
            line = socket.socket(socket.AF_UNIX)
            line.connect(self._path)
            return line
        line = socket.create_connection(self._address)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def _begin(self, startup: bytes) -> Backend:
        line = self._connected()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(_LOOK_S * 1_000_000)))
        backend = Backend(line, startup)
        line.sendall(startup)
        login = _Login(self._password)
        greeting: list[bytes] = []
        while not greeting or greeting[-1][:1] != b"Z":
            for kind, body in _read_messages(backend):
                if kind == b"R" and (answer := login.answer(body)) is not None:
                    line.sendall(answer)
                elif kind == b"K":
                    backend.pid, backend.secret = struct.unpack("!ii", body)
                if kind != b"R" or body == b"\0\0\0\0":
                    greeting.append(message(kind, body))
        backend.greeting = b"".join(greeting)
        return backend


class _Login:
    """The client's side of SCRAM-SHA-256; a server that trusts asks for nothing."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._first = f"n=,r={base64.b64encode(os.urandom(18)).decode()}"

    def answer(self, asked: bytes) -> bytes | None:
        """Return what to send when the server *asked* this; None for nothing."""
        kind, told = struct.unpack_from("!i", asked)[0], asked[4:]
        if kind in (0, 12):
            return None
        if kind == 10:
            first = f"n,,{self._first}".encode()
            return message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        if kind == 11:
            return message(b"p", self._proof(told.decode()).encode())
        raise RuntimeError(
            f"the simulation logs in by trust or scram-sha-256, the server asks for kind {kind}"
        )

    def _proof(self, server_first: str) -> str:
        given = dict(part.split("=", 1) for part in server_first.split(","))
        final = f"c=biws,r={given['r']}"
        salt = base64.b64decode(given["s"])
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), salt, int(given["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"{self._first},{server_first},{final}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{final},p={base64.b64encode(proof).decode()}"


def startup_message(settings: Mapping[str, str]) -> bytes:
    """Return the message with which a session begins."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in settings.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, _PROTOCOL) + body


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message of the protocol."""
    return kind + struct.pack("!i", len(body) + 4) + body


def _read_messages(backend: Backend) -> list[tuple[bytes, bytes]]:
    """Return the messages that have come, all of them whole."""
    came, messages, place = b"", [], 0
    while not came or place < len(came):
        more = backend.read()
        if more == b"":
            raise ConnectionError("Postgres hung up: its log says why")
        came += more or b""
        while len(came) - place >= 5:
            end = place + 1 + int.from_bytes(came[place + 1 : place + 5], "big")
            if end > len(came):
                break
            kind, body = came[place : place + 1], came[place + 5 : end]
            if kind == b"E":
                raise RuntimeError(f"Postgres refuses a session of the simulation: {body!r}")
            messages.append((kind, body))
            place = end
    return messages


def _await_ready(backend: Backend, times: int) -> list[tuple[bytes, bytes]]:
    """Read until the server was ready for the next statement so many times."""
    messages: list[tuple[bytes, bytes]] = []
    while sum(kind == b"Z" for kind, _ in messages) < times:
        messages += _read_messages(backend)
    return messages


_ROLLBACK = message(b"Q", b"ROLLBACK\0")
_DISCARD = message(b"Q", b"DISCARD ALL\0")

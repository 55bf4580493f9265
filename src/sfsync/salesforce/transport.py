"""Bytes to and from Salesforce: open sessions, read bounded bodies, name what broke on the way.

Why: every link shares four rules, so they live in one place. TLS is always verified (an extra CA file may be
added, nothing can be switched off); proxies from the environment are ignored and redirects are never
followed, because both would carry a token to a host nobody checked; each wait is finite; and a body is inflated
by us, in pieces of bounded size, because a few kilobytes of gzip can hold gigabytes. aiohttp's own inflating
was rejected for that reason: it knows no total.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractCookieJar

from ..errors import ConfigError, UnavailableError

PIECE_BYTES = 128 * 1024
CONNECT_S = 20.0
RETRY_AFTER_S_MAX = 3600.0


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a verifying TLS context that trusts the system's authorities and those of *ca_file*."""
    if ca_file is None:
        return _system_context()
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the CA file {ca_file} cannot be used: {type(error).__name__}") from error
    return context


@cache
def _system_context() -> ssl.SSLContext:
    # Reading some 150 authorities blocks the loop for 50 ms: once a process is enough.
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def open_http(tls: ssl.SSLContext, *, client_name: str, cookies: AbstractCookieJar) -> aiohttp.ClientSession:
    """Return a client session with its own sockets; the caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=16, keepalive_timeout=30),
        cookie_jar=cookies,
        headers={"User-Agent": client_name, "Accept": "application/json", "Accept-Encoding": "gzip"},
        auto_decompress=False,
        trust_env=False,
        max_line_size=32 * 1024,
        max_field_size=32 * 1024,
    )


@contextmanager
def network_errors(what: str) -> Iterator[None]:
    """Translate whatever the network does to us into `UnavailableError`, once.

    The texts of foreign errors are dropped: they quote URLs.
    """
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, zlib.error) as error:
        raise UnavailableError(f"{what}: {type(error).__name__}", code="NETWORK") from error


class Body:
    """The body of one answer, inflated piece by piece.

    Not reading is back pressure: the socket's buffer fills and the server waits.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, size_max: int) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            raise UnavailableError(
                "the answer has a content encoding that was not asked for", code="ENCODING"
            )
        self._content = response.content
        self._inflater = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        self._size = 0
        self._size_max = size_max

    async def read(self) -> bytes:
        """Return the next piece, at most about `PIECE_BYTES`; empty at the end.

        Raises `UnavailableError` when the body is cut, corrupt, or larger than allowed.
        """
        with network_errors("the answer broke off"):
            piece = await (self._read_inflated(self._inflater) if self._inflater else self._content.readany())
        self._size += len(piece)
        if self._size > self._size_max:
            raise UnavailableError(f"the answer is larger than {self._size_max} bytes", code="OVERSIZE")
        return piece

    async def read_up_to(self, size: int) -> bytes:
        """Return what comes until the end, stopping at the first piece that exceeds *size* bytes."""
        whole = bytearray()
        while len(whole) <= size and (piece := await self.read()):
            whole += piece
        return bytes(whole)

    async def read_all(self) -> bytes:
        """Return the rest of the body."""
        return await self.read_up_to(self._size_max)

    async def _read_inflated(self, inflater: zlib._Decompress) -> bytes:
        while not inflater.eof:
            deflated = inflater.unconsumed_tail or await self._content.readany()
            if not deflated:
                raise aiohttp.ClientPayloadError("gzip stream without end")
            if piece := inflater.decompress(deflated, PIECE_BYTES):
                return piece
        # Read to the end of the transfer, so that a cut after the last byte of gzip is still seen.
        while await self._content.readany():
            pass
        return b""


async def read_within(body: Body, timeout_s: float) -> bytes:
    """Read the next piece of *body*, or raise `UnavailableError` after *timeout_s*."""
    with network_errors("the answer stalled"):
        async with asyncio.timeout(timeout_s):
            return await body.read()


def date_ms(headers: Mapping[str, str]) -> int | None:
    """Return the instant of an answer's `Date` header; None without a readable one."""
    try:
        return int(parsedate_to_datetime(headers.get("Date", "")).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long `Retry-After` asks to wait, as seconds or until a date, bounded to an hour."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        wait_s = float(text)
    else:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)

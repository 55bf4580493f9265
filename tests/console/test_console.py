"""The console over real sockets: what is answered, to whom, and what is given away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import aiohttp
import pytest

from sfsync.config import ConsoleSettings, SecretText
from sfsync.console.guard import is_known_host
from sfsync.console.server import serve_console
from sfsync.errors import ConfigError
from sfsync.sync.health import Health
from sfsync.sync.metrics import Metrics

TOKEN = "t0ken-" + "x" * 32
Send = Callable[[bytes], Coroutine[None, None, bytes]]


@asynccontextmanager
async def served(health: Health, *, token: str | None = None) -> AsyncIterator[str]:
    settings = ConsoleSettings(
        port=0, token=SecretText(token) if token else None, allowed_hosts=("sfsync.example",)
    )
    async with serve_console(settings, health, Metrics()) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def send() -> AsyncIterator[Send]:
    """Send raw bytes to a console and read until it hangs up."""
    async with served(Health("stream")) as url:

        async def exchange(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            try:
                writer.write(request)
                await writer.drain()
                async with asyncio.timeout(10):
                    return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()

        yield exchange


def request(path: str, *lines: str, host: str = "localhost", method: str = "GET") -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_healthz_answers_while_nothing_is_ready() -> None:
    """A supervisor must not kill a daemon that waits for Salesforce."""
    async with (
        served(Health("stream")) as url,
        aiohttp.ClientSession() as http,
        http.get(url + "/healthz") as answer,
    ):
        assert answer.status == 200
        assert await answer.json() == {"status": "ok"}


async def test_readyz_is_red_with_reasons_and_turns_green() -> None:
    """The status code is for machines, the reasons are for people."""
    health = Health("stream")
    async with served(health) as url, aiohttp.ClientSession() as http:
        async with http.get(url + "/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["claims"]["stream"] == {"ok": False, "detail": "not yet reached"}
        health.set("stream", ok=True)
        async with http.get(url + "/readyz") as answer:
            assert answer.status == 200


async def test_metrics_carry_readiness() -> None:
    """One figure to alert on."""
    health = Health("stream")
    async with served(health) as url, aiohttp.ClientSession() as http:
        for ready in (False, True):
            health.set("stream", ok=ready)
            async with http.get(url + "/metrics") as answer:
                assert answer.content_type == "text/plain"
                assert f"sfsync_ready {float(ready)}" in await answer.text()


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x", "Bearer \xff"],
)
async def test_details_need_the_token(authorization: str | None) -> None:
    """Colour is for everybody, details are not."""
    headers = {"Authorization": authorization} if authorization else {}
    async with served(Health("stream"), token=TOKEN) as url, aiohttp.ClientSession(headers=headers) as http:
        async with http.get(url + "/metrics") as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        async with http.get(url + "/readyz") as answer:
            assert (answer.status, await answer.json()) == (503, {"ready": False})
        async with http.get(url + "/healthz") as answer:
            assert answer.status == 200


async def test_right_token_opens_details() -> None:
    """The scheme's case does not matter, as HTTP says."""
    headers = {"Authorization": f"bearer {TOKEN}"}
    async with served(Health("stream"), token=TOKEN) as url, aiohttp.ClientSession(headers=headers) as http:
        async with http.get(url + "/metrics") as answer:
            assert answer.status == 200
        async with http.get(url + "/readyz") as answer:
            assert "claims" in await answer.json()


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8686", True),
        ("127.0.0.1:1", True),
        ("[::1]:8686", True),
        ("[::1]", True),
        ("10.0.0.7:8686", True),
        ("sfsync.example", True),
        ("evil.test", False),
        ("evil.test:8686", False),
        ("localhost.evil.test", False),
        ("", False),
        (None, False),
    ],
)
def test_only_our_names_and_bare_addresses_are_hosts(host: str | None, known: bool) -> None:
    """A page of evil.test whose name was pointed to loopback sends its own name along."""
    assert is_known_host(host, frozenset({"localhost", "sfsync.example"})) is known


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_foreign_host_learns_nothing(send: Send, path: str) -> None:
    """Not even which paths exist."""
    answer = await send(request(path, host="evil.test"))
    assert status(answer) == 421


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (request("/nothing"), 404),
        (request("/healthz", method="POST"), 405),
        (request("/readyz", method="DELETE"), 405),
        (request("/healthz", f"Content-Length: {10**6}", method="POST"), 413),
        (request("/" + "a" * 9000), 400),
        (request("/healthz", "X: " + "a" * 9000), 400),
        (request("/healthz", *["X: y"] * 10_000), 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"<script>canary</script>\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary\r\n\r\n", 400),
    ],
)
async def test_bad_request_is_refused_without_echo_or_banner(send: Send, raw: bytes, expected: int) -> None:
    """What cannot be read is not repeated, and the answer does not say which library failed to read it."""
    answer = await send(raw)
    assert status(answer) == expected
    lowered = answer.lower()
    for forbidden in (b"aiohttp", b"python", b"canary", b"aaaa", b"traceback"):
        assert forbidden not in lowered


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_every_answer_carries_the_security_headers(send: Send, path: str) -> None:
    """No other origin frames, sniffs or stores it."""
    head = (await send(request(path))).partition(b"\r\n\r\n")[0].decode().lower()
    for header in (
        "content-security-policy: default-src 'self'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "cache-control: no-store",
        "server: sfsync\r",
    ):
        assert header in head + "\r"
    assert "access-control-allow-origin" not in head


async def test_taken_port_is_a_clear_configuration_error() -> None:
    """Two daemons on one machine are the usual cause."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConfigError, match=f"console.port: cannot listen on 127.0.0.1 port {port}"):
            async with serve_console(ConsoleSettings(port=port), Health(), Metrics()):
                pass


async def test_console_leaves_at_once_although_clients_hang_on() -> None:
    """A monitoring client keeps its connection; shutdown has ten seconds for everything."""
    async with aiohttp.ClientSession() as http:
        async with asyncio.timeout(5):
            async with served(Health()) as url:
                async with http.get(url + "/healthz") as answer:
                    await answer.read()
        with pytest.raises(aiohttp.ClientError):
            await http.get(url + "/healthz")


async def test_refusals_are_json() -> None:
    """Clients need one way to read them."""
    async with served(Health()) as url, aiohttp.ClientSession() as http, http.get(url + "/nothing") as answer:
        assert json.loads(await answer.read()) == {"error": "Not Found"}


async def test_client_that_never_ends_its_request_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a few hundred idle connections use up our file descriptors."""
    monkeypatch.setattr("sfsync.console.server._IDLE_S_MAX", 0.3)
    async with served(Health()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        finally:
            writer.close()
            await writer.wait_closed()

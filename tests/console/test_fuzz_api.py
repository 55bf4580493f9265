"""Whatever is sent to the API, the answer is JSON that says what is wrong, and nothing is asked of the daemon by it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.console.caller import TOKEN
from tests.console.scene import Scene, staged
from tests.hostile import FUZZ, anything, damaged, text, torn
from tests.postgres import PgFleet, available_servers
from tests.store.harness import ACCOUNT, CONTACT, LEAD

PATHS = [
    "/v1/people",
    f"/v1/people/{CONTACT}",
    f"/v1/people/{LEAD}/history",
    f"/v1/people/{CONTACT}/provenance",
    f"/v1/companies/{ACCOUNT}",
    "/v1/companies",
    "/v1/pending",
    "/v1/certificates",
    "/v1/requests/1",
    "/v1/status",
]
NAMES = [
    "limit",
    "after",
    "before",
    "sync",
    "include",
    "company_id",
    "salesforce_id",
    "updated_since",
    "entity",
    "",
]
VALUES = ["1", "0", "-1", "deleted,merged", "synced", CONTACT, "2026-11-24T21:00:00Z", "9" * 400, "Lead"]
queries = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), text), st.one_of(st.sampled_from(VALUES), text), max_size=3
).map(lambda query: urlencode(query, errors="surrogatepass"))
ids = st.one_of(st.just(CONTACT), st.just("1"), text).map(
    lambda one: quote(one, safe="", errors="surrogatepass")
)
DECISION = {"choice": "decline", "by": "ops", "wait_s": 0}
PULL = {"ids": [CONTACT], "with_company": True, "wait_s": 0}
READ = f"GET /v1/people?limit=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@dataclass(slots=True)
class Sender:
    """Sends bytes to the API of a scene from a test that has no loop."""

    runner: asyncio.Runner
    scene: Scene

    def send(self, raw: bytes) -> bytes:
        """Send *raw* and return all that is answered until the server hangs up, or falls silent for a while."""
        return self.runner.run(self._send(raw))

    async def _send(self, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(self.scene.api.url.rpartition(":")[2])
        )
        answered = bytearray()
        writer.write(raw)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(20 if raw.startswith((b"GET /v1/", b"POST /v1/")) else 0.5):
                while piece := await reader.read(1 << 16):
                    answered += piece
        writer.close()
        return bytes(answered)

    def call(self, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
        """Call as a client that is let in; the answer is JSON in good form, or the test fails."""
        head = [
            f"{method} {target} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {TOKEN}",
            "Connection: close",
        ]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return must_be_json(self.send("\r\n".join([*head, "", ""]).encode() + (body or b"")))

    def asked(self) -> int:
        return int(
            self.runner.run(self.scene.store.connection.fetchval("SELECT count(*) FROM sfsync.request"))
        )


def must_be_json(answer: bytes) -> tuple[int, Any]:
    """Return status and content of one answer, which any browser leaves alone."""
    head, _, content = answer.partition(b"\r\n\r\n")
    lines = head.decode("ascii").lower().split("\r\n")
    status = int(lines[0].split(" ")[1])
    assert "x-content-type-options: nosniff" in lines
    assert any(
        line.startswith(("content-type: application/json", "content-type: application/problem+json"))
        for line in lines
    )
    assert status < 500, content
    return status, json.loads(content)


@contextmanager
def sending(fleet: PgFleet) -> Iterator[Sender]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        scene = runner.run(stack.enter_async_context(on_a_database(fleet)))
        try:
            yield Sender(runner, scene)
        finally:
            runner.run(stack.aclose())


@asynccontextmanager
async def on_a_database(fleet: PgFleet) -> AsyncIterator[Scene]:
    async with fleet.server(available_servers()[0]).database(migrated=True) as dsn, staged(dsn) as scene:
        yield scene


def test_api_answers_whatever_is_asked(pg_fleet: PgFleet) -> None:
    """Paths, parameters, bodies and whole requests: refused by name or answered, never a fault of ours."""
    with sending(pg_fleet) as sender:

        @settings(FUZZ, max_examples=80)
        @given(st.sampled_from(PATHS), queries)
        @example("/v1/people", "updated_since=0001-01-01T00:00:00%2B23:59")
        @example("/v1/people", "updated_since=9999-12-31T23:59:59-23:59")
        @example("/v1/people", "updated_since=2026-W48-2T00:00:00Z")
        @example("/v1/people", "salesforce_id=%00&limit=%ff")
        def read(path: str, query: str) -> None:
            sender.call("GET", f"{path}?{query}")

        @settings(FUZZ, max_examples=40)
        @given(st.sampled_from(["people", "companies", "requests", "x"]), ids)
        def look_up(kind: str, one: str) -> None:
            sender.call("GET", f"/v1/{kind}/{one}")

        @settings(FUZZ, max_examples=40)
        @given(st.one_of(damaged(DECISION), anything), st.one_of(damaged(PULL), anything))
        def ask(decision: Any, pull: Any) -> None:
            before = sender.asked()
            answers = [
                sender.call("POST", path, json.dumps(body).encode())
                for path, body in ((f"/v1/people/{sender.scene.ada}/decision", decision), ("/v1/pull", pull))
            ]
            refused = [status for status, _ in answers if status >= 400]
            assert sender.asked() == before if len(refused) == 2 else sender.asked() > before

        @settings(FUZZ, max_examples=60)
        @given(torn(st.just(READ)))
        def tear(raw: bytes) -> None:
            answers = sender.send(raw + READ.replace(b"Host", b"Connection: close\r\nHost"))
            while answers:
                length = re.search(rb"content-length: (\d+)", answers.lower())
                assert length is not None
                end = answers.index(b"\r\n\r\n") + 4 + int(length[1])
                must_be_json(answers[:end])
                answers = answers[end:]

        read()
        look_up()
        ask()
        tear()
        assert sender.call("GET", "/v1/people")[0] == 200

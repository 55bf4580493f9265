"""A simulated org served inside the test's own loop, and a few words to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import aiohttp
from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.gate import URI_AND_HEADERS_MAX
from sfsync.simorg.org import Org

VERSION = "66.0"


@dataclass
class Answer:
    """One HTTP answer, read."""

    status: int
    headers: Any
    body: Any
    raw: bytes


@dataclass
class Site:
    """A served org with a logged-in client."""

    org: Org
    url: str
    http: aiohttp.ClientSession
    token: str

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Send one request; *path* is below `/services/data/v66.0/` unless it begins with a slash."""
        url = self.url + (path if path.startswith("/") else f"/services/data/v{VERSION}/{path}")
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        async with self.http.request(method, url, json=body, headers=headers, **options) as response:
            raw = await response.read()
            is_json = "json" in response.content_type and raw
            return Answer(response.status, response.headers, json.loads(raw) if is_json else None, raw)

    async def get(self, path: str, **params: Any) -> Any:
        """GET and return the JSON body of a success."""
        answer = await self.ask("GET", path, params=params)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.body

    async def soql(self, text: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """Return the records of a query without their attributes."""
        body = await self.get("queryAll" if deleted else "query", q=text)
        return [{name: v for name, v in row.items() if name != "attributes"} for row in body["records"]]

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API and return the JSON body of a success."""
        answer = await self.ask(method, f"/control/{path}", body)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.body

    async def transact(self, *steps: dict[str, Any], **options: Any) -> dict[str, str]:
        """Run steps in one transaction and return the ids of the named records."""
        answer = await self.control("POST", "transaction", {"steps": list(steps), **options})
        ids: dict[str, str] = answer["ids"]
        return ids


@asynccontextmanager
async def serving(seed: int = 1) -> AsyncIterator[Site]:
    """Serve a fresh org on a free port of loopback."""
    org = make_org(seed)
    runner = web.AppRunner(
        build_app(org),
        access_log=None,
        shutdown_timeout=0.2,
        max_line_size=4 * URI_AND_HEADERS_MAX,
        max_field_size=4 * URI_AND_HEADERS_MAX,
    )
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        port = runner.addresses[0][1]
        org.url = f"http://localhost:{port}"
        token = org.sessions.issue(org.credentials.user_id).token
        async with aiohttp.ClientSession() as http:
            yield Site(org, f"http://127.0.0.1:{port}", http, token)
    finally:
        await runner.cleanup()


@contextmanager
def org_process(*arguments: str, state_dir: Path) -> Iterator[dict[str, str]]:
    """Run `python -m sfsync.simorg` and yield what its first line tells; end it by SIGTERM."""
    command = [sys.executable, "-m", "sfsync.simorg", "--state-dir", str(state_dir), *arguments]
    # Ctrl-C in the terminal is for whoever started it, who will end it.
    process = Popen(command, stdout=PIPE, process_group=0)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=10) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            if process.stdout is not None:
                process.stdout.close()


async def eventually(condition: Any, within_s: float = 5.0) -> Any:
    """Return the first true value of *condition*, awaited again and again; fail after *within_s*."""
    async with asyncio.timeout(within_s):
        while not (value := await condition()):  # noqa: ASYNC110  # what is awaited lies behind HTTP
            await asyncio.sleep(0.01)
        return value

"""A proxy before an org that answers a query which it has seen before out of its memory.

Why: a sweep must be measured without the org that it reads. The first sweep records real replies; the ones that are
measured get the same bytes, for the price of sending them. It runs as a process of its own.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import PIPE, Popen

import aiohttp
from aiohttp import web
from yarl import URL

_PASSED_ON = ("Authorization", "Content-Type", "Accept", "Cookie")
LINE_BYTES_MAX = 1 << 17


@contextmanager
def recording(org: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run a recorder before *org* and yield what leads to it."""
    process = Popen([sys.executable, "-m", "tests.bench.recorder", org["url"]], stdout=PIPE, text=True)
    try:
        assert process.stdout is not None
        yield {**org, "url": process.stdout.readline().strip()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


class _Recorder:
    def __init__(self, http: aiohttp.ClientSession, org_url: str) -> None:
        self.url = ""
        self._http = http
        self._org_url = org_url
        self._kept: dict[str, web.Response] = {}

    async def serve(self, request: web.Request) -> web.Response:
        """Answer from memory, or ask the org."""
        kept = self._kept.get(request.path_qs)
        if kept is not None:
            return web.Response(body=kept.body, headers=kept.headers)
        answer = await self._ask(request)
        if request.method == "GET" and "/query" in request.path and answer.status == 200:
            self._kept[request.path_qs] = answer
        return answer

    async def _ask(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        async with self._http.request(
            request.method,
            URL(self._org_url + request.raw_path, encoded=True),
            data=await request.read(),
            headers=headers,
        ) as answer:
            body = (await answer.read()).replace(self._org_url.encode(), self.url.encode())
            passed = {
                name: answer.headers[name]
                for name in ("Content-Type", "Sforce-Limit-Info", "Set-Cookie")
                if name in answer.headers
            }
            return web.Response(status=answer.status, body=body, headers=passed)


async def _serve(org_url: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        recorder = _Recorder(http, org_url)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", recorder.serve)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=0.2,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        print(recorder.url, flush=True)
        await stopped.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))

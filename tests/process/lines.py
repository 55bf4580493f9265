"""The two lines of a daemon, to its org and to its Postgres, each through a proxy that breaks it when told to.

Why: a history of real processes is told step by step by code that waits, and meanwhile the bytes must flow. So proxies,
and whoever else looks on, live in an event loop of a thread of its own; what is asked of them from outside is done there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.fault_proxy import FaultProxy, Link
from tests.line_language import PostgresWire, SalesforceHttp

T = TypeVar("T")
LINKS = (*SalesforceHttp.LINKS, *PostgresWire.LINKS)


class Lines:
    """Both lines; leaving it breaks them for good."""

    def __init__(self, org_url: str, postgres: tuple[str, int]) -> None:
        org = urlsplit(org_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines", daemon=True)
        self._stack = AsyncExitStack()
        self._org = FaultProxy(org.hostname or "", org.port or 80, SalesforceHttp)
        self._postgres = FaultProxy(*postgres, PostgresWire)

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in (self._org, self._postgres):
            self.wait_for(self._stack.enter_async_context(proxy))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait_for(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # The ways through --------------------------------------------------------------------------------

    @property
    def org_url(self) -> str:
        """The org's address for the daemon."""
        return f"http://localhost:{self._org.port}"

    def dsn(self, direct: str) -> str:
        """Return the DSN that leads to the same database as *direct*, through the proxy."""
        parts = urlsplit(direct)
        user, _, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}@127.0.0.1:{self._postgres.port}").geturl()

    def lead_to(self, postgres: tuple[str, int]) -> None:
        """Follow the server to where it listens after a restart."""
        self._postgres.target = postgres

    def link(self, name: str) -> Link:
        """Return one of `LINKS`; what it shows may be read, what it does must be done by `now`."""
        return {**self._org.links, **self._postgres.links}[name]

    # The thread --------------------------------------------------------------------------------------

    def now(self, act: Callable[[], T]) -> T:
        """Do something to a link."""

        async def done() -> T:
            return act()

        return self.wait_for(done())

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* in the thread, and return its result."""
        return self.begin(work).result()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin *work* in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def heal(self) -> None:
        """Let everything pass again."""
        for name in LINKS:
            self.now(self.link(name).heal)

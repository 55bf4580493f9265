"""Log in to the org that the settings name: once here, for the daemon and for every command that asks an org."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..salesforce.budget import Budget
from ..salesforce.connection import Connection, LinkTimings, open_connection
from .model import Settings


@asynccontextmanager
async def open_login(
    settings: Settings, *, patience_s: float | None = None, budget: Budget | None = None
) -> AsyncIterator[Connection]:
    """Log in and yield the connection; *patience_s* shortens the wait for one answer, for somebody who watches.

    *budget* counts the calls, and lets those wait that matter less; without one none waits.

    Raises what `open_connection` raises.
    """
    salesforce = settings.salesforce
    request_s = salesforce.request_timeout_s
    async with open_connection(
        settings.credentials(),
        api_version=salesforce.api_version,
        ca_file=salesforce.ca_file,
        timings=LinkTimings(request_s=request_s if patience_s is None else min(request_s, patience_s)),
    ) as connection:
        if budget is not None:
            connection.budget = budget
        yield connection

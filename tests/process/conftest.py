"""A Postgres server for the tests of this room alone: what happens to it would hit everybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.server import OwnServer, why_no_server


@pytest.fixture(scope="session")
def own_server() -> Iterator[OwnServer]:
    """A server of our own, for all tests of a worker."""
    if missing := why_no_server():
        pytest.skip(missing)
    with OwnServer() as server:
        yield server

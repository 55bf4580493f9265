"""A simulated org for each test, served in its own loop, and one running as a process for foreign clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.simorg.site import Site, org_process, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A fresh org without records, served on a free port."""
    async with serving() as served:
        yield served


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a running `python -m sfsync.simorg --tls` told about itself."""
    with org_process("--tls", "--population", "400", state_dir=tmp_path_factory.mktemp("simorg")) as told:
        yield told

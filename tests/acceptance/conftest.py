"""A stage for each test: an org of two hundred people, a fresh database, and no daemon yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage, open_stage


@pytest.fixture
def stage(empty_dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with open_stage(empty_dsn, tmp_path, population=200) as opened:
        yield opened

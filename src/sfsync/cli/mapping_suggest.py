"""`sfsync mapping suggest`: write a commented mapping from what the org describes."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Settings, load_settings
from ..config.login import open_login
from ..config.mapping import load_mapping, read_mapping
from ..core.ids import Entity
from ..core.mapping_suggest import suggest
from ..errors import ConfigError
from ..salesforce.rest import Rest
from ..sync.describing import describe_entities
from .exits import OK


def run(arguments: argparse.Namespace) -> int:
    """Write the mapping to standard output, or to a file that is not there yet."""
    settings = load_settings(arguments.config, os.environ)
    target: Path | None = arguments.output
    if target is not None and target.exists() and not arguments.force:
        raise ConfigError(f"{target} is there already: name another file, or say --force to replace it")
    existing = read_mapping(arguments.file) if arguments.file else load_mapping(settings.mapping)
    text = suggest(asyncio.run(_describe(settings)), existing)
    if target is None:
        print(text, end="")
        return OK
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written ({error.strerror}); check path and rights") from error
    print(f"written to {target}: name it in [mapping] file, then ask sfsync mapping plan", file=sys.stderr)
    return OK


async def _describe(settings: Settings) -> dict[Entity, Mapping[str, Any]]:
    async with open_login(settings) as connection:
        return await describe_entities(Rest(connection))

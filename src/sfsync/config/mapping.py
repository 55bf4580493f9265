"""Read the mapping that the settings name, or the one that ships with sfsync."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ..core.mapping_file import MappingFile, default_mapping, parse_mapping
from ..errors import ConfigError
from .load import toml_fault
from .model import MappingSettings


def load_mapping(settings: MappingSettings) -> MappingFile:
    """Return the mapping as written. Raises `ConfigError`, which names the file and every fault in it."""
    path = settings.file
    if path is None:
        return default_mapping(company_address=settings.company_address)
    return read_mapping(path)


def read_mapping(path: Path) -> MappingFile:
    """Return the mapping of a file. Raises `ConfigError`, which names the file and every fault in it."""
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise ConfigError(f"mapping.file: {path} cannot be read ({why}); check path and rights") from error
    try:
        document = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"mapping.file: {path} is not TOML: {toml_fault(error)}") from None
    try:
        return parse_mapping(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error

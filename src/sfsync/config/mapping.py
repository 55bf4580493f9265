"""Read the mapping that the settings name, or the one that ships with sfsync."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ..core.mapping_file import MappingFile, default_mapping, parse_mapping
from ..errors import ConfigError
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
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"mapping.file: {path} cannot be read ({error.strerror}); check path and rights"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        place = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "not UTF-8"
        raise ConfigError(f"mapping.file: {path} is not TOML: {place}") from None
    try:
        return parse_mapping(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error

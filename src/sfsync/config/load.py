"""Read the TOML file and the environment into `Settings`, telling all faults at once.

Why: an operator who mends one line per restart loses an hour, so nothing stops at the first fault. A message
never repeats a value, because the value of a misplaced key may be a secret. Secrets come from the environment or
from a file that only we can read, never from the TOML file, which people copy, mail and commit.
pydantic-settings reads and merges the sources; reading `os.environ` behind the caller's back is the one thing it
is not let do, so that a test and a reload see exactly what they pass.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from ..errors import ConfigError
from . import rules
from .model import Settings

DEFAULT_FILE = Path("sfsync.toml")
ALLOW_SHARED_SECRETS = "SFSYNC_ALLOW_SHARED_SECRETS"
_SECRET_BYTES_MAX = 64 * 1024

Tables = dict[str, dict[str, Any]]
Fault = tuple[str, str]


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the file at *path* and of *environ*, which wins.

    Without *path*: the file that `SFSYNC_CONFIG` names, else `./sfsync.toml` when there is one, else no file.
    Raises `ConfigError` with one line per fault.
    """
    source = find_file(path, environ)
    faults: list[Fault] = []
    tables = _read_file(source, faults) if source else {}
    _overlay(tables, _read_environ(environ, faults))
    _read_secret_files(tables, faults, shared_allowed=environ.get(ALLOW_SHARED_SECRETS) == "1")
    faults += _unknown_sections(tables)
    faulty = {key.removesuffix("_file") for key, _ in faults}
    faults += [fault for fault in rules.between_keys(tables) if fault[0] not in faulty]
    settings = _validate(tables, faults)
    if settings is None or faults:
        raise ConfigError(_tell(source, faults))
    return settings


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that `load_settings` would read, or None for the environment alone."""
    if path is not None:
        return path
    if environ.get("SFSYNC_CONFIG"):
        return Path(environ["SFSYNC_CONFIG"])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read_file(source: Path, faults: list[Fault]) -> Tables:
    try:
        found = TomlConfigSettingsSource(Settings, source.resolve(strict=True)).toml_data
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read ({error.strerror}); name another file with --config"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: is not TOML: {toml_fault(error)}") from None
    tables: Tables = {}
    for section, table in found.items():
        if isinstance(table, dict):
            tables[section] = dict(table)
        else:
            faults.append((section, "must be a table, written as [section]"))
    faults += _secrets_in_file(tables)
    _anchor_paths(tables, source.resolve().parent)
    return tables


def toml_fault(error: Exception) -> str:
    """Say why a text is not TOML that can be read, without quoting it."""
    match error:
        case tomllib.TOMLDecodeError():
            return str(error)
        case UnicodeDecodeError():
            return "not UTF-8"
        case RecursionError():
            return "nested too deeply"
        case _:
            return "a number in it is too long"


def expanded(path: str) -> Path:
    """Return a path with its leading `~` read as a home directory, or as it is when nobody has that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _secrets_in_file(tables: Tables) -> Iterator[Fault]:
    """Refuse and drop secrets of the TOML file; a DSN without password is none."""
    for section, keys in rules.SECRET_KEYS.items():
        for key in keys:
            value = tables.get(section, {}).get(key)
            if value is None or (key == "dsn" and not _has_password(value)):
                continue
            del tables[section][key]
            what = "a password in it must not" if key == "dsn" else "a secret must not"
            yield f"{section}.{key}", f"{what} stand in the TOML file; {rules.how_to_set(section, key)}"


def _has_password(dsn: object) -> bool:
    try:
        return isinstance(dsn, str) and rules.dsn_has_password(dsn)
    except ValueError:
        # It is no URL, which is told when the settings are checked.
        return False


def _anchor_paths(tables: Tables, directory: Path) -> None:
    """Read relative paths of the file from the file's directory, wherever the daemon is started."""
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or section not in tables:
            continue
        for key, value in tables[section].items():
            if (
                key in model.model_fields
                and "Path" in str(model.model_fields[key].annotation)
                and isinstance(value, str)
            ):
                tables[section][key] = str(directory / expanded(value))


class _EnvironSource(EnvSettingsSource):
    """The environment that was passed in, instead of the process's own; an empty variable is one that is not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}


def _read_environ(environ: Mapping[str, str], faults: list[Fault]) -> Tables:
    tables: Tables = {}
    for section, table in _EnvironSource(environ)().items():
        if isinstance(table, dict):
            tables[section] = table
        else:
            faults.append((section, f"set single keys, like SFSYNC_{section.upper()}__KEY"))
    for name in filter(environ.get, environ):
        section, nested, key = name.removeprefix("SFSYNC_").partition("__")
        if name.startswith("SFSYNC_") and nested and section.lower() not in Settings.model_fields:
            tables.setdefault(section.lower(), {})[key.lower()] = ""
    return tables


def _overlay(tables: Tables, upper: Tables) -> None:
    """Put *upper* over *tables*; a secret set in one way above replaces the other way below."""
    for section, table in upper.items():
        below = tables.setdefault(section, {})
        for key in rules.SECRET_KEYS.get(section, ()):
            if key in table or f"{key}_file" in table:
                below.pop(key, None)
                below.pop(f"{key}_file", None)
        below.update(table)


def _read_secret_files(tables: Tables, faults: list[Fault], *, shared_allowed: bool) -> None:
    """Put the content of each `*_file` into the key that it stands for."""
    for section, keys in rules.SECRET_KEYS.items():
        table = tables.get(section, {})
        for key in keys:
            source = table.get(f"{key}_file")
            if source is None:
                continue
            if key in table:
                faults.append((f"{section}.{key}_file", f"and {section}.{key} are both set; keep one"))
                continue
            try:
                table[key] = _read_secret(expanded(str(source)), shared_allowed=shared_allowed)
            except ValueError as error:
                faults.append((f"{section}.{key}_file", str(error)))
                # The key is not missing besides: one fault, one line.
                table[key] = None


def _read_secret(path: Path, *, shared_allowed: bool) -> str:
    """Return a secret's text without its last line end; raise `ValueError` that says what to do."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            content = stream.read(_SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}); check the path and its rights") from error
    if stat.S_ISREG(status.st_mode) and not shared_allowed:
        if status.st_mode & 0o077:
            raise ValueError(
                f"is open to other users; chmod 600 it, or set {ALLOW_SHARED_SECRETS}=1 in a container"
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise ValueError(
                f"belongs to another user; chown it, or set {ALLOW_SHARED_SECRETS}=1 in a container"
            )
    if len(content) > _SECRET_BYTES_MAX:
        raise ValueError("is larger than 64 KiB; that is no secret of ours")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text.strip():
        raise ValueError("is empty; write the secret into it")
    return text


def _unknown_sections(tables: Tables) -> list[Fault]:
    unknown = [section for section in tables if section not in Settings.model_fields]
    for section in unknown:
        del tables[section]
    return [
        (section, f"is no section{_nearest(section, list(Settings.model_fields))}") for section in unknown
    ]


def _validate(tables: Tables, faults: list[Fault]) -> Settings | None:
    tables.setdefault("salesforce", {})
    try:
        return Settings(**tables)  # type: ignore[arg-type]
    except ValidationError as error:
        known = {key for key, _ in faults}
        for details in error.errors(include_url=False, include_input=False, include_context=True):
            key = ".".join(str(part) for part in details["loc"][:2])
            if key not in known:
                faults.append((key, _explain(details)))
        return None


def _explain(details: ErrorDetails) -> str:
    """Say in one clause what pydantic found, without the value it found."""
    section, key = (str(part) for part in details["loc"][:2])
    match details["type"]:
        case "missing":
            return f"is required; {rules.how_to_set(section, key)}"
        case "extra_forbidden":
            return f"is no setting{_nearest(f'{section}.{key}', _all_keys())}"
        case "value_error":
            return str(details["ctx"]["error"])
        case _:
            message = details["msg"].partition(", unable to parse")[0]
            return message.replace("Input should be", "must be").replace("String should", "must")


def _all_keys() -> list[str]:
    return [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    ]


def _nearest(name: str, known: list[str]) -> str:
    """Suggest the key that was probably meant: the same key of another section, else the closest spelling."""
    same = [key for key in known if key.partition(".")[2] == name.partition(".")[2] != ""]
    close = same or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md lists them"


def _tell(source: Path | None, faults: list[Fault]) -> str:
    place = f"{source} and the environment" if source else "the environment (no file was named or found)"
    lines = [f"  {key}: {fault}" for key, fault in sorted(set(faults))]
    return "\n".join(
        [f"{len(lines)} fault{'s' * (len(lines) > 1)} in the configuration, read from {place}:", *lines]
    )

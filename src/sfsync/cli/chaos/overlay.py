"""The daemon's environment: the user's own configuration, and over it what a play of two minutes needs.

Why: the question is what happens to *your* configuration, so only that is laid over it which must be: the simulated org
instead of yours, a database of our own instead of yours, and waits that suit somebody who watches. The environment wins
over the file for every key, so the file is read as it is and never copied. What was changed is told.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...config import Settings, load_settings

QUICK: Mapping[str, float] = {
    "sync.settle_s": 0.5,
    "sync.sweep_interval_s": 1,
    "sync.backoff_s_max": 1,
    "sync.auth_retry_s": 1,
    "sync.other_half_wait_s": 1,
    "sync.shutdown_s": 5,
    "salesforce.long_poll_s": 3,
    "salesforce.request_timeout_s": 10,
}
"""The longest waits of a play; a configuration that waits less is left as it is."""

_UNREACHED = {
    "url": "http://localhost:1",
    "client_id": "-",
    "client_secret": "-",
    "username": "-",
    "password": "-",
    "security_token": "-",
    "refresh_token": "-",
}
_NO_STORE = "postgresql://localhost/none"
_OURS = ("CLIENT_SECRET", "PRIVATE_KEY", "PASSWORD", "REFRESH_TOKEN", "DSN", "TOKEN")
_PLAIN_CHANNEL, _CUSTOM_CHANNEL = "/data/ChangeEvents", "/data/Sync__chn"


@dataclass(frozen=True, slots=True)
class Overlay:
    """A configuration as the user has it, and how the daemon gets it here.

    `settings` are the user's; `changes` says in words what is laid over them.
    """

    config: Path | None
    settings: Settings
    changes: tuple[str, ...]
    token: str
    _environ: Mapping[str, str]

    def environ(self, login: Mapping[str, str], dsn: str) -> dict[str, str]:
        """Return the environment of a process that shall meet the org of *login* and the store at *dsn*."""
        return {**self._environ, **_connection(login, dsn, self.token)}

    def longest_wait_s(self, key: str) -> float:
        """Return what the user configured for a key of `QUICK`."""
        return _configured(self.settings, key)


def overlay(config: Path | None, environ: Mapping[str, str]) -> Overlay:
    """Read the user's configuration and lay ours over it. Raises `ConfigError` with all faults of the user's."""
    config = config.resolve() if config else None
    token = secrets.token_hex(20)
    plain = {name: text for name, text in environ.items() if not _is_ours(name)}
    settings = load_settings(config, plain | _connection(_UNREACHED, _NO_STORE, token))
    waits = {key: limit for key, limit in QUICK.items() if _configured(settings, key) > limit}
    changes = [f"{key} {_configured(settings, key):g} → {limit:g}" for key, limit in waits.items()]
    above = {_variable(key): f"{limit:g}" for key, limit in waits.items()}
    for key, value, is_needed in _elsewhere(settings):
        above[_variable(key)] = value
        if is_needed:
            changes.append(f'{key} → "{value}"')
    return Overlay(config, settings, tuple(changes), token, plain | above)


def _elsewhere(settings: Settings) -> list[tuple[str, str, bool]]:
    """List what the simulated org and the judge need: a key, its value here, and whether the user has another."""
    sync, store = settings.sync, settings.store
    is_custom = settings.salesforce.channel != _PLAIN_CHANNEL
    return [
        ("salesforce.channel", _CUSTOM_CHANNEL if is_custom else _PLAIN_CHANNEL, is_custom),
        ("store.crm_schema", "crm", store.crm_schema != "crm"),
        ("store.internal_schema", "sfsync", store.internal_schema != "sfsync"),
        ("sync.mirror", "all", sync.mirror != "all"),
        ("sync.adopt", "all", sync.adopt != "all"),
        ("console.enabled", "true", False),
        ("console.host", "127.0.0.1", False),
        ("console.port", "0", False),
        ("log.format", "json", False),
        ("log.level", "info", False),
    ]


def _connection(login: Mapping[str, str], dsn: str, token: str) -> dict[str, str]:
    """Return what leads to the org of *login* by any of the flows, and to a store."""
    key = login.get("private_key_file")
    return {
        "SFSYNC_SALESFORCE__LOGIN_URL": login["url"],
        "SFSYNC_SALESFORCE__CLIENT_ID": login["client_id"],
        "SFSYNC_SALESFORCE__CLIENT_SECRET": login["client_secret"],
        "SFSYNC_SALESFORCE__USERNAME": login["username"],
        "SFSYNC_SALESFORCE__PASSWORD": login["password"] + login["security_token"],
        "SFSYNC_SALESFORCE__REFRESH_TOKEN": login["refresh_token"],
        **({"SFSYNC_SALESFORCE__PRIVATE_KEY_FILE": key} if key else {"SFSYNC_SALESFORCE__PRIVATE_KEY": "-"}),
        "SFSYNC_STORE__DSN": dsn,
        "SFSYNC_CONSOLE__TOKEN": token,
    }


def _is_ours(name: str) -> bool:
    """Tell whether a variable says, perhaps by a file, what we say ourselves: both at once would be a fault."""
    key = name.upper().rpartition("__")[2]
    return name.upper().startswith("SFSYNC_") and key.removesuffix("_FILE") in _OURS


def _configured(settings: Settings, key: str) -> float:
    section, _, name = key.partition(".")
    return float(getattr(getattr(settings, section), name))


def _variable(key: str) -> str:
    return f"SFSYNC_{key.replace('.', '__').upper()}"

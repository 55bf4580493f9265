"""The settings of sfsync: `load_settings` reads one TOML file and the environment into a frozen `Settings`.

Why: three modules for three readers. `model.py` is for who looks up a key, `rules.py` for who asks why a value is
refused, `load.py` for who asks where a value came from.
"""

from __future__ import annotations

from .load import ALLOW_SHARED_SECRETS, find_file, load_settings
from .model import (
    ConsoleSettings,
    LogSettings,
    MappingSettings,
    SalesforceSettings,
    SecretText,
    Settings,
    StoreSettings,
    SyncSettings,
)

__all__ = [
    "ALLOW_SHARED_SECRETS",
    "ConsoleSettings",
    "LogSettings",
    "MappingSettings",
    "SalesforceSettings",
    "SecretText",
    "Settings",
    "StoreSettings",
    "SyncSettings",
    "find_file",
    "load_settings",
]

"""What a setting must look like, beyond its type.

Why: each rule says what is wrong and what to do instead, and never repeats the value it refuses.
Source: Salesforce "Change Data Capture Developer Guide" (channels), "Authorize Apps with OAuth" (hosts).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

_SHARED_LOGIN_HOSTS = frozenset({"login.salesforce.com", "test.salesforce.com"})
_API_VERSION_MIN = 37
_CHANNEL = re.compile(r"/data/(ChangeEvents|[A-Za-z][A-Za-z0-9_]*__chn)")
_SINGLE_ENTITY_CHANNEL = re.compile(r"/data/\w*ChangeEvent")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TOKEN_CHARS_MIN = 32

NEEDED_BY_FLOW: Mapping[str, tuple[str, ...]] = {
    "jwt": ("username", "private_key"),
    "client_credentials": ("client_secret",),
    "refresh_token": ("refresh_token",),
    "legacy_password": ("client_secret", "username", "password"),
}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def login_url(text: Any) -> str:
    """Return the origin to log in at, without a trailing slash."""
    url = _split(text)
    host = url.hostname or ""
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError("must start with https:// (http:// is taken for loopback only)")
    if not host or url.username is not None or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("must be scheme and host alone, like https://DOMAIN.my.salesforce.com")
    if host.endswith(".lightning.force.com"):
        raise ValueError("is a page for people, not for programs; use https://DOMAIN.my.salesforce.com")
    return f"{url.scheme}://{url.netloc}"


def _split(text: Any) -> SplitResult:
    if not isinstance(text, str):
        raise ValueError("must be a text")  # noqa: TRY004 - pydantic collects ValueError only
    try:
        url = urlsplit(text.strip())
        _ = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    return url


def api_version(text: Any) -> str:
    """Return a version such as `66.0`."""
    if not re.fullmatch(r"\d{2,3}\.0", str(text)) or float(text) < _API_VERSION_MIN:
        raise ValueError(f'must be a version like "66.0", {_API_VERSION_MIN}.0 or newer')
    return str(text)


def channel(text: Any) -> str:
    """Return a channel that carries all entities in one order."""
    if not isinstance(text, str) or not _CHANNEL.fullmatch(text):
        if isinstance(text, str) and _SINGLE_ENTITY_CHANNEL.fullmatch(text):
            raise ValueError(
                "carries one entity only, and several such channels have no common order; "
                "use /data/ChangeEvents or a custom channel, /data/NAME__chn"
            )
        raise ValueError("must be /data/ChangeEvents or a custom channel, /data/NAME__chn")
    return text


def dsn(value: Any) -> Any:
    """Check a connection string; only its form is looked at."""
    text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    if not isinstance(text, str) or _split(text).scheme not in ("postgresql", "postgres"):
        raise ValueError("must be a URL like postgresql://USER@HOST/DATABASE")
    return value


def dsn_has_password(text: str) -> bool:
    """Tell whether a connection string carries a password in one of the places where it may stand."""
    url = _split(text)
    return url.password is not None or "password" in parse_qs(url.query, keep_blank_values=True)


def schema_name(text: Any) -> str:
    """Return the name of a schema that needs no quoting and is not Postgres' own."""
    if not isinstance(text, str) or not _SCHEMA.fullmatch(text) or text.startswith("pg_"):
        raise ValueError(
            "must be lower-case letters, digits and _, at most 63, not starting with pg_ or a digit"
        )
    return text


def names(value: Any) -> Any:
    """Return a list; the environment writes it with commas."""
    return (
        tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, str) else value
    )


def between_keys(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (key, fault) for what no single key can tell: keys that need or exclude each other."""
    yield from _flow_faults(tables.get("salesforce", {}))
    yield from _store_faults(tables.get("store", {}))
    yield from _console_faults(tables.get("console", {}))
    yield from _mapping_faults(tables.get("mapping", {}))


def _flow_faults(salesforce: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flow = salesforce.get("flow", "jwt")
    for key in NEEDED_BY_FLOW.get(flow if isinstance(flow, str) else "", ()):
        if not salesforce.get(key):
            yield f"salesforce.{key}", f'is needed by flow = "{flow}"; {how_to_set("salesforce", key)}'
    url = salesforce.get("login_url")
    if (
        flow == "client_credentials"
        and isinstance(url, str)
        and urlsplit(url).hostname in _SHARED_LOGIN_HOSTS
    ):
        yield (
            "salesforce.login_url",
            "client credentials are refused at the shared login hosts; use https://DOMAIN.my.salesforce.com",
        )


def _store_faults(store: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if store.get("crm_schema", "crm") == store.get("internal_schema", "sfsync"):
        yield "store.internal_schema", "must differ from store.crm_schema; name two schemas"


def _mapping_faults(mapping: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if mapping.get("file") and mapping.get("company_address"):
        yield (
            "mapping.company_address",
            (
                "chooses for the shipped mapping, but mapping.file is given too: name the fields you want under "
                "[company.address] in that file, and leave company_address out"
            ),
        )


def _console_faults(console: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    token, host = console.get("token"), console.get("host", "127.0.0.1")
    if isinstance(host, str) and not is_loopback(host) and not token:
        yield (
            "console.token",
            (
                "is needed when console.host is not loopback, because anybody on the network could read the details; "
                + how_to_set("console", "token")
            ),
        )
    if isinstance(token, str) and len(token) < _TOKEN_CHARS_MIN:
        yield (
            "console.token",
            f"is shorter than {_TOKEN_CHARS_MIN} characters; make one with: openssl rand -hex 32",
        )


SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "salesforce": ("client_secret", "private_key", "password", "refresh_token"),
    "store": ("dsn",),
    "console": ("token",),
}


def how_to_set(section: str, key: str) -> str:
    """Say where the value of a key may be written."""
    variable = f"SFSYNC_{section}__{key}".upper()
    if key in SECRET_KEYS.get(section, ()):
        return f"set {variable} or {section}.{key}_file"
    return f"set it in the file or as {variable}"

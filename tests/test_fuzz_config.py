"""Whatever stands in a configuration, a mapping or the environment: settings, or a `ConfigError` that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sfsync.config import load_settings
from sfsync.config.mapping import read_mapping
from sfsync.core.mapping_file import default_mapping_text, parse_mapping
from sfsync.errors import ConfigError
from tests.hostile import FUZZ, anything, damaged, text, torn

# The file is written anew by each example.
ON_DISK = settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
CANARY = "c4n4ry-s3cret"
LOGIN = {
    "SFSYNC_SALESFORCE__FLOW": "client_credentials",
    "SFSYNC_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    "SFSYNC_SALESFORCE__CLIENT_ID": "client",
    "SFSYNC_SALESFORCE__CLIENT_SECRET": CANARY,
}
GOOD = b"""
[salesforce]
api_version = "66.0"
channel = "/data/ChangeEvents"
ca_file = "~/ca.pem"
[store]
dsn = "postgresql://sfsync@db.internal/crm"
statement_timeout_s = 30.0
[sync]
hold_ms = 20
adopt = "all"
[console]
allowed_hosts = ["a.example"]
[mapping]
file = "mapping.toml"
"""
MAPPING: dict[str, Any] = {
    "person": {
        "last_name": {"contact": "LastName", "lead": "LastName"},
        "company_name": {"lead": "Company", "role": "company", "optional": True},
        "address": {"postal_code": {"contact": "MailingPostalCode", "lead": "PostalCode"}},
    },
    "company": {"name": "Name", "address": {"postal_code": "BillingPostalCode"}},
}
KEYS = [
    "login_url",
    "private_key_file",
    "dsn_file",
    "hold_ms",
    "allowed_hosts",
    "token_file",
    "file",
    "x",
    "",
]
variables = st.dictionaries(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["SFSYNC_SALESFORCE", "SFSYNC_STORE", "SFSYNC_CONSOLE", "SFSYNC_MAPPING", "SFSYNC_X", "SFSYNC_"]
        ),
        st.sampled_from(["", "_", "__", "____"]),
        st.sampled_from([key.upper() for key in KEYS]),
    ),
    st.one_of(text, anything.map(json.dumps)).map(lambda one: one.replace("\0", "")),
    max_size=3,
)


def test_what_is_damaged_here_was_good(tmp_path: Path) -> None:
    """Damage to something that nobody took in the first place would test nothing."""
    file = tmp_path / "sfsync.toml"
    file.write_bytes(GOOD)
    assert load_settings(file, LOGIN).sync.hold_ms == 20
    assert parse_mapping(MAPPING).columns


@ON_DISK
@given(torn(st.just(GOOD)))
@example(b"x = " + b"[" * 5000)
@example(b"x = " + b"9" * 5000)
@example(b'[salesforce]\nca_file = "~nobody-of-that-name/ca.pem"\n')
@example(b'[console]\ntoken_file = "~nobody-of-that-name/token"\n')
@example(b'[console]\ntoken_file = "a\\u0000b"\n')
@example(b'[store]\ndsn = "postgresql://:db.internal/crm"\n')
@example(b'[store]\ndsn = "postgresql://[sfsync@db.internal/crm"\n')
@example(b"\xff\xfe")
def test_torn_file_is_settings_or_a_fault(tmp_path: Path, content: bytes) -> None:
    """An operator's typing error is told with what to do, and never as a traceback with the file in it."""
    file = tmp_path / "sfsync.toml"
    file.write_bytes(content)
    must_load_or_tell(file, LOGIN)


@FUZZ
@given(variables)
@example({"SFSYNC_CONSOLE": "{"})
@example({"SFSYNC_CONSOLE": "[]"})
@example({"SFSYNC_CONSOLE__ALLOWED_HOSTS": '["\ud83d"]'})
@example({"SFSYNC_STORE__DSN_FILE": "~nobody-of-that-name/dsn"})
@example({"SFSYNC_STORE__DSN_FILE": "x" * 5000})
def test_environment_is_settings_or_a_fault(environ: dict[str, str]) -> None:
    """A variable may hold anything that some deployment tool made of a template."""
    must_load_or_tell(None, LOGIN | environ)


def must_load_or_tell(file: Path | None, environ: dict[str, str]) -> None:
    try:
        load_settings(file, environ)
    except ConfigError as error:
        told = str(error)
    else:
        told = ""
    assert CANARY not in told


@ON_DISK
@given(torn(st.just(default_mapping_text().encode())))
@example(b"x = " + b"[" * 5000)
@example(b"x = " + b"9" * 5000)
@example(b"[person]\nx = { contact = 2026-13-45 }")
def test_torn_mapping_is_a_mapping_or_a_fault(tmp_path: Path, content: bytes) -> None:
    """A mapping is reloaded into a running daemon: what is wrong with it must leave the daemon as it was."""
    file = tmp_path / "mapping.toml"
    file.write_bytes(content)
    try:
        read_mapping(file)
    except ConfigError as error:
        told = str(error)
    else:
        told = str(file)
    assert str(file) in told


@FUZZ
@given(st.one_of(damaged(MAPPING), st.dictionaries(text, anything)))
def test_damaged_mapping_is_a_mapping_or_a_fault(document: Any) -> None:
    """And every name that passes can stand in SQL and in SOQL."""
    try:
        mapping = parse_mapping(document)
    except ConfigError:
        return
    for column in mapping.columns:
        assert column.name.isascii() and column.name.isidentifier() and column.name == column.name.lower()
        assert all(field.isascii() and field.isidentifier() for field in column.sources.values())


@pytest.mark.parametrize("name", ["x\0y", "x" * 5000, "~nobody-of-that-name/mapping.toml"])
def test_mapping_that_can_have_no_file_is_a_fault(name: str) -> None:
    """The name comes from a file or a variable, and need not be one."""
    with pytest.raises(ConfigError):
        read_mapping(Path(name))

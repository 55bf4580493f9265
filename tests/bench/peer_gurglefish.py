"""gurglefish 1.1.9 as it synchronises: its own transformer, then its Driver's upsert of each record.

Run by the Python of its environment (3.9): `peer_gurglefish.py DSN DIRECTORY [--empty]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gurglefish.drivers.postgresql.Driver import Driver
from gurglefish.objects.connections import ConnectionConfig
from gurglefish.objects.sobject import SObjectFields


def main(dsn: str, directory: Path, *, empty: bool) -> None:
    """Make the tables and write every record into them."""
    parts = urlsplit(dsn)
    driver = Driver()
    driver.connect(
        ConnectionConfig(
            {
                "id": "bench",
                "schema": "peer",
                "dbname": parts.path[1:],
                "dbuser": parts.username,
                "dbpass": parts.password,
                "dbhost": parts.hostname,
                "dbport": str(parts.port),
            }
        )
    )
    for described in sorted(directory.glob("*.describe.json")):
        entity = described.name.partition(".")[0]
        transform = _make_table(driver, entity.lower(), json.loads(described.read_text()))
        if not empty:
            _upsert(driver, entity.lower(), transform, directory / f"{entity}.jsonl")
    driver.close()


def _make_table(driver: Any, table: str, described: list[dict[str, Any]]) -> Any:
    """Do what its SFSchemaManager does; return the transformer that it generates for each table."""
    fields = SObjectFields(described)
    name, columns, statement = driver.make_create_table(fields, table)
    driver.exec_ddl(statement)
    driver.maintain_indexes(table, fields.fields)
    module: dict[str, Any] = {}
    exec(driver.make_transformer(name, name, columns), module)  # noqa: S102 - so does gurglefish, from a file.
    return module["parse"]


def _upsert(driver: Any, table: str, transform: Any, records: Path) -> None:
    """As in its SFExporter.sync_tables: one cursor; it commits every ten thousand records and at the end."""
    cursor = driver.cursor
    with records.open(encoding="utf-8") as rows:
        for number, row in enumerate(rows, 1):
            driver.upsert(cursor, table, transform(json.loads(row)), None)
            if number % 10_000 == 0:
                driver.commit()
    driver.commit()
    cursor.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), empty="--empty" in sys.argv)

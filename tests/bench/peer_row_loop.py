"""The loop that most people write: simple-salesforce reads, and each record is one upsert with psycopg.

Run by the Python of its environment: `peer_row_loop.py DSN DIRECTORY URL TOKEN [--empty]`. One transaction for each
entity, which is the kind way: with a commit after each row it takes several times as long.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce

_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "currency": "numeric",
    "double": "double precision",
    "percent": "numeric",
    "datetime": "timestamptz",
    "date": "date",
}


class _Plainly(HTTPAdapter):
    """simple-salesforce only speaks HTTPS; the recorder, like every simulated org of the bench, speaks HTTP."""

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, *arguments, **options)


def main(dsn: str, directory: Path, login: tuple[str, str], *, empty: bool) -> None:
    """Make the tables and write every record into them."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _Plainly())
    org = Salesforce(instance_url=login[0], session_id=login[1], version="66.0", session=session)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE SCHEMA peer")
        for described in sorted(directory.glob("*.describe.json")):
            entity = described.name.partition(".")[0]
            upsert = _make_table(connection, entity, json.loads(described.read_text()))
            if not empty:
                _load(org, connection, upsert, (directory / f"{entity}.soql").read_text())


def _make_table(connection: Any, entity: str, described: list[dict[str, Any]]) -> str:
    columns = [f"{one['name']} {_TYPES.get(one['type'], 'text')}" for one in described if one["name"] != "Id"]
    connection.execute(f"CREATE TABLE peer.{entity} (Id text PRIMARY KEY, {', '.join(columns)})")
    connection.commit()
    names = [one["name"] for one in described]
    return (
        f"INSERT INTO peer.{entity} ({', '.join(names)}) VALUES ({', '.join(f'%({name})s' for name in names)})"
        f" ON CONFLICT (Id) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in names if name != 'Id')}"
    )


def _load(org: Any, connection: Any, upsert: str, soql: str) -> None:
    with connection.cursor() as cursor:
        for record in org.query_all_iter(soql):
            del record["attributes"]
            cursor.execute(upsert, record)
    connection.commit()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), (sys.argv[3], sys.argv[4]), empty="--empty" in sys.argv)

"""Put the CSV of a Bulk API 2.0 job into a table as it comes, without making Python values of it.

Why: measured, Postgres reads CSV three times faster than it can be given values that Python parsed, for a fraction of
the processor time. What no database can hold is cleaned in passing as `core/jsontext.clean_text` does it, or one such
text would refuse a page of fifty thousand records. The header row is compared here and not by Postgres: field names
may be longer than its identifiers.
Source: PostgreSQL "COPY", "CSV Format".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from ..errors import SalesforceError
from .database import Connection, row_count, store_errors

_HEADER_BYTES_MAX = 256 * 1024
# Half a surrogate pair as an encoder writes it that does not know better; UTF-8 has no such character.
_UNSTORABLE = re.compile(b"\0|\xed[\xa0-\xbf][\x80-\xbf]")
_CUT = re.compile(b"\xed[\xa0-\xbf]?\\Z")
_REPLACEMENT = "�".encode()


async def copy_csv(
    connection: Connection, table: str, columns: Sequence[str], chunks: AsyncIterator[bytes]
) -> int:
    """Append the rows of a CSV with a header row to *table*, and return how many they are.

    *table* is `schema.name`; its columns are texts, in the order of *columns*, which the header must name. Empty
    cells become null, quoted or not. A body without a header is one without rows. Runs in the caller's transaction.
    Raises `SalesforceError` (code HEADER) for another header, what the chunks raise, and `StoreError` when Postgres
    refuses the text: then nothing of it is there.
    """
    schema, _, name = table.rpartition(".")
    # A page takes as long as the line needs; that something comes at all is for whoever reads it to watch.
    await connection.execute("SET LOCAL statement_timeout = 0")
    with store_errors():
        done = await connection.copy_to_table(
            name,
            schema_name=schema,
            source=_rows(columns, chunks),
            format="csv",
            force_null=[*columns],
            timeout=_NO_LIMIT_S,
        )
    return row_count(done)


_NO_LIMIT_S = 7 * 24 * 3600.0


async def _rows(columns: Sequence[str], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on the rows behind the header row, cleaned."""
    head, rest = await _split_header(chunks)
    if names := [name.strip('"') for name in head.decode(errors="replace").split(",") if name]:
        _refuse_header(names, columns)
    kept = b""
    if rest:
        kept, clean = _clean(rest)
        yield clean
    async for chunk in chunks:
        kept, clean = _clean(kept + chunk)
        yield clean
    if kept:
        yield kept


async def _split_header(chunks: AsyncIterator[bytes]) -> tuple[bytes, bytes]:
    head = b""
    async for chunk in chunks:
        head += chunk
        if b"\n" in head or len(head) > _HEADER_BYTES_MAX:
            break
    line, _, rest = head.partition(b"\n")
    return line.removesuffix(b"\r"), rest


def _refuse_header(names: Sequence[str], columns: Sequence[str]) -> None:
    if [name.lower() for name in names] != [column.lower() for column in columns]:
        raise SalesforceError("the results have other columns than were asked for", code="HEADER")


def _clean(piece: bytes) -> tuple[bytes, bytes]:
    """Return what must be looked at with the next piece, and the rest, cleaned."""
    if b"\0" not in piece and b"\xed" not in piece:
        return b"", piece
    kept = b""
    if cut := _CUT.search(piece, max(len(piece) - 2, 0)):
        kept, piece = cut[0], piece[: cut.start()]
    return kept, _UNSTORABLE.sub(_REPLACEMENT, piece)

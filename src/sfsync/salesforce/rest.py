"""Read an org by REST: describe, limits, queries page by page, each with the instants it is true for.

Why: a read has two instants, and the ordering of events and reads depends on them (design: "Clocks").
`read_from_ms` is not later than the content: the `Date` of an answer that was complete before this request
was sent, less a second. `read_to_ms` is not earlier: the own answer's `Date`, plus a second. Both are the
org's clock. Pages are values, not a cursor object: a sweep that crashes can go on from the last keyset.

Deleted records are only to be seen through `queryAll`. Collections (`composite/sobjects`) read five times as many
records in one call, but answer null for deleted, purged and hidden alike: they tell of live records only, and whoever
meets a null has to ask again.
Source: Salesforce REST API guide "Query", "QueryAll", "sObject Collections", "sObject Describe", "Limits".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from ..core.ids import RecordId
from ..core.jsontext import parse_json
from ..errors import QueryError, SalesforceError, UnavailableError
from . import soql
from .connection import Answer, Connection
from .soql import PAGE_ROWS, Keyset, Selection

CLOCK_FUZZ_MS = 1000
URL_BYTES_MAX = 16_000
READ_IDS_MAX = 400
RETRIEVE_IDS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one query answer; `done` says that nothing follows.

    Values are raw JSON, numbers with a fraction are `Decimal`. `cleaned` counts texts that no database can
    hold and that were repaired.
    """

    records: list[dict[str, Any]]
    done: bool
    total_size: int
    next_path: str | None
    read_from_ms: int
    read_to_ms: int
    cleaned: int = 0


_Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_]{0,254}\Z")]


class _DescribedField(msgspec.Struct):
    """What every describe says of a field, and everything that reads one takes for granted: names reach screens and logs."""

    name: _Name
    type: _Name
    digits: int | None = None


class _Description(msgspec.Struct):
    """A describe, as far as it must have its shape."""

    fields: list[_DescribedField]


class Rest:
    """The reading half of the REST API; every call is repeated up to *tries* times while Salesforce is away."""

    def __init__(self, connection: Connection, *, tries: int = 3) -> None:
        self._connection = connection
        self._tries = tries
        self._root = f"/services/data/v{connection.api_version}"

    async def versions(self) -> list[str]:
        """Return the API versions that the org serves, oldest first, like "66.0"."""
        answer, _ = _parsed(await self._connection.ask_versions())
        if not isinstance(answer, list):
            raise UnavailableError("the list of API versions is malformed", code="ANSWER")
        return [str(entry["version"]) for entry in answer if isinstance(entry, dict) and "version" in entry]

    async def limits(self) -> dict[str, Any]:
        """Return the org's allocations by name, each with `Max` and `Remaining`; up to five minutes old."""
        return _mapping(await self._read(f"{self._root}/limits/", "limits"))

    async def describe(self, entity: str) -> dict[str, Any]:
        """Return what this user may see of *entity*: hidden fields are simply absent."""
        checked = Selection(entity, ()).entity
        described = _mapping(await self._read(f"{self._root}/sobjects/{checked}/describe", "describe"))
        try:
            msgspec.convert(described, _Description)
        except msgspec.ValidationError as error:
            raise UnavailableError(
                f"the answer is no describe of {checked}: {error}", code="ANSWER"
            ) from None
        return described

    async def count(self, entity: str) -> int:
        """Count the live records of *entity*."""
        return (await self.query_page(soql.count(entity), include_deleted=False)).total_size

    async def query_page(self, text: str, *, include_deleted: bool) -> Page:
        """Run a query and return its first page."""
        read_from_ms = await self._connection.recent_date_ms() - CLOCK_FUZZ_MS
        return _page(
            await self._read(self._query_path(text, include_deleted=include_deleted), "query"), read_from_ms
        )

    async def next_page(self, page: Page) -> Page:
        """Return the page after *page*; its content may be as old as the first one, and says so."""
        if page.next_path is None:
            raise ValueError("the page is the last one")
        return _page(await self._read(page.next_path, "query"), page.read_from_ms)

    async def query_all(self, text: str, *, include_deleted: bool) -> Page:
        """Run a query and return all its pages as one. For queries with a known bound."""
        page = whole = await self.query_page(text, include_deleted=include_deleted)
        while not page.done:
            page = await self.next_page(page)
            whole = _joined(whole, page)
        return whole

    async def read_by_ids(self, selection: Selection, ids: Sequence[RecordId]) -> Page:
        """Read these records (at most `READ_IDS_MAX`), deleted ones included.

        A record that is missing from the answer is purged, or hidden from this user.
        """
        if not 0 < len(ids) <= READ_IDS_MAX:
            raise ValueError(f"between 1 and {READ_IDS_MAX} ids are expected")
        queries = self._split(selection, ids)
        whole = await self.query_all(queries[0], include_deleted=True)
        for query in queries[1:]:
            whole = _joined(whole, await self.query_all(query, include_deleted=True))
        return whole

    async def retrieve(self, selection: Selection, ids: Sequence[RecordId]) -> Page:
        """Read those of these records (at most `RETRIEVE_IDS_MAX`) that are live, in one call.

        A record that is missing from the answer is deleted, purged, or hidden from this user.
        Raises `QueryError` for all of them when one field or one id is refused.
        """
        if not 0 < len(ids) <= RETRIEVE_IDS_MAX:
            raise ValueError(f"between 1 and {RETRIEVE_IDS_MAX} ids are expected")
        body = msgspec.json.encode({"ids": ids, "fields": selection.names()})
        read_from_ms = await self._connection.recent_date_ms() - CLOCK_FUZZ_MS
        path = f"{self._root}/composite/sobjects/{selection.entity}"
        answer = await self._connection.read(path, kind="collections", tries=self._tries, body=body)
        return _retrieved(answer, ids, read_from_ms)

    async def sweep_page(
        self, selection: Selection, since_ms: int, *, after: Keyset | None = None, limit: int = PAGE_ROWS
    ) -> Page:
        """Return one page of what changed since an instant, deleted records included, oldest first.

        The next page starts after `Keyset.of(page.records[-1])`; a `done` page has none.
        """
        if after is None:
            query = soql.changed_since(selection, since_ms, limit=limit)
        else:
            query = soql.changed_after(selection, after, limit=limit)
        return _keyset_page(await self.query_page(query, include_deleted=True), limit)

    async def backfill_page(
        self, selection: Selection, *, after: RecordId | None = None, limit: int = PAGE_ROWS
    ) -> Page:
        """Return one page of the whole entity in the order of ids, deleted records included."""
        query = soql.by_id(selection, after, limit=limit)
        return _keyset_page(await self.query_page(query, include_deleted=True), limit)

    async def _read(self, path: str, kind: str) -> Answer:
        return await self._connection.read(path, kind=kind, tries=self._tries)

    def _query_path(self, text: str, *, include_deleted: bool) -> str:
        verb = "queryAll" if include_deleted else "query"
        path = f"{self._root}/{verb}?q={quote(text, safe='')}"
        if len(path) > URL_BYTES_MAX:
            raise QueryError(
                f"the query is {len(path)} bytes long and Salesforce takes {URL_BYTES_MAX}: map fewer fields",
                code="URL",
            )
        return path

    def _split(self, selection: Selection, ids: Sequence[RecordId]) -> list[str]:
        """Return as few queries as fit the URL limit."""
        query = soql.by_ids(selection, ids)
        if len(ids) == 1 or len(quote(query, safe="")) + 100 <= URL_BYTES_MAX:
            return [query]
        middle = len(ids) // 2
        return self._split(selection, ids[:middle]) + self._split(selection, ids[middle:])


def _parsed(answer: Answer) -> tuple[Any, int]:
    try:
        return parse_json(answer.body)
    except ValueError as error:
        raise UnavailableError(f"the answer is not JSON: {error}", code="NOT_JSON") from error


def _mapping(answer: Answer) -> dict[str, Any]:
    content, _ = _parsed(answer)
    if not isinstance(content, dict):
        raise UnavailableError("the answer is JSON of another shape than asked for", code="ANSWER")
    return content


def _page(answer: Answer, read_from_ms: int) -> Page:
    content, cleaned = _parsed(answer)
    if answer.date_ms is None:
        raise UnavailableError(
            "the org's answers carry no Date: reads cannot be put in order", code="NO_DATE"
        )
    match content:
        case {"records": list(records), "done": bool(done), "totalSize": int(total)} if _are_records(records):
            next_path = _locator(content, done=done)
        case _:
            raise UnavailableError("the answer is no query result", code="ANSWER")
    for record in records:
        record.pop("attributes", None)
    return Page(records, done, total, next_path, read_from_ms, answer.date_ms + CLOCK_FUZZ_MS, cleaned)


def _retrieved(answer: Answer, ids: Sequence[RecordId], read_from_ms: int) -> Page:
    content, cleaned = _parsed(answer)
    if answer.date_ms is None:
        raise UnavailableError(
            "the org's answers carry no Date: reads cannot be put in order", code="NO_DATE"
        )
    if not isinstance(content, list) or len(content) != len(ids):
        raise UnavailableError("the answer is no collection of as many records as asked for", code="ANSWER")
    records = []
    for asked, record in zip(ids, content, strict=True):
        if record is None:
            continue
        if not isinstance(record, dict) or record.get("Id") != asked:
            raise UnavailableError("the answer holds other records than asked for", code="ANSWER")
        record.pop("attributes", None)
        # What collections show is live, whether or not they say so.
        records.append({"IsDeleted": False} | record)
    return Page(
        records,
        done=True,
        total_size=len(records),
        next_path=None,
        read_from_ms=read_from_ms,
        read_to_ms=answer.date_ms + CLOCK_FUZZ_MS,
        cleaned=cleaned,
    )


def _are_records(records: list[Any]) -> bool:
    return all(isinstance(record, dict) for record in records)


def _locator(content: Mapping[str, Any], *, done: bool) -> str | None:
    """Return the path of the next page: untrusted, so only a plain path of the API is taken."""
    if done:
        return None
    path = content.get("nextRecordsUrl")
    is_plain = (
        isinstance(path, str) and path.isascii() and path.isprintable() and not set(path) & set(" \\?#@")
    )
    if not isinstance(path, str) or not is_plain or not path.startswith("/services/") or ".." in path:
        raise SalesforceError(
            "nextRecordsUrl is no plain path under /services/; it was not followed", code="LOCATOR"
        )
    return path


def _joined(first: Page, second: Page) -> Page:
    records = first.records + second.records
    return replace(
        second,
        records=records,
        total_size=len(records),
        read_from_ms=first.read_from_ms,
        cleaned=first.cleaned + second.cleaned,
    )


def _keyset_page(page: Page, limit: int) -> Page:
    """A keyset page is the last one when it is not full; what the server kept back follows from the keyset."""
    if not page.records and not page.done:
        raise UnavailableError("the org answered with an empty page that is not the last", code="ANSWER")
    return replace(page, done=page.done and len(page.records) < limit, next_path=None)

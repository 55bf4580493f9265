"""What the paths of the API tell.

Why: every answer is read in one snapshot in which nothing can be written, so no GET changes anything and no answer is
made of two states. Ids are followed to whom they mean today, and the answer says which id was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from ..core.ids import RecordId, record_id
from ..store.explanation import explain
from ..store.people import (
    Filter,
    Found,
    Kind,
    Page,
    Reader,
    Reference,
    Told,
    find,
    list_certificates,
    list_companies,
    list_people,
    list_questions,
    load_address,
    load_aliases,
    load_history,
    load_members,
    load_question,
    load_row,
    tell_record,
)
from ..store.report import report
from .calls import Call, Reply
from .problems import Fault, Problem
from .source import Source

_LIMIT = 100
_NOBODY = 0


async def people(source: Source, call: Call) -> Reply:
    """List people."""
    async with source.reader() as reader:
        chosen = await _filter(reader, call, "person")
        found = await list_people(reader, chosen, _page(call)) if chosen else []
    return _listed("/v1/people", "people", found, call)


async def companies(source: Source, call: Call) -> Reply:
    """List companies."""
    async with source.reader() as reader:
        chosen = await _filter(reader, call, "company")
        found = await list_companies(reader, chosen, _page(call)) if chosen else []
    return _listed("/v1/companies", "companies", found, call)


async def _filter(reader: Reader, call: Call, kind: Kind) -> Filter | None:
    """Read the filters, following ids to whom they mean today; None when they can fit nobody."""
    query = call.query
    wanted = (
        await _wanted(reader, kind, _record(query["salesforce_id"])) if "salesforce_id" in query else None
    )
    company_id = await _wanted(reader, "company", query["company_id"]) if "company_id" in query else None
    if _NOBODY in (wanted, company_id):
        return None
    include = query.get("include", ())
    return Filter(
        sync=query.get("sync"),
        company_id=company_id,
        id=wanted,
        written_since=query.get("updated_since"),
        with_deleted="deleted" in include,
        with_merged="merged" in include,
    )


async def _wanted(reader: Reader, kind: Kind, reference: Reference) -> int:
    found = await find(reader, reference)
    return found.id if found is not None and found.kind == kind else _NOBODY


async def person(source: Source, call: Call) -> Reply:
    """Tell who an id means today."""
    async with source.reader() as reader:
        found = await find_subject(reader, call.id, "person")
        row = await load_row(reader, found)
        question = await load_question(reader, found.id)
        company_id = msgspec.json.decode(row["company_id"])
        employer = Found("company", company_id, found.org)
        company = None if company_id is None else await load_row(reader, employer)
        who = await _who(reader, found, call.id, row, question)
        address = await load_address(reader, found.id)
    return Reply(who | row | {"company": company, "address": address, "pending": question})


async def company(source: Source, call: Call) -> Reply:
    """Tell which company an id means today."""
    async with source.reader() as reader:
        found = await find_subject(reader, call.id, "company")
        row = await load_row(reader, found)
        who = await _who(reader, found, call.id, row, None)
    return Reply(who | row)


async def person_history(source: Source, call: Call) -> Reply:
    """Tell what became of a person."""
    return await _history(source, call, "person", "people")


async def company_history(source: Source, call: Call) -> Reply:
    """Tell what became of a company."""
    return await _history(source, call, "company", "companies")


async def _history(source: Source, call: Call, kind: Kind, path: str) -> Reply:
    page = _page(call, "before")
    async with source.reader() as reader:
        found = await find_subject(reader, call.id, kind)
        changes = await load_history(reader, found, page)
    return Reply(
        {
            "id": found.id,
            "requested_id": call.id,
            "kept_days": source.kept_days,
            "changes": changes,
            "next": _next(f"/v1/{path}/{call.id}/history", call, "before", "seq", changes),
        }
    )


async def person_provenance(source: Source, call: Call) -> Reply:
    """Tell why a person is as it is."""
    return await _provenance(source, call, "person")


async def company_provenance(source: Source, call: Call) -> Reply:
    """Tell why a company is as it is."""
    return await _provenance(source, call, "company")


async def _provenance(source: Source, call: Call, kind: Kind) -> Reply:
    async with source.reader() as reader:
        told = await explain(reader, await find_subject(reader, call.id, kind))
    return Reply({"requested_id": call.id, "kept_days": source.kept_days} | told)


async def pending(source: Source, call: Call) -> Reply:
    """List who waits for a decision."""
    async with source.reader() as reader:
        found = await list_questions(reader, _page(call))
    return _listed("/v1/pending", "pending", found, call, by="person_id")


async def certificates(source: Source, call: Call) -> Reply:
    """List what sweeps proved."""
    async with source.reader() as reader:
        found = await list_certificates(reader, call.query.get("entity"), _page(call, "before"))
    following = _next("/v1/certificates", call, "before", "id", found)
    return Reply({"certificates": found, "next": following})


async def status(source: Source, _call: Call) -> Reply:
    """Tell the state of the work."""
    return Reply(await report(*await source.bound()))


async def find_subject(reader: Reader, reference: Reference, kind: Kind) -> Found:
    """Follow an id. Raises `Problem` 404 saying what the id is instead."""
    found = await find(reader, reference)
    if found is None:
        is_number = isinstance(reference, int)
        why = "nobody has this id" if is_number else "this record is no person or company here"
        raise Problem(404, why, faults=[Fault("is not known", parameter="id")])
    if found.kind != kind:
        where = {"person": "/v1/people/", "company": "/v1/companies/"}[found.kind]
        raise Problem(404, f"this is a {found.kind}: see {where}{found.id}")
    return found


def _record(text: str) -> RecordId:
    try:
        return record_id(text)
    except ValueError as error:
        fault = Fault(str(error), parameter="salesforce_id")
        raise Problem(400, f"parameter salesforce_id: {error}", faults=[fault]) from error


async def _who(reader: Reader, found: Found, requested: Reference, row: Told, question: Told | None) -> Told:
    members = await load_members(reader, found, row, question)
    return {
        "requested_id": requested,
        "aliases": await load_aliases(reader, found),
        "records": [tell_record(member) for member in members],
    }


def _page(call: Call, name: str = "after") -> Page:
    return Page(call.query.get(name), call.query.get("limit", _LIMIT))


def _listed(path: str, name: str, found: Sequence[Told], call: Call, *, by: str = "id") -> Reply:
    return Reply({name: found, "next": _next(path, call, "after", by, found)})


def _next(path: str, call: Call, parameter: str, key: str, found: Sequence[Told]) -> str | None:
    """Return where a list goes on after *found*; None when it was not filled."""
    if len(found) < call.query.get("limit", _LIMIT):
        return None
    last = found[-1][key]
    last = msgspec.json.decode(last) if isinstance(last, msgspec.Raw) else last
    return f"{path}?{urlencode({**call.given, parameter: last})}"

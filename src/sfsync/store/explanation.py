"""Explain a person or company: who it is, who speaks for it, and what wrote each column.

Why: "why does it show this?" is asked when somebody is about to act, so the answer must come from the store itself and
name the event or the sweep. The rule of who speaks is the pure one that grouped the records (`core/identity.py`); here
it is only run again. The change feed keeps provenance as long as it is kept itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec

from ..core.identity import Group, regroup
from ..core.ids import RecordId, entity_of
from ..core.speaking import why_it_speaks
from .grouping import member_of
from .people import (
    Found,
    Reader,
    Told,
    load_aliases,
    load_mapped,
    load_members,
    load_question,
    load_row,
    tell_record,
)
from .report import plain

_OWN = {
    "person": ("salesforce_id", "source", "company_id", "deleted_at"),
    "company": ("salesforce_id", "deleted_at"),
}
"""Columns of sfsync's own whose last change is told as well."""


async def explain(reader: Reader, found: Found) -> Told:
    """Tell all that is known of why a person or company is as it is."""
    row = await load_row(reader, found)
    question = await load_question(reader, found.id) if found.kind == "person" else None
    members = await load_members(reader, found, row, question)
    group = _group(members, found.id)
    ids = [member["id"] for member in members]
    told: Told = {
        "kind": found.kind,
        "id": found.id,
        "aliases": await load_aliases(reader, found),
        "row": row,
        "records": [tell_record(member) for member in members],
        "speaker": _speaker(group),
        "columns": await _columns(reader, found, row, group),
        "dirty": [plain(one) for one in await reader.fetch("load_dirty_of", found.org, ids)],
        "dead_letters": [plain(one) for one in await reader.fetch("load_dead_letters_of", found.org, ids)],
        "pending": question,
        "decisions": [],
        "company": None,
    }
    if found.kind == "person":
        told["company"] = _company(row, group, members)
        decided = await reader.fetch(
            "load_decisions_of", found.org, ids, sorted({found.id, *told["aliases"], *_own_ids(members)})
        )
        told["decisions"] = [plain(one) for one in decided]
    return told


def _own_ids(members: Sequence[asyncpg.Record]) -> list[int]:
    return [member["own_id"] for member in members if member["own_id"] is not None]


def _group(members: Sequence[asyncpg.Record], subject_id: int) -> Group | None:
    """Group the records again; None when the person has none, as a merged-away one."""
    groups = regroup(member_of(row) for row in members)
    return next((group for group in groups if group.subject_id == subject_id), None)


def _speaker(group: Group | None) -> Told | None:
    if group is None:
        return None
    return {"salesforce_id": group.speaker, "reason": why_it_speaks(group), "lead": group.lead_id}


def _company(row: Told, group: Group | None, members: Sequence[asyncpg.Record]) -> Told:
    """Say which company a person has, and why."""
    company_id = msgspec.json.decode(row["company_id"])
    return {"id": company_id, "reason": _why_company(company_id, group, members)}


def _why_company(company_id: int | None, group: Group | None, members: Sequence[asyncpg.Record]) -> str:
    speaker = next((one for one in members if group is not None and one["id"] == group.speaker), None)
    if speaker is None:
        return "no record speaks for this person"
    if speaker["entity"] != "Contact":
        return f"{speaker['id']} is a lead: its company is a text, and no company of ours"
    if speaker["account_id"] is None:
        return f"contact {speaker['id']} names no account"
    if company_id is None:
        return (
            f"contact {speaker['id']} names account {speaker['account_id']}, which is no company of ours yet"
        )
    return f"contact {speaker['id']} names account {speaker['account_id']}"


async def _columns(reader: Reader, found: Found, row: Told, group: Group | None) -> list[Told]:
    """Tell of each column its value, the field it comes from, and the change that wrote it last."""
    mapped = await load_mapped(reader, found.kind)
    own, told = _OWN[found.kind], row["columns"]
    written = await _changes(reader, found, [*own, *told])
    columns = [_column(name, row[name], None, written) for name in own]
    # What somebody undecided or declined shows came from the application, or once did from Salesforce.
    speaking = group if found.kind == "company" or msgspec.json.decode(row["sync"]) == "synced" else None
    for name, value in told.items():
        column = _column(name, value, _source(mapped[name], speaking), written)
        columns.append(column | {"suspended_since": mapped[name]["suspended_since"]})
    return columns


def _column(name: str, value: object, source: Told | None, written: Mapping[str, Told]) -> Told:
    return {
        "name": name,
        "value": value,
        "source": source,
        "suspended_since": None,
        "written": written.get(name),
    }


def _source(said: Told, group: Group | None) -> Told | None:
    """Return the record and the field that feed a column: the speaker's, or those of the lasting lead."""
    if group is None:
        return None
    sources: Mapping[str, str] = said["sources"]
    speaks = next(member for member in group.members if member.record_id == group.speaker)
    if field := sources.get(speaks.entity):
        return _fed_by(group.speaker, field)
    is_leads_only = sources.keys() == {"Lead"} and said["role"] == "plain"
    return _fed_by(group.lead_id, sources["Lead"]) if is_leads_only and group.lead_id else None


def _fed_by(record_id: RecordId, field: str) -> Told:
    return {"record_id": record_id, "field": field}


async def _changes(reader: Reader, found: Found, names: Sequence[str]) -> dict[str, Told]:
    """Return the last change of each column that is still kept, with the certificate of the sweep that made it."""
    rows = await reader.fetch("load_provenance", found.org, found.id, list(names))
    changes = {row["column_name"]: plain(row) for row in rows}
    sweeps = sorted({one["source"] for one in changes.values() if one["origin"] == "sweep" and one["source"]})
    certified = {
        (one["sweep_id"], one["entity"]): plain(one)
        for one in (await reader.fetch("load_certificates_of", found.org, sweeps) if sweeps else [])
    }
    for change in changes.values():
        del change["column_name"]
        change["certificate"] = certified.get((change["source"], entity_of(change["record_id"] or "")))
    return changes

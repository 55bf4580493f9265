"""Which paths the API has: what each takes, gives and does.

Why: one table from which requests are routed, parsed and checked and the OpenAPI document is made, so that a path that
is served is described, and what is described is what is checked.
"""

from __future__ import annotations

from . import asking, openapi, reading
from .calls import Call, Parameter, Reply, Route
from .schema import Schema
from .schemas import ENTITY, ID, ID_MAX, INSTANT, SYNC
from .source import Source

_LIMIT_MAX = 500
_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": _LIMIT_MAX, "default": 100},
    "how many at most",
)
_AFTER = Parameter(
    "after", {"type": "integer", "minimum": 0, "maximum": ID_MAX}, "begin after this id; `next` has it"
)
_BEFORE = Parameter("before", ID, "go back from this number; `next` has it")
_RECORD: Schema = {"type": "string", "pattern": "^[0-9A-Za-z]{15}([0-9A-Za-z]{3})?$"}
_SALESFORCE_ID = Parameter(
    "salesforce_id", _RECORD, "only whom this record, of 15 or 18 characters, is or was a part of"
)
_SINCE = Parameter(
    "updated_since", INSTANT, "only rows that were written at this instant or later (`synced_at`)"
)
_INCLUDE = Parameter(
    "include",
    {"type": "array", "items": {"type": "string", "enum": ["deleted", "merged"]}},
    "rows that are otherwise left out, with commas",
)


async def _document(_source: Source, _call: Call) -> Reply:
    return Reply(openapi.document(ROUTES))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/people",
        reading.people,
        "List people by id",
        {200: "People"},
        query=(
            Parameter("sync", SYNC, "only people in this state"),
            Parameter("company_id", ID, "only people of this company, by its id of today"),
            _SALESFORCE_ID,
            _SINCE,
            _INCLUDE,
            _AFTER,
            _LIMIT,
        ),
    ),
    Route(
        "GET",
        "/v1/people/{id}",
        reading.person,
        "Tell who an id means today",
        {200: "Person"},
        problems=(404,),
    ),
    Route(
        "GET",
        "/v1/people/{id}/history",
        reading.person_history,
        "Tell what became of a person, the newest first",
        {200: "History"},
        query=(_BEFORE, _LIMIT),
        problems=(404,),
    ),
    Route(
        "GET",
        "/v1/people/{id}/provenance",
        reading.person_provenance,
        "Tell who speaks for a person, and which event or sweep wrote each column",
        {200: "Provenance"},
        problems=(404,),
    ),
    Route(
        "POST",
        "/v1/people/{id}/decision",
        asking.decide,
        "Decide whether a person follows Salesforce",
        {200: "Decided", 202: "Request"},
        body="DecisionWanted",
        problems=(404, 409, 413, 415),
    ),
    Route(
        "GET",
        "/v1/companies",
        reading.companies,
        "List companies by id",
        {200: "Companies"},
        query=(_SALESFORCE_ID, _SINCE, _INCLUDE, _AFTER, _LIMIT),
    ),
    Route(
        "GET",
        "/v1/companies/{id}",
        reading.company,
        "Tell which company an id means today",
        {200: "Company"},
        problems=(404,),
    ),
    Route(
        "GET",
        "/v1/companies/{id}/history",
        reading.company_history,
        "Tell what became of a company, the newest first",
        {200: "History"},
        query=(_BEFORE, _LIMIT),
        problems=(404,),
    ),
    Route(
        "GET",
        "/v1/companies/{id}/provenance",
        reading.company_provenance,
        "Tell which event or sweep wrote each column of a company",
        {200: "Provenance"},
        problems=(404,),
    ),
    Route(
        "GET",
        "/v1/pending",
        reading.pending,
        "List the people who wait for a decision, with the columns that differ",
        {200: "Pending"},
        query=(_AFTER, _LIMIT),
    ),
    Route(
        "POST",
        "/v1/pull",
        asking.pull,
        "Read records from Salesforce now, ahead of all other work",
        {200: "Pulled", 202: "Pulled"},
        body="PullWanted",
        problems=(413, 415),
    ),
    Route(
        "GET",
        "/v1/requests/{id}",
        asking.request,
        "Tell what became of a decision or a pull",
        {200: "Request"},
        problems=(404,),
    ),
    Route("GET", "/v1/status", reading.status, "Tell the state of the work", {200: "Status"}),
    Route(
        "GET",
        "/v1/certificates",
        reading.certificates,
        "List what sweeps proved, the newest first; /v1/status has the newest of each entity",
        {200: "Certificates"},
        query=(Parameter("entity", ENTITY, "only of this entity"), _BEFORE, _LIMIT),
    ),
    Route("GET", "/v1/openapi.json", _document, "Give this document", {200: "OpenApi"}),
)

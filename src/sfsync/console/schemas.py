"""What the API takes and gives, as JSON Schema: the one place that both the checks and the document come from.

Why: plain values rather than classes, because a row's columns follow the mapping and pass through untouched; and
strict ones (`additionalProperties: false`), so that a test notices a fact that is answered but not declared.
"""

from __future__ import annotations

from collections.abc import Mapping

from .schema import Schema

ID_MAX = 2**63 - 1
ID: Schema = {"type": "integer", "minimum": 1, "maximum": ID_MAX}
RECORD_ID: Schema = {"type": "string", "pattern": "^[0-9A-Za-z]{18}$"}
INSTANT: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
ENTITY: Schema = {"type": "string", "enum": ["Lead", "Contact", "Account"]}
SYNC: Schema = {"type": "string", "enum": ["synced", "pending", "declined"]}
ANY_VALUE: Schema = {}


def ref(name: str) -> Schema:
    """Refer to a schema of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(one: Schema) -> Schema:
    """An array of it."""
    return {"type": "array", "items": one}


def nullable(schema: Schema) -> Schema:
    """It, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "enum" in schema:
        return {**schema, "type": [schema["type"], "null"], "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def record(meaning: str, properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "description": meaning,
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _page(of: str, meaning: str) -> Schema:
    return record(
        meaning,
        {
            of: listed(ref(_ONE_OF[of])),
            "next": nullable({**TEXT, "description": "where the list goes on; null at its end"}),
        },
    )


_ONE_OF = {
    "people": "PersonRow",
    "companies": "CompanyRow",
    "pending": "Question",
    "certificates": "Certificate",
}
_COMMON_ROW: Mapping[str, Schema] = {
    "id": ID,
    "org": TEXT,
    "salesforce_id": {**nullable(RECORD_ID), "description": "the record whose values it shows"},
    "merged_into": nullable(ID),
    "deleted_at": nullable(INSTANT),
    "synced_at": {**INSTANT, "description": "when sfsync wrote the row last"},
}
_COLUMNS: Schema = {
    "type": "object",
    "description": "the mapped columns, each as JSON of its Postgres type",
    "additionalProperties": ANY_VALUE,
}
_PERSON_ROW: Mapping[str, Schema] = {
    **_COMMON_ROW,
    "source": nullable({"type": "string", "enum": ["contact", "lead"]}),
    "company_id": nullable(ID),
    "sync": SYNC,
    "sync_reason": nullable(TEXT),
    "address_preference": nullable(TEXT),
    "columns": _COLUMNS,
}
_COMPANY_ROW: Mapping[str, Schema] = {**_COMMON_ROW, "columns": _COLUMNS}
_WHO: Mapping[str, Schema] = {
    "requested_id": {
        "anyOf": [ID, TEXT],
        "description": "the id of the request, which may be an alias or a record's",
    },
    "aliases": {**listed(ID), "description": "ids handed out once that lead here for ever"},
    "records": listed(ref("Record")),
}
_KEPT_DAYS: Schema = {
    **COUNT,
    "description": "how many days of history and provenance are kept; what is older is gone",
}

SCHEMAS: Mapping[str, Schema] = {
    "PersonRow": record("A row of crm.person.", _PERSON_ROW),
    "CompanyRow": record("A row of crm.company.", _COMPANY_ROW),
    "Record": record(
        "What is known of one Salesforce record besides its values.",
        {
            "salesforce_id": RECORD_ID,
            "entity": ENTITY,
            "own_id": nullable(ID),
            "is_deleted": BOOLEAN,
            "is_complete": BOOLEAN,
            "is_adopted": BOOLEAN,
            "decision": SYNC,
            "converted_to": nullable(RECORD_ID),
            "merged_into": nullable(RECORD_ID),
            "account_id": nullable(RECORD_ID),
            "modstamp": nullable(INSTANT),
            "last_commit": nullable(INSTANT),
            "unseen_since": nullable(INSTANT),
        },
    ),
    "Person": record(
        "A person of today.",
        {
            **_WHO,
            **_PERSON_ROW,
            "company": nullable(ref("CompanyRow")),
            "address": {
                "type": ["object", "null"],
                "description": "the chosen address: a row of crm.person_address",
            },
            "pending": nullable(ref("Question")),
        },
    ),
    "Company": record("A company of today.", {**_WHO, **_COMPANY_ROW}),
    "People": _page("people", "A page of people, by id."),
    "Companies": _page("companies", "A page of companies, by id."),
    "Difference": record(
        "A column in which a stored person differs from Salesforce.",
        {
            "column_name": TEXT,
            "stored_value": nullable(TEXT),
            "salesforce_value": nullable(TEXT),
        },
    ),
    "Question": record(
        "A person who waits for a decision.",
        {
            "person_id": ID,
            "speaker": {**RECORD_ID, "description": "the record that would give the values"},
            "lead": nullable(RECORD_ID),
            "reason": {"type": "string", "enum": ["unread", "absent", "differs", "merged"]},
            "since": INSTANT,
            "is_deleted": {**BOOLEAN, "description": "whether Salesforce deleted the record"},
            "columns": listed(ref("Difference")),
        },
    ),
    "Pending": _page("pending", "A page of the people who wait for a decision, by id."),
    "Change": record(
        "An entry of the change feed: what became of a row, and who said so.",
        {
            "seq": ID,
            "at": {**INSTANT, "description": "when it was committed in the store"},
            "action": {"type": "string", "enum": ["created", "changed", "merged", "purged"]},
            "origin": {
                **TEXT,
                "description": "event, sweep, backfill, refetch, pull, mapping, decision, ...",
            },
            "source": nullable({**TEXT, "description": "the stream position, the sweep or the request"}),
            "record_id": nullable({**RECORD_ID, "description": "the record that spoke"}),
            "commit": nullable(
                {
                    **INSTANT,
                    "description": "Salesforce's instant of what was heard: of the commit, or the stamp of what was read",
                }
            ),
            "columns": nullable(
                {
                    **listed(TEXT),
                    "description": "those written; null when the row was made or nothing was kept",
                }
            ),
        },
    ),
    "History": record(
        "What became of a person or company, the newest first.",
        {
            "id": ID,
            "requested_id": {"anyOf": [ID, TEXT]},
            "kept_days": _KEPT_DAYS,
            "changes": listed(ref("Change")),
            "next": nullable(TEXT),
        },
    ),
    "WrittenBy": record(
        "The change that wrote a column last.",
        {
            "seq": ID,
            "at": INSTANT,
            "action": TEXT,
            "origin": TEXT,
            "source": nullable(TEXT),
            "record_id": nullable(RECORD_ID),
            "commit": nullable(INSTANT),
            "is_named": {
                **BOOLEAN,
                "description": "false: the change is of the time before columns were kept, or wrote others",
            },
            "certificate": nullable(
                record(
                    "The certificate of the sweep that wrote it.",
                    {
                        "id": ID,
                        "sweep_id": TEXT,
                        "entity": ENTITY,
                        "equal_as_of": INSTANT,
                        "ended_at": INSTANT,
                    },
                )
            ),
        },
    ),
    "ColumnProvenance": record(
        "A column, where its value comes from, and what wrote it last.",
        {
            "name": TEXT,
            "value": ANY_VALUE,
            "source": nullable(record("The field that feeds it.", {"record_id": RECORD_ID, "field": TEXT})),
            "suspended_since": nullable(INSTANT),
            "written": {
                **nullable(ref("WrittenBy")),
                "description": "null when nothing of it is kept any more",
            },
        },
    ),
    "Dirty": record(
        "A record that needs a fresh read, and why.",
        {
            "record_id": RECORD_ID,
            "causes": listed(TEXT),
            "since": INSTANT,
            "attempts": COUNT,
            "next_try": INSTANT,
            "marked_at": INSTANT,
        },
    ),
    "DeadLetter": record(
        "Something that could not be stored.",
        {"id": ID, "record_id": nullable(RECORD_ID), "reason": TEXT, "parked_at": INSTANT},
    ),
    "Decision": record(
        "A decision that was taken.",
        {
            "choice": {"type": "string", "enum": ["sync", "decline"]},
            "decided_by": TEXT,
            "via": TEXT,
            "decided_at": INSTANT,
            "record_ids": listed(RECORD_ID),
        },
    ),
    "Provenance": record(
        "Why a person or company is as it is.",
        {
            "requested_id": {"anyOf": [ID, TEXT]},
            "kept_days": _KEPT_DAYS,
            "kind": {"type": "string", "enum": ["person", "company"]},
            "id": ID,
            "aliases": listed(ID),
            "row": {"anyOf": [ref("PersonRow"), ref("CompanyRow")]},
            "records": listed(ref("Record")),
            "speaker": nullable(
                record(
                    "The record that gives the values, and why it and no other.",
                    {
                        "salesforce_id": RECORD_ID,
                        "reason": TEXT,
                        "lead": nullable(
                            {**RECORD_ID, "description": "the lead that columns only leads feed keep"}
                        ),
                    },
                )
            ),
            "company": nullable(
                record("The company, and why that one or none.", {"id": nullable(ID), "reason": TEXT})
            ),
            "columns": listed(ref("ColumnProvenance")),
            "dirty": listed(ref("Dirty")),
            "dead_letters": listed(ref("DeadLetter")),
            "pending": nullable(ref("Question")),
            "decisions": listed(ref("Decision")),
        },
    ),
    "DecisionWanted": record(
        "Whether a person follows Salesforce from now on.",
        {
            "choice": {
                "type": "string",
                "enum": ["sync", "decline"],
                "description": "sync: overwrite from Salesforce and keep in sync; decline: never touch again",
            },
            "by": {
                "type": "string",
                "minLength": 1,
                "maxLength": 200,
                "pattern": r"^[^\x00-\x1f\x7f]*$",
                "description": "who decides; kept with the decision",
            },
            "wait_s": {"type": "number", "minimum": 0, "maximum": 60, "default": 10},
        },
        optional=("by", "wait_s"),
    ),
    "Decided": record(
        "What became of a decision; `person` is as it is now.",
        {"request": ref("Request"), "person": ref("PersonRow")},
    ),
    "PullWanted": record(
        "Which records are to be read from Salesforce now.",
        {
            "ids": {
                "type": "array",
                "minItems": 1,
                "maxItems": 200,
                "items": {"type": "string", "maxLength": 18},
                "description": "ids of Leads, Contacts or Accounts, of 15 or 18 characters, or of people in digits",
            },
            "with_company": {
                **BOOLEAN,
                "default": False,
                "description": "whether the accounts of contacts are read as well",
            },
            "wait_s": {"type": "number", "minimum": 0, "maximum": 60, "default": 30},
        },
        optional=("with_company", "wait_s"),
    ),
    "Pulled": record(
        "What became of a pull: one request per id, in the order of the ids.",
        {"is_done": BOOLEAN, "requests": listed(ref("Request"))},
    ),
    "Request": record(
        "Something that was asked of the daemon; its verdict is `outcome`.",
        {
            "id": ID,
            "url": TEXT,
            "kind": TEXT,
            "argument": nullable(TEXT),
            "asked_by": TEXT,
            "asked_at": INSTANT,
            "outcome": nullable({**TEXT, "description": "null while it waits"}),
            "detail": {"type": ["object", "null"], "description": "what belongs to the outcome"},
            "done_at": nullable(INSTANT),
        },
    ),
    "Certificate": record(
        "What a sweep of one entity proved.",
        {
            "id": ID,
            "entity": ENTITY,
            "sweep_id": TEXT,
            "reason": TEXT,
            "window_from": INSTANT,
            "window_to": INSTANT,
            "records_read": COUNT,
            "equal": COUNT,
            "drift": {"type": "object", "additionalProperties": COUNT},
            "ahead": COUNT,
            "deferred": COUNT,
            "settled": COUNT,
            "api_calls": COUNT,
            "duration_ms": COUNT,
            "equal_as_of": INSTANT,
            "ended_at": INSTANT,
        },
    ),
    "Certificates": _page("certificates", "A page of certificates, the newest first."),
    "Status": {
        "type": "object",
        "description": "The state of the work: what `sfsync status --json` prints.",
        "required": [
            "org",
            "leader",
            "positions",
            "backfill",
            "certificates",
            "waiting",
            "people",
            "companies",
            "api",
            "lag",
            "told_at",
        ],
        "properties": {
            "org": TEXT,
            "leader": {"type": "object", "properties": {"is_led": BOOLEAN}, "required": ["is_led"]},
            "positions": listed({"type": "object"}),
            "backfill": listed({"type": "object"}),
            "certificates": listed({"type": "object"}),
            "waiting": {"type": "object"},
            "people": {"type": "object", "additionalProperties": COUNT},
            "companies": {"type": "object", "additionalProperties": COUNT},
            "api": {
                "type": ["object", "null"],
                "description": "API calls of 24 hours and of the last one, by lane",
            },
            "lag": {
                "type": ["object", "null"],
                "description": "how late the last hour's events were, and whose lag it was",
            },
            "told_at": nullable({**INSTANT, "description": "when the leader told `api` and `lag`"}),
        },
    },
    "OpenApi": {
        "type": "object",
        "description": "This document.",
        "required": ["openapi", "info", "paths", "components"],
    },
    "Problem": record(
        "What is wrong, as RFC 9457 has it.",
        {
            "type": {**TEXT, "format": "uri"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "instance": TEXT,
            "errors": listed(
                record(
                    "One thing that is wrong, and where.",
                    {
                        "detail": TEXT,
                        "pointer": {**TEXT, "description": "into the body, as a URI fragment (RFC 6901)"},
                        "parameter": {**TEXT, "description": "of the path or the query"},
                    },
                    optional=("pointer", "parameter"),
                )
            ),
        },
        optional=("errors",),
    ),
}

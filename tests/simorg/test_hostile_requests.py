"""Whatever a client sends: the org answers in the form of that API, never with a failure of its own, and works on.

Why: hand-written cases test what their author thought of. Here every route meets every kind of nonsense from a fixed
table, and a seeded share of their products; what it found once stands in the table of known traps.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from yarl import URL

from tests.simorg.site import Site, serving

BASE = "/services/data/v66.0"
DEEP = b"[" * 5_000 + b"]" * 5_000
NESTED = b'{"a":' * 900 + b"1" + b"}" * 900
BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"[null]",
    b"{}",
    b'"x"',
    b"1e999",
    b"NaN",
    b"\xff\xfe",
    b'{"a":"\\ud800"}',
    b'{"LastName":"\\u0000"}',
    DEEP,
    NESTED,
    b"a=%ff&b=%ED%A0%80&message=%7B&grant_type=%00",
    b"<!DOCTYPE x [<!ENTITY a 'a'>]><x>&a;</x>",
    b"<a>" * 3_000,
]
TYPES = [
    "application/json",
    "application/json; charset=klingon",
    "text/xml; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "text/csv",
    "\u00e9/;;=",
]
JSON = {"Content-Type": "application/json"}
HEADERS: list[dict[str, str]] = [
    {"Sforce-Query-Options": "batchSize=" + "9" * 500},
    {"Sforce-Call-Options": "client=é"},
    {"If-Modified-Since": "yesterday"},
    {"If-Modified-Since": "Mon, 01 Jan 0001 00:00:00 -2359"},
    {"Accept-Encoding": "gzip;q=x, klingon"},
    {"Cookie": "BAYEUX_BROWSER=é; ;=;"},
    {"Host": "é"},
    {"X-HTTP-Method-Override": "PROPFIND"},
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    2**63,
    1e300,
    -1.5,
    "",
    "x",
    "\x00",
    "9" * 5_000,
    "²",
    "é" * 20,
    "001",
    "00Q000000000000AAA",
    "$x",
    [],
    [None],
    [[]],
    ["Lead"],
    {},
    {"a": {"b": []}},
    {"url": 5, "method": [], "richInput": 3, "httpHeaders": 7, "body": {"x": "@{a.b}"}, "referenceId": {}},
    [{"url": 5, "method": [], "httpHeaders": {"a": 1}, "referenceId": "r", "body": "@{r.x[9]}"}],
    [{"attributes": {"type": 5}, "Id": {}}],
    [{"attributes": [], "id": 10**30}],
]
SEGMENTS = ["Lead", "lead", "Nope", "00Q000000000000", "001-\x00", "\udcff", "é", "..", "%2F", "9" * 300, "²"]
SOQL = [
    "",
    "SELECT",
    "'",
    "SELECT Id FROM Lead WHERE LastName = 'x",
    "SELECT Id FROM Lead WHERE LastName = '\\ud800'",
    "SELECT Id FROM Lead WHERE LastName LIKE '\\ud800%'",
    "SELECT Id FROM Lead LIMIT " + "9" * 40,
    "SELECT Id FROM Lead LIMIT " + "9" * 5_000,
    "SELECT Id FROM Lead LIMIT 1 OFFSET " + "9" * 40,
    "SELECT Id FROM Lead WHERE CreatedDate = LAST_N_DAYS:999999999999",
    "SELECT Id FROM Lead WHERE CreatedDate > NEXT_N_YEARS:99999",
    "SELECT Id FROM Lead WHERE CreatedDate < N_MONTHS_AGO:9999999",
    "SELECT Id FROM Lead WHERE CreatedDate > 0001-01-01T00:00:00+23:59",
    "SELECT Id FROM Lead WHERE CreatedDate > 9999-12-31T23:59:59-23:59",
    "SELECT Id FROM Lead WHERE AnnualRevenue > 1e999",
    "SELECT Id FROM Lead WHERE " + "(" * 3_000 + "Id != null" + ")" * 3_000,
    "SELECT Id FROM Lead WHERE " + "NOT " * 900 + "Id != null",
    "SELECT " + "DAY_ONLY(" * 900 + "CreatedDate" + ")" * 900 + " FROM Lead",
    "SELECT Id, (SELECT Id, (SELECT Id FROM Contacts) FROM Contacts) FROM Account",
    "SELECT Id, (SELECT COUNT() FROM Contacts) FROM Account",
    "SELECT Id, (SELECT FIELDS(ALL) FROM Contacts) FROM Account",
    "SELECT Id FROM Lead WHERE Id IN (SELECT Address FROM Lead)",
    "SELECT Id FROM Lead WHERE Id IN (SELECT COUNT() FROM Lead)",
    "SELECT Id FROM Lead WHERE Id IN (SELECT Id FROM Lead WHERE Id IN (SELECT Id FROM Lead))",
    "SELECT Id FROM Lead WHERE NumberOfEmployees IN (SELECT Name FROM Lead)",
    "SELECT COUNT(Address) FROM Lead GROUP BY Address",
    "SELECT COUNT_DISTINCT(Address) c FROM Lead",
    "SELECT MIN(Address) FROM Lead",
    "SELECT SUM(LastName) FROM Lead",
    "SELECT AVG(CreatedDate) FROM Lead",
    "SELECT MAX(IsConverted) FROM Lead",
    "SELECT COUNT(Id) FROM Lead GROUP BY CALENDAR_YEAR(LastName)",
    "SELECT CALENDAR_YEAR(LastName) FROM Lead",
    "SELECT HOUR_IN_DAY(Id) FROM Lead WHERE DAY_ONLY(LastName) = 2026-01-01",
    "SELECT Id FROM Lead WHERE DAY_ONLY(CreatedDate) = TODAY ORDER BY DAY_ONLY(LastName)",
    "SELECT LastName, COUNT(Id) FROM Lead GROUP BY LastName HAVING COUNT(Id) > 'x'",
    "SELECT LastName, COUNT(Id) FROM Lead GROUP BY LastName HAVING SUM(LastName) > 1",
    "SELECT COUNT(Id) FROM Lead HAVING City = 'x'",
    "SELECT COUNT(Id) FROM Lead GROUP BY City ORDER BY COUNT(Address)",
    "SELECT FIELDS(ALL) FROM Lead LIMIT 1",
    "SELECT FIELDS(ALL), FIELDS(CUSTOM), Id FROM Lead LIMIT 1",
    "SELECT Id FROM Lead FOR VIEW UPDATE TRACKING",
    "SELECT Owner.Manager.Owner.X FROM Lead",
    "SELECT a.b.c.d.e.f.g FROM Account a",
    "SELECT Id FROM Account WHERE Parent.Parent.Name LIKE '%' ORDER BY Parent.Name NULLS LAST",
    "SELECT Id FROM Lead WHERE IsConverted > true",
    "SELECT Id FROM Lead WHERE IsConverted LIKE 'x'",
    "SELECT Id FROM Lead WHERE CreatedDate IN (TODAY, null)",
    "SELECT Id FROM Lead WHERE City INCLUDES ('a')",
    "SELECT Id FROM Lead WHERE Id > '00Q'",
    "SELECT Id FROM Lead WHERE Id < null",
    "SELECT \u0661 FROM Lead LIMIT \u0663",
    "SELECT Id FROM Lead LIMIT \u0663",
    "SELECT Id\x00 FROM Lead",
    "SELECT TOLABEL(Address), FORMAT(CreatedDate) FROM Lead",
    "SELECT Id FROM Lead WHERE Address = 'x' AND Latitude > 1",
    "SELECT LastName FROM Lead ORDER BY Address",
    "SELECT Id FROM Lead GROUP BY Id ORDER BY LastName",
    "SELECT TYPEOF Owner WHEN User THEN Id END FROM Lead",
    "FIND {x}",
]
KEYS = (
    "q", "start", "end", "ids", "fields", "records", "allOrNone", "compositeRequest", "batchRequests", "haltOnError",
    "operation", "object", "query", "state", "externalIdFieldName", "columnDelimiter", "lineEnding", "LastName", "Id",
    "AnnualRevenue", "CreatedDate", "Birthdate", "AccountId", "Website", "attributes", "IsConverted", "Name",
    "NumberOfEmployees", "External_Key__c",
)  # fmt: skip
CONTROL_KEYS = (
    "advance_s", "steps", "duration_s", "age_s", "silent", "wait", "user", "origin", "kind", "times", "match", "s",
    "code", "body", "headers", "content_type", "bytes", "entity", "action", "field", "rate", "seed", "mix", "token",
    "events", "release", "long_poll_s", "batch_max", "cdc_entities", "enriched_fields", "retention_h", "read_lag_s",
)  # fmt: skip
REST_ROUTES = [
    "", "limits", "limits/recordCount", "sobjects", "sobjects/{}", "sobjects/{}/describe", "sobjects/{}/updated",
    "sobjects/{}/deleted", "sobjects/{}/{}", "sobjects/{}/{}/{}", "query", "queryAll", "query/{}", "composite",
    "composite/batch", "composite/sobjects", "composite/sobjects/{}", "composite/sobjects/{}/{}", "jobs/query",
    "jobs/query/{}", "jobs/query/{}/results", "jobs/query/{}/resultPages", "jobs/ingest", "jobs/ingest/{}",
    "jobs/ingest/{}/batches", "jobs/ingest/{}/failedResults", "event/eventSchema/{}", "sobjects/{}/eventSchema", "{}",
]  # fmt: skip
ASYNC_ROUTES = ["job", "job/{}", "job/{}/batch", "job/{}/batch/{}", "job/{}/batch/{}/result", "{}"]
CONTROL_ROUTES = [
    "", "state", "log", "stats", "clock", "transaction", "faults", "fields", "settings", "revoke", "life", "org_id",
    "burst", "burst/release", "publish", "nothing",
]  # fmt: skip
OTHER_ROUTES = [
    "/services/data", "/services/data/", "/services/data/v30.0/limits", "/services/data/v99.0/x", "/services/data/vX",
    "/services/oauth2/token", "/services/oauth2/revoke", "/services/oauth2/introspect", "/services/oauth2/userinfo",
    "/id/{}/{}", "/services/Soap/u/59.0", "/services/Soap/u/66.0", "/services/Soap/c/{}", "/cometd/66.0", "/cometd",
    "/cometd/{}", "/cometd/nan", "/nothing", "/",
]  # fmt: skip
METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]
BAYEUX_MEMBERS: dict[str, list[Any]] = {
    "channel": [
        "/meta/handshake",
        "/meta/connect",
        "/meta/subscribe",
        "/meta/unsubscribe",
        "/data/x",
        *VALUES,
    ],
    "id": VALUES,
    "version": VALUES,
    "clientId": VALUES,
    "connectionType": VALUES,
    "supportedConnectionTypes": VALUES,
    "subscription": [*VALUES, "/data/LeadChangeEvent", ["/data/ChangeEvents", 5]],
    "advice": [{"timeout": "x"}, *VALUES],
    "ext": [{"replay": {"/data/ChangeEvents": value, "/data/LeadChangeEvent": value}} for value in VALUES],
}


@dataclass(frozen=True)
class Shot:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def _paths(rng: random.Random, routes: list[str], prefix: str) -> Iterator[str]:
    for route in routes:
        while "{}" in route:
            segment = quote(rng.choice(SEGMENTS), safe="%", errors="surrogateescape")
            route = route.replace("{}", segment, 1)  # noqa: PLW2901  # filled from left to right
        yield prefix + route


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def nonsense(seed: int) -> Iterator[Shot]:
    """Every route with every kind of body, and a share of the products of the rest."""
    rng = random.Random(seed)
    prefixes = ((REST_ROUTES, BASE + "/"), (ASYNC_ROUTES, "/services/async/66.0/"), (OTHER_ROUTES, ""))
    for routes, prefix in prefixes:
        for body in BODIES:
            for path in _paths(rng, routes, prefix):
                typed = Shot(rng.choice(METHODS), path, body, {"Content-Type": rng.choice(TYPES)})
                headed = Shot("POST", path, body, {**JSON, **rng.choice(HEADERS)})
                yield rng.choice((typed, headed))
    for path in [*_paths(rng, REST_ROUTES, BASE + "/"), *_paths(rng, ASYNC_ROUTES, "/services/async/66.0/")]:
        given = {rng.choice(KEYS): rng.choice(VALUES) for _ in range(4)}
        yield Shot(rng.choice(("POST", "PATCH")), path, _json(given), JSON)
        words = "&".join(f"{rng.choice(KEYS)}={quote(str(rng.choice(VALUES)))[:2_000]}" for _ in range(4))
        yield Shot("GET", f"{path}?{words}&%ff=%fe")
    for soql in SOQL:
        yield Shot("GET", f"{BASE}/query?q={quote(soql)}")
        yield Shot("POST", f"{BASE}/jobs/query", _json({"operation": "query", "query": soql}), JSON)


def written_nonsense(seed: int) -> Iterator[Shot]:
    """Fields with values that they cannot have, and collections of nonsense."""
    rng = random.Random(seed)
    for name, value in rng.sample(list(itertools.product(KEYS, VALUES)), 250):
        yield Shot(
            "POST", f"{BASE}/sobjects/Lead", _json({"LastName": "x", "Company": "y", name: value}), JSON
        )
    for value in VALUES:
        yield Shot("PATCH", f"{BASE}/sobjects/Contact/External_Key__c/k", _json(value), JSON)
        for path, key in (
            ("composite", "compositeRequest"),
            ("composite/batch", "batchRequests"),
            ("composite/sobjects", "records"),
            ("composite/sobjects/Lead", "ids"),
        ):
            body = _json({key: value, "fields": value, "allOrNone": value})
            yield Shot("POST", f"{BASE}/{path}", body, JSON)


def bayeux_nonsense(seed: int) -> Iterator[Shot]:
    """Each member of a Bayeux message with each value."""
    rng = random.Random(seed)
    for name, values in BAYEUX_MEMBERS.items():
        for value in values:
            channel = rng.choice(("/meta/handshake", "/meta/subscribe", "/meta/connect"))
            message = {
                "channel": channel,
                "clientId": "CLIENT",
                "subscription": "/data/ChangeEvents",
                name: value,
            }
            yield Shot("POST", "/cometd/66.0", _json([message, message]), JSON)


def control_nonsense(seed: int) -> Iterator[Shot]:
    """Every control route with every body, each known key with each value."""
    rng = random.Random(seed)
    for path, body in itertools.product(CONTROL_ROUTES, BODIES):
        method = rng.choice((*METHODS, "POST", "POST"))
        yield Shot(method, f"/control/{path}", body, {"Content-Type": rng.choice(TYPES)})
    for path, key in itertools.product(CONTROL_ROUTES, CONTROL_KEYS):
        yield Shot("POST", f"/control/{path}", _json({key: rng.choice(VALUES)}))
    for value in VALUES:
        for path in ("state", "log", "faults"):
            yield Shot(
                "GET", f"/control/{path}?limit={quote(str(value))[:300]}&after={quote(str(value))[:300]}"
            )
        for step in ("create", "update", "delete", "merge", "convert", "purge"):
            members = {
                "op": step,
                "entity": value,
                "id": value,
                "winner": value,
                "losers": value,
                "lead": value,
            }
            yield Shot("POST", "/control/transaction", _json({"steps": [members]}))
        for name in (
            "LastName",
            "SystemModstamp",
            "IsDeleted",
            "Id",
            "CreatedDate",
            "MasterRecordId",
            "Address",
        ):
            fields = {"LastName": "x", "Company": "y", name: value}
            step_ = {"op": "create", "entity": "Lead", "fields": fields, "as": "a"}
            yield Shot("POST", "/control/transaction", _json({"steps": [step_]}))
    yield from _traps()


def _traps() -> Iterator[Shot]:
    """What once shut the org for good, or would have."""
    for path, body in (
        ("clock", {"advance_s": 1e300}),
        ("clock", {"advance_s": -1e12}),
        ("settings", {"read_lag_s": 1e300}),
        ("settings", {"retention_h": 1e308}),
        ("settings", {"auth_http_status": 99}),
        ("settings", {"cdc_entities": ["Leed"]}),
        ("transaction", {"steps": [], "age_s": 1e300}),
        ("transaction", {"steps": [], "duration_s": 1e300}),
        ("life", {"rate": 5, "mix": {"create": 1e308, "update": 1e308}}),
        (
            "fields",
            {"entity": "Lead", "action": "add", "field": {"name": "N__c", "type": "int", "length": 10**12}},
        ),
        ("fields", {"entity": "Lead", "action": "add", "field": {"name": "é __c", "type": "string"}}),
        (
            "fields",
            {
                "entity": "Account",
                "action": "add",
                "field": {"name": "F__c", "type": "string", "formula": "Parent.F__c"},
            },
        ),
        (
            "fields",
            {
                "entity": "Contact",
                "action": "add",
                "field": {"name": "F__c", "type": "string", "formula": "Account.CreatedDate"},
            },
        ),
        ("faults", {"kind": "status", "code": 100}),
        ("faults", {"kind": "status", "headers": {"a": 1}}),
        ("faults", {"kind": "status", "headers": {"a\r\nb": "c\r\nd"}}),
        ("faults", {"kind": "status", "content_type": "text"}),
        ("faults", {"kind": "truncate", "bytes": -1}),
        ("burst", {"events": 1, "rate": 1e308}),
        ("burst", {"events": 1, "seed": []}),
        ("publish", {"events": [{"entity": "Lead", "record_ids": 5}]}),
        ("publish", {"events": [{"entity": []}]}),
    ):
        yield Shot("POST", f"/control/{path}", _json(body))


def complaint(shot: Shot, status: int, content_type: str, raw: bytes) -> str | None:
    """Say what is wrong with the form of a reply, if anything is."""
    if shot.path.startswith("/services/Soap/") and shot.method != "HEAD":
        return _soap_complaint(status, raw)
    if status >= 500 and not shot.path.startswith("/services/Soap/"):
        return f"status {status}"
    is_text = raw.startswith(b"400::") if shot.path.startswith("/cometd") else status == 403
    if status < 400 or shot.method == "HEAD" or (content_type == "text/plain" and is_text):
        return None
    return None if _is_error_of(shot.path, json.loads(raw)) else "not the error form of this API"


def _is_error_of(path: str, body: Any) -> bool:
    if path.startswith("/control"):
        return isinstance(body, dict) and isinstance(body.get("error"), str)
    if path.startswith(("/services/oauth2", "/id/")):
        return set(body) == {"error", "error_description"}
    if path.startswith("/cometd"):
        return isinstance(body, list) and body[0]["successful"] is False and "error" in body[0]
    return isinstance(body, list) and all({"message", "errorCode"} <= set(each) for each in body)


def _soap_complaint(status: int, raw: bytes) -> str | None:
    root = ET.fromstring(raw)  # noqa: S314  # the org's own reply
    return (
        None if status == 500 and root.find(".//{*}faultstring") is not None else f"status {status}, no fault"
    )


async def fire(site: Site, shots: list[Shot]) -> list[str]:
    """Send all, some at a time, and return what was wrong."""
    wrong: list[str] = []
    waiting = iter(shots)

    async def shoot() -> None:
        for shot in waiting:
            headers = {"Authorization": f"Bearer {site.token}", **shot.headers}
            try:
                async with site.http.request(
                    shot.method,
                    URL(site.url + shot.path, encoded=True),
                    data=shot.body or None,
                    headers=headers,
                ) as reply:
                    found = complaint(shot, reply.status, reply.content_type, await reply.read())
            except (aiohttp.ClientError, ValueError, KeyError, SyntaxError, TimeoutError) as error:
                found = f"{type(error).__name__}: {error}"
            if found:
                wrong.append(f"{shot.method} {shot.path[:150]} {shot.headers} {shot.body[:150]!r}: {found}")

    async with asyncio.timeout(60):
        await asyncio.gather(*(shoot() for _ in range(8)))
    return wrong


async def assert_it_works(site: Site) -> None:
    """Write, read, subscribe and receive, as on the first day."""
    for kind in ("faults", "life", "burst"):
        await site.control("DELETE", kind)
    await site.control(
        "POST", "settings", {"long_poll_s": 5, "batch_max": 100, "read_lag_s": 0, "retention_h": 72}
    )
    token = site.org.sessions.issue(site.org.credentials.user_id).token
    site.token, jar = token, aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"Authorization": f"OAuth {token}"}) as http:

        async def post(**message: Any) -> list[dict[str, Any]]:
            async with http.post(f"{site.url}/cometd/66.0", json=[message]) as reply:
                replies: list[dict[str, Any]] = await reply.json()
                return replies

        client = (await post(channel="/meta/handshake", supportedConnectionTypes=["long-polling"]))[0][
            "clientId"
        ]
        await post(channel="/meta/connect", clientId=client, connectionType="long-polling")
        await post(channel="/meta/subscribe", clientId=client, subscription="/data/LeadChangeEvent")
        made = await site.ask("POST", "sobjects/Lead", {"LastName": "Last", "Company": "C"})
        assert made.status == 201, made.body
        received = await post(channel="/meta/connect", clientId=client, connectionType="long-polling")
    ids = [each["data"]["payload"]["ChangeEventHeader"]["recordIds"] for each in received if "data" in each]
    assert ids == [[made.body["id"]]]
    rows = await site.soql("SELECT FIELDS(STANDARD) FROM Lead")
    assert made.body["id"] in [row["Id"] for row in rows]
    for path in ("stats", "log", "state", "faults", "settings", "life", "burst"):
        await site.control("GET", path)
    assert (await site.get("sobjects/Lead/describe"))["name"] == "Lead"


@pytest.fixture
async def stocked() -> AsyncIterator[Site]:
    """An org with a lead, a contact and an account, whose polls are short."""
    async with serving() as site:
        site.org.settings.long_poll_s = 0.05
        await site.transact(
            {"op": "create", "entity": "Account", "fields": {"Name": "A"}, "as": "a"},
            {"op": "create", "entity": "Contact", "fields": {"LastName": "C", "AccountId": "$a"}},
            {"op": "create", "entity": "Lead", "fields": {"LastName": "L", "Company": "C", "City": "東京"}},
        )
        yield site


async def test_no_request_to_a_data_or_login_api_breaks_the_org(
    stocked: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    """Form, status and what comes afterwards, for bodies, types, headers, names and queries of every wrong kind."""
    wrong = await fire(stocked, [*nonsense(1), *written_nonsense(1)])
    assert not wrong, "\n".join(wrong[:20])
    assert "Traceback" not in capfd.readouterr().err
    await assert_it_works(stocked)


async def test_no_bayeux_message_breaks_the_org(stocked: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """Members of wrong types, alone and in a session that lives."""
    site = stocked
    client = await site.ask("POST", "/cometd/66.0", [{"channel": "/meta/handshake"}])
    living = client.body[0]["clientId"].encode()
    shots = [Shot(s.method, s.path, s.body.replace(b"CLIENT", living), s.headers) for s in bayeux_nonsense(3)]
    wrong = await fire(site, [*shots, *bayeux_nonsense(4)])
    assert not wrong, "\n".join(wrong[:20])
    assert "Traceback" not in capfd.readouterr().err
    await assert_it_works(site)


async def test_no_order_to_the_control_api_breaks_the_org(
    stocked: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    """A typing error in a drill must not end the drill."""
    wrong = await fire(stocked, list(control_nonsense(2)))
    assert not wrong, "\n".join(wrong[:20])
    assert "Traceback" not in capfd.readouterr().err
    await assert_it_works(stocked)


@pytest.mark.parametrize(
    "path", ["/services/data/v66.0/limits", "/services/oauth2/token", "/cometd/66.0", "/control/log"]
)
async def test_bytes_that_are_no_text_are_refused_at_the_door(stocked: Site, path: str) -> None:
    """A header goes into events and logs; nobody could encode them any more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(stocked.url).port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n".encode()
    writer.write(head + b"Authorization: Bearer \xff\xfe\r\nSforce-Call-Options: client=\xff\r\n\r\n")
    reply = await reader.read()
    writer.close()
    assert reply.startswith(b"HTTP/1.1 400")
    assert b"no UTF-8" in reply


@pytest.mark.parametrize(
    "path", ["/services/data/v66.0/query", "/services/oauth2/token", "/cometd/66.0", "/control/life"]
)
async def test_body_that_is_not_compressed_as_it_says_is_refused(stocked: Site, path: str) -> None:
    """The failure comes while the body is read, behind the handler's back."""
    headers = {"Content-Encoding": "gzip", "Connection": "close", "Authorization": f"Bearer {stocked.token}"}
    async with stocked.http.post(stocked.url + path, data=b"plain", headers=headers) as reply:
        assert reply.status == 400
        assert await reply.json()


@pytest.mark.parametrize("shot", list(_traps()), ids=lambda shot: f"{shot.path} {shot.body.decode()}"[9:70])
async def test_known_trap_is_refused(stocked: Site, shot: Shot) -> None:
    """Taken, each of these would make later requests fail that have nothing to do with it."""
    async with stocked.http.request(shot.method, stocked.url + shot.path, data=shot.body) as reply:
        assert reply.status == 400, await reply.text()

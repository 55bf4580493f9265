"""How the API refuses: by name, with a pointer, and without asking anything of the daemon."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.console.caller import TOKEN, calling
from tests.console.scene import CANARY, Scene
from tests.store.harness import (
    ACCOUNT,
    CONTACT,
    LEAD2,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"

UNFIT_PATHS: list[tuple[str, int, str]] = [
    ("/v1/people?colour=red", 400, "parameter colour is not known here; it takes sync, company_id"),
    ("/v1/status?limit=1", 400, "parameter limit is not known here; it takes none"),
    ("/v1/people?limit=-1", 400, "parameter limit must be 1 or more"),
    ("/v1/people?limit=0", 400, "parameter limit must be 1 or more"),
    ("/v1/people?limit=501", 400, "parameter limit must be 500 or less"),
    ("/v1/people?limit=ten", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=%D9%A1", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=", 400, "parameter limit must be an integer"),
    ("/v1/people?limit=1&limit=2", 400, "parameter limit is given more than once"),
    (f"/v1/people?after={2**63}", 400, "parameter after must be 9223372036854775807 or less"),
    ("/v1/people?sync=maybe", 400, "parameter sync must be one of: synced, pending, declined"),
    ("/v1/people?include=deleted,ghosts", 400, "parameter include must be one of: deleted, merged"),
    ("/v1/people?salesforce_id=%00", 400, "parameter salesforce_id must match"),
    (
        f"/v1/people?salesforce_id={CONTACT[:17]}z",
        400,
        "parameter salesforce_id: the record id's checksum",
    ),
    ("/v1/people?updated_since=yesterday", 400, "parameter updated_since must be an instant with an offset"),
    (
        "/v1/people?updated_since=2026-11-24T21:00:00",
        400,
        "parameter updated_since must be an instant with an offset",
    ),
    ("/v1/people?updated_since=2026-11-24T21:00:00+00:00", 400, "write + as %2B"),
    ("/v1/people?updated_since=0001-01-01T00:00:00%2B14:00", 400, "must be an instant"),
    ("/v1/people?limit=0&colour=red", 400, "; and 1 more"),
    ("/v1/people/none", 400, "parameter id neither an id of ours nor the id of"),
    (f"/v1/people/{2**63}", 400, "parameter id neither an id of ours"),
    ("/v1/people/-1", 400, "parameter id neither an id of ours"),
    ("/v1/people/0", 400, "parameter id neither an id of ours"),
    (f"/v1/people/{CONTACT[:17]}z", 400, "checksum"),
    ("/v1/people/999999", 404, "nobody has this id"),
    (f"/v1/people/{LEAD2[:13]}99", 404, "this record is no person or company here"),
    (f"/v1/people/{ACCOUNT}", 404, "this is a company: see /v1/companies/"),
    (f"/v1/companies/{CONTACT}", 404, "this is a person: see /v1/people/"),
    (f"/v1/requests/{CONTACT}", 400, "a request's id is a number"),
    ("/v1/requests/999999", 404, "there is no such request"),
    ("/v1/nothing", 404, "Not Found"),
    ("/v1/", 404, "Not Found"),
    ("/v1/people/1/decision", 405, "Method Not Allowed"),
]


async def test_what_does_not_fit_is_refused_by_name(still: Scene) -> None:
    """A misspelt filter that is ignored answers with everybody."""
    for path, status, said in UNFIT_PATHS:
        problem = await still.api.get(path, status)
        assert said in problem["detail"], path
        assert problem["type"].startswith("urn:problem-type:sfsync:")


UNFIT_DECISIONS: list[tuple[Any, list[str]]] = [
    ({}, ["#/choice"]),
    ({"choice": "maybe"}, ["#/choice"]),
    ({"choice": 1}, ["#/choice"]),
    ({"choice": "sync", "why": CANARY}, ["#/why"]),
    ({"choice": "sync", "by": ""}, ["#/by"]),
    ({"choice": "sync", "by": "x" * 201}, ["#/by"]),
    ({"choice": "sync", "by": "a\x00b"}, ["#/by"]),
    ({"choice": "sync", "by": "a\n"}, ["#/by"]),
    ({"choice": "sync", "wait_s": -1}, ["#/wait_s"]),
    ({"choice": "sync", "wait_s": True}, ["#/wait_s"]),
    ({"choice": "sync", "wait_s": "1"}, ["#/wait_s"]),
    ({"choice": "no", "a/b~c": 1, "by": 7}, ["#/choice", "#/a~1b~0c", "#/by"]),
    ([], ["#"]),
    (None, ["#"]),
    ("sync", ["#"]),
]


async def test_body_that_does_not_fit_is_pointed_into(still: Scene) -> None:
    """Every fault at once, each with the place, and nothing was asked of the daemon."""
    for body, pointers in UNFIT_DECISIONS:
        answer = await still.api.post(f"/v1/people/{still.ada}/decision", body, 400)
        assert [fault["pointer"] for fault in answer.body["errors"]] == pointers
        assert CANARY not in json.dumps(answer.body)
    assert await still.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


UNFIT_PULLS: list[tuple[Any, list[str]]] = [
    ({"ids": []}, ["#/ids"]),
    ({"ids": CONTACT}, ["#/ids"]),
    ({"ids": [CONTACT] * 201}, ["#/ids"]),
    ({"ids": [CONTACT, 7, "x" * 19]}, ["#/ids/1", "#/ids/2"]),
    ({"ids": [CONTACT, "0055i00000User01", CONTACT.lower()]}, ["#/ids/1", "#/ids/2"]),
]


async def test_ids_that_cannot_be_pulled_are_pointed_to(still: Scene) -> None:
    """Of two hundred, which one?"""
    for body, pointers in UNFIT_PULLS:
        answer = await still.api.post("/v1/pull", body, 400)
        assert [fault["pointer"] for fault in answer.body["errors"]] == pointers
    assert await still.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


UNREADABLE_BODIES: list[tuple[str | None, bytes, int]] = [
    ("text/plain", b'{"ids": []}', 415),
    ("application/x-www-form-urlencoded", b"ids=1", 415),
    (None, b'{"ids": []}', 415),
    ("application/json", b"", 400),
    ("application/json", b"{", 400),
    ("application/json", b"\xff\xfe", 400),
    ("application/json", b'{"ids": ["\\ud800"]}', 400),
    ("application/json", b"[" * 20_000, 400),
    ("application/json", b'{"ids": [' + b" " * 65_536 + b"]}", 413),
]


async def test_body_that_is_no_json_is_refused(still: Scene) -> None:
    """Neither guessed at nor repeated."""
    for content_type, body, status in UNREADABLE_BODIES:
        headers = {"Content-Type": content_type} if content_type else {}
        await still.api.call("POST", "/v1/pull", status, data=body, headers=headers)


async def test_endless_body_is_cut_off(still: Scene) -> None:
    """One that does not say its length is measured while it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    await still.api.call("POST", "/v1/pull", 413, data=pieces(), headers=headers)


async def test_body_where_none_is_taken_is_refused(still: Scene) -> None:
    """A GET with a body is a mistake in a client."""
    await still.api.call("GET", "/v1/people", 400, json={"limit": 1})


async def test_other_method_is_told_which_ones_there_are(still: Scene) -> None:
    """As HTTP asks for."""
    answer = await still.api.call("DELETE", f"/v1/people/{still.ada}", 405)
    assert answer.headers["Allow"] == "GET,HEAD"


async def test_decision_on_nobody_asks_nothing(still: Scene) -> None:
    """The answer is 404, not a request that is refused later."""
    await still.api.post("/v1/people/999999/decision", {"choice": "sync"}, 404)
    assert await still.store.connection.fetchval("SELECT count(*) FROM sfsync.request") == 0


@pytest.mark.parametrize("given", [None, "wrong", TOKEN + "x"])
async def test_api_needs_the_token(given: str | None) -> None:
    """Also to learn which paths there are."""
    async with calling(NOWHERE, given=given) as api:
        for path in ("/v1/people", "/v1/openapi.json", "/v1/nothing"):
            answer = await api.call("GET", path, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.body["detail"].startswith("send the token")


async def test_api_is_closed_without_a_configured_token() -> None:
    """Every user of the machine can connect to loopback; what health tells is no secret, people are."""
    async with calling(NOWHERE, token=None) as api:
        answer = await api.call("GET", "/v1/people", 403)
        assert "set console.token_file" in answer.body["detail"]
        async with api.http.get(api.url + "/healthz") as health:
            assert health.status == 200

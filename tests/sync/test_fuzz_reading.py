"""Whatever an org answers to reads and describes, the work goes on: commands, dead letters, or one of our errors."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfsync.core.commands import Absence, Refetch, Snapshot
from sfsync.core.ids import Entity, record_id
from sfsync.core.mapping import bind
from sfsync.core.mapping_file import default_mapping, parse_mapping
from sfsync.core.mapping_suggest import suggest
from sfsync.core.standard_fields import standard_describe
from sfsync.errors import ConfigError, SalesforceError
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.connection import LinkTimings, open_connection
from sfsync.salesforce.rest import Rest
from sfsync.salesforce.secret import Secret
from sfsync.store.batch import DeadLetter
from sfsync.sync.describing import describe_entities
from sfsync.sync.reading import read_records
from tests.hostile import FUZZ, TEXTS, as_json, damaged
from tests.salesforce.stub_org import StubOrg, answer, result
from tests.salesforce.test_fuzz_replies import start

T = TypeVar("T")
DESCRIBES = {entity: standard_describe(entity) for entity in Entity}
PLAN = bind(default_mapping(), DESCRIBES).plans[Entity.CONTACT]
IDS = [record_id(f"0035i00000Con0{n}") for n in range(3)]
CANARY = "c4n4ry"
GOOD = dict.fromkeys(PLAN.select) | {
    "IsDeleted": False,
    "MasterRecordId": None,
    "SystemModstamp": "2026-11-24T03:04:05.000+0000",
    "LastName": CANARY,
}
ROWS = [GOOD | {"Id": one} for one in IDS]


@contextmanager
def asking(org: StubOrg) -> Iterator[Callable[[Callable[[Rest], Coroutine[Any, Any, T]]], T]]:
    """Serve a scripted org, and give a way to ask it something from a test that has no loop."""

    async def asked(what: Callable[[Rest], Coroutine[Any, Any, T]]) -> T:
        credentials = ClientCredentials("client", Secret("s"), org.url)
        async with open_connection(credentials, timings=LinkTimings(request_s=2)) as connection:
            return await what(Rest(connection, tries=1))

    with asyncio.Runner() as runner:
        server = runner.run(start(org))
        try:
            yield lambda what: runner.run(asked(what))
        finally:
            runner.run(server.cleanup())


def test_rows_are_read_or_put_aside() -> None:
    """A row of any shape costs itself and no other, is asked for again by what of its id is sound, and is not quoted."""
    org = StubOrg()
    with asking(org) as ask:

        @settings(FUZZ, max_examples=60)
        @given(damaged(ROWS))
        @example([GOOD | {"Id": []}])
        @example([GOOD | {"Id": {"a": 1}}])
        def read(rows: Any) -> None:
            answers = rows if isinstance(rows, list) else [rows]
            org.script.clear()
            org.then("/services/data/v66.0/queryAll", result(answers))
            try:
                found = ask(lambda rest: read_records(rest, PLAN, IDS))
            except SalesforceError:
                return
            must_be_sound([*found.commands], [*found.dead_letters], len(answers))

        read()


def must_be_sound(commands: list[Snapshot | Refetch | Absence], letters: list[DeadLetter], rows: int) -> None:
    assert sum(isinstance(one, Snapshot) for one in commands) + len(letters) == rows
    for command in commands:
        assert record_id(command.record_id) == command.record_id
    assert CANARY not in str(letters)


def test_describe_is_bound_or_refused() -> None:
    """A describe decides on columns: what is none must neither end the daemon nor be guessed at."""
    org = StubOrg()
    with asking(org) as ask:

        @settings(FUZZ, max_examples=40)
        @given(
            damaged({"fields": DESCRIBES[Entity.CONTACT]["fields"][:6]}), st.sampled_from([*TEXTS.values()])
        )
        @example({"fields": [{"name": "Id", "type": "int", "digits": "many"}]}, "")
        @example({"fields": [{"type": "string"}]}, "")
        @example({}, "")
        def describe(contact: Any, label: str) -> None:
            org.script.clear()
            for entity, described in DESCRIBES.items():
                fields = [one | {"label": label[:99]} for one in described["fields"]]
                told = contact if entity is Entity.CONTACT else {"fields": fields}
                org.then(f"/services/data/v66.0/sobjects/{entity}/describe", json_answer(told))
            try:
                describes = ask(describe_entities)
            except SalesforceError:
                return
            tomllib.loads(suggest(describes, default_mapping()))
            try:
                bind(default_mapping(), describes)
            except ConfigError:
                return

        describe()


def json_answer(told: Any) -> Any:
    return answer(as_json(told))


@pytest.mark.parametrize("kind", TEXTS)
def test_label_of_a_hostile_administrator_stays_a_comment(kind: str) -> None:
    """A suggested mapping is a file that somebody will start a daemon with."""
    describes = {
        entity: {"fields": [one | {"label": TEXTS[kind]} for one in described["fields"][:8]]}
        for entity, described in DESCRIBES.items()
    }
    text = suggest(describes, default_mapping())
    assert parse_mapping(tomllib.loads(text)).columns
    assert all(char.isprintable() or char == "\n" for char in text)

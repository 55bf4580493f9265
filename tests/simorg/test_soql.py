"""The SOQL corpus: texts as anybody would send them, with the answers worked out by hand."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from sfsync.simorg.clock import Clock
from sfsync.simorg.errors import ApiError
from sfsync.simorg.schema import Schema
from sfsync.simorg.soql_run import Result, run
from sfsync.simorg.users import found_users, owners
from sfsync.simorg.world import Change, Commit, World

CORPUS = tomllib.loads((Path(__file__).parent / "soql_corpus.toml").read_text(encoding="utf-8"))
NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
NULL = "<null>"

Names = dict[str, str]


@pytest.fixture(scope="module")
def corpus() -> tuple[World, Names]:
    """The world that the corpus speaks of, and the ids of its records by name."""
    clock = Clock()
    clock.advance((NOW - clock.now()).total_seconds())
    world = World(clock, Schema(), seed=9)
    found_users(world)
    names = {f"u{place}": user for place, user in enumerate(owners(world), 1)}
    for record in CORPUS["record"]:
        names[record["as"]] = world.ids.next(record["entity"])
    for record in CORPUS["record"]:
        _publish(world, record, names)
    return world, names


def _publish(world: World, record: dict[str, Any], names: Names) -> None:
    stamp = datetime.fromisoformat(record["stamp"])
    record_id = names[record["as"]]
    fields = {name: _stored(name, value, names) for name, value in record["fields"].items()}
    stamps = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), stamp)
    flags = {"IsDeleted": False, "IsConverted": False} if record["entity"] == "Lead" else {"IsDeleted": False}
    change = Change(
        record["entity"], record_id, "CREATE", None, {"Id": record_id, **flags, **stamps, **fields}
    )
    world.publish(Commit(world.number + 1, record["as"], stamp, stamp, world.user_id, "", (change,)))


def _stored(name: str, value: Any, names: Names) -> Any:
    if name in ("Birthdate", "ConvertedDate"):
        return date.fromisoformat(value)
    return names[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def _with_ids(soql: str, names: Names) -> str:
    return re.sub(r"\$(\w+)(:15)?", lambda found: names[found[1]][: 15 if found[2] else 18], soql)


def _ask(case: dict[str, Any], corpus: tuple[World, Names]) -> Result:
    world, names = corpus
    return run(_with_ids(case["soql"], names), world.snapshot(), deleted=case.get("all", False))


def _flat(row: Any) -> list[Any]:
    """The values of a row and of the records behind its lookups, in the order selected."""
    values: list[Any] = []
    for name, value in row.items():
        if name != "attributes":
            values.extend(_flat(value) if isinstance(value, dict) and "attributes" in value else [value])
    return values


def _cases(kind: str) -> list[Any]:
    return [pytest.param(case, id=case["soql"] or "empty") for case in CORPUS["case"] if kind in case]


def test_the_corpus_is_as_large_as_promised() -> None:
    """A corpus that shrinks unnoticed proves less every time."""
    assert len(CORPUS["case"]) >= 200
    assert len(_cases("error")) >= 40


@pytest.mark.parametrize("case", _cases("rows"))
def test_a_query_answers_exactly_the_records_that_match(
    case: dict[str, Any], corpus: tuple[World, Names]
) -> None:
    """The daemon's repairs are only as good as the answers it compares with."""
    result = _ask(case, corpus)
    by_id = {record_id: name for name, record_id in corpus[1].items()}
    found = [by_id[row["Id"]] for row in result.json(0, len(result), "66.0")]
    is_ordered = "ORDER BY" in case["soql"].upper()
    assert (found if is_ordered else sorted(found)) == case["rows"]
    assert result.total == len(case["rows"])


@pytest.mark.parametrize("case", _cases("values"))
def test_a_query_answers_the_values_in_rest_form(case: dict[str, Any], corpus: tuple[World, Names]) -> None:
    """Numbers, dates, instants, nulls and parents have fixed JSON forms."""
    result = _ask(case, corpus)
    wanted = [
        [None if v == NULL else _with_ids(v, corpus[1]) if isinstance(v, str) else v for v in row]
        for row in case["values"]
    ]
    assert [_flat(row) for row in result.json(0, len(result), "66.0")] == wanted


@pytest.mark.parametrize("case", _cases("total"))
def test_count_answers_a_total_without_records(case: dict[str, Any], corpus: tuple[World, Names]) -> None:
    """`COUNT()` is answered in totalSize alone."""
    result = _ask(case, corpus)
    assert (result.total, result.json(0, 10, "66.0")) == (case["total"], [])


@pytest.mark.parametrize("case", _cases("error"))
def test_a_bad_query_is_refused_where_it_is_wrong(case: dict[str, Any], corpus: tuple[World, Names]) -> None:
    """The error code decides what a client does; the block under the text is what a person reads."""
    with pytest.raises(ApiError) as refused:
        _ask(case, corpus)
    message = refused.value.message
    assert refused.value.code == case["error"]
    assert case.get("says", "") in message
    if "column" in case:
        assert f"ERROR at Row:1:Column:{case['column']}\n" in message
        text, pointer = message.splitlines()[1:3]
        assert pointer.index("^") <= len(text)


def test_the_pointer_of_a_later_row_counts_within_its_row(corpus: tuple[World, Names]) -> None:
    """Queries in code span lines; the column must fit the row named."""
    with pytest.raises(ApiError, match=r"\nFROM Nope\n     \^\nERROR at Row:2:Column:6\n"):
        _ask({"soql": "SELECT Id\nFROM Nope"}, corpus)


def test_a_compound_is_an_object_with_camel_case_parts(corpus: tuple[World, Names]) -> None:
    """REST names the parts of an address differently from the fields they are stored in."""
    world, names = corpus
    soql = f"SELECT MailingAddress FROM Contact WHERE Id = '{names['c1']}'"
    (row,) = run(soql, world.snapshot(), deleted=False).json(0, 1, "66.0")
    address = row["MailingAddress"]
    assert (address["city"], address["postalCode"], address["street"]) == ("千代田区", "01234", None)
    assert list(address) == sorted(address)


def test_fields_all_answers_everything_visible(corpus: tuple[World, Names]) -> None:
    """Hidden fields are absent, compounds and formulas present."""
    world, _ = corpus
    (row,) = run("SELECT FIELDS(ALL) FROM Contact LIMIT 1", world.snapshot(), deleted=False).json(
        0, 1, "66.0"
    )
    assert {"MailingAddress", "Account_Tier__c", "Loyalty__c", "Name"} <= set(row)
    assert not {"Private_Note__c", "DoNotCall"} & set(row)
    (custom,) = run("SELECT FIELDS(CUSTOM) FROM Lead LIMIT 1", world.snapshot(), deleted=False).json(
        0, 1, "66.0"
    )
    assert set(custom) == {"attributes", "Score__c", "Campaign_Code__c"}


def test_children_come_as_results_of_their_own(corpus: tuple[World, Names]) -> None:
    """A parent-to-child subquery nests a whole result, or null where there are no children."""
    world, _ = corpus
    soql = "SELECT Id, (SELECT LastName FROM Contacts) FROM Account ORDER BY Id"
    rows = run(soql, world.snapshot(), deleted=False).json(0, 9, "66.0")
    assert [row["Contacts"] and row["Contacts"]["totalSize"] for row in rows] == [2, 1, None, None]
    assert rows[0]["Contacts"]["done"] is True


def test_a_subquery_filters_orders_and_limits_its_children(corpus: tuple[World, Names]) -> None:
    """The inner query is a query: its clauses count."""
    world, _ = corpus
    inner = "SELECT FirstName FROM Contacts WHERE FirstName != null ORDER BY FirstName {order} LIMIT 1"
    for order, first in (("ASC", "John"), ("DESC", "花子")):
        soql = f"SELECT Id, ({inner.format(order=order)}) FROM Account WHERE Name = 'Alpha Ltd'"
        (row,) = run(soql, world.snapshot(), deleted=False).json(0, 9, "66.0")
        assert [child["FirstName"] for child in row["Contacts"]["records"]] == [first]

"""Judge a store: compute from the org's state what it must hold, and list where it differs.

Why: a verdict is worth something only if it shares nothing with what it judges. So the oracle (this file and the
`oracle_*` beside it) stands alone: it imports nothing of sfsync, reads the org through the control API and the store
through `crm.*`, and says the rules again in plain Python: which records are one person, which of them speaks, which
field feeds which column, who may not be written, where to write to.

What nobody can know is not held against the store, but listed apart as `undetectable`: a record that left the org
without an event (hard delete), and the last values of one that left the recycle bin before it could be read.
What only the history knows (how a declined row was, who was erased or asked for) is `Given`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import asyncpg

from sfsync.simorg.oracle_address import address_differences
from sfsync.simorg.oracle_consent import (
    Given,
    frozen_differences,
    idle_questions,
    standing,
    undecided_differences,
    wanted_accounts,
)
from sfsync.simorg.oracle_rules import Expected, Group, expect, group_records
from sfsync.simorg.oracle_state import (
    SHIPPED,
    Columns,
    OrgRecord,
    Row,
    Side,
    freeze,
    load_org,
    load_store,
    read_columns,
)

__all__ = ["NOTHING_GIVEN", "Given", "Report", "differences", "freeze", "wait_until_equal"]

POLL_S = 0.3
NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict: how many live people and companies the org has, and where the store differs.

    `differences` is cut at the asked limit, `count` is not.
    """

    people: int
    companies: int
    differences: list[str]
    count: int = 0
    undetectable: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether the store is what the org says."""
        return self.count == 0

    def __str__(self) -> str:
        if self.is_equal:
            return f"store equals org: {self.people} people, {self.companies} companies"
        shown = "\n".join(f"  {line}" for line in self.differences)
        left_out = self.count - len(self.differences)
        more = f"\n  and {left_out} more" if left_out else ""
        return f"store differs from org in {self.count} places:\n{shown}{more}"


# Where they differ ----------------------------------------------------------------------------------------


def compare(
    records: Sequence[OrgRecord], people: Side, companies: Side, given: Given = NOTHING_GIVEN
) -> Report:
    """Compare a whole org with a whole store; `differences` is not cut."""
    kept = [r for r in records if r.id not in given.erased]
    # What leads to an adopted record without being asked for need not even be known.
    known = people.records.keys() | companies.records.keys() | (given.adopted or frozenset())
    accounts = [
        r
        for r in kept
        if r.entity == "Account" and (given.adopted is None or r.id in known or not r.is_deleted)
    ]
    company_groups = group_records(accounts, companies)
    company_ids = {m.id: g.subject_id for g in company_groups for m in g.members}
    person_groups = group_records(
        [r for r in kept if r.entity != "Account" and (given.adopted is None or r.id in known)], people
    )
    brought, tolerated = wanted_accounts(person_groups, people, given)
    judges = [
        _Judge(companies, company_groups, company_ids, given, brought, tolerated),
        _Judge(people, person_groups, company_ids, given),
    ]
    found = [line for judge in judges for line in judge.differences()]
    found += frozen_differences(given.frozen, people)
    found += address_differences(people, companies, given.default_side)
    return Report(
        judges[1].live_count(),
        judges[0].live_count(),
        found,
        len(found),
        [f"{r} was hard-deleted while live" for r in kept if r.vanished and _is_shown(r, people, companies)],
    )


def _is_shown(record: OrgRecord, people: Side, companies: Side) -> bool:
    side = companies if record.entity == "Account" else people
    return record.id in side.records


@dataclass(frozen=True, slots=True)
class _Judge:
    """One side of the store, and the groups of the org that it must show.

    `brought` accounts come with the contacts that speak, `tolerated` ones may have come with others.
    """

    side: Side
    groups: Sequence[Group]
    company_ids: Mapping[str, int | None]
    given: Given
    brought: frozenset[str] = frozenset()
    tolerated: frozenset[str] = frozenset()

    def differences(self) -> Iterator[str]:
        """List all there are."""
        yield from _wrong_types(self.side)
        for group in self.groups:
            yield from self._of_group(group) if self._is_wanted(group) else self._unwanted(group)
        yield from self._strangers()
        yield from _shared_ids(self.side)
        if self.side.noun == "person":
            yield from idle_questions([g for g in self.groups if not self._is_synced(g)], self.side)

    def live_count(self) -> int:
        """Count the groups that must be shown live."""
        return sum(bool(g.live(vanished_lives=False)) for g in self.groups if self._is_wanted(g))

    def _is_wanted(self, group: Group) -> bool:
        if self.given.wants(group) or any(member.id in self.brought for member in group.members):
            return True
        has_row = group.subject_id in self.side.rows
        return has_row and any(member.id in self.tolerated for member in group.members)

    def _is_synced(self, group: Group) -> bool:
        return standing(group, self.side).state == "synced"

    def _of_group(self, group: Group) -> Iterator[str]:
        for member in group.members:
            yield from _record_differences(member, group, self.side)
        if group.subject_id is None:
            return
        row = self.side.rows.get(group.subject_id)
        if row is None:
            yield f"{self.side.noun} {group.subject_id} ({group.root}): its row is missing"
            return
        found = self._of_row(group, row, vanished_lives=True)
        if found and any(member.vanished for member in group.members):
            found = min(found, self._of_row(group, row, vanished_lives=False), key=len)
        yield from found

    def _of_row(self, group: Group, row: Row, *, vanished_lives: bool) -> list[str]:
        expected = expect(group, self.side, self.company_ids, vanished_lives=vanished_lives)
        if self._is_synced(group):
            return list(_row_differences(row, expected, self.side))
        return list(undecided_differences(group, self.side, expected))

    def _unwanted(self, group: Group) -> Iterator[str]:
        """Find rows of records that nobody imported or asked for."""
        for row_id in self._ids_of(group) & self.side.rows.keys():
            yield f"{self.side.noun} {row_id} ({group.root}): has a row, but nobody asked for it"

    def _ids_of(self, group: Group) -> set[int]:
        known = (self.side.records.get(member.id) for member in group.members)
        return {k.own_id for k in known if k is not None and k.own_id is not None}

    def _strangers(self) -> Iterator[str]:
        """Find rows and listed records that nothing in the org accounts for, and merged-away rows with values."""
        in_org = {m.id for g in self.groups for m in g.members}
        merged: dict[int, int | None] = {}
        accounted = {g.subject_id for g in self.groups}
        for group in self.groups:
            if self._is_wanted(group) and self._is_synced(group):
                merged |= dict.fromkeys(self._ids_of(group) - {group.subject_id}, group.subject_id)
            else:
                # Nothing of these may be written, or nothing of them be there: judged with their group.
                accounted |= self._ids_of(group)
        for record_id in self.side.records.keys() - in_org:
            known = self.side.records[record_id]
            if record_id in self.given.erased:
                yield f"{self.side.noun}: record {record_id} is listed, but it was erased"
            elif known.decision == "synced":
                yield f"{self.side.noun}: record {record_id} is listed, but the org never had it"
            else:
                # Imported with an id that the org does not know: it waits, for ever if need be.
                accounted.add(known.subject_id)
        for row_id in self.side.rows.keys() - accounted:
            yield from self._merged_row(row_id, merged)

    def _merged_row(self, row_id: int, merged: Mapping[int, int | None]) -> Iterator[str]:
        row, place = self.side.rows[row_id], f"{self.side.noun} {row_id}"
        if row_id not in merged:
            yield f"{place}: no record of the org accounts for it"
        elif row["merged_into"] != merged[row_id]:
            yield f"{place}: merged into {row['merged_into']}, it must be {merged[row_id]}"
        elif kept := [n for n in (*self.side.columns, "company_id") if row.get(n) is not None]:
            yield f"{place}: merged away, but it still has {', '.join(kept)}"


def _wrong_types(side: Side) -> Iterator[str]:
    for name, column in side.columns.items():
        if (type_ := side.types.get(name)) != column.type:
            yield f"crm.{side.noun}.{name}: the column is {type_ or 'missing'}, it must be {column.type}"


def _record_differences(member: OrgRecord, group: Group, side: Side) -> Iterator[str]:
    known = side.records.get(member.id)
    if known is None:
        if group.subject_id is not None or not member.is_deleted:
            yield f"{member}: the store does not list it"
        return
    if known.source != member.entity.lower():
        yield f"{member}: the store lists it as {known.source}"
    if known.subject_id != group.subject_id:
        yield f"{member}: listed as {side.noun} {known.subject_id}, it must be {group.subject_id}"
    if known.own_id is None:
        if not member.is_deleted:
            yield f"{member}: live, and without an id of its own"
    elif side.resolved.get(known.own_id) != group.subject_id:
        resolved = side.resolved.get(known.own_id)
        yield f"{member}: its id {known.own_id} resolves to {resolved}, it must be {group.subject_id}"


def _row_differences(row: Row, expected: Expected, side: Side) -> Iterator[str]:
    place = f"{side.noun} {row['id']} ({expected.speaker})"
    if row["merged_into"] is not None:
        yield f"{place}: is marked as merged into {row['merged_into']}, but it speaks for itself"
        return
    if row.get("sync", "synced") != "synced":
        yield f"{place}: is {row['sync']}, but each of its records follows the org"
        return
    if (row["deleted_at"] is not None) != expected.is_deleted:
        yield f"{place}: the store has it {_state(is_deleted=not expected.is_deleted)}, the org {_state(is_deleted=expected.is_deleted)}"
    for name, value in expected.values.items():
        if name in row and row[name] != value and name not in expected.guesses:
            yield f"{place}: {name}: store {_shown(row[name])}, org {_shown(value)}"


def _shared_ids(side: Side) -> Iterator[str]:
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for record_id, known in side.records.items():
        if known.own_id is not None:
            owners[known.own_id].append(record_id)
    for own_id, ids in owners.items():
        if len(ids) > 1:
            yield f"{side.noun}: id {own_id} was handed out to {', '.join(sorted(ids))}"


def _state(*, is_deleted: bool) -> str:
    return "deleted" if is_deleted else "live"


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, date | datetime) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# The way in -----------------------------------------------------------------------------------------------


async def differences(
    control_url: str, dsn: str, *, org: str | None = None, limit: int = 50, given: Given = NOTHING_GIVEN
) -> Report:
    """Compare the store at *dsn* with the org behind *control_url*, as both are now.

    *org* names the rows to judge; by default those of the org's present id.
    """
    org_id, records = await load_org(control_url)
    people, companies = await load_store(dsn, org or org_id, given.columns)
    report = compare(records, people, companies, given)
    return Report(
        report.people, report.companies, report.differences[:limit], report.count, report.undetectable
    )


async def wait_until_equal(
    control_url: str, dsn: str, timeout_s: float, *, limit: int = 50, given: Given = NOTHING_GIVEN
) -> Report:
    """Compare again and again until the store equals the org; return the last report, whatever it says.

    A store that cannot be read yet counts as different.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            report = await differences(control_url, dsn, limit=limit, given=given)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            report = Report(0, 0, [f"the store cannot be read: {type(error).__name__}: {error}"], 1)
        if report.is_equal or asyncio.get_running_loop().time() >= deadline:
            return report
        await asyncio.sleep(POLL_S)


def main() -> int:
    """Print the verdict; return 1 when the store differs."""
    parser = _parser()
    options = parser.parse_args()
    if not options.dsn:
        parser.error("--dsn is needed, or SFSYNC_STORE__DSN")
    if options.freeze:
        frozen = asyncio.run(freeze(options.dsn))
        options.freeze.write_text(json.dumps(frozen), encoding="utf-8")
        sys.stdout.write(f"{len(frozen)} rows written to {options.freeze}\n")
        return 0
    report = asyncio.run(_judge(options))
    sys.stdout.write(f"{report}\n" + "".join(f"  undetectable: {line}\n" for line in report.undetectable))
    return 0 if report.is_equal else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sfsync.simorg.oracle", description="Compare a store with a simulated org."
    )
    parser.add_argument("--control", required=True, metavar="URL", help="control_url of the org")
    parser.add_argument(
        "--dsn",
        default=os.environ.get("SFSYNC_STORE__DSN"),
        help="the store (default: SFSYNC_STORE__DSN, which does not show up in the list of processes)",
    )
    parser.add_argument("--org", help="judge the rows of this org id (default: the org's own)")
    parser.add_argument("--limit", type=int, default=50, help="differences to print at most (default 50)")
    parser.add_argument("--timeout", type=float, default=0.0, metavar="S", help="wait that long for equality")
    parser.add_argument("--freeze", type=Path, metavar="FILE", help="only write down who may not be written")
    parser.add_argument(
        "--frozen", type=Path, metavar="FILE", help="these rows, of --freeze, must be as they were"
    )
    parser.add_argument("--erased", nargs="*", default=[], metavar="ID", help="records that were purged here")
    parser.add_argument(
        "--adopted", nargs="*", metavar="ID", help="only these records may have become somebody"
    )
    parser.add_argument(
        "--default-side",
        default="company",
        choices=("company", "person"),
        help="of addresses (default: company)",
    )
    parser.add_argument(
        "--columns",
        type=columns_of,
        default=SHIPPED,
        metavar="FILE",
        help="JSON: the columns of a mapping of your own",
    )
    return parser


def columns_of(path: str) -> Columns:
    """Return the columns that a file states; the command line's own error where it cannot be read."""
    try:
        return read_columns(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


async def _judge(options: argparse.Namespace) -> Report:
    frozen = json.loads(options.frozen.read_text(encoding="utf-8")) if options.frozen else {}
    given = Given(
        {int(person): row for person, row in frozen.items()},
        frozenset(options.erased),
        None if options.adopted is None else frozenset(options.adopted),
        options.default_side,
        options.columns,
    )
    if options.timeout > 0:
        return await wait_until_equal(
            options.control, options.dsn, options.timeout, limit=options.limit, given=given
        )
    return await differences(options.control, options.dsn, org=options.org, limit=options.limit, given=given)


if __name__ == "__main__":
    sys.exit(main())

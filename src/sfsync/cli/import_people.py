"""`sfsync import`: bring people that an application had before into the store, by their Salesforce ids.

Why: the file is read and checked here, where it lies; the rows travel by the store to whoever leads, because only the
leader writes. Nothing of a file is stored until all of it was read, and with `--dry-run` nothing at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import Settings, load_settings
from ..config.place import open_store
from ..core.importing import Fate, Tally
from ..errors import ConfigError, SfsyncError
from ..log import configure_logging
from ..store.database import Database
from ..store.import_files import forget_file, rehearse_file, rejected_rows, stage_file
from ..store.report import known_org
from .asking import Answered, Wish, ask
from .exits import FOUND, OK
from .findings import printable, printable_json
from .import_report import Report
from .import_source import Asked, Form, Source, chosen_columns, feeds_of, form_of, known_columns, store_feeds
from .progress import Show, showing

_MEANING = {
    Fate.CREATED: "new people; they are pending until their record was read",
    Fate.UPDATED: "people imported before, not decided on, whose stored values changed",
    Fate.UNCHANGED: "people imported before who have these values already",
    Fate.OWNED: "people that follow Salesforce: not overwritten",
    Fate.DECLINED: "people that were declined: not touched",
    Fate.DUPLICATE: "rows that a later row of the same record replaces",
    Fate.REJECTED: "rows that cannot be taken",
}
_SHOWN = (Fate.OWNED, Fate.DECLINED, Fate.DUPLICATE, Fate.REJECTED)


def run(arguments: argparse.Namespace) -> int:
    """Import a file, or tell what that would do; return 1 when some rows were rejected."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    return asyncio.run(import_file(settings, arguments))


async def import_file(settings: Settings, arguments: argparse.Namespace) -> int:
    """Import a file as *arguments* say, print the summary, and return the exit code."""
    source = await _understood(settings, arguments)
    request = None
    with _reporting(arguments, source) as report:
        if arguments.dry_run:
            tally = await _rehearse(settings, source, report)
        else:
            tally, request = await _take(settings, arguments, source, report)
        kept = report.keep() if report else None
    summary = {
        "file": str(arguments.file),
        "dry_run": arguments.dry_run,
        "encoding": str(source.form.encoding),
        "delimiter": source.form.delimiter,
        "columns": [key for key in source.feeds if key],
        "rows": tally.rows,
        **{str(fate): tally.counts[fate] for fate in Fate},
        "cleaned": source.cleaned,
        "company_values_ignored": source.homeless,
        "examples": _examples(tally),
        "report": str(kept) if kept else None,
        "request": request,
    }
    as_json = printable_json(json.dumps(summary, indent=2, ensure_ascii=False))
    print(as_json if arguments.json else "\n".join(_lines(summary)))
    return FOUND if tally.counts[Fate.REJECTED] else OK


async def _understood(settings: Settings, arguments: argparse.Namespace) -> Source:
    """Find out what the file's columns feed."""
    form: Form = form_of(arguments.file, arguments.encoding, arguments.delimiter)
    with form.opened() as (_, people):
        header, form = people.header, form.told(people.delimiter)
    asked = Asked(chosen_columns(arguments.columns), arguments.ignore_unknown)
    async with open_store(settings.store) as database:
        await _bound_org(database)
        columns = await known_columns(database)
    feeds = await feeds_of(header, columns, asked, settings)
    types = {column.key: column.pg_type for column in columns}
    return Source(form, header, feeds, types, store_feeds(feeds, columns, arguments.default_address))


async def _bound_org(database: Database) -> str:
    org = await known_org(database)
    if org is None:
        raise ConfigError("the store is bound to no org yet: start sfsync run first")
    return org


@contextmanager
def _reporting(arguments: argparse.Namespace, source: Source) -> Iterator[Report | None]:
    """Prepare the report; a rehearsal makes one only when it is told where."""
    path: Path | None = arguments.report
    if path is None and arguments.dry_run:
        yield None
        return
    path = path or arguments.file.with_name(arguments.file.name + ".rejected.csv")
    if path.exists() and path.samefile(arguments.file):
        raise ConfigError(f"--report: {path} is the file that is imported: choose another")
    with Report(path, source.header, source.feeds, force=arguments.force) as report:
        yield report


async def _rehearse(settings: Settings, source: Source, report: Report | None) -> Tally:
    async with open_store(settings.store) as database:
        org = await _bound_org(database)
        with showing(f"rehearsing {source.form.path.name}") as show:
            rows = source.rows(report, show)
            tally = await rehearse_file(database, org, source.fed, rows, show)
    tally.add(source.tally)
    return tally


async def _take(
    settings: Settings, arguments: argparse.Namespace, source: Source, report: Report | None
) -> tuple[Tally, int]:
    """Store the rows, have the leader take them, and report those that it cannot; return its count and the request."""
    async with open_store(settings.store) as database:
        org = await _bound_org(database)
        with showing(f"reading {source.form.path.name}") as read:
            staged = await stage_file(database, org, source.fed, source.rows(report, read))

    async def became(database: Database, _org: str, answered: Answered) -> tuple[Answered, dict[int, str]]:
        late = {line: reason for line, _, reason in await rejected_rows(database, staged.import_id)}
        await forget_file(database, staged.import_id)
        return answered, late

    with showing("importing") as taking:
        wish = Wish("import", str(staged.import_id), "import", "imported", _watcher(taking, staged.rows))
        answered, late = await ask(settings, arguments.config, wish, became, timeout_s=arguments.timeout_s)
    if answered.outcome != "imported":
        raise SfsyncError(
            f"the import was {answered.outcome}: {answered.error}; nothing more of the file is stored"
        )
    tally = Tally.of_json(answered.detail)
    tally.add(staged.tally)
    tally.add(source.tally)
    if late and report is not None:
        source.report_late(report, late)
    return tally, answered.request


def _watcher(show: Show, rows: int) -> Any:
    def watch(detail: dict[str, Any]) -> None:
        show(sum(detail.get("counts", {}).values()), rows)

    return watch


def _examples(tally: Tally) -> dict[str, list[dict[str, Any]]]:
    return {
        str(fate): [{"line": line, "record_id": record or None, "why": why} for line, record, why in shown]
        for fate, shown in tally.examples.items()
    }


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    title = "would be imported" if summary["dry_run"] else "imported"
    delimiter = printable({"\t": "tab"}.get(summary["delimiter"], summary["delimiter"]))
    yield (
        f"{printable(summary['file'])} {title}: {summary['rows']:,} rows, {summary['encoding']}, delimiter {delimiter}"
    )
    for fate, meaning in _MEANING.items():
        count = summary[str(fate)]
        yield f"{fate:<10}  {count:>9,}{f'  {meaning}' if count else ''}"
        if summary["dry_run"] or fate in _SHOWN:
            yield from _example_lines(summary["examples"].get(str(fate), []), count)
    if summary["cleaned"]:
        yield f"cleaned     {summary['cleaned']:>9,}  cells with characters that no database can hold"
    if summary["company_values_ignored"]:
        ignored = summary["company_values_ignored"]
        yield f"ignored     {ignored:>9,}  rows have values of a company but no company_crm_id: those values are left out"
    if summary["report"]:
        yield f"the rejected rows are in {printable(summary['report'])}"


def _example_lines(examples: list[dict[str, Any]], count: int) -> Iterator[str]:
    for one in examples:
        said = ": ".join(filter(None, [one["record_id"], one["why"]]))
        yield f"            line {one['line']}{f'  {printable(said)}' if said else ''}"
    if count > len(examples):
        yield f"            and {count - len(examples):,} more"

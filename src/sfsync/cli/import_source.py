"""Open a file of people, and find out what its columns feed."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from ..config import Settings
from ..config.login import open_login
from ..core.ids import Entity
from ..core.importing import Fate, Tally
from ..core.people_cells import (
    COMPANY_PREFIX,
    PERSON_ID,
    READERS,
    ImportRow,
    KnownColumn,
    Names,
    Rejected,
    RowReader,
    field_names,
    label_names,
    refuse_faulty_headers,
    resolve_headers,
)
from ..core.people_file import Encoding, PeopleFile, detect_encoding, split_lines
from ..errors import ConfigError, SfsyncError
from ..salesforce.rest import Rest
from ..store.database import Database
from ..store.import_files import Feeds
from ..store.import_statements import FedColumn
from .import_report import Report
from .progress import Show

_CHUNK_BYTES = 1 << 16
_PATIENCE_S = 30.0
_SHOW_EVERY = 500


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is written."""

    path: Path
    encoding: Encoding
    delimiter: str | None

    def told(self, delimiter: str) -> Form:
        """Return it with the delimiter that its header told."""
        return replace(self, delimiter=delimiter)

    @contextmanager
    def opened(self) -> Iterator[tuple[BinaryIO, PeopleFile]]:
        """Open the file from its beginning. Raises `ConfigError` when it is none that can be used."""
        with opened_bytes(self.path) as file:
            try:
                yield file, PeopleFile(split_lines(_chunks(file)), self.encoding, self.delimiter)
            except ValueError as error:
                raise ConfigError(f"{self.path}: {error}") from error


@contextmanager
def opened_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file. Raises `ConfigError` when that cannot be."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(
                f"{path} is no file: it is read more than once, so it cannot be a pipe or a folder"
            )
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check path and rights") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def form_of(path: Path, encoding: str, delimiter: str | None) -> Form:
    """Return how *path* is written; *encoding* may be `auto`, *delimiter* None for what the header tells."""
    if delimiter is not None:
        delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n\0':
            raise ConfigError('--delimiter: one character, or "tab", is expected')
    if encoding != "auto":
        return Form(path, Encoding(encoding), delimiter)
    with opened_bytes(path) as file:
        return Form(path, detect_encoding(split_lines(_chunks(file))), delimiter)


async def known_columns(database: Database) -> list[KnownColumn]:
    """Return the columns that the mapping feeds. Raises `ConfigError` when no daemon has bound it yet."""
    columns = []
    for table, prefix in (("person", ""), ("company", COMPANY_PREFIX)):
        for row in await database.fetch("load_mapped_columns", table):
            if row["suspended_since"] is None and row["pg_type"] in READERS:
                sources = {Entity(entity): name for entity, name in json.loads(row["sources"]).items()}
                columns.append(KnownColumn(prefix + row["column_name"], row["pg_type"], sources))
    if not columns:
        raise ConfigError("the store does not know the mapping yet: start sfsync run first")
    return columns


def chosen_columns(path: Path | None) -> dict[str, str]:
    """Read the file that `--columns` names: `"header" = "column"`."""
    if path is None:
        return {}
    with opened_bytes(path) as file:
        try:
            document = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise ConfigError(f"--columns: {path} is not TOML") from None
    wrong = [name for name, column in document.items() if not isinstance(column, str)]
    if wrong:
        raise ConfigError(f'--columns: {path}: "header" = "column" is expected for {", ".join(wrong)}')
    return document


@dataclass(frozen=True, slots=True)
class Asked:
    """How headers are to be understood: what `--columns` chose, and whether unknown ones are left out."""

    chosen: Mapping[str, str]
    ignore_unknown: bool


async def feeds_of(
    header: Sequence[str], columns: Sequence[KnownColumn], asked: Asked, settings: Settings
) -> list[str | None]:
    """Say what each header feeds; the org is asked for its labels only when some are not known otherwise.

    Raises `ConfigError`, listing all that is wrong with them.
    """
    keys = [column.key for column in columns]
    foreign = sorted(set(asked.chosen.values()) - {*keys, PERSON_ID, "company_crm_id"})
    if foreign:
        raise ConfigError(f"--columns: no such column: {', '.join(foreign)}")
    names = [field_names(columns)]
    headers = resolve_headers(header, keys, names, asked.chosen)
    if any(header[place] for place in headers.unknown):
        names.append(await _labels(names[0], settings))
        headers = resolve_headers(header, keys, names, asked.chosen)
    refuse_faulty_headers(headers, keys, ignore_unknown=asked.ignore_unknown)
    return headers.feeds


async def _labels(fields: Names, settings: Settings) -> Names:
    try:
        async with open_login(settings, patience_s=_PATIENCE_S) as connection:
            rest = Rest(connection)
            describes = {entity: await rest.describe(entity.value) for entity in Entity}
    except SfsyncError as error:
        print(f"sfsync: labels of fields could not be asked for: {error}", file=sys.stderr)
        return Names({}, {})
    return label_names(fields, describes)


def store_feeds(feeds: Sequence[str | None], columns: Sequence[KnownColumn], side: str | None) -> Feeds:
    """Return the columns that the file feeds, as the store knows them."""
    fed = [column for column in columns if column.key in feeds]
    return Feeds(
        [FedColumn(c.key, c.pg_type) for c in fed if not c.key.startswith(COMPANY_PREFIX)],
        [
            FedColumn(c.key.removeprefix(COMPANY_PREFIX), c.pg_type)
            for c in fed
            if c.key.startswith(COMPANY_PREFIX)
        ],
        side,
    )


@dataclass(slots=True)
class Source:
    """A file whose columns are known; its rows can be read from the beginning, and what is bad about them counted."""

    form: Form
    header: Sequence[str]
    feeds: Sequence[str | None]
    types: Mapping[str, str]
    fed: Feeds
    tally: Tally = field(default_factory=Tally)
    cleaned: int = 0
    homeless: int = 0

    def rows(self, report: Report | None, show: Show) -> Iterator[ImportRow]:
        """Yield the sound rows; count the others and give them to *report*."""
        size = self.form.path.stat().st_size
        reader = RowReader(self.feeds, self.types)
        with self.form.opened() as (file, people):
            for number, row in enumerate(people.rows()):
                if number % _SHOW_EVERY == 0:
                    show(file.tell(), size)
                read = reader.read(row)
                if isinstance(read, ImportRow):
                    yield read
                    continue
                self.tally.note(Fate.REJECTED, read.line, "", read.reason)
                if report is not None:
                    report.write(read)
        self.cleaned, self.homeless = reader.cleaned, reader.homeless

    def report_late(self, report: Report, reasons: Mapping[int, str]) -> None:
        """Give *report* rows that were rejected later, by line, with the cells that they had."""
        with self.form.opened() as (_, people):
            for row in people.rows():
                if row.line in reasons:
                    report.write(Rejected(row.line, reasons[row.line], row.cells))

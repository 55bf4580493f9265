"""Write the rows that an import could not take, for whoever mends them.

Why: a report is a file of people again: with the reasons mended away it can be imported as it is. It is made only when
there is something to report, beside its final name, so that what an earlier import reported is never half
overwritten. UTF-8 with a byte order mark, because Excel reads it as nothing else. Cells are written as they came, also
those that a spreadsheet takes for formulas: the report must not change what it reports.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ..core.people_cells import PERSON_ID, REPORT_HEADERS, Rejected
from ..errors import ConfigError


class Report:
    """A report in the making; `keep` gives it its name. A block that fails leaves none."""

    def __init__(
        self, path: Path, header: Sequence[str], feeds: Sequence[str | None], *, force: bool
    ) -> None:
        """Raises `ConfigError` when the report of an earlier import is there and *force* does not let it go."""
        if path.exists() and not force:
            raise ConfigError(f"{path} is there already: move it away, or say --force to overwrite it")
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._id_place = feeds.index(PERSON_ID)
        self._header = list(header)
        self._file: TextIO | None = None

    def write(self, rejected: Rejected) -> None:
        """Add a row: line, reason, id, and the other cells as they came."""
        try:
            if self._file is None:
                self._file = self._part.open("w", encoding="utf-8-sig", newline="", errors="replace")
                self._write([*REPORT_HEADERS, PERSON_ID, *self._others(self._header)[1]])
            record_id, others = self._others(rejected.cells)
            self._write([str(rejected.line), rejected.reason, record_id, *others])
        except OSError as error:
            raise ConfigError(f"the report {self._part} cannot be written ({error.strerror})") from error

    def _write(self, cells: Sequence[str]) -> None:
        csv.writer(self._file).writerow(cells)  # type: ignore[arg-type]

    def _others(self, cells: Sequence[str]) -> tuple[str, list[str]]:
        """Part the id from the other cells; a row that is too short has none."""
        place = self._id_place
        return (cells[place] if place < len(cells) else ""), [*cells[:place], *cells[place + 1 :]]

    def keep(self) -> Path | None:
        """Finish the report and give it its name; None when there is nothing in it."""
        if self._file is None:
            return None
        self._file.close()
        os.replace(self._part, self.path)
        return self.path

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

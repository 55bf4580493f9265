"""What a query makes of generated records: which places can match, and rows that are places until somebody reads them.

Why: a query of a million records must not make a million dictionaries. Conditions on id and stamp are spans of places;
what they leave is counted without being looked at, and a result holds runs of places between the records that were
written. Only a page that is read, or a condition on another field, makes records of places.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import overload

from sfsync.simorg.generated import STAMPS, GeneratedEntity, Printer, Row
from sfsync.simorg.ids import normalize
from sfsync.simorg.soql_parse import Both, Compare, Condition, Literal, Path
from sfsync.simorg.soql_rows import Renderer
from sfsync.simorg.soql_where import Test

# The stamps of a generated record are all the same.
_STAMPS = {name.lower() for name in STAMPS}
_OPERATORS = (">", ">=", "<", "<=", "=")


def span_of(condition: Condition | None, base: GeneratedEntity) -> tuple[range, bool]:
    """Return the places outside of which nothing can match, and whether all within do."""
    everything = range(base.count)
    match condition:
        case None:
            return everything, True
        case Both(operator="AND"):
            spans = [span_of(part, base) for part in condition.conditions]
            first = max(span.start for span, _ in spans)
            end = min(span.stop for span, _ in spans)
            return range(first, max(first, end)), all(exact for _, exact in spans)
        case Compare(path=Path(names=(name,), function=None), literals=(Literal() as literal,)):
            found = _compared(name.lower(), condition.operator, literal, base)
            return (everything, False) if found is None else (found, True)
        case _:
            return everything, False


def _compared(name: str, operator: str, literal: Literal, base: GeneratedEntity) -> range | None:
    """Return the places that one comparison leaves, None if it must be asked of each."""
    if name == "isdeleted" and operator == "=" and literal.kind == "boolean":
        return range(0 if literal.value else base.count)
    if operator not in _OPERATORS:
        return None
    if name == "id" and literal.kind == "string" and (record_id := normalize(literal.value)) is not None:
        before = base.ids.before(record_id)
        here = before < base.count and base.ids.one(before) == record_id
        return _cut(operator, before, before + here, base.count)
    if name in _STAMPS and literal.kind == "datetime" and isinstance(literal.value, datetime):
        return _cut(operator, base.ages.before(literal.value), base.ages.until(literal.value), base.count)
    return None


def _cut(operator: str, before: int, until: int, count: int) -> range:
    """Return the places of a comparison with a value that *before* places lie below, *until* below or at."""
    first = {">": until, ">=": before, "=": before}.get(operator, 0)
    end = {"<": before, "<=": until, "=": until}.get(operator, count)
    return range(min(first, count), max(min(first, count), min(end, count)))


class Rows:
    """The rows of a result: records that were written, and runs of places; reading some makes records of these."""

    def __init__(self, base: GeneratedEntity, pieces: Iterable[Row | range] = ()) -> None:
        self._base = base
        self._pieces: list[range | list[Row]] = []
        self._ends: list[int] = []
        for piece in pieces:
            self._add(piece)

    @classmethod
    def limited(
        cls, base: GeneratedEntity, pieces: Iterable[Row | range], offset: int, limit: int | None
    ) -> "Rows":
        """Return the rows from *offset* on, *limit* at most, and look at no piece behind them."""
        out = cls(base)
        left = limit
        for piece in pieces:
            if isinstance(piece, range):
                skipped = min(offset, len(piece))
                kept = piece[skipped:] if left is None else piece[skipped : skipped + left]
                taken = len(kept)
                out._add(kept)
            else:
                skipped, taken = (1, 0) if offset else (0, 1)
                if taken:
                    out._add(piece)
            offset -= skipped
            if left is not None:
                left -= taken
                if left <= 0:
                    break
        return out

    def _add(self, piece: Row | range) -> None:
        if isinstance(piece, range):
            if not piece:
                return
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], list):
            self._pieces[-1].append(piece)
            self._ends[-1] += 1
            return
        else:
            self._pieces.append([piece])
        self._ends.append(len(self) + len(self._pieces[-1]))

    def backwards(self) -> Iterator[Row | range]:
        """Yield the same rows in the opposite order."""
        for piece in reversed(self._pieces):
            if isinstance(piece, range):
                yield piece[::-1]
            else:
                yield from reversed(piece)

    def lines(self, renderer: Renderer, delimiter: str, line_end: str, size: int) -> Iterator[list[str]]:
        """Yield all rows as lines of CSV, about *size* at a time."""
        sources = renderer.sources()
        printer = None if sources is None else Printer(self._base, sources, delimiter, line_end)
        out: list[str] = []
        for piece in self._pieces:
            for start in range(0, len(piece), size):
                part = piece[start : start + size]
                if printer is not None and isinstance(part, range) and part.step == 1:
                    out += printer.lines(part)
                else:
                    rows = list(self._base.rows(part)) if isinstance(part, range) else part
                    out += renderer.csv(rows, delimiter, line_end)
                if len(out) >= size:
                    yield out
                    out = []
        if out:
            yield out

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Row]:
        for piece in self._pieces:
            yield from self._base.rows(piece) if isinstance(piece, range) else piece

    @overload
    def __getitem__(self, wanted: int) -> Row: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[Row]: ...
    def __getitem__(self, wanted: int | slice) -> Row | list[Row]:
        if isinstance(wanted, int):
            return self[wanted : wanted + 1][0]
        start, stop, _ = wanted.indices(len(self))
        out: list[Row] = []
        for at in range(bisect_right(self._ends, start), len(self._pieces)):
            if start >= stop:
                break
            piece = self._pieces[at]
            begins = self._ends[at] - len(piece)
            part = piece[start - begins : stop - begins]
            out += self._base.rows(part) if isinstance(part, range) else part
            start += len(part)
        return out


def passing(base: GeneratedEntity, run: range, test: Test) -> Iterator[range]:
    """Yield the parts of *run* whose records pass *test*."""
    first: int | None = None
    for place in run:
        if test(base.row(place)[1]):
            first = place if first is None else first
        elif first is not None:
            yield range(first, place)
            first = None
    if first is not None:
        yield range(first, run.stop)

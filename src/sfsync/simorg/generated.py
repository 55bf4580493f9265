"""Records that nobody keeps: a population of millions whose every value follows from the seed and the record's place.

Why: an org of five million people held as objects takes twenty gigabytes and minutes to make. Here a record is its
place in a row. Its values come from lists of whole entries, each repeated with a period of its own, so that
combinations do not repeat within the population; ids and stamps ascend with the place, so both are found by
arithmetic. A change takes the one record out, and from then on it is a record like any other.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain
from math import ceil, floor
from typing import Any

from sfsync.simorg.ids import ALPHABET, KEY_PREFIXES, to_18
from sfsync.simorg.values import csv_text, zulu_datetime

# Fewer than the numbers of four digits, so that every generated id precedes every id of an `IdSource`.
PLACES_MAX = len(ALPHABET) ** 4 - 2
REMEMBERED_MAX = 500_000
STAMPS = ("CreatedDate", "LastModifiedDate", "SystemModstamp")
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_VALUES = {char: value for value, char in enumerate(ALPHABET)}

Values = Callable[[int, int], Sequence[Any]]
Texts = Callable[[int, int], list[str]]
Getter = Callable[[Mapping[str, Any]], Any]
Row = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values of a column come from: a field, how to read them, and whether they lie behind that lookup."""

    name: str
    get: Getter
    is_behind: bool


class GeneratedFields(dict[str, Any]):
    """The fields of a generated record, made for one reader and gone with it."""

    __slots__ = ()


@cache
def _thirds(three: str) -> list[str]:
    """Return the third checksum character for *three* digits and each pair behind them."""
    return [to_18(f"0000000000{three}{pair}")[17] for pair in _PAIRS]


class Ids:
    """The ids of consecutive places of one entity, in ascending order."""

    def __init__(self, entity: str) -> None:
        self._head = KEY_PREFIXES[entity] + "5i" + "00000"
        # The last two digits with the checksum behind them, by the capitals among the three digits before.
        capitals = [a + b + c for c in "0A" for b in "0A" for a in "0A"]
        checked = to_18(self._head + "00000")[15:17]
        self._tails = [
            [pair + checked + third for pair, third in zip(_PAIRS, _thirds(three), strict=True)]
            for three in capitals
        ]
        self._blocks: dict[int, tuple[str, list[str]]] = {}

    def many(self, first: int, end: int) -> list[str]:
        """Return the ids of the places from *first* to before *end*."""
        out: list[str] = []
        while (at := first + len(out)) < end:
            block, low = divmod(at + 1, len(_PAIRS))
            head, tails = self._block(block)
            out += [head + tail for tail in tails[low : low + end - at]]
        return out

    def one(self, place: int) -> str:
        """Return the id of *place*."""
        # The number 0 stays free: clients take its id for "none".
        block, low = divmod(place + 1, len(_PAIRS))
        head, tails = self._block(block)
        return head + tails[low]

    def _block(self, block: int) -> tuple[str, list[str]]:
        """Return what all ids of a block begin with, and the rests of them."""
        found = self._blocks.get(block)
        if found is None:
            high, middle = divmod(block, len(_PAIRS))
            digits = ALPHABET[high] + _PAIRS[middle]
            capitals = sum(1 << bit for bit, char in enumerate(digits) if "A" <= char <= "Z")
            found = self._blocks[block] = (self._head + digits, self._tails[capitals])
        return found

    def before(self, record_id: str) -> int:
        """Return how many places have ids smaller than *record_id*, a whole id or nothing."""
        head, digits = record_id[:10], record_id[10:15]
        if head != self._head:
            return 0 if head < self._head else PLACES_MAX
        number = 0
        for char in digits:
            number = number * len(ALPHABET) + _VALUES[char]
        return max(0, number - 1)


@dataclass(frozen=True, slots=True)
class Ages:
    """The stamps of the places: so many in a row share one, *step_s* lies between one and the next."""

    oldest_s: int
    step_s: int
    shared: int = 200

    def at(self, place: int) -> datetime:
        """Return the stamp of *place*."""
        return datetime.fromtimestamp(self.oldest_s + place // self.shared * self.step_s, UTC)

    def before(self, instant: datetime) -> int:
        """Return how many places have a stamp before *instant*."""
        return max(0, ceil((instant.timestamp() - self.oldest_s) / self.step_s)) * self.shared

    def until(self, instant: datetime) -> int:
        """Return how many places have a stamp at or before *instant*."""
        return max(0, floor((instant.timestamp() - self.oldest_s) / self.step_s) + 1) * self.shared

    def texts(self, first: int, end: int) -> list[str]:
        """Return the stamps of some places as Bulk writes them."""
        out: list[str] = []
        while first + len(out) < end:
            at = first + len(out)
            alike = min(end, (at // self.shared + 1) * self.shared) - at
            out += [zulu_datetime(self.at(at))] * alike
        return out


@dataclass(frozen=True, slots=True)
class Oddity:
    """Every *step*-th record, from *first* on, has *values* besides or instead; None takes a value away."""

    step: int
    first: int
    names: frozenset[str]
    values: Callable[[int], Mapping[str, Any]]

    def places(self, first: int, end: int) -> range:
        """Return which of the records from *first* to before *end* are odd."""
        return range(first + (self.first - first) % self.step, end, self.step)


@dataclass(slots=True)
class GeneratedEntity:
    """The generated records of one entity; *changed* are the places of those that became records of their own."""

    name: str
    count: int
    ids: Ids
    ages: Ages
    lists: Sequence[list[dict[str, Any]]]
    computed: Mapping[str, Values]
    oddity: Oddity
    changed: list[int] = field(default_factory=list)

    def place_of(self, record_id: str) -> int | None:
        """Return the place of a record id, None if it is none of a generated record."""
        place = self.ids.before(record_id)
        return place if place < self.count and self.ids.one(place) == record_id else None

    def is_changed(self, place: int) -> bool:
        """Tell whether the record is one of its own by now."""
        at = bisect_left(self.changed, place)
        return at < len(self.changed) and self.changed[at] == place

    def row(self, place: int) -> Row:
        """Return id and fields of a record as it was generated."""
        out = GeneratedFields(self.lists[0][place % len(self.lists[0])])
        for entries in self.lists[1:]:
            out.update(entries[place % len(entries)])
        record_id, stamp = self.ids.one(place), self.ages.at(place)
        out.update(
            {"Id": record_id, "CreatedDate": stamp, "LastModifiedDate": stamp, "SystemModstamp": stamp}
        )
        for name, values in self.computed.items():
            if (value := values(place, place + 1)[0]) is not None:
                out[name] = value
        if place % self.oddity.step == self.oddity.first:
            out.update(self.oddity.values(place))
            for name in self.oddity.names:
                if out.get(name) is None:
                    out.pop(name, None)
        return record_id, out

    def place_by_id(self, row: Row) -> int:
        """Return before which place *row* comes in ascending order of id."""
        return self.ids.before(row[0])

    def place_by_stamp(self, row: Row) -> int:
        """Return before which place *row* comes in ascending order of (SystemModstamp, Id)."""
        stamp = row[1]["SystemModstamp"]
        return min(max(self.ids.before(row[0]), self.ages.before(stamp)), self.ages.until(stamp))

    def rows(self, places: Iterable[int]) -> Iterator[Row]:
        """Yield the records of some places."""
        return map(self.row, places)

    def unchanged(self, first: int, end: int) -> Iterator[range]:
        """Yield the runs of records from *first* to before *end* that are still as generated."""
        for place in self.changed[bisect_left(self.changed, first) : bisect_left(self.changed, end)]:
            if first < place:
                yield range(first, place)
            first = place + 1
        if first < end:
            yield range(first, end)

    def woven(self, rows: Iterable[tuple[int, Row]], span: range) -> Iterator[Row | range]:
        """Yield the unchanged records of *span* in runs, and between them each of *rows* at its place."""
        at = span.start
        for place, row in rows:
            until = max(at, min(place, span.stop))
            yield from self.unchanged(at, until)
            at = until
            yield row
        yield from self.unchanged(at, span.stop)


class Printer:
    """Writes generated records as lines of CSV, column by column instead of record by record."""

    def __init__(
        self, entity: GeneratedEntity, columns: Sequence[Source], delimiter: str, line_end: str
    ) -> None:
        self._entity = entity
        self._between, self._end = f'"{delimiter}"', f'"{line_end}'
        self._columns = [self._column(column) for column in columns]

    def lines(self, run: range) -> list[str]:
        """Return the lines of consecutive records."""
        between, end = self._between, self._end
        columns = [column(run.start, run.stop) for column in self._columns]
        return ['"' + between.join(values) + end for values in zip(*columns, strict=True)]

    def _column(self, source: Source) -> Texts:
        texts = self._usual(source)
        oddity, get = self._entity.oddity, source.get
        if source.name not in oddity.names:
            return texts

        def with_oddities(first: int, end: int) -> list[str]:
            out = texts(first, end)
            for place in oddity.places(first, end):
                out[place - first] = csv_text(get(oddity.values(place)))
            return out

        return with_oddities

    def _usual(self, source: Source) -> Texts:
        entity, name, get = self._entity, source.name, source.get
        if name == "Id":
            return entity.ids.many
        if name in STAMPS:
            return entity.ages.texts
        if name in entity.computed:
            values = entity.computed[name]
            if source.is_behind:
                return _remembered(name, get, values)
            return lambda first, end: [csv_text(value) for value in values(first, end)]
        # The name of a person is made of two fields of one list.
        kept: list[dict[str, Any]] = next(
            (e for e in entity.lists if any(name in f or (name == "Name" and "LastName" in f) for f in e)),
            [{}],
        )
        texts = [csv_text(get(fields)) for fields in kept]
        return lambda first, end: _repeated(texts, first, end)


def _remembered(name: str, get: Getter, values: Values) -> Texts:
    """Return the texts that follow from the *values* of a field, each made once as long as there are not too many."""
    known: dict[Any, str] = {}

    def texts(first: int, end: int) -> list[str]:
        if len(known) > REMEMBERED_MAX:
            known.clear()
        out = []
        for value in values(first, end):
            text = known.get(value)
            if text is None:
                text = known[value] = csv_text(get({name: value}))
            out.append(text)
        return out

    return texts


class Generated:
    """The generated records of an org, by entity, and who of them refers to whom."""

    def __init__(
        self,
        entities: Iterable[GeneratedEntity] = (),
        children: Callable[[str, str, int], Iterable[int]] = lambda _entity, _lookup, _place: (),
    ) -> None:
        self.entities = {entity.name: entity for entity in entities}
        self._by_prefix = {KEY_PREFIXES[name]: entity for name, entity in self.entities.items()}
        self._children = children

    def find(self, record_id: str) -> tuple[GeneratedEntity, int] | None:
        """Return the entity and place of a record that was generated, changed since or not."""
        entity = self._by_prefix.get(record_id[:3])
        place = entity.place_of(record_id) if entity is not None else None
        return None if entity is None or place is None else (entity, place)

    def get(self, record_id: str) -> Mapping[str, Any] | None:
        """Return the fields of a record as it was generated."""
        found = self.find(record_id)
        return None if found is None else found[0].row(found[1])[1]

    def take(self, record_id: str) -> tuple[str, dict[str, Any]] | None:
        """Take a record out, once, to be kept as one of its own; return its entity and fields."""
        found = self.find(record_id)
        if found is None:
            return None
        entity, place = found
        insort(entity.changed, place)
        return entity.name, dict(entity.row(place)[1])

    def entries(self, entity: str) -> Iterator[dict[str, Any]]:
        """Yield the entries that the records of *entity* are made of; what changes in one changes in all of them."""
        found = self.entities.get(entity)
        return iter(()) if found is None else chain.from_iterable(found.lists)

    def children(self, entity: str, lookup: str, target: str) -> list[str]:
        """Return the unchanged records of *entity* whose *lookup* is *target*."""
        owner, found = self.entities.get(entity), self.find(target)
        if owner is None or found is None:
            return []
        places = self._children(entity, lookup, found[1])
        return [owner.ids.one(place) for place in places if not owner.is_changed(place)]


def _repeated(entries: list[str], first: int, end: int) -> list[str]:
    """Return the entries from *first* to before *end* of an endless repetition."""
    start, count = first % len(entries), end - first
    out = entries[start : start + count]
    while len(out) < count:
        out += entries[: count - len(out)]
    return out


def ages_of(count: int, oldest: datetime, span: timedelta) -> Ages:
    """Spread the stamps of *count* records over *span*, beginning with *oldest*."""
    shared = Ages(0, 1).shared
    steps = max(1, -(-count // shared))
    return Ages(int(oldest.timestamp()), max(1, int(span.total_seconds()) // steps), shared)

"""What a daemon did, told from its own log and counters.

Why: the table must not say what a daemon ought to do. So each sentence comes from a log event that was really written,
with its figures; an event that this module does not know is told by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..daemon_log import Entry
from .daemons import Daemon

_USUAL = frozenset(
    [
        "backfill.entity.completed",
        "backfill.entity.progressed",
        "backfill.entity.started",
        "console.started",
        "daemon.config.reloaded",
        "daemon.signal.received",
        "daemon.started",
        "daemon.stopped",
        "health.changed",
        "mapping.checked",
        "store.migration.applied",
        "stream.batch.applied",
        "sweep.entity.completed",
        "sweep.started",
    ]
)
"""Events that a quiet day is full of, or that every start writes."""
_ENDED = "ended: "


def unusual(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """Return the names of unusual events in the order in which each came first, and how often it came."""
    counted = Counter(str(e["event"]) for e in entries if "event" in e and e["event"] not in _USUAL)
    return list(counted.items())


def sentences(entries: Iterable[Entry], ended: Sequence[Daemon]) -> list[str]:
    """Tell what was done, each kind of deed once, where it was done first."""
    amounts: dict[str, float] = {}
    for entry in entries:
        tell = _TOLD.get(str(entry.get("event")))
        for sentence, amount in tell(entry) if tell else ():
            amounts[sentence] = amounts.get(sentence, 0) + amount
    told = [sentence.format(_Amount(amount)) for sentence, amount in amounts.items()]
    codes = [daemon.exit_code for daemon in ended if daemon.exit_code is not None and daemon.exit_code >= 0]
    return [one.replace(_ENDED, f"ended with exit code {codes[0]}: ") if codes else one for one in told]


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each counter grew; a counter of a new process began at nothing."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value > before.get(name, 0)}


class _Amount(float):
    """A number that a sentence shows with its noun: `{:row}` is "1 row" or "2 rows"."""

    def __format__(self, noun: str) -> str:
        count = int(self)
        return f"{count:,} {noun}{'' if count == 1 else 's'}" if noun else f"{count:,}"


_Told = Iterable[tuple[str, float]]


def _batch(entry: Entry) -> _Told:
    if entry["changed"]:
        yield "wrote {:row} from the stream", entry["changed"]
    if entry["skipped"]:
        yield "skipped {:event}", entry["skipped"]
    if entry["dirty"]:
        yield "marked {:record} dirty", entry["dirty"]


def _swept(entry: Entry) -> _Told:
    repaired = entry.get("repaired") or {}
    for reason, count in repaired.items() if isinstance(repaired, dict) else ():
        if count:
            yield f"a sweep repaired {{}} ({reason}: drift)", count
    if entry["ahead"]:
        yield "a sweep wrote {:record} ahead of the stream", entry["ahead"]
    if entry["settled"]:
        yield "a sweep settled {:doubtful record}", entry["settled"]
    reason = str(entry["reason"])
    if reason not in ("schedule", "start"):
        yield f"swept because of {reason}", 0


def _opened(entry: Entry) -> _Told:
    yield f"subscribed at {'the tip' if entry['replay'] == 'tip' else 'its position'}", 0


def _outage(entry: Entry) -> _Told:
    yield f"noticed that the {_AWAY.get(str(entry['outage']), entry['outage'])} is away", 0


def _waits(entry: Entry) -> _Told:
    yield f"waits {entry['retry_after_s']:g} s for {entry['limit']}", 0


def _refetched(entry: Entry) -> _Told:
    yield "read {:dirty record} again", entry["read"]


def _failed(entry: Entry) -> _Told:
    yield f"{_ENDED}{str(entry['error']).replace('{', '{{').replace('}', '}}')}", 0


def _column(verb: str) -> Callable[[Entry], _Told]:
    return lambda entry: [(f"{verb} {entry['table']}.{entry['column']}", 0)]


def _plainly(sentence: str) -> Callable[[Entry], _Told]:
    return lambda _entry: [(sentence, 0)]


_AWAY = {"stream": "stream", "sweep": "REST API", "rest": "REST API", "pipeline": "store or login"}
_TOLD: Mapping[str, Callable[[Entry], _Told]] = {
    "daemon.config.reloaded": _plainly("began anew"),
    "daemon.failed": _failed,
    "leadership.lost": _plainly("saw that another leads, and stopped writing"),
    "leadership.taken": _plainly("took the lead"),
    "leadership.waiting": _plainly("waited as a stand-by"),
    "mapping.column.resumed": _column("read anew and resumed"),
    "mapping.column.suspended": _column("suspended"),
    "org.refused": _plainly("refused the other org"),
    "outage.began": _outage,
    "refetch.completed": _refetched,
    "salesforce.auth.refused": _plainly("tried the login slowly"),
    "salesforce.limit.reached": _waits,
    "salesforce.token.fetched": _plainly("logged in"),
    "store.record.parked": _plainly("parked a record as a dead letter"),
    "stream.batch.applied": _batch,
    "stream.event.parked": _plainly("parked the message as a dead letter"),
    "stream.gap.received": _plainly("noticed the gap"),
    "stream.overflow.received": _plainly("noticed the overflow"),
    "stream.position.expired": _plainly("noticed that its position is gone"),
    "stream.starved": _plainly("noticed that the stream starves"),
    "stream.subscription.lost": _plainly("ended the session"),
    "stream.subscription.opened": _opened,
    "stream.wildcard.received": _plainly("noticed the wildcard"),
    "sweep.entity.completed": _swept,
}

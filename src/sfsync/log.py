"""The closed catalogue of log events, and the one place that configures structlog.

Why: operators search logs by event name for months, so a name is a contract. A name is constant,
`component.noun.outcome`; what varies is in keys, with units. Only the keys listed here may carry a value:
a field value, a token or a driver's error text that slips into a log call is replaced by "[redacted]",
because anybody who can fill in a web-to-lead form chooses what those values contain.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from .errors import SfsyncError

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One log event: its level, the keys it carries, and what an operator should make of it."""

    level: Level
    keys: frozenset[str]
    meaning: str


def _spec(level: Level, keys: str, meaning: str) -> EventSpec:
    return EventSpec(level, frozenset(keys.split()), meaning)


EVENTS: Mapping[str, EventSpec] = {
    # daemon
    "daemon.started": _spec("info", "version org pid", "The process is up and will now take leadership."),
    "daemon.stopped": _spec(
        "info", "reason duration_s", "The process leaves; everything committed stays committed."
    ),
    "daemon.failed": _spec(
        "error",
        "error where",
        "The process ends because a part of it failed; `where` is the line of ours it came from.",
    ),
    "daemon.signal.received": _spec("info", "signal", "An operator's signal arrived."),
    "daemon.config.reloaded": _spec(
        "info", "changed restart", "SIGHUP: the configuration is in force, but for what `restart` names."
    ),
    "daemon.config.refused": _spec(
        "error", "error", "SIGHUP: the new configuration is faulty; the old one stays."
    ),
    "failpoint.armed": _spec(
        "warning",
        "name",
        "For tests: this process will kill itself where it comes to the point of this name.",
    ),
    "failpoint.reached": _spec(
        "error", "name n", "For tests: the point was come to the n-th time; SIGKILL follows at once."
    ),
    "health.changed": _spec("info", "ready reasons", "Readiness changed; `reasons` lists what is missing."),
    "leadership.waiting": _spec(
        "info", "org holder", "Another daemon leads this org; this one is a hot standby."
    ),
    "leadership.taken": _spec("info", "org epoch", "This daemon is now the only writer of the org."),
    "leadership.lost": _spec(
        "error", "org epoch", "Another daemon took over; this one commits nothing more."
    ),
    "org.bound": _spec("info", "org", "First start: the store is now bound to this org."),
    "org.refused": _spec(
        "error", "org bound_org", "The login leads to another org than the store is bound to."
    ),
    # outages, one pair for all of them
    "outage.began": _spec(
        "warning", "outage error", "Something we depend on is away; retried until it is back."
    ),
    "outage.ended": _spec("info", "outage duration_s attempts", "It is back."),
    "retry.scheduled": _spec("info", "task attempt wait_s error", "A call failed and will be made again."),
    # store
    "store.migration.applied": _spec("info", "migration duration_ms", "A numbered migration was applied."),
    "store.column.added": _spec(
        "info", "table column type", "The mapping asked for a column that was not there."
    ),
    "store.column.released": _spec(
        "info", "table column", "No field feeds this column any more; it stays with its last values."
    ),
    "store.record.parked": _spec(
        "error",
        "record_id entity reason",
        "A record cannot be stored; it is a dead letter, all others go on.",
    ),
    "store.conversion.contradicted": _spec(
        "warning", "record_id", "A lead names another contact than before; the first stays its edge for ever."
    ),
    "store.batch.poisoned": _spec(
        "error", "parked records", "Too many dead letters in one batch; the applier stops."
    ),
    # salesforce
    "salesforce.token.fetched": _spec("info", "flow org", "A new access token is in use."),
    "salesforce.auth.refused": _spec(
        "error", "flow error retry_after_s", "Credentials are refused; retried slowly."
    ),
    "salesforce.limit.reached": _spec("warning", "limit retry_after_s", "An allocation of the org is spent."),
    "budget.wait.began": _spec(
        "warning",
        "lane reason own used allowed",
        "Calls of this lane wait: for our share (`share`), for other systems' (`reserve`), or Salesforce refuses them.",
    ),
    "budget.wait.ended": _spec("info", "lane duration_s", "Calls of this lane are made again."),
    # stream
    "stream.subscription.opened": _spec(
        "info", "channel replay", "The subscription is confirmed and delivers."
    ),
    "stream.subscription.lost": _spec(
        "warning",
        "channel error wait_s session_s",
        "The session ended; the next starts from the committed position.",
    ),
    "stream.position.expired": _spec(
        "error", "channel", "The replay id is outside retention: subscribed at the tip, a sweep follows."
    ),
    "stream.batch.applied": _spec(
        "info",
        "events commands changed skipped dirty parked lag_ms lag_salesforce_ms lag_own_ms duration_ms position",
        "A batch of change events and its position were committed; lag is that of its slowest event.",
    ),
    "stream.event.parked": _spec(
        "error", "entity reason position", "A message could not be decoded: dead letter."
    ),
    "stream.transaction.split": _spec(
        "warning", "transaction hold_ms", "A transaction arrived in parts further apart than hold_ms."
    ),
    "stream.gap.received": _spec("info", "entity records", "A gap event: the records are dirty until read."),
    "stream.overflow.received": _spec(
        "warning", "entity", "An overflow event: the entity will be swept again."
    ),
    "stream.wildcard.received": _spec(
        "warning", "entity", "A wildcard event: the entity will be read in full."
    ),
    "stream.starved": _spec(
        "error",
        "records delivered",
        "Sweeps find what the stream does not deliver; it is subscribed afresh. `outage.ended` says when it is over.",
    ),
    "stream.position.abandoned": _spec(
        "error",
        "starved_s",
        "A fresh subscription starves as well: subscribed at the tip, and everything is swept.",
    ),
    "stream.backpressure.dropped": _spec(
        "warning",
        "queued_events waited_s",
        "Applying is too slow for the 40 s rule: the session is dropped on purpose.",
    ),
    # reading
    "adoption.changed": _spec(
        "info", "adopt mirror", "The store follows another choice of who becomes a person or company."
    ),
    "backfill.entity.started": _spec("info", "entity total", "First load of an entity begins or resumes."),
    "backfill.entity.progressed": _spec(
        "info", "entity records total percent records_s", "First load goes on."
    ),
    "backfill.entity.completed": _spec(
        "info", "entity records duration_s api_calls", "First load is complete."
    ),
    "sweep.started": _spec("info", "sweep_id reason", "A sweep of all entities begins."),
    "sweep.entity.completed": _spec(
        "info",
        "sweep_id entity reason window_from window_to read equal repaired ahead deferred settled api_calls duration_ms",
        "The certificate of one entity's sweep.",
    ),
    "sweep.failed": _spec(
        "warning", "sweep_id entity error wait_s", "The sweep is incomplete; its watermark did not move."
    ),
    "sweep.drift.found": _spec(
        "error", "sweep_id entity records reasons", "The stream had missed these; the sweep repaired them."
    ),
    "refetch.completed": _spec(
        "info", "entity requested read settled absent api_calls", "Dirty records were read."
    ),
    "refetch.record.refused": _spec(
        "error",
        "record_id entity error",
        "Salesforce refuses to read this one record; it is a dead letter and tried again, all others go on.",
    ),
    "request.completed": _spec(
        "info", "request kind outcome", "A request of the CLI or an application was done."
    ),
    "request.refused": _spec("warning", "request kind error", "A request cannot be done as asked."),
    "erasure.completed": _spec(
        "info",
        "subject hash records removed",
        "Somebody was erased; the hash stands for the first record, `removed` counts rows by table.",
    ),
    "request.failed": _spec(
        "error",
        "request kind error where",
        "A request met a fault of ours: it is answered, all others go on.",
    ),
    "request.listener.lost": _spec(
        "warning",
        "",
        "The connection that hears requests ended; another one is made, and a poll bridges the gap.",
    ),
    "pull.completed": _spec(
        "info",
        "requests records outcomes duration_ms",
        "Records that somebody waits for were read and committed.",
    ),
    "import.completed": _spec(
        "info", "request rows fates", "A file of people was imported; `fates` counts what became of its rows."
    ),
    "mapping.checked": _spec("info", "columns warnings", "The mapping fits what Salesforce describes."),
    "mapping.refused": _spec(
        "error",
        "error",
        "The mapping fits the org or the store no longer, or not at all: the last one that did stays in force.",
    ),
    "mapping.warned": _spec(
        "warning", "table column field problem", "A mapped field needs the operator's attention."
    ),
    "mapping.column.suspended": _spec(
        "warning",
        "table column field reason",
        "The org lost or retyped a mapped field: its column keeps its last values, all others go on.",
    ),
    "mapping.column.resumed": _spec(
        "info", "table column", "The field of a suspended column is back; it is read again and then written."
    ),
    "console.started": _spec("info", "host port", "Health, metrics and the API are served."),
    "console.call.failed": _spec("error", "error", "The store refused a statement of the HTTP API."),
}

_ALWAYS = frozenset(
    "event level timestamp logger exc_info exception org entity channel sweep_id session attempt task".split()
)


def describe_error(error: BaseException) -> str:
    """Say what *error* is without repeating text that others chose.

    Our own errors are written to be logged whole; of a foreign one only the class and SQLSTATE are kept,
    since its text may hold row values, statements or passwords.
    """
    if isinstance(error, SfsyncError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe_error(inner) for inner in error.exceptions)
    sqlstate = getattr(error, "sqlstate", None)
    return type(error).__name__ + (f" (SQLSTATE {sqlstate})" if sqlstate else "")


def where_raised(error: BaseException) -> str:
    """Name the innermost line of ours that the first error of *error* passed through; values are left out."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place, step = "", error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == __name__.partition(".")[0]:
            place = f"{module}:{step.tb_lineno}"
        step = step.tb_next
    return place


def redact_unlisted(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the keys that the catalogue lists for this event; cover the values of all others."""
    spec = EVENTS.get(str(entry.get("event")))
    allowed = _ALWAYS | (spec.keys if spec else frozenset())
    for key in entry:
        if key not in allowed:
            entry[key] = "[redacted]"
    if spec is None:
        entry["event"] = "log.foreign"
    return entry


def _without_exception_text(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace `exc_info` by class names: tracebacks of drivers quote rows, statements and DSNs."""
    raised = entry.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        entry["exception"] = describe_error(error)
    return entry


class _ForeignHandler(logging.Handler):
    """Let other libraries' warnings be counted by logger name, never quoted."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, "log.foreign", logger=record.name)


def configure_logging(*, level: Level = "info", pretty: bool | None = None) -> None:
    """Write events to standard error: JSON lines, or coloured text when it is a terminal."""
    if pretty is None:
        pretty = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_exception_text,
            redact_unlisted,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ForeignHandler()]
    root.setLevel(logging.WARNING)

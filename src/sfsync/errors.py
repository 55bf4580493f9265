"""The error tree: an error is named for the reader's next move.

    SfsyncError
    ├── ConfigError             the operator must change something; exit 2, never retried
    ├── SalesforceError         Salesforce answered something we have no better name for
    │   ├── AuthError           credentials refused; red, retried slowly
    │   ├── UnavailableError    cut, time-out, 5xx, maintenance; retried with back-off
    │   ├── LimitError          an allocation is spent; wait `retry_after_s`
    │   ├── QueryError          the request itself is wrong (field gone, no access); re-describe
    │   └── SubscribeError      a channel was refused
    │       └── ReplayExpiredError   subscribe at the tip first, then resweep
    ├── StoreError              Postgres refused something that a retry will not mend
    │   ├── StoreUnavailableError    Postgres is away; retry
    │   ├── SchemaError         the database is not what we need; exit 2
    │   ├── FencedError         another daemon took over; stop without committing
    │   ├── PositionError       the position moved under us; end the session
    │   └── PoisonError         too many records of one batch cannot be stored; stop, position unmoved
    ├── DecodeError             a captured message is not a change event; park it
    ├── MappingChangedError     the org describes mapped fields otherwise; begin a new pipeline
    └── OrgMismatchError        this store is bound to another org; exit 2 until `sfsync rebind`

Why: foreign errors are translated once, in the adapter that meets them, by code or class and never by
message text, so that callers choose their reaction with an `except` clause. Messages of these errors
name records and fields, never values and never secrets: they may be logged whole.
"""

from __future__ import annotations


class SfsyncError(Exception):
    """Anything sfsync raises on purpose."""


class ConfigError(SfsyncError):
    """The configuration cannot work; the message lists every fault found."""


class SalesforceError(SfsyncError):
    """Salesforce refused; `code` is its errorCode, Bayeux or OAuth error where one was given."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class AuthError(SalesforceError):
    """The credentials or the session were refused."""


class UnavailableError(SalesforceError):
    """Salesforce or the way to it is away; the same call may succeed later."""

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class LimitError(SalesforceError):
    """An allocation of the org is spent; calling again before `retry_after_s` only burns more."""

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_s: float = 300.0, limit: str = "unsure"
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s
        self.limit = limit


class QueryError(SalesforceError):
    """The request is wrong for this org as it is now, for example a field that is gone or hidden."""


class BulkFailedError(SalesforceError):
    """A Bulk job ended without a result, or did not end in time; `state` says which."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message, code=f"JOB_{state.upper()}")
        self.state = state


class SubscribeError(SalesforceError):
    """A subscription was refused for a reason that waiting does not mend."""


class ReplayExpiredError(SubscribeError):
    """The replay id is outside the retention window or unknown to the channel."""


class StoreError(SfsyncError):
    """Postgres refused; `sqlstate` says why."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class StoreUnavailableError(StoreError):
    """Postgres is away, shutting down, read-only or full; nothing was committed, the batch comes again."""


class SchemaError(StoreError):
    """The database is too old, has the wrong encoding, lacks a right, or was changed under us."""


class FencedError(StoreError):
    """Another daemon holds a newer epoch for this org."""


class PositionError(StoreError):
    """The stored position is not the one this session started from or last committed."""


class PoisonError(StoreError):
    """So many records of one batch could not be stored that the fault must be ours."""


class DecodeError(SfsyncError):
    """A message could not be read as a change event."""


class MappingChangedError(SfsyncError):
    """Mapped fields changed their type or place; what was composed for them no longer holds."""


class OrgMismatchError(SfsyncError):
    """The login leads to another org than the one this store is bound to."""

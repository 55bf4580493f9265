"""How the work of one org is paced: the settings of `sync`, as a value that this room may know."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.order import Clocks
from ..salesforce.reply import CometdTimings
from ..store.adoption import Adoption


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Instants and windows are documented in `docs/configuration.md` under `sync`."""

    channel: str = "/data/ChangeEvents"
    clocks: Clocks = field(default_factory=Clocks)
    timings: CometdTimings = field(default_factory=CometdTimings)
    reconnect_window_s: float = 40.0
    sweep_interval_s: float = 900.0
    sweep_enabled: bool = True
    starved_tip_after_s: float = 3_600.0
    look_back_ms: int = 900_000
    sweep_page: int = 2000
    refetch_batch: int = 2_000
    adoption: Adoption = field(default_factory=Adoption)
    hold_ms: int = 20
    other_half_wait_s: float = 5.0
    queue_events_max: int = 20_000
    batch_events_max: int = 5_000
    # Not settings: they follow from the memory that we promise to stay within.
    queue_bytes_max: int = 24 * 1024 * 1024
    batch_bytes_max: int = 8 * 1024 * 1024
    backoff_s_max: float = 60.0
    auth_retry_s: float = 900.0
    change_retention_days: int = 30
    dead_letter_retention_days: int = 30

"""The composition root: settings in, one running pipeline out; signals, leadership, binding, outages.

Why: this is the only module that knows every room. What is opened first is closed last. An outage of Postgres or
of the login ends the pipeline and begins a new one from the committed position; anything else that fails ends
the process, and a supervisor starts it again: that is the same path as after a crash, so it is the one that works.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog

from . import __version__
from .config import Settings, load_settings
from .config.login import open_login
from .config.mapping import load_mapping
from .config.place import serve_store, store_options
from .console.server import serve_console
from .console.source import StoreAccess
from .core.mapping import BoundMapping, Memory, bind
from .core.mapping_file import MappingFile
from .core.order import Clocks
from .errors import (
    AuthError,
    ConfigError,
    FencedError,
    LimitError,
    MappingChangedError,
    SalesforceError,
    SchemaError,
    SfsyncError,
    StoreUnavailableError,
)
from .log import configure_logging, describe_error
from .salesforce.budget import Shares
from .salesforce.reply import CometdTimings
from .salesforce.rest import Rest
from .store.adoption import Adoption
from .store.binding import bind_org
from .store.columns import ensure_columns, load_memory, refuse_foreign_columns
from .store.database import Database, open_database
from .store.leadership import lead
from .store.migrate import migrate
from .store.settings import put_setting
from .sync.describing import describe_entities
from .sync.health import Health
from .sync.metrics import Metrics
from .sync.options import SyncOptions
from .sync.outages import Outage, Outages
from .sync.pipeline import Pipeline
from .sync.reload import Reload
from .sync.spending import Spending

_log = structlog.get_logger()
CLAIMS = ("store", "salesforce", "leadership", "stream", "backfill", "sweep")


def sync_options(settings: Settings) -> SyncOptions:
    """Return the work's part of *settings*."""
    sync, salesforce = settings.sync, settings.salesforce
    return SyncOptions(
        channel=salesforce.channel,
        clocks=Clocks(fuzz_ms=round(sync.clock_fuzz_s * 1000), settle_ms=round(sync.settle_s * 1000)),
        timings=CometdTimings(long_poll_s=salesforce.long_poll_s),
        reconnect_window_s=salesforce.reconnect_window_s,
        sweep_interval_s=sync.sweep_interval_s,
        sweep_enabled=sync.sweep_enabled,
        starved_tip_after_s=sync.starved_tip_after_s,
        look_back_ms=round(sync.look_back_s * 1000),
        sweep_page=sync.sweep_page,
        refetch_batch=sync.refetch_batch,
        adoption=Adoption(on_request=sync.adopt == "on_request", minimal=sync.mirror == "adopted"),
        hold_ms=sync.hold_ms,
        other_half_wait_s=sync.other_half_wait_s,
        queue_events_max=sync.queue_events_max,
        batch_events_max=sync.batch_events_max,
        backoff_s_max=sync.backoff_s_max,
        auth_retry_s=sync.auth_retry_s,
        change_retention_days=settings.store.change_retention_days,
        dead_letter_retention_days=settings.store.dead_letter_retention_days,
    )


def api_shares(settings: Settings) -> Shares:
    """Return how much of the org's API calls *settings* allow."""
    salesforce = settings.salesforce
    return Shares(salesforce.api_share, salesforce.api_reserve, salesforce.api_look_s)


async def bind_mapping(rest: Rest, mapping: MappingFile, memory: Memory | None = None) -> BoundMapping:
    """Check *mapping* against what the org describes. Raises `ConfigError` listing all faults."""
    bound = bind(mapping, await describe_entities(rest), memory)
    for finding in bound.warnings:
        _log.warning(
            "mapping.warned",
            table=finding.table,
            column=finding.column,
            field=finding.field,
            problem=finding.problem,
        )
    _log.info("mapping.checked", columns=len(bound.person) + len(bound.company), warnings=len(bound.warnings))
    return bound


class Daemon:
    """One process: it lives through outages and ends by a signal, by being fenced, or by a fault."""

    def __init__(self, settings: Settings, dsn: str, config_path: Path | None = None) -> None:
        self._settings = settings
        self._dsn = dsn
        self._config_path = config_path
        self._options = sync_options(settings)
        self._sweep_wanted = asyncio.Event()
        self._verify_wanted = asyncio.Event()
        self._reload = asyncio.Event()
        self._applying = asyncio.Lock()
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._has_worked = False
        self._bound: tuple[MappingFile, BoundMapping] | None = None
        self.metrics = Metrics()
        self.health = Health(*CLAIMS)
        self._outages = Outages(self.metrics)
        self._spending = Spending(
            self.metrics,
            self._outages,
            wait_s_max=self._options.backoff_s_max,
            auth_wait_s=self._options.auth_retry_s,
        )
        self._spending.budget.follow(api_shares(settings))

    # Signals -----------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take over the signals.

        USR1 sweeps, USR2 reads everything again, HUP reloads, TERM and INT stop, a second one leaves at once.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._on_wanted, "SIGUSR1", self._sweep_wanted)
        loop.add_signal_handler(signal.SIGUSR2, self._on_wanted, "SIGUSR2", self._verify_wanted)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)

    def _on_wanted(self, name: str, wanted: asyncio.Event) -> None:
        if not wanted.is_set():
            _log.info("daemon.signal.received", signal=name)
        wanted.set()
        # failpoint: signal.usr - USR1 or USR2 arrived

    def _on_reload(self) -> None:
        """Read the configuration again; a faulty one changes nothing."""
        _log.info("daemon.signal.received", signal="SIGHUP")
        # failpoint: signal.hup - HUP arrived
        try:
            settings = load_settings(self._config_path, os.environ)
            load_mapping(settings.mapping)
        except ConfigError as error:
            _log.error("daemon.config.refused", error=describe_error(error))
        else:
            self._put_in_force(settings)

    async def _prepare_reload(self, rest: Rest, database: Database, org: str) -> Reload:
        """Read the configuration again for somebody who waits for the answer, and try its mapping."""
        settings = load_settings(self._config_path, os.environ)
        memory = await load_memory(database, org)
        mapping = bind(load_mapping(settings.mapping), await describe_entities(rest), memory)
        await refuse_foreign_columns(database, mapping)
        # failpoint: reload.tried - a configuration was found fit, on request
        detail = {"changed": self._changed(settings), "restart": self._needs_restart(settings)}
        return Reload(detail, lambda: self._put_in_force(settings))

    def _changed(self, settings: Settings) -> list[str]:
        return [
            name
            for name in type(settings).model_fields
            if getattr(settings, name) != getattr(self._settings, name)
        ]

    def _put_in_force(self, settings: Settings) -> None:
        changed, restart = self._changed(settings), self._needs_restart(settings)
        self._settings, self._options = settings, sync_options(settings)
        self._spending.budget.follow(api_shares(settings))
        configure_logging(level=settings.log.level, pretty=settings.log.pretty)
        _log.info("daemon.config.reloaded", changed=changed, restart=restart)
        self._reload.set()
        # failpoint: reload.done - a configuration is in force

    def _needs_restart(self, settings: Settings) -> list[str]:
        """Name the changed settings that only a new process can follow: where it listens, and which store it has."""
        new, old = settings.store, self._settings.store
        changed = {
            "store.dsn": new.dsn != old.dsn,
            "store.embedded_dir": new.embedded_dir != old.embedded_dir,
            "console": settings.console != self._settings.console,
        }
        return [name for name, is_changed in changed.items() if is_changed]

    def _on_stop(self, number: signal.Signals) -> None:
        _log.info("daemon.signal.received", signal=number.name)
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop_reason = number.name
        self._stop.set()
        # failpoint: signal.stop - TERM or INT arrived

    # Life --------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Replicate until a signal; return the exit code.

        Raises what ends a process: `ConfigError`, `OrgMismatchError`, `SchemaError`, `FencedError`, faults.
        """
        started = time.monotonic()
        self.listen()
        _log.info("daemon.started", version=__version__, pid=os.getpid())
        async with AsyncExitStack() as stack:
            if self._settings.console.enabled:
                store = self._settings.store
                access = StoreAccess(store_options(store, self._dsn), store.change_retention_days)
                await stack.enter_async_context(
                    serve_console(self._settings.console, self.health, self.metrics, access)
                )
            await self._until_stopped(self._live())
        # failpoint: shutdown.done - the process has closed all it had
        _log.info("daemon.stopped", reason=self._stop_reason, duration_s=round(time.monotonic() - started, 3))
        return 0

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* until the stop signal; then cancel it, and leave after `shutdown_s` whatever it does."""
        working = asyncio.create_task(work, name="live")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            await self._finish_batch()
            # failpoint: shutdown.quiet - no batch is in flight any more
            working.cancel()
            _, late = await asyncio.wait({working}, timeout=self._settings.sync.shutdown_s / 2)
            if late:
                _log.error("daemon.failed", error="shutdown took too long")
                os._exit(1)
        if not working.cancelled() and (error := working.exception()) is not None:
            raise error

    async def _finish_batch(self) -> None:
        """Let the batch in flight commit, and none begin after it; one that takes too long comes again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.sync.shutdown_s / 2):
                await self._applying.acquire()

    async def _live(self) -> None:
        """Keep a pipeline running through outages and reloads."""
        outage = self._outages.named(
            "pipeline", wait_s_max=self._options.backoff_s_max, auth_wait_s=self._options.auth_retry_s
        )
        while True:
            wait_s, began = 0.0, time.monotonic()
            try:
                await self._one_life_or_reload(outage)
            except* (StoreUnavailableError, SalesforceError) as group:
                error = _most_telling(group)
                if isinstance(error, AuthError) and not self._has_worked:
                    raise ConfigError(f"Salesforce refuses the credentials: {error}") from error
                for claim in CLAIMS:
                    self.health.set(claim, ok=False, detail=type(error).__name__)
                if time.monotonic() - began > self._options.backoff_s_max:
                    outage.ended()
                wait_s = outage.failed(error)
            except* FencedError:
                _log.error("leadership.lost")
                raise
            except* MappingChangedError:
                # Composed statements and plans hold for one mapping; the next life makes new ones.
                wait_s = 0.0
            await asyncio.sleep(wait_s)

    async def _one_life_or_reload(self, outage: Outage) -> None:
        """Run one life; a reload ends it, and the next one begins with the new settings."""
        self._reload.clear()
        living = asyncio.create_task(self._one_life(outage), name="life")
        reloading = asyncio.create_task(self._reload.wait(), name="reload")
        try:
            await asyncio.wait({living, reloading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reloading.cancel()
            if not living.done():
                living.cancel()
                await asyncio.wait({living})
        if not living.cancelled():
            living.result()

    async def _one_life(self, outage: Outage) -> None:
        """From login to failure."""
        async with (
            open_database(store_options(self._settings.store, self._dsn)) as database,
            open_login(self._settings, budget=self._spending.budget) as connection,
        ):
            self.health.set("store", ok=True)
            self.health.set("salesforce", ok=True)
            outage.back()

            async def prepare() -> None:
                await migrate(database)
                await bind_org(database, connection.org_id)

            async with lead(database, connection.org_id, prepare=prepare) as leadership:
                self.health.set("leadership", ok=True)
                rest, org = Rest(connection), connection.org_id
                chosen, mapping = await self._bind(rest, database, org)
                # failpoint: mapping.bound - the mapping fits the org and the store
                await put_setting(database, "default_address_side", self._settings.address.default_side)

                async def describe() -> BoundMapping:
                    return bind(chosen, await describe_entities(rest), await load_memory(database, org))

                self._has_worked = True
                await Pipeline(
                    connection=connection,
                    database=database,
                    leadership=leadership,
                    mapping=mapping,
                    options=self._options,
                    metrics=self.metrics,
                    health=self.health,
                    outages=self._outages,
                    spending=self._spending,
                    sweep_wanted=self._sweep_wanted,
                    verify_wanted=self._verify_wanted,
                    applying=self._applying,
                    describe=describe,
                    reload=lambda: self._prepare_reload(rest, database, org),
                ).run()

    async def _bind(self, rest: Rest, database: Database, org: str) -> tuple[MappingFile, BoundMapping]:
        """Bind the mapping to the org; one that fits no longer, or not at all, leaves the last one in force.

        The first mapping of a process must fit: nobody watches a start as closely as the first.
        """
        try:
            chosen = load_mapping(self._settings.mapping)
            self._bound = (chosen, await _fit(rest, database, org, chosen))
        except (ConfigError, SchemaError) as error:
            if self._bound is None:
                raise
            _log.error("mapping.refused", error=describe_error(error))
            last, _ = self._bound
            with suppress(ConfigError, SchemaError):
                self._bound = (last, await _fit(rest, database, org, last))
        return self._bound


async def _fit(rest: Rest, database: Database, org: str, chosen: MappingFile) -> BoundMapping:
    """Bind *chosen*, knowing what the store remembers, and give the store its columns."""
    mapping = await bind_mapping(rest, chosen, await load_memory(database, org))
    await ensure_columns(database, mapping)
    return mapping


def _most_telling(group: BaseExceptionGroup[SfsyncError]) -> SfsyncError:
    """Return the error of a group that decides how long to wait: a refusal or a limit before being away."""
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, AuthError | LimitError)), leaves[0])


def _leaves(group: BaseExceptionGroup[SfsyncError]) -> Iterator[SfsyncError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def run(settings: Settings, config_path: Path | None = None) -> int:
    """Run the daemon until it is stopped; return its exit code."""
    with serve_store(settings.store) as dsn:
        return await Daemon(settings, dsn, config_path).run()

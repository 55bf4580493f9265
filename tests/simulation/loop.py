"""An event loop whose time is virtual, with processes in it that can be killed at any step.

Why: what a random history met must be met again by its seed, and hours of an org's life must pass in seconds. So time
stands still while anything can run and while Postgres works, and then jumps to the next timer. There are no sockets
to wait for: lines to the org are pairs of ends in memory (`network`), and a statement for Postgres is sent and
answered while the loop does nothing else (`postgres_wire`), one at a time, in the order in which they were made.

A process is a context variable. A handle that was made within a process which has died meanwhile is not run, no
`finally` either: that is what SIGKILL does, and what cancelling a task does not.

Rejected: a socket for each link with a patched selector. Which of two answers the kernel reports first is chance.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .network import Network
    from .postgres_wire import PostgresServer

EPOCH_S = 1_780_272_000.0
"""What the clocks of the simulated machines show at loop time 0: 2026-06-01 00:00:00 UTC."""

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Line(Protocol):
    """An end of a connection that a process holds."""

    def die(self) -> None:
        """End it as the kernel does when its process is gone."""


class Process:
    """What dies together. `skew_s` is how wrong its machine's clock is; `dies_at` is the step at which it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.skew_s = 0.0
        self.steps = 0
        self.dies_at: int | None = None
        self.on_death: Callable[[], None] | None = None
        self.lines: list[Line] = []
        self.signal_handlers: dict[int, Callable[[], object]] = {}
        self._tasks: list[asyncio.Task[Any]] = []

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep *task*: one of a dead process would else be closed, and go on, when its last reference goes."""
        if len(self._tasks) > _HELD_MAX:
            self._tasks = [held for held in self._tasks if not held.done()]
        self._tasks.append(task)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run *work* as this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(work, name=self.name, context=context)

    def kill(self) -> None:
        """End it at once: nothing of it runs again."""
        if self.is_dead:
            return
        self.is_dead = True
        for line in self.lines:
            line.die()
        self.lines.clear()
        if self.on_death is not None:
            self.on_death()

    def signal(self, number: int) -> None:
        """Deliver a signal for which it has a handler."""
        if not self.is_dead and number in self.signal_handlers:
            self.signal_handlers[number]()


_HELD_MAX = 400
# Timers so near to each other are due at once.
_SAME_TIME_S = 1e-9


class StuckError(RuntimeError):
    """Nothing can run and no timer is set: somebody waits for what will never come."""


_serials = itertools.count(1)


def begin_serials() -> None:
    """Count anew, so that a history meets the same hashes whenever it runs."""
    global _serials  # noqa: PLW0603 - one count for all classes
    _serials = itertools.count(1)


def serial_hash(one: Any) -> int:
    """Hash by the order of first use: sets of such objects are walked in an order that a seed repeats."""
    try:
        return int(one._serial)
    except AttributeError:
        one._serial = next(_serials)
        return int(one._serial)


class _Task(asyncio.Task[Any]):
    __hash__ = serial_hash


class _Step(asyncio.Handle):
    """A callback of a process; it does nothing once the process is dead."""

    __slots__ = ("process",)

    def __init__(self, callback: Any, args: Any, loop: VirtualLoop, context: Context | None) -> None:
        # As the base class, without what it does for debugging: there are thousands in each history.
        self._callback, self._args, self._loop = callback, args, loop
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._context = context or copy_context()
        self.process = self._context.get(PROCESS)

    def _run(self) -> None:
        if self.process is None or _may_run(self.process):
            super()._run()


class _Timer(asyncio.TimerHandle):
    __slots__ = ("due_s", "process")

    def __init__(
        self, when: float, callback: Any, args: Any, loop: VirtualLoop, context: Context | None
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.due_s = when
        self.process = _process_of(context)

    def __lt__(self, other: Any) -> bool:
        return bool(self.due_s < other.due_s)

    def _run(self) -> None:
        if self.process is None or _may_run(self.process):
            super()._run()


def _process_of(context: Context | None) -> Process | None:
    return PROCESS.get() if context is None else context.get(PROCESS)


def _may_run(process: Process) -> bool:
    process.steps += 1
    if process.dies_at is not None and process.steps >= process.dies_at:
        process.dies_at = None
        process.kill()
    return not process.is_dead


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `postgres` and `network` answer for the two kinds of addresses that there are."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[_Timer]
        self._stopping: bool
        self.postgres: PostgresServer | None = None
        self.network: Network | None = None
        self.complaints: list[str] = []
        self.set_task_factory(_make_task)
        self.set_exception_handler(_complain)

    def time(self) -> float:
        return self._now_s

    def idle(self) -> None:
        """Let Postgres answer; when there is nothing to answer, let time pass until the next timer."""
        if self.postgres is not None and self.postgres.answer_next():
            return
        if not self._scheduled:
            raise StuckError(f"nothing to do at {self._now_s:.3f} s, and no timer is set")
        self._now_s = max(self._now_s, self._scheduled[0].due_s)

    def _run_once(self) -> None:
        """Run what is ready, in order: the base class's turn without a selector."""
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not ready and not self._stopping and (not scheduled or scheduled[0].due_s > self._now_s):
            self.idle()
        now_s = self._now_s + _SAME_TIME_S
        while scheduled and scheduled[0].due_s < now_s:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _check_closed(self) -> None:
        """Let what is buried say its last words to nobody."""

    # What the base class leaves to its heirs, or does for threads and sockets ------------------------------

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _timer_handle_cancelled(self, _timer: Any) -> None:
        """Leave it until it is due."""

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _write_to_self(self) -> None:
        pass

    def call_soon(  # type: ignore[override]  # as call_at
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Step(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]  # the stubs want type variables for the arguments
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        return timer

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run *func* here and now: threads would bring chance."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            done.set_exception(error)
        return done

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Every name is this machine."""
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    async def create_connection(  # type: ignore[override]  # of its many ways, two are needed
        self, factory: Callable[[], Any], host: Any = None, port: Any = None, *, sock: Any = None, **_: Any
    ) -> Any:
        """Connect to Postgres by address, or to the org by the address that stands for a socket."""
        if sock is not None:
            assert self.network is not None
            return await self.network.connect(factory, sock)
        assert self.postgres is not None
        return await self.postgres.connect(factory)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        process = PROCESS.get()
        assert process is not None
        process.signal_handlers[int(sig)] = lambda: callback(*args)

    def bury(self) -> None:
        """Close what dead processes left behind, so that no `finally` of theirs runs at a random moment later."""
        # The set is weak: walked in the order of birth, and held while it is walked.
        left = sorted(asyncio.all_tasks(self), key=hash)
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            with suppress(BaseException):
                if coroutine is not None:
                    coroutine.close()


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Any, *, context: Context | None = None, **named: Any
) -> _Task:
    task = _Task(work, loop=loop, context=context, **named)
    process = _process_of(context)
    if process is not None:
        process.hold(task)
    return task


def _complain(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = told.get("exception")
    loop.complaints.append(f"{told.get('message')}: {type(error).__name__}: {error}")

"""The machine that runs the daemon: it starts it, and starts it again when it has ended, as a supervisor does.

Why: the daemon is the real one, from its settings to its signal handlers; only the process around it is simulated.
What a supervisor would see at last, an exit code that is neither asked for nor foreseen, is a finding.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Mapping
from contextvars import copy_context

from sfsync.config import load_settings
from sfsync.daemon import Daemon
from sfsync.errors import ConfigError, FencedError, SfsyncError
from sfsync.log import describe_error, where_raised

from .loop import Process
from .met import Met

# A supervisor is quick; an operator is not.
_AGAIN_S = (0.2, 4.0, 150.0)


class Host:
    """Keeps one daemon running until `close`; `settings` may change between two of its lives.

    The next `dies_young` processes are killed soon after they start.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, str],
        dsn: str,
        *,
        rng: random.Random,
        met: Met,
        note: Callable[[str], None],
    ) -> None:
        self.name = name
        self.settings = dict(settings)
        self.findings: list[str] = []
        self.skew_s = 0.0
        self.dies_young = 0
        self.process: Process | None = None
        self._dsn = dsn
        self._rng = rng
        self._met = met
        self._note = note
        self._count = 0
        self._asked_to_end: Process | None = None
        self._is_closed = False
        self._context = copy_context()

    def start(self) -> None:
        """Start a process, unless one runs."""
        if self._is_closed or (self.process is not None and not self.process.is_dead):
            return
        self._count += 1
        process = Process(f"{self.name}.{self._count}")
        process.skew_s = self.skew_s
        process.on_death = self._died
        self.process = process
        if self.dies_young:
            self.dies_young -= 1
            self.kill(within_steps=self._rng.choice([20, 100, 400]))
        self._note(f"start {process.name}")
        process.start(self._run(process))

    def close(self) -> None:
        """Kill it for good."""
        self._is_closed = True
        if self.process is not None:
            self.process.kill()

    def kill(self, *, within_steps: int | None = None) -> None:
        """Kill it now, or at a step that comes."""
        process = self.process
        if process is None or process.is_dead:
            return
        if within_steps is None:
            process.kill()
        else:
            process.dies_at = process.steps + self._rng.randint(1, within_steps)

    def signal(self, number: signal.Signals) -> None:
        """Deliver a signal to the process that runs; a second SIGTERM ends it at once."""
        if self.process is None:
            return
        if number is signal.SIGTERM and self._asked_to_end is self.process:
            self.process.kill()
            return
        if number is signal.SIGTERM:
            self._asked_to_end = self.process
        self.process.signal(number)

    def jump(self, seconds: float) -> None:
        """Set the machine's clock wrong; what measures time goes on evenly."""
        self.skew_s = seconds
        if self.process is not None:
            self.process.skew_s = seconds

    async def _run(self, process: Process) -> None:
        settings = load_settings(None, self.settings)
        try:
            await Daemon(settings, self._dsn).run()
            self._met.note("end", "stopped")
        except (FencedError, ConfigError) as error:
            self._ended(error)
        except BaseExceptionGroup as group:
            _, other = group.split((FencedError, ConfigError))
            if other is not None:
                self._find(other)
            self._ended(group)
        except SfsyncError as error:
            self._find(error)
        except Exception as error:  # noqa: BLE001 - the supervisor sees them all
            self._find(error)
        finally:
            if not process.is_dead:
                # After what is scheduled already, so that nothing of it is cut off as by a kill.
                asyncio.get_running_loop().call_soon(process.kill, context=self._context)

    def _ended(self, error: BaseException) -> None:
        self._met.note("end", type(_innermost(error)).__name__)
        self._note(f"ended {describe_error(error)}")

    def _find(self, error: BaseException) -> None:
        self.findings.append(f"the daemon ended: {describe_error(error)} at {where_raised(error)}")
        self._note(f"ended {describe_error(error)}")

    def _died(self) -> None:
        self._note(f"dead {self.name}.{self._count}")
        asyncio.get_running_loop().call_later(self._rng.choice(_AGAIN_S), self.start, context=self._context)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

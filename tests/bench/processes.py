"""What another program costs: its time, its processor time and memory, and the server's processor time for it.

The server's part is that of the postmaster and all its children, those that ended included: a program's connection
is a process that ends with it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import asyncpg

_TICKS_S = os.sysconf("SC_CLK_TCK")
_OWN, _REAPED, _PARENT = slice(11, 13), slice(13, 15), 1


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, seconds of processor time of client and server, and MB at the client's most."""

    wall_s: float
    cpu_s: float
    rss_max_mb: float

    def less(self, start: Spent) -> Spent:
        """Return what was spent beyond *start*."""
        return Spent(
            max(self.wall_s - start.wall_s, 1e-9), max(self.cpu_s - start.cpu_s, 1e-9), self.rss_max_mb
        )


class ServerCpu:
    """The processor time of a whole Postgres server."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster

    @classmethod
    async def of(cls, dsn: str) -> ServerCpu:
        """Find the server behind *dsn*, which must run on this machine."""
        connection = await asyncpg.connect(dsn)
        try:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
            return cls(int(_stat(backend)[_PARENT]))
        finally:
            await connection.close()

    def seconds(self) -> float:
        """Return what it has used so far."""
        own = _stat(self._postmaster)
        ticks = sum(map(int, [*own[_OWN], *own[_REAPED]]))
        children = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children").read_text().split()
        for child in children:
            try:
                ticks += sum(map(int, _stat(int(child))[_OWN]))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return ticks / _TICKS_S


async def spend(
    command: Sequence[str], server: ServerCpu, *, stdin: Path | None = None, environ: Mapping[str, str]
) -> Spent:
    """Run *command* to its end; raises `RuntimeError` with the last of what it said if it fails."""
    served_s, began = server.seconds(), time.perf_counter()
    with open(stdin or os.devnull, "rb") as given, open(environ["PEER_LOG"], "wb") as log:
        process = Popen(command, stdin=given, stdout=log, stderr=log, env={**os.environ, **environ})
        usage = await asyncio.to_thread(_wait, process)
    wall_s = time.perf_counter() - began
    if process.returncode:
        said = Path(environ["PEER_LOG"]).read_text(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}: {' | '.join(said)}")
    cpu_s = usage.ru_utime + usage.ru_stime + server.seconds() - served_s
    return Spent(wall_s, cpu_s, usage.ru_maxrss / 1024)


def _wait(process: Popen[bytes]) -> resource.struct_rusage:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

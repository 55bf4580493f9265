"""Start daemons quickly: processes of the real command line, forked from one that has loaded other people's libraries.

Why: nine tenths of a daemon's start are imports of aiohttp and its like, and a test that starts two hundred of them
would do little else. The child has not imported one module of ours, so that a failpoint may still be armed; from there
on it is `sfsync run` in a process of its own, with its own environment, directory and output, and ends as any other.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, Any

LOOK_S = 0.01
THIRD_PARTIES = (
    "aiohttp.web",
    "asyncpg",
    "jwt",
    "msgspec",
    "prometheus_client",
    "pydantic_settings",
    "structlog",
    "tenacity",
)


class Nursery:
    """A process that forks daemons; make one with `open_nursery`."""

    def __init__(self, told: IO[bytes], heard: IO[bytes]) -> None:
        self._told = told
        self._heard = heard
        self._codes: dict[int, int] = {}
        self._born: list[int] = []

    def start(self, environ: Mapping[str, str], directory: Path, log: Path) -> Nursling:
        """Start `sfsync run`; its output goes to *log*."""
        log.write_bytes(b"")
        asked = {"environ": dict(environ), "directory": str(directory), "log": str(log)}
        self._told.write(json.dumps(asked).encode() + b"\n")
        self._told.flush()
        while not self._born:
            self._hear()
        return Nursling(self, self._born.pop())

    def code_of(self, pid: int) -> int | None:
        """Return the exit code of a child, as `Popen` has it; None while it runs."""
        while pid not in self._codes and select.select([self._heard], [], [], 0)[0]:
            self._hear()
        return self._codes.get(pid)

    def _hear(self) -> None:
        line = self._heard.readline()
        assert line, "the nursery ended"
        word = json.loads(line)
        if "born" in word:
            self._born.append(word["born"])
        else:
            self._codes[word["ended"]] = word["code"]


class Nursling:
    """A child of the nursery, with what `Popen` can do."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery

    @property
    def returncode(self) -> int:
        """The exit code of one that has ended."""
        code = self.poll()
        assert code is not None
        return code

    def poll(self) -> int | None:
        return self._nursery.code_of(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutExpired("sfsync run", timeout or 0.0)
            time.sleep(LOOK_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """Start a nursery; it ends with the block, its children before it."""
    # Unbuffered: what waits in a buffer would not be seen by select.
    process = Popen(
        [sys.executable, "-m", "tests.process.failpoint_nursery"], stdin=PIPE, stdout=PIPE, bufsize=0
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Nursery(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


# The nursery's own side ------------------------------------------------------------------------------------


def main() -> None:
    """Fork what is asked for on standard input and tell who ended, until standard input is closed."""
    _load()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    children: set[int] = set()
    try:
        _serve(children, woken)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _serve(children: set[int], woken: int) -> None:
    asked = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4_096)
            _bury(children)
        if 0 in ready:
            line = asked.readline()
            if not line:
                return
            children.add(_fork(json.loads(line)))


def _load() -> None:
    for name in THIRD_PARTIES:
        import_module(name)
    assert not any(name.partition(".")[0] == "sfsync" for name in sys.modules)


def _bury(children: set[int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _fork(asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        _say({"born": pid})
        return pid
    code = 1
    try:
        code = _become(asked)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _become(asked: dict[str, Any]) -> int:
    """Be `sfsync run` and nothing else."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND)
    for given, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(given, place)
    os.closerange(3, 256)
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = ["sfsync", "run"]
    from sfsync.cli import main as command  # noqa: PLC0415 - a child only, once its environment is its own

    return command()


def _say(word: dict[str, int]) -> None:
    os.write(1, json.dumps(word).encode() + b"\n")


if __name__ == "__main__":
    main()

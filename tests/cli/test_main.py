"""The way in: help, versions, exit codes, and what is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sfsync import __version__
from sfsync.cli import main
from sfsync.cli.arguments import COMMANDS
from sfsync.cli.exits import exit_code
from sfsync.cli.findings import Finding, fail_by, print_findings, printable
from sfsync.errors import (
    AuthError,
    ConfigError,
    FencedError,
    OrgMismatchError,
    SchemaError,
    SfsyncError,
    UnavailableError,
)
from tests.cli.conftest import CANARY, Cli

OURS = sorted(name for name, command in COMMANDS.items() if not command.parses_itself)


async def test_module_and_version(lone_cli: Cli) -> None:
    """`python -m sfsync` is the command, for machines where scripts are not on the path."""
    ended = await lone_cli("--version")
    assert (ended.code, ended.out) == (0, f"sfsync {__version__}\n")


@pytest.mark.parametrize("name", OURS)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With an example and the exit codes."""
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert "examples:" in shown
    assert "exit codes:" in shown


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """No command at all is answered by the same help."""
    for words in (["--help"], []):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
        assert set(COMMANDS) <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "words", [["stats"], ["run", "--no-such"], ["reconcile", "--timeout-s", "soon"], ["decode"]]
)
def test_wrong_words_are_refused_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2: repeating does not help."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: sfsync" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    """Help answers at once; drivers, TLS and HTTP are for those who run something."""
    script = (
        "import sys, json\n"
        "from sfsync.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    imported = set(json.loads(shown.splitlines()[-1]))
    assert imported.isdisjoint(
        {"aiohttp", "asyncpg", "pydantic", "cryptography", "prometheus_client", "rich", "asyncio"}
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (SchemaError("x"), 2),
        (OrgMismatchError("x"), 2),
        (FencedError("x"), 3),
        (UnavailableError("x"), 1),
        (AuthError("x"), 1),
        (RuntimeError("x"), 1),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("x", [UnavailableError("x"), ExceptionGroup("y", [FencedError("x")])]), 3),
    ],
)
def test_exit_code_tells_what_a_supervisor_may_do(error: BaseException, code: int) -> None:
    """Restarting helps against 1 only."""
    assert exit_code(error) == code


@pytest.mark.parametrize("command", ["run", "check", "status", "reconcile", "rebind"])
async def test_faulty_configuration_is_told_without_traceback_or_secret(lone_cli: Cli, command: str) -> None:
    """Exit code 2 and what to do, whatever was asked for."""
    ended = await lone_cli(
        command,
        SFSYNC_SALESFORCE__CLIENT_SECRET=CANARY,
        SFSYNC_STORE__DSN=f"mysql://user:{CANARY}@host/db",
        SFSYNC_SYNC__HOLD_MS=CANARY,
    )
    shown = ended.out + ended.err
    assert ended.code == 2
    assert "salesforce.login_url" in shown
    assert "sync.hold_ms" in shown
    assert CANARY not in shown
    assert "Traceback" not in shown


async def test_reader_that_leaves_early_is_no_error(lone_cli: Cli) -> None:
    """`sfsync decode FILE | head` must not end in a traceback."""
    (lone_cli.directory / "events").write_text("{}\n" * 20_000)
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m sfsync decode events | head -n 1"],
        cwd=lone_cli.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.count("\n") == 1
    assert ended.stderr == ""


def test_findings_show_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """A server's text could move the cursor and paint a green line over a red one."""
    assert printable("a\x1b[2Jb\u202ec\nd") == "a�[2Jb�c�d"
    code = print_findings([Finding("fail", "login", "x\x1b[1A", code=1)], as_json=False)
    assert code == 1
    assert "\x1b" not in capsys.readouterr().out


def test_error_that_lists_faults_becomes_one_finding_each() -> None:
    """A mapping's faults are read one by one."""
    error = ConfigError("the mapping does not fit this org:\n  person.a: x\n  person.b: y")
    assert [finding.text for finding in fail_by("mapping", error)] == ["person.a: x", "person.b: y"]
    assert {finding.code for finding in fail_by("mapping", error)} == {2}
    assert [finding.text for finding in fail_by("login", SfsyncError("one line"))] == ["one line"]

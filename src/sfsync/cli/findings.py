"""What a check found, and how it looks on a screen.

Why: texts of findings may carry words of Salesforce or of a server, so control characters are taken out before a
terminal sees them. Every command that shows what others wrote shows it through `printable` or `printable_json`.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from ..errors import SfsyncError
from ..log import describe_error
from .exits import FOUND, exit_code

Level = Literal["ok", "warn", "fail"]

_OBEYED = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
"""The Unicode categories of controls, of what is unseen or unassigned, and of line ends."""
_LABELS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
_COLOURS = {"ok": "32", "warn": "33", "fail": "31;1"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check: what was looked at, what was seen, and what to do about it."""

    level: Level
    subject: str
    text: str
    remedy: str = ""
    code: int = 0


def ok(subject: str, text: str) -> Finding:
    """Say that *subject* is as it should be."""
    return Finding("ok", subject, text)


def warn(subject: str, text: str, remedy: str = "") -> Finding:
    """Say that *subject* works but deserves attention."""
    return Finding("warn", subject, text, remedy)


def fail(subject: str, text: str, remedy: str = "", *, code: int = FOUND) -> Finding:
    """Say that *subject* would stop or hurt a daemon."""
    return Finding("fail", subject, text, remedy, code)


def fail_by(subject: str, error: SfsyncError, remedy: str = "") -> list[Finding]:
    """Say what *error* says; one finding per line after the first, where it lists faults."""
    first, *faults = str(error).splitlines()
    code = exit_code(error)
    if not faults:
        return [fail(subject, describe_error(error).partition(": ")[2], remedy, code=code)]
    return [fail(subject, fault.strip(), remedy, code=code) for fault in faults] or [
        fail(subject, first, remedy)
    ]


def print_findings(findings: Sequence[Finding], *, as_json: bool, out: TextIO | None = None) -> int:
    """Print the findings and return the exit code that they amount to."""
    out = out or sys.stdout
    code = max((finding.code for finding in findings), default=0)
    if as_json:
        listed = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": code == 0, "exit_code": code, "findings": listed}, indent=2), file=out)
        return code
    width = max((len(finding.subject) for finding in findings), default=0)
    for finding in findings:
        print(f"{label(finding.level, out)}  {finding.subject:<{width}}  {printable(finding.text)}", file=out)
        if finding.remedy:
            print(f"{'':<{width + 8}}→ {printable(finding.remedy)}", file=out)
    counts = {level: sum(finding.level == level for finding in findings) for level in ("fail", "warn")}
    print(f"{counts['fail']} failed, {counts['warn']} to look at, of {len(findings)} findings", file=out)
    return code


def label(level: Level, out: TextIO) -> str:
    """Return the level's word, four wide, coloured where people watch."""
    word = f"{_LABELS[level]:<4}"
    if out.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[{_COLOURS[level]}m{word}\x1b[0m"
    return word


def printable(text: str) -> str:
    """Return *text* without anything that a terminal would obey, or that would pass unseen or begin a line."""
    return "".join(char if unicodedata.category(char) not in _OBEYED else "\ufffd" for char in text)


def printable_json(text: str) -> str:
    """Return a JSON text that says the same and has nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        _escaped(char) if unicodedata.category(char) in _OBEYED and char != "\n" else char for char in text
    )


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def shown(value: str | None) -> str:
    """Return a value of the store as people read it."""
    return "nothing" if value is None else f'"{printable(value)}"'

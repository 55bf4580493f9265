"""Every proof one after another, for an hour or for a night: `python -m tests.proof`, behind `make proof`.

Why: each proof has a command of its own that ends with one JSON line; this runs them in pieces, adds the lines up and
says whether all is well. What was done is kept after each piece, so that a night that was cut short goes on where it
stopped, as long as the commit is the same. `--record` writes the outcome into docs/proof.md.

Rejected: pytest for this. It keeps no sums, and a run that was stopped begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "proof.md"
BEGIN, END = "<!-- last run: begin -->", "<!-- last run: end -->"
SIMULATION = ("-m", "tests.simulation", "--workers", "2")
FIRST_SEED = 100_000
END_S = 60

NOT_SUMMED = {"seed", "next", "restart_ready_s"}

Command = Callable[[int, int], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """One proof: *amount* in all, in pieces of *piece*; `command(amount, seed)` does one piece."""

    name: str
    command: Command
    amount: int = 1
    piece: int = 1
    environ: Mapping[str, str] = field(default_factory=dict)


def _short() -> list[Part]:
    return [
        Part("histories", _histories, 10_000, 1_000),
        Part("determinism", _determinism, 50, 50),
        Part("machine", _machine, 200, 200, {"SFSYNC_MACHINE": "200:50"}),
        Part("mutants", lambda _n, seed: ("-m", "tests.simulation.mutants", "--first-seed", f"{seed}")),
        Part(
            "failpoints", lambda times, _seed: ("-m", "tests.process.failpoints", "--times", f"{times}"), 3, 3
        ),
        Part("kills", _process("--kills"), 100, 50),
        Part("postgres faults", _process("--postgres-faults"), 25, 25),
        Part("proxy faults", _process("--proxy-faults"), 40, 40),
        Part("chaos", lambda _n, _seed: ("-m", "sfsync", "chaos", "--json")),
        Part("recovery", lambda _n, _seed: ("-m", "tests.bench", "--only", "recovery")),
    ]


def _long() -> list[Part]:
    return [
        Part("histories", _histories, 200_000, 1_000),
        Part("determinism", _determinism, 1_000, 100),
        Part("machine", _machine, 2_000, 2_000, {"SFSYNC_MACHINE": "2000:100"}),
        Part("kills", _process("--kills"), 1_000, 100),
        Part("postgres faults", _process("--postgres-faults"), 500, 50),
        Part("proxy faults", _process("--proxy-faults"), 1_000, 100),
        Part(
            "soak", lambda minutes, seed: (*_process("--minutes")(minutes, seed), "--rate", "500"), 120, 120
        ),
    ]


def _histories(count: int, seed: int) -> tuple[str, ...]:
    return (*SIMULATION, "--histories", f"{count}", "--first-seed", f"{seed}")


def _determinism(count: int, seed: int) -> tuple[str, ...]:
    return (*_histories(count, seed), "--twice")


def _machine(_count: int, _seed: int) -> tuple[str, ...]:
    return ("-m", "pytest", "-q", "tests/simulation/test_machine.py")


def _process(option: str) -> Command:
    return lambda amount, seed: ("-m", "tests.process", option, f"{amount}", "--seed", f"{seed}")


@dataclass(slots=True)
class Outcome:
    """What came of one part so far."""

    done: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """What was done of one profile at one commit, in a file."""

    def __init__(self, path: Path, commit: str, first_seed: int) -> None:
        self._path = path
        self.commit = commit
        self.first_seed = first_seed
        self.outcomes: dict[str, Outcome] = {}
        kept = json.loads(path.read_text()) if path.exists() else {}
        # What was changed and not committed has no name, and may have changed again.
        is_known = commit != "unknown" and not commit.endswith("-dirty")
        if is_known and kept.get("commit") == commit and kept.get("first_seed") == first_seed:
            self.outcomes = {name: Outcome(**told) for name, told in kept["outcomes"].items()}

    def of(self, part: Part) -> Outcome:
        """Return the outcome of *part*, which may be only begun."""
        return self.outcomes.setdefault(part.name, Outcome())

    def keep(self) -> None:
        """Write it down."""
        self._path.parent.mkdir(exist_ok=True)
        outcomes = {
            name: {"done": o.done, "seconds": o.seconds, "failed": o.failed, "told": o.told}
            for name, o in self.outcomes.items()
        }
        kept = {"commit": self.commit, "first_seed": self.first_seed, "outcomes": outcomes}
        self._path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def run_part(part: Part, ledger: Ledger) -> Outcome:
    """Do what is left of *part*."""
    outcome = ledger.of(part)
    while outcome.done < part.amount:
        count = min(part.piece, part.amount - outcome.done)
        arguments = part.command(count, ledger.first_seed + outcome.done)
        _say(f"{part.name}: {outcome.done} of {part.amount}; python {' '.join(arguments)}")
        began = time.monotonic()
        code, lines = _run(arguments, part.environ)
        outcome.seconds = round(outcome.seconds + time.monotonic() - began, 1)
        if code != 0:
            outcome.failed.append(f"exit {code}: python {' '.join(arguments)}")
        for line in lines:
            outcome.told = summed(outcome.told, line)
        outcome.done += count
        ledger.keep()
    return outcome


def _run(arguments: tuple[str, ...], environ: Mapping[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Run one piece; its figures are all JSON lines that name one, else the last JSON line."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
    ) as piece:
        try:
            told, _ = piece.communicate()
        except BaseException:
            # It has started much that only it can end.
            piece.terminate()
            piece.wait(END_S)
            raise
    found = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    figures = [{line["figure"]: line["value"]} for line in found if "figure" in line]
    return piece.returncode, figures or found[-1:]


def summed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Add two lines up: counts are added, lists joined, members of members added; the rest is the newer one's."""
    both = (old.keys() & new.keys()) - NOT_SUMMED
    return {**old, **new, **{key: _sum(old[key], new[key]) for key in both}}


def _sum(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return summed(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, bool) or isinstance(new, bool):
        return new
    if isinstance(old, int | float) and isinstance(new, int | float):
        return round(old + new, 3)
    return new


def described(parts: list[Part], ledger: Ledger, profile: str) -> Iterator[str]:
    """Yield the lines of docs/proof.md that tell of this run."""
    yield f"Profile `{profile}`, commit `{ledger.commit}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, first seed {ledger.first_seed}."
    yield ""
    yield "| part | amount | minutes | failed | told |"
    yield "|---|---|---|---|---|"
    for part in parts:
        outcome = ledger.of(part)
        told = ", ".join(_short_told(outcome.told))
        failed = "; ".join(outcome.failed) or "none"
        yield f"| {part.name} | {outcome.done} of {part.amount} | {outcome.seconds / 60:.1f} | {failed} | {told} |"


def _short_told(told: Mapping[str, Any]) -> Iterator[str]:
    """Name what fits into a cell: numbers, and lists that are not empty."""
    for key, value in told.items():
        if isinstance(value, Mapping):
            if len(value) <= _MEMBERS_SHOWN:
                yield f"{key} {' '.join(f'{name} {count}' for name, count in value.items())}"
        elif value not in ([], None):
            yield f"{key} {value}"


_MEMBERS_SHOWN = 4


def _record(lines: list[str]) -> None:
    before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text("\n".join([before + BEGIN, *lines, END]) + after, "utf-8")


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def main() -> None:
    """Run what the command line asks for; exit 1 when a part failed."""
    profiles = {"short": _short(), "long": _long()}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = _parser(list(profiles))
    asked = parser.parse_args()
    parts = [_scaled(part, asked.scale) for part in profiles[asked.profile]]
    unknown = sorted(set(asked.only) - {part.name for part in parts})
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(part.name for part in parts)}")
    parts = [part for part in parts if not asked.only or part.name in asked.only]
    ledger = Ledger(ROOT / ".proof" / f"{asked.profile}.json", _commit(), asked.first_seed)
    failed = [part.name for part in parts if run_part(part, ledger).failed]
    lines = list(described(parts, ledger, asked.profile))
    _say("\n".join(lines))
    if asked.record:
        _record(lines)
    told = {"commit": ledger.commit, "failed": failed, "parts": [part.name for part in parts]}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.exit(bool(failed))


def _parser(profiles: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof",
        description="Run every proof, add up what each tells, and say whether all is well. "
        "What was cut short goes on where it stopped, at the same commit and first seed (.proof/).",
    )
    parser.add_argument(
        "--profile", choices=profiles, default="short", help="short: about an hour (default); long: a night"
    )
    parser.add_argument(
        "--only", action="append", metavar="PART", default=[], help="only this part (may be repeated)"
    )
    parser.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, help=f"where seeds begin (default {FIRST_SEED})"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="do this share of each amount (default 1: all of it)"
    )
    parser.add_argument("--record", action="store_true", help="write the outcome into docs/proof.md")
    return parser


def _scaled(part: Part, scale: float) -> Part:
    amount = max(1, round(part.amount * scale))
    return Part(part.name, part.command, amount, min(part.piece, amount), part.environ)


if __name__ == "__main__":
    main()

"""Plant every design that is known to be bad, and say which history told it from the good one.

Why: a suite that no bad design fails proves nothing. Each mutant is one line of claim, grouped by topic, with the acts
and modes in which it must show; `killing_seeds.json` keeps up to three seeds of each, so that `make test` need not look
for them. A history counts only when the good design passes it. Of the ordering rule, what no history here tells within
the tries is looked for in the model of one record (`mutants_order`).

Left out are designs that no history can tell from the good one:
- A read that calls itself as fresh as its answer: REST is behind by less than the settle time, by its definition.
- An epoch that is looked at and not held: who slips through finds the row moved, or the position.
- A person for a record that nobody ever saw alive: the org does not know what the store saw.
- Who waits for the other half of a conversion or a merger for ever: whatever touches the record next lets it go.
- A refetch that reads the first of a batch only: the others are due still, and come later.
- A patch that revives a deleted record: events come only of the living, so in the end it is right.
- An event of before that is applied anew: it comes only with its whole stretch, in order, which ends where it did.
- An event that is delivered twice and applied twice: applying is idempotent.
- A merger that looks like a deletion until the settle time is over, and a transaction that becomes visible in halves:
  both are over when anybody looks here; a second reader in `tests/process` sees them.
- Names of drift and readiness, which change nothing in the store.

`python -m tests.simulation.mutants` finds seeds afresh; with `--record` it keeps what it found. Survivors make it fail.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tests.postgres import PgFleet, available_servers

from .mutant import Mutant
from .mutants_order import ORDER, model_kills
from .mutants_pull import PULL
from .mutants_push import PUSH
from .mutants_store import STORE

MUTANTS: tuple[Mutant, ...] = tuple(sorted((*PUSH, *PULL, *ORDER, *STORE), key=lambda one: one.topic))
RECORD = Path(__file__).with_name("killing_seeds.json")
MODEL = "model of "
_ROOT = Path(__file__).parents[2]
Play = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Kill:
    """The seed that told a mutant from the good design, in which mode, after how many histories, by what, at what cost."""

    seed: int
    mode: str
    after: int
    violation: str = ""
    exchanges: int = 0


def recorded() -> dict[str, list[Kill]]:
    """Return the killing seeds that are kept, by claim."""
    kept = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    return {claim: [Kill(*kill) for kill in kills] for claim, kills in kept.items()}


def record(kills: Mapping[str, Sequence[Kill]]) -> None:
    """Keep killing seeds: a line for each mutant, sorted; of each those first that take least time."""
    known = {mutant.claim for mutant in MUTANTS}
    lines = [
        f"{json.dumps(claim)}: {json.dumps([[k.seed, k.mode, k.after] for k in sorted(found, key=_cost)])}"
        for claim, found in sorted(kills.items())
        if claim in known and found
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _cost(kill: Kill) -> int:
    return kill.exchanges


class Player:
    """A process that plays histories against mutants, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout
        self._process, self._in, self._out = process, process.stdin, process.stdout
        self._passed: dict[tuple[int, str, tuple[str, ...]], bool] = {}

    def kills(self, mutant: Mutant, plays: Sequence[Play], kills_max: int) -> list[Kill]:
        """Play until so many histories were violated under *mutant* and not under the good design."""
        found: list[Kill] = []
        played = 0
        while len(found) < kills_max and (kill := self.first_kill(mutant, plays, played)):
            played = kill.after
            if self._passes(mutant, kill):
                found.append(kill)
        return found

    def first_kill(self, mutant: Mutant, plays: Sequence[Play], played: int = 0) -> Kill | None:
        """Play, from the one after *played* on, until a history is violated under *mutant*."""
        for number, told in enumerate(self._play(mutant, plays[played:]), played + 1):
            if told["violation"] is not None:
                return Kill(told["seed"], told["mode"], number, told["violation"], told["exchanges"])
        return None

    def end(self) -> None:
        """End it, whatever it plays."""
        self._process.terminate()

    def _passes(self, mutant: Mutant, kill: Kill) -> bool:
        """Tell whether the good design passes the history."""
        history = (kill.seed, kill.mode, mutant.swarm)
        if history not in self._passed:
            good = Mutant("", "the good design", "", (), swarm=mutant.swarm)
            [told] = self._play(good, [(kill.seed, kill.mode)])
            self._passed[history] = told["violation"] is None
            if told["violation"] is not None:
                sys.stderr.write(f"the good design fails {history}: {told['violation']}\n")
        return self._passed[history]

    def _play(self, mutant: Mutant, plays: Sequence[Play]) -> list[dict[str, Any]]:
        """Play until the first history that is violated; return what is told of each."""
        order = {
            "files": [(file, list(edits)) for file, edits in mutant.files if edits],
            "plays": list(plays),
            "swarm": list(mutant.swarm),
        }
        self._in.write(json.dumps(order) + "\n")
        self._in.flush()
        played: list[dict[str, Any]] = []
        while not (told := json.loads(self._out.readline() or '{"done": true, "error": "it ended"}')).get(
            "done"
        ):
            played.append(told)
        if "error" not in told:
            return played
        if not played and len(plays) == 1:
            raise ChildProcessError(f"{mutant.claim}: {told['error']}")
        # One that does not end soon tells too little for its price: the next.
        (seed, mode), left = plays[len(played)], plays[len(played) + 1 :]
        sys.stderr.write(f"{mutant.claim}: seed {seed} ({mode}): {told['error']}\n")
        unknown = {"seed": seed, "mode": mode, "violation": None}
        return [*played, unknown, *(self._play(mutant, left) if left else [])]


@contextmanager
def playing(dsn: str) -> Iterator[Player]:
    """Start a process that plays, with its databases on the server of *dsn*."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.mutant_run"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "SFSYNC_TEST_DSN": dsn},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        player = Player(process)
        try:
            yield player
        except BaseException:
            player.end()
            raise


def plays_of(mutant: Mutant, seeds: Iterable[int]) -> list[Play]:
    """Return the histories in which *mutant* must show."""
    return [(seed, mode) for seed in seeds for mode in mutant.modes]


class _Hunt:
    """Looks for the killing seeds of many mutants, with several players at once."""

    def __init__(self, chosen: Sequence[Mutant], options: argparse.Namespace) -> None:
        self._options = options
        self._kills_max = options.kills if options.record else 1
        self._total = len(chosen)
        self._todo: SimpleQueue[Mutant] = SimpleQueue()
        for mutant in chosen:
            self._todo.put(mutant)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.kept = recorded()
        self.found: dict[str, list[Kill]] = {}
        self._players: list[Player] = []

    def end(self) -> None:
        """Let nobody take another mutant, and end those who play."""
        self._todo = SimpleQueue()
        for player in self._players:
            player.end()

    def run(self, dsn: str) -> None:
        """Take one mutant after the other."""
        with playing(dsn) as player:
            self._players.append(player)
            while True:
                try:
                    mutant = self._todo.get_nowait()
                except Empty:
                    return
                self._note(mutant, self._hunt(player, mutant))

    def _hunt(self, player: Player, mutant: Mutant) -> list[Kill]:
        first = self._options.first_seed
        plays = plays_of(mutant, range(first, first + self._options.histories))[: self._options.histories]
        kills = player.kills(mutant, plays, self._kills_max)
        return kills or [
            Kill(seed, MODEL + mode, len(plays) + number, fault)
            for number, (seed, mode, fault) in enumerate(islice(model_kills(mutant), self._kills_max), 1)
        ]

    def _note(self, mutant: Mutant, kills: list[Kill]) -> None:
        with self._lock:
            self.found[mutant.claim] = kills
            fate = "SURVIVED"
            if kills:
                first = kills[0]
                fate = f"killed by seed {first.seed} ({first.mode}) after {first.after} histories"
            shown = kills[0].violation[:120] if kills else ""
            sys.stdout.write(f"{mutant.topic}: {mutant.claim}: {fate}: {shown}\n")
            sys.stdout.flush()
            if self._options.record:
                record(self.kept | self.found)
            took_s, done = time.monotonic() - self._began, len(self.found)
            left_min = took_s / done * (self._total - done) / 60
            sys.stderr.write(f"{done} of {self._total}, about {left_min:.0f} min left\n")


def main() -> int:
    """Try every mutant; print one line for each, and last one JSON line."""
    # Ended by a signal, it must still stop its server and those who play.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = _parser().parse_args()
    kept = recorded() if options.missing else {}
    chosen = [
        mutant
        for mutant in MUTANTS
        if options.only in f"{mutant.topic}: {mutant.claim}" and mutant.claim not in kept
    ]
    hunt = _Hunt(chosen, options)
    with PgFleet() as fleet, ThreadPoolExecutor(options.workers) as pool:
        dsn = fleet.server(available_servers()[0]).dsn
        try:
            for hunting in [pool.submit(hunt.run, dsn) for _ in range(options.workers)]:
                hunting.result()
        except BaseException:
            hunt.end()
            raise
    survivors = sorted(claim for claim, kills in hunt.found.items() if not kills)
    told = {"mutants": len(chosen), "killed": len(chosen) - len(survivors), "survivors": survivors}
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--histories", type=int, default=300, help="for each mutant, at most (default 300)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--only", default="", help="only those whose topic or claim contains this")
    parser.add_argument("--record", action="store_true", help="keep the seeds that are found")
    parser.add_argument("--kills", type=int, default=3, help="how many to keep of each, at most (default 3)")
    parser.add_argument("--missing", action="store_true", help="only those of which no seed is kept: go on")
    return parser


if __name__ == "__main__":
    sys.exit(main())

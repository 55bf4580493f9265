"""Designs that are known to be bad, as edits of sfsync's own source; the simulation must tell each from the good one.

Why: a suite that no bad design fails proves nothing. A mutant is quoted source and what replaces it, so that a test
can see when the source has moved on and the list lies. The edits are made while a process of its own imports the
module, so nothing of them can leak: `python -m tests.simulation.mutants` starts one process for each.

The mutants of the ordering rule are those of `tests/core/test_order_model.py`, here against the whole daemon; those
below are of everything around it: position, watermark, gaps, fencing, identity, consent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import sfsync
from tests.core.test_order_model import MUTANTS as ORDER_MUTANTS

SOURCE = Path(sfsync.__file__).parent


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bad design: `edits` of one file below src/sfsync; `modes` are those in which it must show."""

    claim: str
    file: str
    edits: Sequence[tuple[str, str]]
    modes: tuple[str, ...] = ("all",)

    @property
    def unfit(self) -> list[str]:
        """Return the quotations that the source no longer contains."""
        text = (SOURCE / self.file).read_text("utf-8")
        return [old for old, _ in self.edits if old not in text]


DESIGN_MUTANTS = (
    Mutant(
        "the position is saved before the data",
        "sync/writer.py",
        [
            (
                "                outcome = await self._applier.apply(batch)\n            except PositionError",
                "                await self._applier.apply(replace(batch, commands=[], dead_letters=[]))\n                outcome = await self._applier.apply(replace(batch, progress=None))\n            except PositionError",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "the position goes where the session says, whatever is stored",
        "store/sql/advance_position.sql",
        [("AND replay IS NOT DISTINCT FROM $3", "AND ($3::bytea IS NULL OR true)")],
        ("stream",),
    ),
    Mutant(
        "an expired position becomes the tip in silence",
        "sync/subscription.py",
        [
            (
                "            if asked is None:\n                await self._begin_at_tip()",
                "            if asked is None and position is None:\n                await self._begin_at_tip()",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "every session begins at the tip",
        "sync/subscription.py",
        [
            ("asked = None if from_tip else position", "asked = None"),
            (
                "            if asked is None:\n                await self._begin_at_tip()",
                "            if position is None:\n                await self._begin_at_tip()",
            ),
        ],
        ("stream",),
    ),
    Mutant(
        "overflow is ignored",
        "core/decide.py",
        [('            return [Resweep(entity, header.commit_ms, "overflow")]', "            return []")],
        ("stream",),
    ),
    Mutant(
        "wildcard events are ignored",
        "core/decide.py",
        [
            (
                '            return [Resweep(entity, header.commit_ms, "wildcard", in_full=True)]',
                "            return []",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "gap events are ignored",
        "core/decide.py",
        [
            (
                "return [Refetch(entity, record, header.commit_ms, Cause.GAP) for record in header.record_ids]",
                "return []",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "only the first record of a change is applied",
        "core/decide.py",
        [
            (
                "    for record in header.record_ids:\n        if fields:",
                "    for record in header.record_ids[:1]:\n        if fields:",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "only the first record of a deletion is applied",
        "core/decide.py",
        [
            (
                "        for record in header.record_ids:\n            commands.append(Tomb",
                "        for record in header.record_ids[:1]:\n            commands.append(Tomb",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "a deletion is not read again, so nobody learns of mergers",
        "core/decide.py",
        [("            commands.append(Refetch(entity, record, commit_ms, Cause.DELETE))\n", "")],
        ("stream",),
    ),
    Mutant(
        "a text that came as a difference is not read",
        "core/decide.py",
        [("        causes.append(Cause.DIFF)\n", "        pass\n")],
        ("stream",),
    ),
    Mutant(
        "malformed events leave no mark",
        "core/decide.py",
        [
            (
                "    return [Refetch(entity, record, event.commit_ms, Cause.MALFORMED) for record in event.record_ids]",
                "    return []",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "a created record that names not all fields keeps what was there",
        "core/decide.py",
        [("dict.fromkeys(plan.announced) if is_image else {}", "{}")],
    ),
    Mutant(
        "absence means deletion",
        "core/order.py",
        [
            (
                "        row.unseen_since_ms = read.read_from_ms\n        row.changed = True",
                "        _turn(row, is_deleted=True, master=None, instant_ms=read.read_from_ms)\n        row.changed = True",
            )
        ],
    ),
    Mutant(
        "a patch revives a deleted record",
        "core/order.py",
        [
            (
                "    if isinstance(event, Patch) and row.known and row.is_deleted:\n",
                "    if isinstance(event, Patch):\n        row.is_deleted = False\n    if False:\n",
            )
        ],
    ),
    Mutant(
        "events that came before are applied anew",
        "core/order.py",
        [("        mark(row, Cause.LATE, commit_ms)\n        return Verdict.LATE", "        pass")],
    ),
    Mutant(
        "the watermark is the machine's clock",
        "sync/sweep.py",
        [
            (
                "watermark_ms=window.began_ms - self._work.options.look_back_ms",
                "watermark_ms=round(time.time() * 1000)",
            )
        ],
        ("sweep",),
    ),
    Mutant(
        "the watermark is the end of the reading",
        "sync/sweep.py",
        [("watermark_ms=window.began_ms - self._work.options.look_back_ms", "watermark_ms=page.read_to_ms")],
        ("sweep",),
    ),
    Mutant(
        "the look-back is shorter than the longest transaction",
        "sync/sweep.py",
        [
            (
                "watermark_ms=window.began_ms - self._work.options.look_back_ms",
                "watermark_ms=window.began_ms - 60_000",
            )
        ],
        ("sweep",),
    ),
    Mutant(
        "a sweep keeps only its first page",
        "sync/sweep.py",
        [
            (
                "            page = await self._fetch_after(page, reading.entity, since_ms)\n",
                "            break\n",
            )
        ],
        ("sweep",),
    ),
    Mutant(
        "owed readings are forgotten",
        "sync/sweep.py",
        [("        due = self._satisfiable(owed, await self._work.org_time_ms())", "        due = []")],
        ("stream",),
    ),
    Mutant(
        "an owed reading may begin before its time",
        "sync/sweep.py",
        [("if reading.not_before_ms <= begun_ms]", "]")],
        ("stream",),
    ),
    Mutant(
        "refetches read the first of a batch",
        "sync/refetch.py",
        [("ids[start : start + size])", "ids[start : start + 1])")],
        ("stream",),
    ),
    Mutant(
        "a second daemon is not fenced",
        "store/leadership.py",
        [("    if epoch != leadership.epoch:", "    if False:")],
    ),
    Mutant(
        "the backfill leaves the watermark where it ended",
        "sync/backfill.py",
        [
            (
                "            watermark_ms=from_ms - self._work.options.look_back_ms,",
                "            watermark_ms=page.read_to_ms,",
            )
        ],
        ("sweep",),
    ),
    Mutant(
        "the backfill does not wait for the subscription",
        "sync/sweep.py",
        [
            (
                "            await self._work.writer.stream.confirmed.wait()\n            for reading",
                "            for reading",
            )
        ],
        ("stream",),
    ),
    Mutant(
        "an undelete does not take a merger back",
        "core/order.py",
        [("    master = master if is_deleted else None\n", "    master = master or row.master_record_id\n")],
    ),
    Mutant(
        "a conversion is forgotten when the lead is deleted",
        "core/identity.py",
        [
            (
                "_edges(present, lambda member: member.converted_contact_id)\n    revocable = _edges(present, lambda member: member.master_record_id)\n    _break_cycles(present, permanent, revocable)\n    groups",
                "_edges(present, lambda member: None if member.is_deleted else member.converted_contact_id)\n    revocable = _edges(present, lambda member: member.master_record_id)\n    _break_cycles(present, permanent, revocable)\n    groups",
            )
        ],
    ),
    Mutant(
        "a person gets the newest of its ids",
        "core/identity.py",
        [("        subject_id=min(own_ids),", "        subject_id=max(own_ids),")],
    ),
    Mutant(
        "the lead speaks for a converted person",
        "core/identity.py",
        [
            (
                "        member.entity is not Entity.LEAD,\n        member.converted_contact_id",
                "        member.entity is Entity.LEAD,\n        member.converted_contact_id",
            )
        ],
    ),
    Mutant(
        "aliases are dropped",
        "store/grouping.py",
        [("    await _write_aliases(connection, database, org, groups)\n", "")],
    ),
    Mutant(
        "declined people are written",
        "core/consent.py",
        [
            (
                "    if len(found) == 1:\n        return found.pop(), False",
                "    if len(found) == 1:\n        return Decision.SYNCED, False",
            )
        ],
    ),
    Mutant(
        "a merger with somebody declined is no question",
        "core/consent.py",
        [("    return Decision.PENDING, Decision.DECLINED in found", "    return Decision.SYNCED, False")],
    ),
    Mutant(
        "what is queued outlives its session",
        "sync/writer.py",
        [
            (
                "            self._forget_deliveries()\n            position, commit_ms",
                "            position, commit_ms",
            )
        ],
    ),
)

RULE_MUTANTS = tuple(Mutant(m.claim, "core/order.py", m.edits) for m in ORDER_MUTANTS)
MUTANTS = (*RULE_MUTANTS, *DESIGN_MUTANTS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant: the seed that killed it, after how many histories; None: it survived."""

    claim: str
    seed: int | None
    mode: str
    histories: int
    violation: str


def try_mutant(mutant: Mutant, first_seed: int, histories: int) -> Verdict:
    """Play histories against *mutant*, in each of its modes, until one is violated."""
    played = 0
    for mode in mutant.modes:
        order = {
            "file": mutant.file,
            "edits": list(mutant.edits),
            "mode": mode,
            "first": first_seed,
            "histories": histories,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation.mutant_run"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        lines = done.stdout.strip().splitlines()
        if not lines:
            return Verdict(mutant.claim, first_seed, mode, 0, f"does not run: {done.stderr[-300:]}")
        told = json.loads(lines[-1])
        played += told["histories"]
        if told["seed"] is not None:
            return Verdict(mutant.claim, told["seed"], mode, played, told["violation"])
    return Verdict(mutant.claim, None, ",".join(mutant.modes), played, "")


def main() -> int:
    """Try every mutant; print one line for each, and last one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--histories", type=int, default=300, help="for each mutant, at most (default 300)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time (default 1)")
    parser.add_argument("--of", choices=("all", "rule", "design"), default="all", help="which list")
    parser.add_argument("--only", default="", help="only those whose claim contains this")
    options = parser.parse_args()
    listed = {"all": MUTANTS, "rule": RULE_MUTANTS, "design": DESIGN_MUTANTS}[options.of]
    chosen = [mutant for mutant in listed if options.only in mutant.claim]
    killed = 0
    with ThreadPoolExecutor(options.workers) as pool:
        tried = [pool.submit(try_mutant, one, options.first_seed, options.histories) for one in chosen]
        for done in as_completed(tried):
            verdict = done.result()
            killed += verdict.seed is not None
            fate = f"killed by seed {verdict.seed}" if verdict.seed is not None else "SURVIVED"
            sys.stdout.write(
                f"{fate} ({verdict.mode}) after {verdict.histories}: {verdict.claim}: {verdict.violation[:120]}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(json.dumps({"mutants": len(chosen), "killed": killed}) + "\n")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Bad designs of the push side: where the position stands, what events say, and what they only hint at."""

from __future__ import annotations

from .mutant import Mutant

PUSH = (
    Mutant(
        "position",
        "the position is saved before the data",
        "sync/writer.py",
        [
            (
                "                outcome = await self._applier.apply(batch)\n            except PositionError",
                "                await self._applier.apply(replace(batch, commands=[], dead_letters=[]))\n                outcome = await self._applier.apply(replace(batch, progress=None))\n            except PositionError",
            )
        ],
        modes=("stream",),
        swarm=("kill", "statement lost"),
    ),
    Mutant(
        "position",
        "the position goes where the session says, whatever is stored",
        "store/sql/advance_position.sql",
        [("AND replay IS NOT DISTINCT FROM $3", "AND ($3::bytea IS NULL OR true)")],
        modes=("stream",),
        swarm=("second daemon", "second daemon in an outage", "statement lost"),
    ),
    Mutant(
        "position",
        "an expired position becomes the tip in silence",
        "sync/subscription.py",
        [
            (
                "            if asked is None:\n                await self._begin_at_tip()",
                "            if asked is None and position is None:\n                await self._begin_at_tip()",
            )
        ],
        modes=("stream",),
        swarm=("expired",),
    ),
    Mutant(
        "position",
        "every session begins at the tip",
        "sync/subscription.py",
        [
            ("asked = None if from_tip else position", "asked = None"),
            (
                "            if asked is None:\n                await self._begin_at_tip()",
                "            if position is None:\n                await self._begin_at_tip()",
            ),
        ],
        modes=("stream",),
        swarm=("unknown client", "burst"),
    ),
    Mutant(
        "position",
        "what is queued outlives its session",
        "sync/writer.py",
        [
            (
                "            self._forget_deliveries()\n            position, commit_ms",
                "            position, commit_ms",
            )
        ],
        swarm=("repeated", "unknown client", "burst"),
    ),
    Mutant(
        "events",
        "only the first record of a change is applied",
        "core/decide.py",
        [
            (
                "    for record in header.record_ids:\n        if fields:",
                "    for record in header.record_ids[:1]:\n        if fields:",
            )
        ],
        modes=("stream",),
        swarm=("changed together",),
    ),
    Mutant(
        "events",
        "a text that came as a difference is not read",
        "core/decide.py",
        [("        causes.append(Cause.DIFF)\n", "        pass\n")],
        modes=("stream",),
        swarm=("text revised",),
    ),
    Mutant(
        "events",
        "malformed events leave no mark",
        "core/decide.py",
        [
            (
                "    return [Refetch(entity, record, event.commit_ms, Cause.MALFORMED) for record in event.record_ids]",
                "    return []",
            )
        ],
        modes=("stream",),
        swarm=("malformed but marked",),
    ),
    Mutant(
        "events",
        "a created record that names not all fields keeps what was there",
        "core/decide.py",
        [("dict.fromkeys(plan.announced) if is_image else {}", "{}")],
        swarm=("deleted and restored",),
    ),
    Mutant(
        "gaps",
        "overflow is ignored",
        "core/decide.py",
        [('            return [Resweep(entity, header.commit_ms, "overflow")]', "            return []")],
        modes=("stream",),
        swarm=("overflow",),
    ),
    Mutant(
        "gaps",
        "wildcard events are ignored",
        "core/decide.py",
        [
            (
                '            return [Resweep(entity, header.commit_ms, "wildcard", in_full=True)]',
                "            return []",
            )
        ],
        modes=("stream",),
        swarm=("wildcard",),
    ),
    Mutant(
        "gaps",
        "gap events are ignored",
        "core/decide.py",
        [
            (
                "return [Refetch(entity, record, header.commit_ms, Cause.GAP) for record in header.record_ids]",
                "return []",
            )
        ],
        modes=("stream",),
        swarm=("gap",),
    ),
    Mutant(
        "deletes",
        "only the first record of a deletion is applied",
        "core/decide.py",
        [
            (
                "        for record in header.record_ids:\n            commands.append(Tomb",
                "        for record in header.record_ids[:1]:\n            commands.append(Tomb",
            )
        ],
        modes=("stream",),
        swarm=("changed together",),
    ),
    Mutant(
        "deletes",
        "a deletion is not read again, so nobody learns of mergers",
        "core/decide.py",
        [("            commands.append(Refetch(entity, record, commit_ms, Cause.DELETE))\n", "")],
        modes=("stream",),
    ),
    Mutant(
        "events",
        "a tail that had to be cut off is lost",
        "sync/transactions.py",
        [("        return tail\n", "        return []\n")],
        modes=("stream",),
        swarm=("burst", "cometd delay"),
    ),
    Mutant(
        "events",
        "what an event does not name becomes empty",
        "core/decide.py",
        [("dict.fromkeys(plan.announced) if is_image else {}", "dict.fromkeys(plan.announced)")],
        modes=("stream",),
    ),
    Mutant(
        "events",
        "a field that is emptied keeps its value",
        "core/decide.py",
        [
            (
                "        if read is None:\n            continue",
                "        if read is None or raw is None:\n            continue",
            )
        ],
        modes=("stream",),
    ),
)

"""Bad designs of the pull side: how far a sweep has read, what is owed, and what absence and deletion mean."""

from __future__ import annotations

from .mutant import Mutant

PULL = (
    Mutant(
        "gaps",
        "owed readings are forgotten",
        "sync/sweep.py",
        [("        due = self._satisfiable(owed, await self._work.org_time_ms())", "        due = []")],
        modes=("stream",),
        swarm=("overflow", "expired"),
    ),
    Mutant(
        "gaps",
        "an owed reading may begin before its time",
        "sync/sweep.py",
        [("if reading.not_before_ms <= begun_ms]", "]")],
        modes=("stream",),
        swarm=("overflow", "stale read"),
        also=(("store/sql/complete_sweep.sql", [(" AND not_before_ms <= $5", "")]),),
    ),
    Mutant(
        "sweep",
        "the watermark is the machine's clock",
        "sync/sweep.py",
        [
            (
                "watermark_ms=window.began_ms - self._work.options.look_back_ms",
                "watermark_ms=round(time.time() * 1000)",
            )
        ],
        modes=("sweep",),
        swarm=("clock jump", "long transaction"),
    ),
    Mutant(
        "sweep",
        "the watermark is the end of the reading",
        "sync/sweep.py",
        [("watermark_ms=window.began_ms - self._work.options.look_back_ms", "watermark_ms=page.read_to_ms")],
        modes=("sweep",),
        swarm=("long transaction", "back-dated"),
    ),
    Mutant(
        "sweep",
        "the look-back is shorter than the longest transaction",
        "sync/sweep.py",
        [
            (
                "watermark_ms=window.began_ms - self._work.options.look_back_ms",
                "watermark_ms=window.began_ms - 60_000",
            )
        ],
        modes=("sweep",),
        swarm=("long transaction", "back-dated"),
    ),
    Mutant(
        "sweep",
        "a sweep keeps only its first page",
        "sync/sweep.py",
        [
            (
                "            page = await self._fetch_after(page, reading.entity, since_ms)\n",
                "            break\n",
            )
        ],
        modes=("sweep",),
        swarm=("burst",),
    ),
    Mutant(
        "sweep",
        "the backfill leaves the watermark where it ended",
        "sync/backfill.py",
        [
            (
                "            watermark_ms=from_ms - self._work.options.look_back_ms,",
                "            watermark_ms=page.read_to_ms,",
            )
        ],
        modes=("sweep",),
        swarm=("long transaction", "back-dated"),
    ),
    Mutant(
        "sweep",
        "the backfill does not wait for the subscription",
        "sync/sweep.py",
        [
            (
                "            await self._work.writer.stream.confirmed.wait()\n            for reading",
                "            for reading",
            )
        ],
        modes=("stream",),
        swarm=("handshake refused", "subscribe refused", "burst"),
    ),
    Mutant(
        "deletes",
        "absence means deletion",
        "core/order.py",
        [
            (
                "        row.unseen_since_ms = read.read_from_ms\n        row.changed = True",
                "        _turn(row, is_deleted=True, master=None, instant_ms=read.read_from_ms)\n        row.changed = True",
            )
        ],
        swarm=("hard delete", "asked"),
    ),
    Mutant(
        "sweep",
        "the watermark is the highest stamp that was read",
        "sync/sweep.py",
        [
            (
                "watermark_ms=window.began_ms - self._work.options.look_back_ms",
                "watermark_ms=max((getattr(one, 'modstamp_ms', 0) for one in read_commands(page, self._work.mapping.plans[reading.entity])[0]), default=window.since_ms)",
            )
        ],
        modes=("sweep",),
        swarm=("long transaction", "back-dated"),
    ),
    Mutant(
        "sweep",
        "a page is followed from its last second, not from its last record",
        "salesforce/soql.py",
        [
            (
                '        f"(SystemModstamp > {stamp} OR (SystemModstamp = {stamp} AND Id > {quoted(after.record_id)}))",',
                '        f"SystemModstamp > {stamp}",',
            )
        ],
        modes=("sweep",),
        swarm=("burst", "cascade"),
    ),
    Mutant(
        "sweep",
        "a page of the backfill counts before it is applied",
        "sync/backfill.py",
        [
            (
                "            await self._work.writer.submit(self._batch(page, entity, progress))",
                "            await self._work.writer.submit(Batch((), 'backfill', 0, progress=progress))\n            await self._work.writer.submit(self._batch(page, entity, progress))",
            )
        ],
        modes=("sweep",),
        swarm=("kill at the start", "rest cut"),
    ),
    Mutant(
        "deletes",
        "a sweep does not ask for deleted records",
        "salesforce/rest.py",
        [
            (
                "            query = soql.changed_after(selection, after, limit=limit)\n        return _keyset_page(await self.query_page(query, include_deleted=True), limit)",
                "            query = soql.changed_after(selection, after, limit=limit)\n        return _keyset_page(await self.query_page(query, include_deleted=False), limit)",
            )
        ],
        modes=("sweep",),
    ),
    Mutant(
        "deletes",
        "a refetch does not ask for deleted records",
        "salesforce/rest.py",
        [
            (
                "        whole = await self.query_all(queries[0], include_deleted=True)",
                "        whole = await self.query_all(queries[0], include_deleted=False)",
            )
        ],
        modes=("stream",),
    ),
    Mutant(
        "deletes",
        "contacts of a deleted account are not looked at",
        "store/apply.py",
        [("        if accounts or contacts:", "        if False:")],
        modes=("stream",),
        swarm=("silent children",),
    ),
    Mutant(
        "gaps",
        "any sweep ends an owed reading",
        "store/sql/complete_sweep.sql",
        [(" AND not_before_ms <= $5", "")],
        modes=("stream",),
        swarm=("overflow", "signals", "stale read"),
    ),
    Mutant(
        "ordering",
        "a read that proves nothing is the last",
        "core/order.py",
        [
            (
                "    if attempted or row_mark.next_try_ms is None:\n        row_mark.next_try_ms = wanted_ms\n",
                "    if row_mark.next_try_ms is None:\n        row_mark.next_try_ms = wanted_ms\n    elif attempted:\n        row_mark.next_try_ms = wanted_ms + 10**12\n",
            )
        ],
        swarm=("race", "gap"),
    ),
)

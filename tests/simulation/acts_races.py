"""One record that is changed, read and told of within the same seconds, again and again.

Why: what the ordering rule is for comes together rarely when a whole org lives. So here one record does: it is changed
several times a second or a minute, its events come late, and meanwhile it is asked for, swept, or told of without a
body. The rule has a clause for each way in which that can happen.
"""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

from sfsync.simorg.errors import ApiError

from .stage import Stage

_PAUSES_S = (0.0, 0.3, 1.0, 3.0, 12.0)
_PATIENCE = 160
_FIELDS = ("Phone", "Title", "Email")


async def raced(s: Stage) -> None:
    """A record is changed without rest while it is read, and while its events are on their way."""
    for record_id in s.live(s.rng.choice(["Lead", "Contact"]), 1):
        for _ in range(s.rng.choice([4, 8, 16])):
            try:
                await s.rng.choice(_STEPS)(s, record_id)
            except ApiError:
                return
            await asyncio.sleep(s.rng.choice(_PAUSES_S))
        s.org.bus.open_gate()


async def _changed(s: Stage, record_id: str) -> None:
    with s.org.world.transaction() as tx:
        _write(s, tx, record_id)


async def _stamped_before(s: Stage, record_id: str) -> None:
    """A change that was stamped some time ago is committed now."""
    age = timedelta(seconds=s.rng.choice([1, 5, 60]))
    tx = s.org.world.transaction(started_at=s.org.clock.now() - age)
    try:
        _write(s, tx, record_id)
        tx.commit()
    except ApiError:
        tx.rollback()
        raise


def _write(s: Stage, tx: object, record_id: str) -> None:
    name = s.rng.choice(_FIELDS)
    value = f"r{s.rng.randint(1000, 9999)}" + ("@example.com" if name == "Email" else "")
    tx.update(record_id, {name: value})  # type: ignore[attr-defined]


async def _asked(s: Stage, record_id: str) -> None:
    await s.judge.connection.execute("SELECT crm.request_sync($1)", record_id)
    s.wants({record_id})


async def _read_amid(s: Stage, record_id: str) -> None:
    """It is changed while the org is about to answer a read of it, and right before and after."""
    if s.rng.random() < 0.5:
        await _held_up(s, record_id)
    reading = s.org.faults.add("delay", match=record_id, s=s.rng.choice([0.3, 1.5, 4.0]))
    if s.rng.random() < 0.5:
        s.org.faults.add("stale_read", match=record_id, s=s.rng.choice([1.0, 2.0, 3.0]))
    await _changed(s, record_id)
    await _asked(s, record_id)
    for _ in range(_PATIENCE):
        if reading.taken:
            break
        await asyncio.sleep(0.5)
    for _ in range(s.rng.randint(1, 4)):
        await s.rng.choice([_changed, _changed, _stamped_before, _told_without_body])(s, record_id)
        await asyncio.sleep(s.rng.choice([0.0, 0.4, 1.0, 2.0]))


async def _swept(s: Stage, _record_id: str) -> None:
    s.host.signal(signal.SIGUSR1)


async def _held_up(s: Stage, _record_id: str) -> None:
    """What comes from now on comes later."""
    s.org.bus.shut_gate()
    s.later(s.rng.choice([1.5, 4.0, 20.0]), s.org.bus.open_gate)


async def _told_without_body(s: Stage, record_id: str) -> None:
    s.org.faults.add("gap", times=1, match=record_id)
    await _changed(s, record_id)


async def _gone_and_back(s: Stage, record_id: str) -> None:
    with s.org.world.transaction() as tx:
        tx.delete(record_id)
    await asyncio.sleep(s.rng.choice(_PAUSES_S))
    with s.org.world.transaction() as tx:
        tx.undelete(record_id)


_STEPS = (
    _changed,
    _changed,
    _stamped_before,
    _read_amid,
    _read_amid,
    _read_amid,
    _asked,
    _swept,
    _held_up,
    _told_without_body,
    _gone_and_back,
)

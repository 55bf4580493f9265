"""Memory when the org has more to say than anybody may hold: big events, and very many of them in one reply.

The events are withheld by the org until all of them are there, as after a long stop. Each is an update of a record of
its own, as large as Salesforce lets an event be, and nearly all of it in one mapped field.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.bench.figures import Figure
from tests.bench.settings import Bench
from tests.bench.site import Control, Daemon, open_control, running_daemon
from tests.simorg.site import org_process

# Salesforce lets an event be a million bytes at most.
EVENT_BYTES = 900_000
BIG, QUICK_BIG = 200, 60
PUBLISH_AT_ONCE = 5


async def measure(bench: Bench) -> AsyncIterator[Figure]:
    """Yield the most memory that was resident while huge replies came in."""
    with org_process("--population", "200", state_dir=bench.directory / "memory-org") as org:
        async with (
            open_control(org) as control,
            bench.server.database(migrated=False) as dsn,
            running_daemon(org, dsn, bench.directory) as daemon,
        ):
            resting = daemon.rss_mb()
            daemon.forget_peak()
            events = QUICK_BIG if bench.quick else BIG
            await _let_through(control, daemon, events)
            more = {"events": events, "bytes_per_event": EVENT_BYTES, "rss_before_mb": round(resting, 1)}
            yield Figure("memory.rss_max_mb", [daemon.rss_mb(peak=True)], "MB", more=more)


async def _let_through(control: Control, daemon: Daemon, events: int) -> None:
    """Publish *events* big events while none is delivered, then deliver all in as few replies as the org can."""
    await control("POST", "settings", batch_max=1_000_000)
    withheld = await control("POST", "faults", kind="withhold", times=None)
    last = 0
    for start in range(0, events, PUBLISH_AT_ONCE):
        numbers = range(start, min(start + PUBLISH_AT_ONCE, events))
        told = await control("POST", "publish", events=[_event(number) for number in numbers])
        last = told["last_replay_id"]
    await control("DELETE", f"faults?number={withheld['number']}")
    await daemon.until("stream.batch.applied", position=str(last).encode().hex())


def _event(number: int) -> dict[str, object]:
    record = f"0035i{number:010d}"
    header = {
        "entityName": "Contact",
        "recordIds": [record],
        "changeType": "UPDATE",
        "transactionKey": f"big-{number}",
        "sequenceNumber": 1,
        "commitTimestamp": 1_795_489_445_000,
        "changedFields": ["MailingStreet", "Title"],
    }
    text = "長い話。" * (EVENT_BYTES // 12)
    return {
        "entity": "Contact",
        "record_ids": [record],
        "payload": {"ChangeEventHeader": header, "MailingStreet": text, "Title": f"部長 {number}"},
    }

"""Which acts a history may have besides an org's ordinary life: the swarm.

Why: each history gets some kinds and not others, since a fault that always comes hides those that come after it
(a sweep repairs what the stream got wrong, a restart forgets it). Which kinds a mode may have follows from what it
must show: the stream alone must lose nothing, so nothing is lost there that only a sweep could find.

Source of the idea: Groce et al., "Swarm Testing", ISSTA 2012.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from .acts_host import (
    clock_jump,
    killed,
    killed_at_start,
    mapping_changed,
    postgres_down,
    second_daemon,
    second_daemon_in_an_outage,
    signals,
    statement_lost,
    stopped,
)
from .acts_links import (
    SOME,
    bad_weather,
    cut_everywhere,
    days_pass,
    delayed,
    expired,
    planting,
    repeated,
    revoked,
    withheld,
)
from .acts_org import (
    HIDEABLE,
    back_dated,
    burst,
    cascade,
    conversion_in_parts,
    converted_person_merged,
    deleted_and_restored,
    field_added,
    field_hidden,
    hard_delete,
    long_text,
    long_transaction,
    mapped_field_changed,
    moved,
    nickname,
    show_or_hide,
    silent,
)
from .acts_races import raced
from .acts_rare import (
    changed_together,
    company_of_declined_merged,
    half_deleted,
    late_account,
    lock_lost,
    refused,
    silent_children,
    text_revised,
)
from .acts_store import asked, decided, declined, erased, imported
from .stage import Act, Stage

SPOILT = ("no_header", "null_payload", "no_record_ids", "bad_record_id", "unknown_change_type", "wrong_type")
PARKED_BUT_MARKED = ("wrong_type", "unknown_change_type")

EVERYWHERE: Mapping[str, Act] = {
    "burst": burst,
    "long transaction": long_transaction,
    "back-dated": back_dated,
    "long text": long_text,
    "cascade": cascade,
    "moved": moved,
    "deleted and restored": deleted_and_restored,
    "converted person merged": converted_person_merged,
    "conversion in parts": conversion_in_parts,
    "race": raced,
    "rows refused": refused,
    "changed together": changed_together,
    "company of declined merged": company_of_declined_merged,
    "hard delete": hard_delete,
    "field added": field_added,
    "nickname": nickname,
    "duplicate": planting("duplicate_event"),
    "gap": planting("gap"),
    "overflow": planting("overflow", (1,)),
    "wildcard": planting("wildcard", (1,)),
    "malformed but marked": planting("malformed_event", (1, 2), form=PARKED_BUT_MARKED),
    "unknown client": planting("cometd_unknown_client", (1, 2), advice=("handshake", "none", "absent")),
    "cometd 401": planting("cometd_401", (1,)),
    "busy": planting("cometd_503_busy", (1, 2)),
    "html": planting("cometd_html_503", (1, 2)),
    "cut with events": planting("cometd_cut", (1, 3), match="events=[1-9]"),
    "cut in a body": planting("cometd_cut_mid_body", (1, 3), match="events=[1-9]"),
    "cometd hang": planting("cometd_hang", (1,), s=(30, 300)),
    "cometd delay": planting("cometd_delay", (1, 3), s=(1, 20)),
    "cometd limit": planting("cometd_daily_limit", (1,)),
    "cometd clients": planting("cometd_concurrent_limit", (1, 2), scope=("organization", "server")),
    "subscribe refused": planting("subscribe_refuse", (1,)),
    "subscribe unanswered": planting("subscribe_no_reply", (1,)),
    "handshake refused": planting("handshake_refuse", (1,)),
    "repeated": repeated,
    "reconnects cut": cut_everywhere,
    "withheld": withheld,
    "delayed": delayed,
    "expired": expired,
    "days pass": days_pass,
    "stale read": planting("stale_read", (5, 30), s=(1.0, 2.0, 3.0)),
    "rest error": planting("status", (1, 3), code=(500, 503)),
    "rest cut": planting("cut", (1, 3)),
    "rest truncated": planting("truncate", (1, 3)),
    "rest delayed": planting("delay", (1, 3), s=(1.0, 20.0)),
    "rest hang": planting("hang", (1,), s=(30, 300)),
    "rest limit": planting("limit_reached", (1,), which=("daily", "concurrent")),
    "token refused": planting("token_status", (1,), status=(503,)),
    "login refused": planting("token_refuse", (1,)),
    "revoked": revoked,
    "weather": bad_weather,
    "kill": killed,
    "kill at the start": killed_at_start,
    "stop": stopped,
    "signals": signals,
    "statement lost": statement_lost,
    "postgres down": postgres_down,
    "second daemon": second_daemon,
    "second daemon in an outage": second_daemon_in_an_outage,
    "clock jump": clock_jump,
    "mapping changed": mapping_changed,
    "decline": declined,
    "decide": decided,
    "asked": asked,
    "import": imported,
    "erase": erased,
}
WHERE_SWEPT: Mapping[str, Act] = {
    "lost": planting("lose_event", (3, 20)),
    "malformed": planting("malformed_event", (1, 3), form=SPOILT),
    "silent": silent,
    "field hidden": field_hidden,
    "mapped field changed": mapped_field_changed,
}
ALL = {**EVERYWHERE, **WHERE_SWEPT}
AT_WILL: Mapping[str, Act] = {
    "text revised": text_revised,
    "silent children": silent_children,
    "half deleted": half_deleted,
    "late account": late_account,
    "lock lost": lock_lost,
}
"""Acts that come only where a swarm names them: in any mode, and nobody counts them."""


def acts_for(mode: str, rng: random.Random, swarm: Collection[str] = ()) -> dict[str, Act]:
    """Draw the kinds that one history may have; those of *swarm* that this mode knows are always among them."""
    if unknown := sorted(set(swarm) - ALL.keys() - AT_WILL.keys()):
        raise ValueError(f"no act is called {', '.join(unknown)}; choose from: {', '.join(ALL)}")
    possible = EVERYWHERE if mode == "stream" else ALL
    share = rng.choice([0.0, 0.1] if swarm else [0.1, 0.25, 0.5])
    drawn = {name: act for name, act in possible.items() if rng.random() < share} | {"burst": burst}
    return drawn | {name: act for name, act in {**possible, **AT_WILL}.items() if name in swarm}


__all__ = [
    "ALL",
    "EVERYWHERE",
    "HIDEABLE",
    "SOME",
    "WHERE_SWEPT",
    "Act",
    "Stage",
    "acts_for",
    "declined",
    "expired",
    "show_or_hide",
]

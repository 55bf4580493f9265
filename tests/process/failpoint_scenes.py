"""In which scene each failpoint is reached: what happens before the daemon starts, while it runs, and afterwards.

Why: whatever the org does before a daemon starts is delivered to it at once, so most scenes need no waiting: the daemon
starts, comes to the point and is gone. The table names every point of the source; a test holds it to that.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.acceptance.stage import STREAM_ONLY, Daemon, Stage, until
from tests.process.failpoint_ground import Ground

QUICK = {"SFSYNC_SYNC__SETTLE_S": "0.2", "SFSYNC_SYNC__SWEEP_PAGE": "5"}


@dataclass(frozen=True, slots=True)
class Play:
    """One play on the ground, as the acts of a scene see it."""

    ground: Ground
    stage: Stage
    requests: list[int] = field(default_factory=list)

    def request(self, kind: str, argument: str | None = None) -> None:
        """Ask the daemon, present or future, for something."""
        query = "INSERT INTO sfsync.request (kind, argument) VALUES ($1, $2) RETURNING id"
        number: int = self.ground.value(query, kind, argument)
        self.ground.execute("NOTIFY sfsync_request")
        self.requests.append(number)

    def waits(self, daemon: Daemon, condition: Callable[[], bool], what: str) -> bool:
        """Wait until *condition* holds or the daemon is gone; return whether it is still there."""
        until(lambda: daemon.is_over or condition(), lambda: f"{what}:\n{daemon.log.tail()}")
        return not daemon.is_over

    def ready(self, daemon: Daemon) -> bool:
        """Wait until the daemon is ready or gone; return whether it is still there."""
        return self.waits(daemon, lambda: bool(daemon.log.all("health.changed", ready=True)), "ready")


Act = Callable[[Play], None]


def nothing(_play: Play) -> None:
    """Nothing happens."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens *before* the daemon starts and *meanwhile*; *after* it was killed, before the next one starts.

    `settings` are the first daemon's, `then` the next one's. A `fresh` scene begins with a store in which nothing is.
    """

    before: Act = nothing
    meanwhile: Callable[[Play, Daemon], None] | None = None
    after: Act = nothing
    settings: Mapping[str, str] = field(default_factory=dict)
    then: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


# What the org does ------------------------------------------------------------------------------------


def changes(play: Play) -> None:
    """People and companies come, change, are converted and merged."""
    org = play.ground.org
    account, other = (org.create("Account", Name=name) for name in ("Stays", "Goes"))
    contacts = [org.create("Contact", LastName=f"Contact {n}", AccountId=account) for n in range(3)]
    leads = [org.create("Lead", LastName=f"Lead {n}", Company="X") for n in range(3)]
    org.update(contacts[0], Phone="1")
    org.update(leads[0], Phone="2")
    org.transact({"op": "convert", "lead": leads[0], "account": account})
    org.transact({"op": "merge", "winner": leads[1], "losers": [leads[2]]})
    org.transact({"op": "merge", "winner": contacts[0], "losers": [contacts[1]]})
    org.transact({"op": "merge", "winner": account, "losers": [other]})
    org.update(contacts[0], Phone="3")
    org.transact({"op": "delete", "id": contacts[2]})


def departures(play: Play) -> None:
    """A company goes with its people and comes back, and one event is a gap."""
    org = play.ground.org
    account = org.create("Account", Name="Leaves")
    contact = org.create("Contact", LastName="Leaves", AccountId=account)
    org.transact({"op": "delete", "id": account})
    org.transact({"op": "undelete", "id": account})
    org.plant("gap", match=contact)
    org.update(contact, Phone="1")


def lost_events(play: Play) -> None:
    """Changes that no event tells of: more than a page of contacts."""
    org = play.ground.org
    org.plant("lose_event", match="^Contact/", times=7)
    for number in range(7):
        org.create("Contact", LastName=f"Unheard {number}")


def overflow(play: Play) -> None:
    """An event that tells only that much happened."""
    org = play.ground.org
    org.plant("overflow", match="^Lead/")
    org.create("Lead", LastName="Among many", Company="X")


def cut_line(play: Play) -> None:
    """Answers to connects break off, that which a daemon killed before still waits for among them."""
    play.ground.org.plant("cometd_cut", match="connect", times=None)
    changes(play)


def expired(play: Play) -> None:
    """Salesforce forgets our position."""
    changes(play)
    play.ground.org.plant("expire_replay")


def half_conversion(play: Play) -> None:
    """A lead says which contact it became, and of the contact no event comes."""
    org = play.ground.org
    account = org.create("Account", Name="X")
    lead = org.create("Lead", LastName="Half", Company="X")
    org.plant("lose_event", match="^Contact/")
    org.transact({"op": "convert", "lead": lead, "account": account})


def poison(play: Play) -> None:
    """An application forbids a name that somebody in Salesforce has."""
    play.ground.execute(
        "ALTER TABLE crm.person ADD CONSTRAINT no_poison CHECK (last_name <> 'Poison') NOT VALID"
    )
    changes(play)
    play.ground.org.create("Contact", LastName="Poison")


def allow_poison(play: Play) -> None:
    play.ground.execute("ALTER TABLE crm.person DROP CONSTRAINT no_poison")


# What somebody asks of the daemon -----------------------------------------------------------------------


def asked_to_pull(play: Play) -> None:
    """Somebody wants a contact that the store does not know yet."""
    play.request("pull", play.ground.org.create("Contact", LastName="Wanted"))


def asked_to_reload(play: Play) -> None:
    play.request("reload")


def asked_to_import(play: Play) -> None:
    """An application brings two people: of one it knows the same as Salesforce, of the other something else."""
    org = play.ground.org
    rows = [(org.create("Lead", LastName=name, Company="X"), name) for name in ("Equal", "Differs")]
    play.request("import", str(play.ground.stage_file([rows[0], (rows[1][0], "Otherwise")])))


def merged_companies(play: Play, daemon: Daemon) -> None:
    """Two companies that the store shows become one."""
    org = play.ground.org
    if not play.ready(daemon):
        return
    companies = [org.create("Account", Name=name) for name in ("Stays", "Goes")]
    shown = "SELECT count(*) FROM crm.company WHERE salesforce_id = ANY ($1)"
    if play.waits(daemon, lambda: play.ground.value(shown, companies) == 2, "two companies"):
        org.transact({"op": "merge", "winner": companies[0], "losers": companies[1:]})


def decided(play: Play, daemon: Daemon) -> None:
    """Somebody decides about everybody who differs."""
    pending = "SELECT array_agg(id) FROM crm.person WHERE sync = 'pending' AND sync_reason = 'differs'"
    if play.waits(daemon, lambda: bool(play.ground.value(pending)), "a question"):
        for person in play.ground.value(pending):
            play.request("decide", json.dumps({"person_id": person, "choice": "sync"}))


def asked_to_purge(play: Play) -> None:
    """Somebody wants to be forgotten."""
    record: str = play.ground.value(
        "SELECT salesforce_id FROM crm.person WHERE deleted_at IS NULL AND starts_with(salesforce_id, '00Q')"
        " AND sync = 'synced' ORDER BY id LIMIT 1"
    )
    play.ground.erased.add(record)
    play.request("purge", json.dumps({"purge": record}))


def erased_one_changes(play: Play, daemon: Daemon) -> None:
    """Salesforce goes on to speak of somebody who was forgotten."""
    unanswered = "SELECT count(*) FROM sfsync.request WHERE done_at IS NULL"
    if play.waits(daemon, lambda: not play.ground.value(unanswered), "the answer"):
        play.ground.org.update(max(play.ground.erased), Phone="9")


# What happens to the process ----------------------------------------------------------------------------


def signalled(number: signal.Signals) -> Callable[[Play, Daemon], None]:
    """Return the act of sending a signal to a daemon that is ready."""

    def send(play: Play, daemon: Daemon) -> None:
        if play.ready(daemon):
            daemon.signal(number)

    return send


def unlocked(play: Play, daemon: Daemon) -> None:
    """Postgres ends the session that holds the leader's lock."""
    if play.ready(daemon):
        play.ground.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


SCENES: Mapping[str, Scene] = {
    "start": Scene(fresh=True, settings={"SFSYNC_SYNC__SWEEP_PAGE": "8"}),
    "changes": Scene(changes, settings=STREAM_ONLY, then=STREAM_ONLY),
    "departures": Scene(departures, settings=STREAM_ONLY, then=STREAM_ONLY),
    "merged companies": Scene(meanwhile=merged_companies, settings=STREAM_ONLY, then=STREAM_ONLY),
    "lost events": Scene(lost_events),
    "overflow": Scene(overflow),
    "cut line": Scene(cut_line, settings=STREAM_ONLY, then=STREAM_ONLY),
    "expired": Scene(expired),
    "half conversion": Scene(
        half_conversion, settings={**STREAM_ONLY, "SFSYNC_SYNC__OTHER_HALF_WAIT_S": "0.3"}
    ),
    "poison": Scene(poison, after=allow_poison, settings=STREAM_ONLY, then=STREAM_ONLY),
    "pull": Scene(asked_to_pull),
    "reload": Scene(asked_to_reload),
    "import": Scene(asked_to_import),
    "decision": Scene(asked_to_import, decided),
    "purge": Scene(asked_to_purge),
    "erased": Scene(asked_to_purge, erased_one_changes),
    "USR1": Scene(meanwhile=signalled(signal.SIGUSR1)),
    "USR2": Scene(meanwhile=signalled(signal.SIGUSR2)),
    "HUP": Scene(meanwhile=signalled(signal.SIGHUP)),
    "TERM": Scene(meanwhile=signalled(signal.SIGTERM)),
    "unlocked": Scene(meanwhile=unlocked),
}


@dataclass(frozen=True, slots=True)
class Cast:
    """The scene in which a point is reached, and how often it is reached there for certain."""

    scene: str
    times: int = 1


def _cast(scene: str, points: str) -> dict[str, Cast]:
    """Read a list like `commit.ready*3 commit.sent`."""
    words = [word.partition("*") for word in points.split()]
    return {name: Cast(scene, int(times or 1)) for name, _, times in words}


POINTS: Mapping[str, Cast] = {
    **_cast(
        "start",
        """leadership.locked migration.run*6 org.bound epoch.claimed columns.added*9 columns.remembered token.fetched
        reproject.committed tip.owed tip.committed backfill.begun*3 backfill.noted*3 backfill.page.applied
        backfill.ended*3 backfill.completed*3""",
    ),
    **_cast(
        "changes",
        """describe.answered*3 mapping.bound stream.handshaken stream.subscribed stream.connect.answered*2 clock.asked
        position.loaded stream.received*2 stream.decided*2 stream.delivered*2 stream.tail.cut batch.taken*2
        apply.loaded*3 ids.reserved mirror.staged*3 mirror.inserted mirror.updated*2 rows.patched*3 members.updated*2
        aliases.written people.asked*2 people.projected*2 people.merged apply.written*3 position.moving*2
        position.moved*2 commit.ready*3 commit.sent*3 commit.answered*3 batch.committed*2 history.pruned figures.kept""",
    ),
    **_cast(
        "departures",
        "companies.projected relatives.marked dirty.marked dirty.cleared refetch.read refetch.applied",
    ),
    **_cast("merged companies", "companies.merged"),
    **_cast(
        "lost events",
        """sweep.begun sweep.page.read*3 sweep.page.applied sweep.last.applied*3 sweep.watermark*3 sweep.certified*3
        sweep.ended read.committed*3""",
    ),
    **_cast("overflow", "resweep.owed"),
    **_cast("cut line", "stream.lost"),
    **_cast("expired", "stream.expired"),
    **_cast("half conversion", "held.found held.released"),
    **_cast("poison", "poison.found poison.parked"),
    **_cast("pull", "request.taken request.served request.answered pull.read pull.applied"),
    **_cast("reload", "reload.tried"),
    **_cast("import", "import.taken import.committed change.projected change.committed"),
    **_cast("decision", "decision.taken"),
    **_cast("purge", "purge.erased purge.answered"),
    **_cast("erased", "erased.dropped"),
    **_cast("USR1", "signal.usr"),
    **_cast("HUP", "signal.hup reload.done"),
    **_cast("TERM", "signal.stop stream.closing shutdown.quiet shutdown.done"),
    **_cast("unlocked", "leadership.lost"),
}
"""Every failpoint of the source."""

MORE: Sequence[tuple[str, Cast]] = (
    ("commit.sent", Cast("start", 3)),
    ("commit.sent", Cast("expired", 3)),
    ("commit.sent", Cast("import", 3)),
    ("people.projected", Cast("departures")),
    ("people.projected", Cast("import")),
    ("mirror.updated", Cast("half conversion")),
    ("commit.answered", Cast("overflow")),
    ("signal.usr", Cast("USR2")),
)
"""Points that are worth being met in another scene, too."""

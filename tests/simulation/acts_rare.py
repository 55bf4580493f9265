"""Acts that bring together what meets too rarely by itself: rows that cannot be stored, companies merged under
somebody whose row may not be touched, events that tell of several records.
"""

from __future__ import annotations

import asyncio

from sfsync.simorg.convert import Conversion, convert

from .acts_store import decline_person
from .stage import Stage

_REFUSE = """
CREATE TABLE IF NOT EXISTS sim.refused (record_id text);
TRUNCATE sim.refused;
CREATE OR REPLACE FUNCTION sim.refuse() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    IF EXISTS (SELECT FROM sim.refused AS r WHERE r.record_id = NEW.salesforce_id) THEN
        RAISE check_violation USING MESSAGE = 'an application does not want this row';
    END IF;
    RETURN NEW;
END
$f$;
CREATE OR REPLACE TRIGGER refuse BEFORE INSERT OR UPDATE ON crm.person FOR EACH ROW EXECUTE FUNCTION sim.refuse();
"""
_LOCK_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def refused(s: Stage) -> None:
    """Rows of some people cannot be written for a while: an application has a constraint of its own."""
    await s.judge.connection.execute(_REFUSE)
    for entity in ("Lead", "Contact"):
        for record_id in s.live(entity, 2):
            await s.judge.connection.execute("INSERT INTO sim.refused VALUES ($1)", record_id)
            with s.org.world.transaction() as tx:
                tx.update(record_id, {"Phone": f"+81-11-{s.rng.randint(1000, 9999)}"})
    s.met.note("fault", "rows refused")

    async def let_go(after_s: float) -> None:
        await asyncio.sleep(after_s)
        await s.judge.connection.execute("TRUNCATE sim.refused")

    s.begin(let_go(s.rng.choice([5.0, 40.0, 200.0])))


async def company_of_declined_merged(s: Stage) -> None:
    """Somebody's company is merged into another one after an application declined the person."""
    accounts = s.live("Account", 2)
    for contact in s.live("Contact", 1) if len(accounts) == 2 else []:
        with s.org.world.transaction() as tx:
            tx.update(contact, {"AccountId": accounts[0]})
        await asyncio.sleep(15)
        person = await s.judge.connection.fetchval(
            "SELECT id FROM crm.active_person WHERE salesforce_id = $1", contact
        )
        if person is None:
            return
        await decline_person(s, person)
        with s.org.world.transaction() as tx:
            tx.merge(accounts[1], [accounts[0]])


async def changed_together(s: Stage) -> None:
    """Several records are changed alike, or deleted, in one transaction, of which one event tells."""
    share, s.org.settings.merge_share = s.org.settings.merge_share, 1.0
    try:
        with s.org.world.transaction() as tx:
            phone, is_end = f"+81-98-{s.rng.randint(1000, 9999)}", s.rng.random() < 0.4
            for record_id in s.live("Lead", 3):
                if is_end:
                    tx.delete(record_id)
                else:
                    tx.update(record_id, {"Phone": phone})
    finally:
        s.org.settings.merge_share = share


async def text_revised(s: Stage) -> None:
    """A word of a long text is changed, of which the event tells the difference alone."""
    for record_id in s.live(s.rng.choice(["Lead", "Contact"]), 1):
        lines = [f"{number}: 東京都千代田区丸の内 1-2-3, {s.rng.randint(1, 99)}F" for number in range(50)]
        for _ in range(s.rng.randint(2, 3)):
            lines[s.rng.randrange(50)] += "!"
            with s.org.world.transaction() as tx:
                tx.update(record_id, {"Description": "\n".join(lines)})
            await asyncio.sleep(s.rng.choice([0.0, 2.0, 20.0]))


async def silent_children(s: Stage) -> None:
    """An account is deleted, and of the contacts that went with it no event tells."""
    for account in s.live("Account", 1):
        contacts = s.live("Contact", 2)
        with s.org.world.transaction() as tx:
            for contact in contacts:
                tx.update(contact, {"AccountId": account})
        await asyncio.sleep(s.rng.choice([1.0, 30.0]))
        lost = s.org.faults.add("lose_event", times=None, match="^Contact")
        with s.org.world.transaction() as tx:
            tx.delete(account)
        s.org.faults.clear(lost.number)


async def half_deleted(s: Stage) -> None:
    """A lead is converted, and later it is deleted, as orgs do that keep no converted ones, or its contact is."""
    for lead in s.live("Lead", 1):
        with s.org.world.transaction() as tx:
            made = convert(s.org.world, tx, Conversion(lead, None))
        await asyncio.sleep(s.rng.choice([0.0, 2.0, 30.0]))
        with s.org.world.transaction() as tx:
            tx.delete(s.rng.choice([lead, made.contact_id]))


async def late_account(s: Stage) -> None:
    """A contact is heard of before its account, of which only a gap tells."""
    name = f"Late{s.rng.randint(1, 999)}"
    gap = s.org.faults.add("gap", times=None, match="^Account")
    with s.org.world.transaction() as tx:
        account = tx.create("Account", {"Name": name})
        tx.create("Contact", {"LastName": name, "AccountId": account})
    s.org.faults.clear(gap.number)


async def lock_lost(s: Stage) -> None:
    """The server ends the session that holds the leader's lock, and the leader does not hear of it."""
    s.standby.start()
    await asyncio.sleep(s.rng.choice([5.0, 60.0]))
    holder = await s.judge.connection.fetchval(_LOCK_HOLDER)
    for session in s.postgres.sessions:
        if session.is_begun and session.real.pid == holder:
            s.postgres.end_unheard(session)

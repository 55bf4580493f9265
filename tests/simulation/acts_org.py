"""Acts of an org's users and administrators, besides its ordinary life.

Each is what somebody does on a working day and what has been told wrongly by a stream or shown late by a read.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from sfsync.simorg.control_input import Input
from sfsync.simorg.convert import Conversion, convert
from sfsync.simorg.errors import ApiError
from sfsync.simorg.fields_change import change_field

from .stage import ENTITIES, Stage

HIDEABLE = (("Contact", "Title"), ("Contact", "Department"), ("Account", "Phone"), ("Lead", "Website"))
LONG_TEXTS = {"Lead": "Street", "Contact": "MailingStreet", "Account": "BillingStreet"}
MAPPED = "Nickname__c"
"""A custom field of leads and contacts that feeds `person.nickname`."""
_TYPES = ("string", "textarea", "double", "date")


async def burst(s: Stage) -> None:
    """Several transactions within one second."""
    for _ in range(s.rng.randint(2, 8)):
        s.life.step()


async def long_transaction(s: Stage) -> None:
    """A transaction that stamps its records now and commits minutes later."""
    tx = s.org.world.transaction()
    try:
        for entity in ENTITIES:
            for record_id in s.live(entity, s.rng.randint(0, 2)):
                tx.update(record_id, {"Phone": f"+81-3-{s.rng.randint(1000, 9999)}"})
    except ApiError:
        tx.rollback()
        return

    async def commit_later(after_s: float) -> None:
        await asyncio.sleep(after_s)
        tx.commit()

    s.begin(commit_later(s.rng.choice([3.0, 40.0, 400.0])))


async def back_dated(s: Stage) -> None:
    """A transaction that was stamped minutes ago and commits now."""
    age = timedelta(seconds=s.rng.choice([2, 30, 500]))
    tx = s.org.world.transaction(started_at=s.org.clock.now() - age)
    try:
        for record_id in s.live(s.rng.choice(["Lead", "Contact"]), 2):
            tx.update(record_id, {"Phone": f"+81-6-{s.rng.randint(1000, 9999)}"})
        tx.commit()
    except ApiError:
        tx.rollback()


async def long_text(s: Stage) -> None:
    """A change of a long text, which events tell as a difference."""
    entity = s.rng.choice(ENTITIES)
    for record_id in s.live(entity, 1):
        line = "東京都千代田区丸の内 1-2-3\n" * s.rng.randint(1, 6)
        with s.org.world.transaction() as tx:
            tx.update(record_id, {LONG_TEXTS[entity]: f"{line}{s.rng.randint(1, 99)}F"})


async def hard_delete(s: Stage) -> None:
    """A live record is gone without a word."""
    for record_id in s.live(s.rng.choice(["Lead", "Contact"]), 1):
        with s.org.world.transaction() as tx:
            tx.purge(record_id)


async def silent(s: Stage) -> None:
    """A transaction that no event tells of."""
    with s.org.world.transaction(silent=True) as tx:
        for record_id in s.live(s.rng.choice(ENTITIES), 2):
            tx.update(record_id, {"Phone": f"+1-{s.rng.randint(1000, 9999)}"})


async def cascade(s: Stage) -> None:
    """An account is deleted with its contacts, or one that was comes back with them."""
    gone = sorted(set(s.org.world.deleted_with.values()))
    if gone and s.rng.random() < 0.5:
        with s.org.world.transaction() as tx:
            tx.undelete(s.rng.choice(gone))
        return
    for account in s.live("Account", 1):
        with s.org.world.transaction() as tx:
            for contact in s.live("Contact", 2):
                tx.update(contact, {"AccountId": account})
        await asyncio.sleep(s.rng.choice([0.0, 1.0, 30.0]))
        with s.org.world.transaction() as tx:
            tx.delete(account)


async def moved(s: Stage) -> None:
    """A person changes companies twice within a second."""
    for contact in s.live("Contact", 1):
        for account in s.live("Account", 2):
            with s.org.world.transaction() as tx:
                tx.update(contact, {"AccountId": account})


async def deleted_and_restored(s: Stage) -> None:
    """A record is deleted and restored, perhaps within a second, and perhaps changed at once."""
    for record_id in s.live(s.rng.choice(ENTITIES), 1):
        with s.org.world.transaction() as tx:
            tx.delete(record_id)
        await asyncio.sleep(s.rng.choice([0.0, 0.5, 20.0]))
        with s.org.world.transaction() as tx:
            tx.undelete(record_id)
        if s.rng.random() < 0.5:
            with s.org.world.transaction() as tx:
                tx.update(record_id, {"Phone": f"+81-52-{s.rng.randint(1000, 9999)}"})


async def converted_person_merged(s: Stage) -> None:
    """The contact that a lead became is merged with another one, as winner or as loser."""
    leads, others = s.live("Lead", 1), s.live("Contact", 1)
    if not leads or not others:
        return
    with s.org.world.transaction() as tx:
        made = convert(s.org.world, tx, Conversion(leads[0], s.rng.choice([None, *s.live("Account", 1)])))
    await asyncio.sleep(s.rng.choice([0.0, 0.8, 15.0]))
    pair = [made.contact_id, others[0]]
    s.rng.shuffle(pair)
    with s.org.world.transaction() as tx:
        tx.merge(pair[0], pair[1:])


async def conversion_in_parts(s: Stage) -> None:
    """A conversion whose parts come one by one, with seconds, a cut or a kill between them."""
    s.org.bus.shut_gate()
    for lead in s.live("Lead", 1):
        with s.org.world.transaction() as tx:
            convert(s.org.world, tx, Conversion(lead, s.rng.choice([None, *s.live("Account", 1)])))

    async def let_through() -> None:
        while s.org.bus.move_gate(1):
            await asyncio.sleep(s.rng.choice([0.0, 0.2, 3.0, 8.0]))
            if s.rng.random() < 0.2:
                s.org.faults.add("cometd_unknown_client", times=1)
            elif s.rng.random() < 0.1:
                s.host.kill()
        s.org.bus.open_gate()

    s.begin(let_through())


# Administrators -----------------------------------------------------------------------------------------------


async def field_hidden(s: Stage) -> None:
    """An administrator hides a mapped field from the integration user, or shows it again."""
    entity, name = s.rng.choice(HIDEABLE)
    show_or_hide(s, entity, name, "show" if (entity, name) in s.hidden else "hide")


def show_or_hide(s: Stage, entity: str, name: str, action: str) -> None:
    """Change who may see a field."""
    _change(s, entity, action, {"name": name})
    (s.hidden.discard if action == "show" else s.hidden.add)((entity, name))


async def field_added(s: Stage) -> None:
    """An administrator adds a field that nobody mapped, and perhaps removes it again."""
    entity = s.rng.choice(ENTITIES)
    name = f"Extra{s.rng.randint(1, 4)}__c"
    if s.org.world.schema.entities[entity].field(name) is None:
        _change(s, entity, "add", {"name": name, "type": "string"})
    else:
        _change(s, entity, "remove", {"name": name})


async def nickname(s: Stage) -> None:
    """Users fill in the custom field that is mapped."""
    for entity in ("Lead", "Contact"):
        field = s.org.world.schema.entities[entity].field(MAPPED)
        values = {"double": float(s.rng.randint(1, 99)), "date": "2026-02-03"}
        for record_id in s.live(entity, 2) if field else []:
            with s.org.world.transaction() as tx:
                tx.update(record_id, {MAPPED: values.get(field.type, f"Nick {s.rng.randint(1, 99)}")})  # type: ignore[union-attr]


async def mapped_field_changed(s: Stage) -> None:
    """An administrator removes, adds again or retypes the custom field that is mapped."""
    entity = s.rng.choice(["Lead", "Contact"])
    if s.org.world.schema.entities[entity].field(MAPPED) is None:
        _change(s, entity, "add", {"name": MAPPED, "type": "string"})
    elif s.rng.random() < 0.4:
        _change(s, entity, "remove", {"name": MAPPED})
    else:
        _change(s, entity, "retype", {"name": MAPPED, "type": s.rng.choice(_TYPES)})
    await nickname(s)


def restore_fields(s: Stage) -> None:
    """Let every mapped field be there again, seen and of its first type."""
    for entity, name in sorted(s.hidden):
        show_or_hide(s, entity, name, "show")
    for entity in ("Lead", "Contact"):
        field = s.org.world.schema.entities[entity].field(MAPPED)
        if field is None:
            _change(s, entity, "add", {"name": MAPPED, "type": "string"})
        elif field.type != "string":
            _change(s, entity, "retype", {"name": MAPPED, "type": "string"})


def _change(s: Stage, entity: str, action: str, field: dict[str, Any]) -> None:
    change_field(s.org.world, Input("simulation", {"entity": entity, "action": action, "field": field}))
    s.note(f"field {action} {entity}.{field['name']} {field.get('type', '')}")
    s.met.note("fault", f"field {action}")

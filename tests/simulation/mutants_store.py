"""Bad designs of the store: who is one person, who speaks, who may be written, who may write, and what cannot be."""

from __future__ import annotations

from .mutant import Mutant

_UNGUARDED = (
    "store/projection.py",
    [
        ("\"(t.sync = 'synced' OR t.merged_into IS NOT NULL) AND \"", '""'),
        ("\"t.sync = 'synced' AND \"", '""'),
    ],
)
"""The statements of the projection look at the decision themselves."""

STORE = (
    Mutant(
        "identity",
        "an undelete does not take a merger back",
        "core/order.py",
        [("    master = master if is_deleted else None\n", "    master = master or row.master_record_id\n")],
        swarm=("deleted and restored",),
    ),
    Mutant(
        "identity",
        "a conversion is forgotten when the lead is deleted",
        "core/identity.py",
        [
            (
                "_edges(present, lambda member: member.converted_contact_id)\n    revocable = _edges(present, lambda member: member.master_record_id)\n    _break_cycles(present, permanent, revocable)\n    groups",
                "_edges(present, lambda member: None if member.is_deleted else member.converted_contact_id)\n    revocable = _edges(present, lambda member: member.master_record_id)\n    _break_cycles(present, permanent, revocable)\n    groups",
            )
        ],
        swarm=("half deleted",),
    ),
    Mutant(
        "identity",
        "a person gets the newest of its ids",
        "core/identity.py",
        [("        subject_id=min(own_ids),", "        subject_id=max(own_ids),")],
    ),
    Mutant(
        "identity",
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
        "identity",
        "aliases are dropped",
        "store/grouping.py",
        [("    await _write_aliases(connection, database, org, groups)\n", "")],
    ),
    Mutant(
        "consent",
        "declined people are written",
        "core/consent.py",
        [
            (
                "        return found.pop(), False",
                "        return Decision.PENDING if found == {Decision.PENDING} else Decision.SYNCED, False",
            )
        ],
        swarm=("decline",),
        also=(_UNGUARDED,),
    ),
    Mutant(
        "consent",
        "a merger with somebody declined is no question",
        "core/consent.py",
        [("    return Decision.PENDING, Decision.DECLINED in found", "    return Decision.SYNCED, False")],
        swarm=("decline", "converted person merged"),
    ),
    Mutant(
        "fencing",
        "a second daemon is not fenced",
        "store/leadership.py",
        [("    if epoch != leadership.epoch:", "    if False:")],
        swarm=("lock lost",),
    ),
    Mutant(
        "identity",
        "the dead speak for the living",
        "core/identity.py",
        [
            (
                "        not member.is_deleted,\n        member.complete",
                "        True,\n        member.complete",
            )
        ],
        swarm=("half deleted",),
    ),
    Mutant(
        "identity",
        "a merger takes the smallest id of both",
        "core/identity.py",
        [
            (
                "    lasting = [root, *(m for m in component if _reaches_for_ever(m.record_id, root.record_id, permanent))]",
                "    lasting = list(component)",
            )
        ],
    ),
    Mutant(
        "identity",
        "what only leads tell is lost with the conversion",
        "core/identity.py",
        [("lead_id=_lasting_lead(component) if speaker.entity is Entity.CONTACT else None", "lead_id=None")],
    ),
    Mutant(
        "identity",
        "the last of several leads stays",
        "core/identity.py",
        [("    return min(leads, key=", "    return max(leads, key=")],
        swarm=("converted person merged",),
    ),
    Mutant(
        "identity",
        "somebody half known becomes a person",
        "store/writing.py",
        [
            (
                "if r.own_id is None and r.row.complete and not r.row.is_deleted]",
                "if r.own_id is None and not r.row.is_deleted]",
            )
        ],
    ),
    Mutant(
        "identity",
        "a contact that changes companies stays with the first",
        "store/writing.py",
        [
            (
                '_RELATING = frozenset({"AccountId", "ConvertedContactId"})',
                '_RELATING = frozenset({"ConvertedContactId"})',
            )
        ],
        swarm=("moved",),
    ),
    Mutant(
        "identity",
        "an account that comes late finds no contacts",
        "store/projecting.py",
        [("            if found.moved:", "            if False:")],
        modes=("stream",),
        swarm=("late account",),
    ),
    Mutant(
        "consent",
        "rows of undecided people are written",
        "core/consent.py",
        [
            (
                "    if len(found) == 1:",
                "    if found == {Decision.PENDING}:\n        return Decision.SYNCED, False\n    if len(found) == 1:",
            )
        ],
        swarm=("import", "decide"),
        also=(_UNGUARDED,),
    ),
    Mutant(
        "addresses",
        "a contact keeps the address of its lead",
        "store/projection.py",
        [
            (
                'contact is None and lead is not None and column.role == "plain"',
                "contact is None and lead is not None",
            )
        ],
    ),
    Mutant(
        "addresses",
        "the preferred side is chosen though it is empty",
        "store/address_views.py",
        [
            (
                "            WHEN f.company_filled = f.person_filled THEN f.preferred\n            WHEN f.company_filled THEN 'company'\n            ELSE 'person'\n",
                "            WHEN true THEN f.preferred\n",
            )
        ],
    ),
    Mutant(
        "addresses",
        "a company that was merged away is not followed",
        "store/address_views.py",
        [("c.id = COALESCE(linked.merged_into, linked.id)", "c.id = linked.id")],
        swarm=("company of declined merged",),
    ),
    Mutant(
        "poison",
        "what cannot be stored stops everybody",
        "store/poison.py",
        [
            (
                "    if type(error) is not StoreError and error.sqlstate != LOCKED:\n        raise error",
                "    raise error",
            )
        ],
        swarm=("rows refused",),
    ),
    Mutant(
        "poison",
        "what cannot be stored is forgotten",
        "store/poison.py",
        [("    mark(row, Cause.POISON, max(batch.heard_ms, row.seen_to_ms))\n", "")],
        swarm=("rows refused",),
    ),
)

"""One transaction on the world: statements staged in private, committed together or not at all.

Why: a change event, a query and getUpdated must all see the same atomic step, and a long transaction must be able to
stamp its rows at statement time and commit them seconds later; the rows it holds are locked meanwhile, as in the
real database, so stamps of one record never run backwards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sfsync.simorg.clock import whole_second
from sfsync.simorg.dml import check_required, check_target, check_values
from sfsync.simorg.errors import DmlError
from sfsync.simorg.history import Change, Commit, Fields, net_kind
from sfsync.simorg.ids import normalize
from sfsync.simorg.schema import EntityDef

if TYPE_CHECKING:
    from sfsync.simorg.world import World

T = TypeVar("T")
MERGEABLE = ("Lead", "Contact", "Account")
# What a delete takes along: the entity and lookup field of the children.
CASCADES = {"Account": (("Contact", "AccountId"), ("Opportunity", "AccountId"))}
# What a merge moves from the loser to the winner.
REPARENTED = {
    "Account": (("Contact", "AccountId"), ("Opportunity", "AccountId"), ("Account", "ParentId")),
    "Contact": (("Contact", "ReportsToId"),),
}


class Transaction:
    """Statements of one user, visible to nobody until `commit`."""

    def __init__(
        self, world: "World", user_id: str, origin: str, *, started_at: datetime | None, silent: bool
    ) -> None:
        self._world = world
        self.user_id = user_id
        self.origin = origin
        self.silent = silent
        self.privileged = False
        self.result: Commit | None = None
        self._started_at = started_at
        self.key = _transaction_key(world)
        self._staged: dict[str, Fields | None] = {}
        self._entities: dict[str, str] = {}
        self._deleted_with: dict[str, str | None] = {}
        world.open_since[self.key] = started_at or world.clock.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def create(self, entity: str, values: Mapping[str, Any]) -> str:
        """Stage a new record and return its id."""
        definition = self._world.schema.entities[entity]
        fields = {f.name: False for f in definition if f.type == "boolean"}
        fields |= {f.name: f.default for f in definition if f.default is not None}  # type: ignore[misc]  # mixed values
        given = check_values(definition, values, creating=True, privileged=self.privileged)
        stamped = self._stamped(fields, created=True) | _present(given)
        check_required(definition, stamped)
        if definition.name == "Lead":
            stamped.setdefault("IsUnreadByOwner", False)
        if definition.field("OwnerId"):
            stamped.setdefault("OwnerId", self.user_id)
        self._check_targets(definition, given)
        record_id = self._world.ids.next(definition.name)
        self._entities[record_id] = definition.name
        self._stage(record_id, {"Id": record_id, **stamped})
        return record_id

    def update(self, record_id: str, values: Mapping[str, Any], *, system: bool = False) -> None:
        """Stage a change; a *system* one (automation) moves SystemModstamp but not LastModifiedDate."""
        fields = self._live(record_id)
        definition = self._definition(record_id)
        if fields.get("IsConverted") and not self.privileged:
            raise DmlError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        given = check_values(definition, values, creating=False, privileged=self.privileged)
        changed = _merged(fields, given)
        check_required(definition, changed)
        self._check_targets(definition, {name: v for name, v in given.items() if v != fields.get(name)})
        self._stage(record_id, self._stamped(changed, system=system))

    def delete(self, record_id: str) -> None:
        """Stage moving a record and its cascade children to the recycle bin."""
        self._bin(record_id, self._live(record_id))
        for child_id in self._children(record_id, CASCADES):
            child = self._read(child_id)
            if child is not None and not child["IsDeleted"]:
                self._bin(child_id, child)
                self._deleted_with[child_id] = record_id

    def undelete(self, record_id: str) -> None:
        """Stage bringing a record back from the recycle bin, with what its deletion took along."""
        fields = self._read(record_id)
        if fields is None or not fields["IsDeleted"]:
            raise DmlError("UNDELETE_FAILED", "Entity is not in the recycle bin")
        parent = self._read(fields["AccountId"]) if fields.get("AccountId") else None
        if parent is not None and parent["IsDeleted"]:
            raise DmlError("UNDELETE_FAILED", "Entity is not in the recycle bin: its account is deleted")
        self._revive(record_id, fields)
        for child_id in self._cascaded(record_id):
            child = self._read(child_id)
            if child is not None and child["IsDeleted"]:
                self._revive(child_id, child)

    def purge(self, record_id: str) -> None:
        """Stage a hard delete, from the recycle bin or of a live record, with its cascade; it makes no event."""
        if self._read(record_id) is None:
            raise DmlError("ENTITY_IS_DELETED", "entity is deleted")
        children = {*self._cascaded(record_id)}
        for child_id in self._children(record_id, CASCADES):
            child = self._read(child_id)
            if child is not None and not child["IsDeleted"]:
                children.add(child_id)
        for gone in (record_id, *sorted(children)):
            self._stage(gone, None)

    def expire(self, record_id: str) -> None:
        """Stage the end of one record's time in the recycle bin; its children have their own."""
        self._stage(record_id, None)

    def attempt(self, statement: Callable[[], T]) -> T:
        """Run *statement*; if it raises, what it staged is forgotten and the error goes on."""
        saved = (dict(self._staged), dict(self._entities), dict(self._deleted_with))
        try:
            return statement()
        except BaseException:
            self._staged, self._entities, self._deleted_with = saved
            raise

    def merge(
        self, winner_id: str, loser_ids: Sequence[str], values: Mapping[str, Any] | None = None
    ) -> None:
        """Stage a merge of up to two losers into the winner: losers to the bin, children moved, winner touched."""
        entity = self._check_merge(winner_id, loser_ids)
        for loser_id in loser_ids:
            loser = self._live(loser_id)
            self._bin(loser_id, {**loser, "MasterRecordId": winner_id})
        for child_entity, lookup in REPARENTED.get(entity, ()):
            for loser_id in loser_ids:
                self._reparent(child_entity, lookup, loser_id, winner_id)
        kept = dict(self._live(winner_id))
        for lookup in ("ParentId", "ReportsToId"):
            if kept.get(lookup) in (winner_id, *loser_ids):
                del kept[lookup]
        definition = self._definition(winner_id)
        given = check_values(definition, values or {}, creating=False, privileged=self.privileged)
        self._stage(winner_id, self._stamped(_merged(kept, given)))

    def commit(self) -> Commit | None:
        """Publish what was staged as one commit and return it; None if nothing came of it."""
        changes = self._changes()
        if changes:
            self.result = self._commit(changes)
            for record_id, parent in self._deleted_with.items():
                if parent is None:
                    self._world.deleted_with.pop(record_id, None)
                else:
                    self._world.deleted_with[record_id] = parent
        self.rollback()
        if self.result is not None:
            self._world.publish(self.result)
        return self.result

    def rollback(self) -> None:
        """Forget what was staged and release the locks."""
        self._world.open_since.pop(self.key, None)
        for record_id in [held for held, key in self._world.locks.items() if key == self.key]:
            del self._world.locks[record_id]
        self._staged = {}

    def read_live(self, record_id: str) -> Fields:
        """Return a copy of a record as this transaction sees it. Raises DmlError unless it is live."""
        return dict(self._live(record_id))

    def set_fields(self, record_id: str, values: Mapping[str, Any]) -> None:
        """Stage stored values as they are: for what the org does by itself, such as a conversion."""
        self._stage(record_id, self._stamped(_merged(self._live(record_id), values)))

    def _commit(self, changes: tuple[Change, ...]) -> Commit:
        world = self._world
        last = world.log[-1].committed_at if world.log else None
        now = world.clock.now()
        committed_at = now if last is None or now > last else last
        started_at = world.open_since[self.key]
        number = world.number + 1
        return Commit(
            number, self.key, started_at, committed_at, self.user_id, self.origin, changes, silent=self.silent
        )

    def _changes(self) -> tuple[Change, ...]:
        # One transaction in four straddles a second: its later entities are announced a second later.
        skew = 1 if self._world.rng.random() < 0.25 else 0
        first_entity = next(iter(self._entities[record_id] for record_id in self._staged), None)
        changes = []
        for record_id, after in self._staged.items():
            before, entity = self._world.get(record_id), self._entities[record_id]
            if before is None and after is None:
                continue
            skew_s = skew if entity != first_entity else 0
            changes.append(Change(entity, record_id, net_kind(before, after), before, after, skew_s))
        return tuple(changes)

    def _read(self, record_id: str) -> Mapping[str, Any] | None:
        return self._staged[record_id] if record_id in self._staged else self._world.get(record_id)

    def _live(self, record_id: str) -> Mapping[str, Any]:
        fields = self._read(record_id)
        if fields is None or fields.get("IsDeleted"):
            raise DmlError("ENTITY_IS_DELETED", "entity is deleted")
        return fields

    def _definition(self, record_id: str) -> EntityDef:
        name = self._entities.get(record_id) or self._world.entity_of(record_id)
        return self._world.schema.entities[name or ""]

    def _stage(self, record_id: str, fields: Fields | None) -> None:
        self._lock(record_id)
        if record_id not in self._entities:
            self._entities[record_id] = self._world.entity_of(record_id) or ""
        account_id = fields.get("AccountId") if fields else None
        if account_id is not None:
            self._lock(account_id)
        self._staged[record_id] = fields

    def _lock(self, record_id: str) -> None:
        if self._world.locks.setdefault(record_id, self.key) != self.key:
            raise DmlError(
                "UNABLE_TO_LOCK_ROW",
                f"unable to obtain exclusive access to this record or 1 records: {record_id}",
            )

    def _stamped(self, fields: Mapping[str, Any], *, created: bool = False, system: bool = False) -> Fields:
        instant = whole_second(self._started_at or self._world.clock.now())
        instant = max(instant, fields.get("SystemModstamp", instant))
        stamped = {**fields, "SystemModstamp": instant}
        if not system:
            stamped |= {"LastModifiedDate": instant, "LastModifiedById": self.user_id}
        if created:
            stamped |= {"CreatedDate": instant, "CreatedById": self.user_id, "IsDeleted": False}
        return stamped

    def _bin(self, record_id: str, fields: Mapping[str, Any]) -> None:
        self._deleted_with[record_id] = None
        self._stage(record_id, self._stamped({**fields, "IsDeleted": True}))

    def _revive(self, record_id: str, fields: Mapping[str, Any]) -> None:
        kept = {name: value for name, value in fields.items() if name != "MasterRecordId"}
        if kept.get("AccountId") and self._read(kept["AccountId"]) is None:
            del kept["AccountId"]
        self._deleted_with[record_id] = None
        self._stage(record_id, self._stamped({**kept, "IsDeleted": False}))

    def _children(self, record_id: str, lookups: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
        for entity, lookup in lookups.get(self._definition(record_id).name, ()):
            yield from self._pointing_at(entity, lookup, record_id)

    def _pointing_at(self, entity: str, lookup: str, target: str) -> list[str]:
        stored = set(self._world.children(entity, lookup, target))
        for record_id, fields in self._staged.items():
            if self._entities[record_id] == entity:
                stored.discard(record_id)
                if fields is not None and fields.get(lookup) == target:
                    stored.add(record_id)
        return sorted(stored)

    def _cascaded(self, record_id: str) -> list[str]:
        known = {**self._world.deleted_with, **self._deleted_with}
        return sorted(child for child, parent in known.items() if parent == record_id)

    def _reparent(self, entity: str, lookup: str, loser_id: str, winner_id: str) -> None:
        for child_id in self._pointing_at(entity, lookup, loser_id):
            child = self._read(child_id)
            if child is not None and not child["IsDeleted"] and child_id != winner_id:
                self._stage(child_id, self._stamped({**child, lookup: winner_id}))

    def _check_merge(self, winner_id: str, loser_ids: Sequence[str]) -> str:
        if not 1 <= len(loser_ids) <= 2 or len({winner_id, *loser_ids}) != len(loser_ids) + 1:
            raise DmlError("INVALID_OPERATION", "a merge takes one winner and one or two other records")
        winner = self._live(winner_id)
        entity = self._definition(winner_id).name
        for record_id in (winner_id, *loser_ids):
            fields = self._live(record_id) if record_id != winner_id else winner
            if self._definition(record_id).name != entity or entity not in MERGEABLE:
                raise DmlError(
                    "INVALID_OPERATION", "only leads, contacts or accounts of one kind can be merged"
                )
            if fields.get("IsConverted"):
                raise DmlError("INVALID_OPERATION", f"converted lead cannot be merged: {record_id}")
        return entity

    def _check_targets(self, entity: EntityDef, given: Mapping[str, Any]) -> None:
        for name, target in given.items():
            field = entity.field(name)
            if field is None or field.type != "reference" or target is None or name == "MasterRecordId":
                continue
            check_target(field, target)
            found = self._read(normalize(target) or target)
            if found is None:
                message = f"invalid cross reference id: {target}"
                raise DmlError("INVALID_CROSS_REFERENCE_KEY", message, [field.name])
            if found.get("IsDeleted"):
                raise DmlError("ENTITY_IS_DELETED", f"entity is deleted: {target}", [field.name])


def _present(fields: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _merged(fields: Mapping[str, Any], values: Mapping[str, Any]) -> Fields:
    return _present({**fields, **values})


def _transaction_key(world: "World") -> str:
    digits = f"{world.rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

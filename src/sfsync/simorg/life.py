"""Background life of the org: what users do all day, at a chosen rate and in believable proportions.

Why: a demo and a random history need the same thing, a stream of sensible changes that can be repeated. Choices come
from a seed; a choice that the state does not allow (nothing to undelete, a locked record) falls back to an update.
"""

import asyncio
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sfsync.simorg.control_input import ControlError, Input
from sfsync.simorg.convert import Conversion, convert
from sfsync.simorg.errors import ApiError
from sfsync.simorg.population import Populace
from sfsync.simorg.transaction import Transaction
from sfsync.simorg.users import owners

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

MIX = {
    "create": 20.0,
    "update": 50.0,
    "reparent": 8.0,
    "convert": 7.0,
    "merge": 4.0,
    "delete": 6.0,
    "undelete": 3.0,
    "purge": 0.0,
}
RATE_MAX = 2_000.0
WEIGHT_MAX = 1e6
TICK_S = 0.02
BREATH = 50
ORIGINS = (
    "",
    "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
    "com/salesforce/api/rest/66.0;client=Erp",
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much happens per second, and in which proportions."""

    rate: float
    seed: int
    mix: dict[str, float]

    @classmethod
    def of(cls, given: Input) -> Self:
        """Return the pace that *given* asks for. Raises ControlError."""
        rate = float(given.required("rate", "a number"))
        if not 0 < rate <= RATE_MAX:
            raise ControlError(f"{given.where}: rate must lie above 0 and up to {RATE_MAX:g}; got {rate}")
        mix = Input(f"{given.where}: mix", given.optional("mix", "an object") or MIX).only(*MIX)
        weights = {name: float(mix.required(name, "a number")) for name in mix.members}
        if not any(weights.values()) or min(weights.values()) < 0 or max(weights.values()) > WEIGHT_MAX:
            limit = f"weights must lie between 0 and {WEIGHT_MAX:g}, and one above 0"
            raise ControlError(f"{mix.where}: {limit}")
        return cls(rate, given.optional("seed", "a whole number") or 1, weights)


class Life:
    """One run of background life; `done` counts what happened, by kind."""

    def __init__(self, org: "Org", pace: Pace) -> None:
        self._org = org
        self.pace = pace
        self._rng = random.Random(pace.seed)
        self._populace = Populace(pace.seed + 1)
        self._task: asyncio.Task[None] | None = None
        # Ids once seen live or deleted, by entity; checked when drawn, so that no step scans the org.
        self._known = {entity: self._ids(entity) for entity in ("Lead", "Contact", "Account")}
        self._generated = org.world.generated.entities
        self._binned: list[str] = []
        self._converted: list[str] = []
        self._owners = owners(org.world)
        self.done: Counter[str] = Counter()
        self.failure: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run(), name="org life")

    async def stop(self) -> None:
        """End it and wait until it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def step(self) -> str:
        """Do one thing in one transaction and return its kind."""
        kinds = list(self.pace.mix)
        kind = self._rng.choices(kinds, [self.pace.mix[name] for name in kinds])[0]
        try:
            done = kind if self._attempt(kind) else self._fall_back()
        except ApiError:
            # Locked by a long transaction, or changed since it was drawn: life goes on.
            done = "refused"
        self.done[done] += 1
        return done

    async def _run(self) -> None:
        try:
            await self._go_on()
        except Exception as error:  # noqa: BLE001  # whatever it was, GET /control/life tells it
            self.failure = f"{type(error).__name__}: {error}"
            traceback.print_exc(file=sys.stderr)

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        started, count = loop.time(), 0
        while True:
            due = int((loop.time() - started) * self.pace.rate)
            for number in range(1, due - count + 1):
                self.step()
                if number % BREATH == 0:
                    # Whoever is too slow for the rate must answer all the same.
                    await asyncio.sleep(0)
            count = due
            await asyncio.sleep(TICK_S)

    def _attempt(self, kind: str) -> bool:
        actions: dict[str, Callable[[Transaction], bool]] = {
            "create": self._create,
            "update": self._update,
            "reparent": self._reparent,
            "convert": self._convert,
            "merge": self._merge,
            "delete": self._delete,
            "undelete": self._undelete,
            "purge": self._purge,
        }
        with self._org.world.transaction(self._rng.choice(self._owners), self._rng.choice(ORIGINS)) as tx:
            return actions[kind](tx)

    def _fall_back(self) -> str:
        if self._attempt("update"):
            return "update"
        self._attempt("create")
        return "create"

    def _create(self, tx: Transaction) -> bool:
        entity = self._rng.choices(("Lead", "Contact", "Account"), (5, 3, 2))[0]
        if entity == "Contact":
            values = self._populace.contact(self._draw("Account"))
        else:
            values = self._populace.lead() if entity == "Lead" else self._populace.account()
        self._known[entity].append(tx.create(entity, values))
        return True

    def _update(self, tx: Transaction) -> bool:
        entity = self._rng.choices(("Lead", "Contact", "Account"), (4, 4, 2))[0]
        record_id = self._draw(entity)
        if record_id is None:
            return False
        fresh = {"Lead": self._populace.lead, "Account": self._populace.account}.get(
            entity, lambda: self._populace.contact(None)
        )()
        count = self._rng.randrange(1, 4)
        changed = dict(
            self._rng.sample(sorted(fresh.items(), key=lambda pair: pair[0]), min(count, len(fresh)))
        )
        clearable = (
            "Title",
            "Fax",
            "Phone",
            "Street",
            "City",
            "MailingCity",
            "BillingCity",
            "Department",
            "Website",
        )
        if self._rng.random() < 0.15:
            definition = self._org.world.schema.entities[entity]
            changed |= {self._rng.choice([name for name in clearable if definition.visible(name)]): None}
        tx.update(record_id, changed)
        return True

    def _reparent(self, tx: Transaction) -> bool:
        contact, account = self._draw("Contact"), self._draw("Account")
        if contact is None or account is None:
            return False
        tx.update(contact, {"AccountId": account})
        return True

    def _convert(self, tx: Transaction) -> bool:
        lead = self._draw("Lead")
        if lead is None:
            return False
        contact = self._draw("Contact") if self._rng.random() < 0.2 else None
        if contact is not None and tx.read_live(contact).get("AccountId") is None:
            contact = None
        account = self._draw("Account") if contact is None and self._rng.random() < 0.3 else None
        conversion = Conversion(lead, account, contact, opportunity=self._rng.random() < 0.7)
        made = convert(self._org.world, tx, conversion)
        self._converted.append(lead)
        if contact is not None:
            return True
        self._known["Contact"].append(made.contact_id)
        if account is None:
            self._known["Account"].append(made.account_id)
        return True

    def _merge(self, tx: Transaction) -> bool:
        entity = self._rng.choice(("Lead", "Contact", "Account"))
        drawn = {self._draw(entity) for _ in range(self._rng.choice((2, 2, 3)))} - {None}
        chosen = sorted(record_id for record_id in drawn if record_id is not None)
        if len(chosen) < 2:
            return False
        self._rng.shuffle(chosen)
        tx.merge(chosen[0], chosen[1:])
        self._binned.extend(chosen[1:])
        return True

    def _delete(self, tx: Transaction) -> bool:
        entity = self._rng.choices(("Lead", "Contact", "Account"), (5, 4, 1))[0]
        record_id = self._draw(entity)
        if entity == "Lead" and self._converted and self._rng.random() < 0.3:
            # Converted leads are cleaned away: nothing else happens to them.
            record_id = self._converted.pop(self._rng.randrange(len(self._converted)))
        if record_id is None:
            return False
        tx.delete(record_id)
        self._binned.append(record_id)
        return True

    def _undelete(self, tx: Transaction) -> bool:
        record_id = self._from_bin()
        if record_id is None:
            return False
        tx.undelete(record_id)
        self._known[str(self._org.world.entity_of(record_id))].append(record_id)
        return True

    def _purge(self, tx: Transaction) -> bool:
        record_id = self._from_bin()
        if record_id is None:
            return False
        tx.purge(record_id)
        return True

    def _from_bin(self) -> str | None:
        while self._binned:
            record_id = self._binned.pop(self._rng.randrange(len(self._binned)))
            fields = self._org.world.get(record_id)
            if fields is not None and fields["IsDeleted"]:
                return record_id
        return None

    def _draw(self, entity: str) -> str | None:
        """Return a live, unlocked and unconverted record, forgetting those that are not live any more."""
        known = self._known[entity]
        base = self._generated.get(entity)
        count = base.count if base is not None else 0
        for _ in range(50):
            if not known and not count:
                return None
            place = self._rng.randrange(len(known) + count) - count
            if base is not None and place < 0:
                if self._is_free(record_id := base.ids.one(place + count)):
                    return record_id
                continue
            fields = self._org.world.get(known[place])
            if fields is None or fields["IsDeleted"] or fields.get("IsConverted"):
                known[place] = known[-1]
                known.pop()
            elif known[place] not in self._org.world.locks:
                return known[place]
        return None

    def _is_free(self, record_id: str) -> bool:
        fields = self._org.world.get(record_id)
        is_usable = fields is not None and not fields["IsDeleted"] and not fields.get("IsConverted")
        return is_usable and record_id not in self._org.world.locks

    def _ids(self, entity: str) -> list[str]:
        rows = self._org.world.snapshot().stored_by_id(entity)
        return [i for i, f in rows if not f["IsDeleted"] and not f.get("IsConverted")]

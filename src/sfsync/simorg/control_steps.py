"""Transactions ordered through the control API: a list of steps, done at once or held open for a while.

Why: a test says what happens in the org in its own words, several statements in one transaction, as a user or a
batch job would; records made by one step are named (`as`) for the next (`$name`).
"""

import asyncio
from typing import TYPE_CHECKING, Any

from sfsync.simorg.control_input import ControlError, Input
from sfsync.simorg.convert import CONVERTED_STATUS, Conversion, convert
from sfsync.simorg.errors import ApiError
from sfsync.simorg.ids import normalize
from sfsync.simorg.transaction import Transaction

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

TICK_S = 0.02


class Steps:
    """The steps of one order, run in a transaction."""

    def __init__(self, org: "Org", tx: Transaction) -> None:
        self._org = org
        self._tx = tx
        self.names: dict[str, str] = {}
        tx.privileged = True

    def run(self, steps: list[Any], where: str) -> list[Any]:
        """Do all steps and return the result of each. Raises ControlError naming the step that failed."""
        results = []
        for place, step in enumerate(steps):
            if not isinstance(step, dict):
                raise ControlError(f"{where}: steps[{place}] must be an object; got {step!r}")
            try:
                results.append(self._step(Input(f"{where}: steps[{place}]", step)))
            except ApiError as error:
                raise ControlError(f"{where}: steps[{place}]: {error.code}: {error.message}") from error
        return results

    def _step(self, step: Input) -> Any:
        actions = {
            "create": self._create,
            "update": self._update,
            "delete": self._simple,
            "undelete": self._simple,
            "purge": self._simple,
            "merge": self._merge,
            "convert": self._convert,
        }
        return actions[step.chosen("op", actions)](step)

    def _create(self, step: Input) -> dict[str, str]:
        step.only("op", "entity", "fields", "as")
        entity = step.chosen("entity", self._org.world.schema.entities)
        record_id = self._tx.create(entity, self._values(step))
        self._name(step, "as", record_id)
        return {"id": record_id}

    def _update(self, step: Input) -> dict[str, str]:
        step.only("op", "id", "fields", "system")
        record_id = self._id(step, "id")
        self._tx.update(record_id, self._values(step), system=bool(step.optional("system", "true or false")))
        return {"id": record_id}

    def _simple(self, step: Input) -> dict[str, str]:
        step.only("op", "id")
        record_id = self._id(step, "id")
        match step.members["op"]:
            case "delete":
                self._tx.delete(record_id)
            case "undelete":
                self._tx.undelete(record_id)
            case _:
                self._tx.purge(record_id)
        return {"id": record_id}

    def _merge(self, step: Input) -> dict[str, str]:
        step.only("op", "winner", "losers", "fields")
        winner = self._id(step, "winner")
        losers = [self._known(step, "losers", text) for text in step.texts("losers")]
        self._tx.merge(winner, losers, self._values(step) if "fields" in step.members else None)
        return {"id": winner}

    def _convert(self, step: Input) -> dict[str, str | None]:
        step.only("op", "lead", "account", "contact", "owner", "status", "opportunity", "as")
        opportunity = step.optional("opportunity", "true or false")
        conversion = Conversion(
            self._id(step, "lead"),
            self._id(step, "account") if step.members.get("account") else None,
            self._id(step, "contact") if step.members.get("contact") else None,
            step.optional("status", "a string") or CONVERTED_STATUS,
            opportunity=opportunity is not False,
            owner_id=self._id(step, "owner") if step.members.get("owner") else None,
        )
        made = convert(self._org.world, self._tx, conversion)
        self._name(step, "as", made.contact_id)
        return {"account": made.account_id, "contact": made.contact_id, "opportunity": made.opportunity_id}

    def _values(self, step: Input) -> dict[str, Any]:
        values = step.required("fields", "an object")
        return {name: self._resolved(step, name, value) for name, value in values.items()}

    def _resolved(self, step: Input, name: str, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("$") and name.endswith("Id"):
            return self._known(step, f"fields.{name}", value)
        return value

    def _id(self, step: Input, name: str) -> str:
        return self._known(step, name, step.required(name, "a string"))

    def _known(self, step: Input, name: str, text: str) -> str:
        if text.startswith("$"):
            if text[1:] not in self.names:
                raise ControlError(f"{step.where}: {name}: nothing was named {text[1:]!r} with 'as' before")
            return self.names[text[1:]]
        record_id = normalize(text)
        if record_id is None:
            raise ControlError(f"{step.where}: {name}: {text!r} is no record id of 15 or 18 characters")
        return record_id

    def _name(self, step: Input, name: str, record_id: str) -> None:
        alias = step.optional(name, "a string")
        if alias is not None:
            self.names[alias] = record_id


async def hold_open(org: "Org", tx: Transaction, duration_s: float) -> None:
    """Commit *tx* once *duration_s* of org time has gone by."""
    due = org.clock.now().timestamp() + duration_s
    try:
        # Polled, because org time may be moved meanwhile.
        while org.clock.now().timestamp() < due:  # noqa: ASYNC110
            await asyncio.sleep(TICK_S)
        tx.commit()
    finally:
        tx.rollback()

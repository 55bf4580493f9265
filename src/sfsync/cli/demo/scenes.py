"""The scenes that a life left to chance may not play: each is made to happen, and its rows are shown.

Why: whoever watches should see what sfsync is for: a lead that becomes a contact stays the same person, a person
follows to another company, an address that no letter reaches is flagged, and somebody who was imported and differs
waits for a human decision. What is shown is what an application's SQL returns, at that moment.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from ...errors import ConfigError
from .screen import Screen
from .stage import Org, run_sfsync

_WAIT_S = 20.0
_LOOK_S = 0.05
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Scenes:
    """Plays the scenes on a stage that is set; `env` is the daemon's, for the commands an operator would run."""

    org: Org
    dsn: str
    env: Mapping[str, str]
    screen: Screen
    directory: Path

    async def play(self) -> None:
        """Play all scenes, one after the other. Raises `ConfigError` when one does not come to its end."""
        store = await asyncpg.connect(self.dsn)
        try:
            for scene in (self._conversion, self._move, self._incomplete_address, self._question):
                await scene(store)
                await asyncio.sleep(_PAUSE_S)
        finally:
            await store.close()

    async def _conversion(self, store: Any) -> None:
        made = await self._transact(
            _create("Lead", "lead", LastName="山田", FirstName="太郎", Company="株式会社サンプル")
        )
        before = await self._person(store, made["lead"], "source = 'lead'")
        self._say(f"scene 1: lead 山田 太郎 is person {before['id']} …", "source lead, no company")
        await self._transact({"op": "convert", "lead": made["lead"]})
        after = await self._person(store, made["lead"], "source = 'contact' AND company_id IS NOT NULL")
        self._say(
            f"… converted, it stays person {after['id']}",
            f"source contact {after['salesforce_id']}, company {after['company_id']}",
        )

    async def _move(self, store: Any) -> None:
        made = await self._transact(
            _create("Account", "from", Name="旧会社"), _create("Account", "to", Name="新会社")
        )
        made |= await self._transact(_create("Contact", "contact", LastName="佐藤", AccountId=made["from"]))
        before = await self._person(store, made["contact"], "company_id IS NOT NULL")
        await self._transact({"op": "update", "id": made["contact"], "fields": {"AccountId": made["to"]}})
        after = await self._person(store, made["contact"], f"company_id <> {before['company_id']}")
        self._say(
            f"scene 2: contact 佐藤, person {after['id']}, moves to 新会社",
            f"company {before['company_id']} → {after['company_id']}",
        )

    async def _incomplete_address(self, store: Any) -> None:
        made = await self._transact(
            _create("Contact", "contact", LastName="鈴木", MailingPostalCode="１０００００５")
        )
        person = await self._person(store, made["contact"], "true")
        address = await store.fetchrow("SELECT * FROM crm.person_address WHERE person_id = $1", person["id"])
        self._say(
            f"scene 3: contact 鈴木, person {person['id']}, has an address that no letter reaches",
            f"needs_address_entry, {address['postal_code']}, missing {', '.join(address['missing'])}",
        )

    async def _question(self, store: Any) -> None:
        made = await self._transact(
            _create("Contact", "contact", LastName="高橋", MailingCity="横浜市"), silent=True
        )
        people = self.directory / "people.csv"
        with people.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(
                [("crm_id", "last_name", "city"), (made["contact"], "高橋", "川崎市")]
            )
        await run_sfsync("import", str(people), env=self.env)
        person = await self._person(store, made["contact"], "sync = 'pending' AND sync_reason = 'differs'")
        question = await store.fetchrow(
            "SELECT * FROM crm.pending_decision WHERE person_id = $1 AND column_name = 'city'", person["id"]
        )
        self._say(
            f"scene 4: 高橋 was imported as person {person['id']}, and differs: a human must decide",
            f"city: {question['stored_value']} here, {question['salesforce_value']} in Salesforce",
        )
        await asyncio.sleep(_PAUSE_S)
        await run_sfsync("decide", "sync", str(person["id"]), "--by", "the demo", env=self.env)
        person = await self._person(store, made["contact"], "sync = 'synced'")
        self._say(f"… decided: person {person['id']} follows Salesforce", f"synced, city {person['city']}")

    async def _transact(self, *steps: Mapping[str, object], silent: bool = False) -> dict[str, str]:
        told = await self.org.tell("transaction", {"steps": steps, "silent": silent})
        ids: dict[str, str] = told["ids"]
        return ids

    async def _person(self, store: Any, record_id: str, condition: str) -> Any:
        """Wait until the person of a record is there and fulfils a condition."""
        query = (
            "SELECT * FROM crm.person WHERE id ="
            f" (SELECT r.person_id FROM crm.person_record AS r WHERE r.salesforce_id = $1) AND {condition}"
        )
        deadline = time.monotonic() + _WAIT_S
        while (row := await store.fetchrow(query, record_id)) is None:
            if time.monotonic() > deadline:
                raise ConfigError(f"{record_id} did not become what it must ({condition}); see the log")
            await asyncio.sleep(_LOOK_S)
        return row

    def _say(self, sentence: str, row: str) -> None:
        self.screen.tell(time.strftime("%H:%M:%S", time.gmtime()), sentence, f"→ {row}")


def _create(entity: str, name: str, **fields: str) -> dict[str, object]:
    return {"op": "create", "entity": entity, "fields": fields, "as": name}

"""Recipes of the org: records that change hands, limits, logins, and fields that an administrator takes away."""

from __future__ import annotations

import asyncio

from ...errors import ConfigError
from .fitting import NOTE_FIELD, MappedField
from .recipe import recipe
from .scene import Scene


@recipe(
    "a lead is converted into a contact and an account",
    expected="The person keeps its id and is a contact with a company from then on.",
)
async def conversion(scene: Scene) -> None:
    lead = await scene.create("Lead")
    await scene.equal()
    await scene.transact({"op": "convert", "lead": lead})


@recipe(
    "two contacts are merged",
    expected="One person remains; the other's id resolves to it for ever.",
)
async def merge(scene: Scene) -> None:
    made = await scene.transact(scene.creation("Contact", "winner"), scene.creation("Contact", "loser"))
    await scene.equal()
    await scene.transact({"op": "merge", "winner": made["winner"], "losers": [made["loser"]]})


@recipe(
    "an account is deleted with its contacts, and restored",
    expected="Its people are deleted with it and come back with it, under the same ids.",
)
async def cascade_delete(scene: Scene) -> None:
    made = await scene.transact(
        scene.creation("Account", "account"),
        scene.creation("Contact", "one", AccountId="$account"),
        scene.creation("Contact", "two", AccountId="$account"),
    )
    await scene.equal()
    await scene.transact({"op": "delete", "id": made["account"]})
    await scene.equal()
    await scene.transact({"op": "undelete", "id": made["account"]})


@recipe(
    "a contact is deleted and purged from the recycle bin at once",
    expected="The delete event tells; the person is deleted.",
)
async def hard_delete(scene: Scene) -> None:
    contact = await scene.create("Contact")
    await scene.equal()
    await scene.transact({"op": "delete", "id": contact})
    await scene.transact({"op": "purge", "id": contact})


@recipe(
    "a contact is hard-deleted without any event (Bulk API)",
    expected="Neither an event nor a query tells: the person stays, which is a declared limit.",
)
async def silent_hard_delete(scene: Scene) -> None:
    contact = await scene.create("Contact")
    await scene.equal()
    await scene.transact({"op": "delete", "id": contact}, {"op": "purge", "id": contact}, silent=True)


@recipe(
    "a transaction stamps a record and commits seconds later",
    expected="It comes by the stream when it commits; a sweep reads further back than its stamp (sync.look_back_s).",
)
async def long_transaction(scene: Scene) -> None:
    lead = await scene.create("Lead")
    await scene.equal()
    await asyncio.gather(scene.update(lead, duration_s=2.5, Title="Late"), scene.create("Lead"))


@recipe(
    "the daily API calls are spent (REQUEST_LIMIT_EXCEEDED)",
    expected="Events go on; sweeps and reads wait a quarter of an hour.",
)
async def daily_quota(scene: Scene) -> None:
    allowed = (await scene.stage.org.ask("settings"))["api_limit"]
    await scene.tell("settings", {"api_limit": 1})
    await scene.create("Lead")
    await scene.saw("salesforce.limit.reached")
    await scene.equal()
    await scene.tell("settings", {"api_limit": allowed})
    scene.begin_anew()


@recipe(
    "too many long API calls run at once (concurrent limit)",
    expected="The read waits half a minute and is made again.",
)
async def concurrent_quota(scene: Scene) -> None:
    await scene.plant("limit_reached", which="concurrent", match="query")
    await scene.create("Lead")
    await scene.saw("salesforce.limit.reached")
    scene.begin_anew()


@recipe(
    "the day's event deliveries are spent",
    expected="The stream waits; sweeps stand in for it until deliveries are allowed again.",
)
async def event_quota(scene: Scene) -> None:
    await scene.plant("cometd_daily_limit", times=None)
    await scene.create("Lead")
    await scene.saw("salesforce.limit.reached")
    await scene.equal()
    await scene.heal()
    scene.begin_anew()


@recipe("all tokens are revoked", expected="A new login, and the stream goes on from the committed position.")
async def revoked_token(scene: Scene) -> None:
    await scene.tell("revoke")
    await scene.create("Lead")


@recipe(
    "the credentials are refused while it runs",
    expected="Red, and tried slowly (sync.auth_retry_s), since quick attempts lock users out.",
)
async def refused_credentials(scene: Scene) -> None:
    await scene.tell("settings", {"login_state": "wrong_secret"})
    await scene.tell("revoke")
    await scene.create("Lead")
    await scene.saw("salesforce.auth.refused")
    await scene.tell("settings", {"login_state": "ok"})
    scene.begin_anew()


@recipe(
    "a mapped field is hidden from the user",
    expected="Its column keeps its last values, all else goes on; when the field is back, the column is read anew.",
)
async def hidden_field(scene: Scene) -> None:
    fields = scene.stage.fit.losable
    field = next((one for one in fields if one.name != NOTE_FIELD), None)
    if field is None:
        raise ConfigError("your mapping has no field that could be hidden")
    await _lose(scene, field, "hide", "show")


@recipe(
    "a mapped custom field is removed from the org",
    expected="As for a hidden field; take it out of the mapping, or have it made again.",
)
async def removed_field(scene: Scene) -> None:
    field = next((one for one in scene.stage.fit.losable if one.is_custom), None)
    if field is None:
        raise ConfigError("your mapping has no custom field, and only such can be removed")
    await _lose(scene, field, "remove", "add")


async def _lose(scene: Scene, field: MappedField, away: str, back: str) -> None:
    """Take a field away until the daemon knows, show that all other columns go on, and give it back."""
    table, _, column = field.column.partition(".")
    scene.notes.append(f"{field} → {field.column}")
    await scene.tell("fields", {"entity": field.entity, "action": away, "field": {"name": field.name}})
    scene.struck()
    await scene.saw("mapping.column.suspended", table=table, column=column)
    await scene.transact(scene.creation(field.entity, "it", without=field))
    await scene.equal(without={field.column})
    definition = {"name": field.name} | ({"type": field.type} if back == "add" else {})
    await scene.tell("fields", {"entity": field.entity, "action": back, "field": definition})
    await scene.saw("mapping.column.resumed", table=table, column=column)
    await scene.settled()
    await scene.calm()

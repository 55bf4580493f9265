"""View All: what its loss hides, and the queries by which a client can tell whether it has it."""

from __future__ import annotations

from tests.simorg.site import Site

PROOF = "SELECT ParentId, PermissionsViewAllRecords FROM ObjectPermissions WHERE SobjectType = 'Lead' AND ParentId IN"
SETS = "(SELECT PermissionSetId FROM PermissionSetAssignment WHERE AssigneeId = '{user}')"


async def proof(site: Site) -> list[bool]:
    found = await site.soql(f"{PROOF} {SETS.format(user=site.org.credentials.user_id)}")
    return sorted(row["PermissionsViewAllRecords"] for row in found)


async def two_leads(site: Site) -> tuple[str, str]:
    """Make a lead of the API user and one of somebody else."""
    other = next(
        row["Id"] for row in await site.soql("SELECT Id FROM User") if row["Id"] != site.org.world.user_id
    )
    ids = await site.transact(
        {"op": "create", "entity": "Lead", "fields": {"LastName": "Own", "Company": "C"}, "as": "own"},
        {
            "op": "create",
            "entity": "Lead",
            "fields": {"LastName": "Other", "Company": "C", "OwnerId": other},
            "as": "other",
        },
    )
    return ids["own"], ids["other"]


async def test_a_record_of_others_vanishes_from_every_read(site: Site) -> None:
    """A query answers 200 and fewer rows; nothing else tells that a record is still there."""
    own, other = await two_leads(site)
    await site.control("POST", "settings", {"denied_entities": ["Lead"]})
    assert [row["Id"] for row in await site.soql("SELECT Id FROM Lead")] == [own]
    assert [row["Id"] for row in await site.soql("SELECT Id FROM Lead ORDER BY SystemModstamp, Id")] == [own]
    assert await site.soql(f"SELECT Id FROM Lead WHERE Id = '{other}'", deleted=True) == []
    assert (await site.get("query", q="SELECT COUNT() FROM Lead"))["totalSize"] == 1
    assert (await site.ask("GET", f"sobjects/Lead/{other}")).status == 404
    body = {"ids": [own, other], "fields": ["Id"]}
    read = (await site.ask("POST", "composite/sobjects/Lead", body)).body
    assert [row and row["Id"] for row in read] == [own, None]
    assert (await site.ask("GET", "sobjects/Lead/describe")).status == 200


async def test_a_deletion_of_others_is_not_told(site: Site) -> None:
    """The list of deletions names only what the user could see."""
    own, other = await two_leads(site)
    await site.transact({"op": "delete", "id": own}, {"op": "delete", "id": other})
    span = {"start": "2026-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z"}
    begin = site.org.clock.now().timestamp() - 3600
    span["start"] = f"{site.org.clock.now().fromtimestamp(begin):%Y-%m-%dT%H:%M:%SZ}"
    await site.control("POST", "clock", {"advance_s": 120})
    await site.control("POST", "settings", {"denied_entities": ["Lead"]})
    gone = (await site.get("sobjects/Lead/deleted", **span))["deletedRecords"]
    assert [row["id"] for row in gone] == [own]


async def test_view_all_shows_in_the_permission_sets_of_the_user(site: Site) -> None:
    """One set of several grants it; it is gone in the moment it is taken away, and for that entity only."""
    assert await proof(site) == [False, True]
    await site.control("POST", "settings", {"denied_entities": ["Lead"]})
    assert await proof(site) == [False, False]
    rows = await site.soql("SELECT SobjectType FROM ObjectPermissions WHERE PermissionsViewAllRecords = true")
    assert sorted(row["SobjectType"] for row in rows) == ["Account", "Contact", "Opportunity"]


async def test_view_all_data_is_read_through_the_assignment(site: Site) -> None:
    """The relationship to the set leads to what holds for all entities."""
    user = site.org.credentials.user_id
    text = (
        "SELECT PermissionSet.PermissionsViewAllData, PermissionSet.IsOwnedByProfile FROM PermissionSetAssignment "
        f"WHERE AssigneeId = '{user}'"
    )
    sets = [row["PermissionSet"] for row in await site.soql(text)]
    assert sorted(found["IsOwnedByProfile"] for found in sets) == [False, True]
    assert not any(found["PermissionsViewAllData"] for found in sets)


async def test_setup_is_for_queries_only(site: Site) -> None:
    """Neither the list of entities nor the control API's records name it."""
    names = {entity["name"] for entity in (await site.get("sobjects"))["sobjects"]}
    assert "ObjectPermissions" not in names
    assert {record["entity"] for record in (await site.control("GET", "state"))["records"]} == {"User"}

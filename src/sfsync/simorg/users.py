"""The people who work in the org, and what they are permitted.

Why the permissions: absence in a read means something only to a user with View All, and these objects are where a
client can learn whether it has that. A user's permissions are the sum of several sets: the one of the profile, and
others that grant less.

Source: Object Reference, "PermissionSet", "PermissionSetAssignment", "ObjectPermissions".
"""

from collections.abc import Iterator
from datetime import datetime

from sfsync.simorg.clock import whole_second
from sfsync.simorg.history import Change, Commit, Fields
from sfsync.simorg.world import World

_PEOPLE = (
    ("sync@example.com", "Sync", "Integration"),
    ("admin@example.com", "管理", "佐和子"),
    ("rep1@example.com", "営業", "一郎"),
    ("rep2@example.com", "Seller", "Sam"),
)


def found_users(world: World) -> None:
    """Write the org's users; the first gets the world's own user id."""
    now = whole_second(world.clock.now())
    changes = []
    for username, last_name, first_name in _PEOPLE:
        user_id = world.user_id if username == _PEOPLE[0][0] else world.ids.next("User")
        fields: Fields = {
            "Id": user_id,
            "Username": username,
            "Email": username,
            "LastName": last_name,
            "FirstName": first_name,
            "IsActive": True,
            "IsDeleted": False,
            "CreatedDate": now,
            "LastModifiedDate": now,
            "SystemModstamp": now,
        }
        changes.append(Change("User", user_id, "CREATE", None, fields))
    changes.extend(_permissions(world, [change.record_id for change in changes], now))
    world.publish(Commit(1, "founding", now, now, world.user_id, "", tuple(changes), silent=True))


def _permissions(world: World, users: list[str], now: datetime) -> Iterator[Change]:
    """Make two permission sets: all users have the profile's, with View All, and the first one without it too."""
    for name, label, of_profile in (
        ("X00e5i000000Sync", "Integration", True),
        ("Sync_Extra", "Sync extra", False),
    ):
        named: Fields = {"Name": name, "Label": label, "IsOwnedByProfile": of_profile}
        yield (parent := _setup(world, "PermissionSet", now, named))
        for user_id in users if of_profile else users[:1]:
            assigned: Fields = {"PermissionSetId": parent.record_id, "AssigneeId": user_id, "IsActive": True}
            yield _setup(world, "PermissionSetAssignment", now, assigned)
        for entity in ("Account", "Contact", "Lead", "Opportunity"):
            granted: Fields = {"ParentId": parent.record_id, "SobjectType": entity, "PermissionsRead": True}
            yield _setup(
                world, "ObjectPermissions", now, {**granted, "PermissionsViewAllRecords": of_profile}
            )


def _setup(world: World, entity: str, now: datetime, fields: Fields) -> Change:
    record_id = world.ids.next(entity)
    kept: Fields = {"Id": record_id, **fields, "IsDeleted": False, "SystemModstamp": now}
    return Change(entity, record_id, "CREATE", None, kept)


def owners(world: World) -> list[str]:
    """Return the ids of the users, who own the org's records."""
    return [record_id for record_id, _ in world.snapshot().by_id("User")]

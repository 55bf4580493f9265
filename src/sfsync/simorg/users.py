"""The people who work in the org: the integration user, an administrator and two sales representatives."""

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
    world.publish(Commit(1, "founding", now, now, world.user_id, "", tuple(changes), silent=True))


def owners(world: World) -> list[str]:
    """Return the ids of the users, who own the org's records."""
    return [record_id for record_id, _ in world.snapshot().by_id("User")]

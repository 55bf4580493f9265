"""What the control API may change of login and push, apart from the timings and limits in `org.Settings`.

Why: each of these is a point where Salesforce's documents and captured messages disagree or keep silent, so a client
has to survive both; the default is what a present-day org does most often.
"""

from dataclasses import dataclass, field

from sfsync.simorg.oauth_errors import REFUSALS

CHOICES: dict[str, tuple[str, ...]] = {
    "cleared_compound": ("bare", "dotted"),
    "commit_numbers": ("ns", "scn"),
    "connect_place": ("last", "first", "shuffled"),
    "login_state": ("ok", *REFUSALS),
}
UNSUPPORTED = {"person_accounts": "this org simulates business accounts only"}


@dataclass(slots=True)
class PushSettings:
    """Base of `org.Settings`."""

    # --- change events
    # A wholly cleared compound: "bare" sends null and the bare name, "dotted" sends each component as null.
    cleared_compound: str = "bare"
    # The share of equal changes of one transaction that is merged into one event, and of updates split into two.
    merge_share: float = 0.5
    split_share: float = 0.0
    # The share of events whose commit second lies one below their record's LastModifiedDate.
    skew_share: float = 0.1
    # "ns": commit numbers like epoch nanoseconds, beyond 2^53 (newer orgs); "scn": small ones (older orgs).
    commit_numbers: str = "ns"
    # --- CometD
    # Accept any replay id between the oldest and the newest retained one, not only ids that were given to an event.
    replay_anywhere: bool = False
    # Refuse a subscribe whose replay map lacks its channel, as some captures show; the documents say: take the tip.
    replay_map_strict: bool = False
    # Let waiting events ride on any reply of the session, not only on those to /meta/connect.
    deliver_on_any: bool = False
    # Where the connect reply stands among its events: "last", "first" or "shuffled".
    connect_place: str = "shuffled"
    # Leave clientId, channel and subscription out of failure replies, as some captures show.
    terse_failures: bool = False
    # The HTTP status beside a Bayeux 401; some gateways answer 401 here.
    auth_http_status: int = 200
    # Entities on which the API user lacks View All: no events, and reads show only the records that he owns.
    denied_entities: list[str] = field(default_factory=list)
    # The custom channel /data/Sync__chn: its entities (empty: all selected) and enrichment, like "Account.Industry".
    channel_entities: list[str] = field(default_factory=list)
    enriched_fields: list[str] = field(default_factory=list)
    # --- login
    session_timeout_s: float = 7200.0
    refresh_rotation: bool = False
    # "ok", or a name of `oauth_errors.REFUSALS`: every login is refused with it.
    login_state: str = "ok"

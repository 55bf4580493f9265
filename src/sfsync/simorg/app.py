"""The web application of one org: its routers, and the middlewares that every reply passes.

Why: the `Date` of a reply is the org's clock (clients take it for the instant of their read), and aiohttp would put
the system's there; a signal sets it on every reply, however the reply came to be.
"""

import secrets
from email.utils import format_datetime

from aiohttp import web

from sfsync.simorg import bulk, bulk1, cometd, control, oauth, rest
from sfsync.simorg.bus import EventBus
from sfsync.simorg.clock import Clock
from sfsync.simorg.faults import Faults
from sfsync.simorg.gate import gate
from sfsync.simorg.oauth import Sessions
from sfsync.simorg.org import Credentials, Org, Settings, Stats
from sfsync.simorg.schema import Schema
from sfsync.simorg.shield import shield
from sfsync.simorg.users import found_users
from sfsync.simorg.world import World

__all__ = ["Credentials", "Org", "Settings", "Stats", "build_app", "make_org"]

REQUEST_BYTES_MAX = 16 * 1024 * 1024


def make_org(seed: int = 1) -> Org:
    """Found an org without records: one admin, one integration user, credentials to log in with."""
    clock = Clock()
    world = World(clock, Schema(), seed)
    found_users(world)
    credentials = Credentials(
        client_id="3MVG9." + secrets.token_hex(24),
        client_secret=secrets.token_hex(32).upper(),
        username="sync@example.com",
        password="Sim-" + secrets.token_urlsafe(9),
        security_token=secrets.token_urlsafe(18)[:24],
        user_id=world.user_id,
    )
    org = Org(world, clock, Faults(), Settings(), credentials)
    world.denied = lambda: org.settings.denied_entities
    org.sessions = Sessions(org)
    org.bus = EventBus(org)
    return org


def build_app(org: Org) -> web.Application:
    """Return the application that serves *org*."""
    app = web.Application(middlewares=[shield, gate(org)], client_max_size=REQUEST_BYTES_MAX)

    async def set_date(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(org.clock.now(), usegmt=True)

    app.on_response_prepare.append(set_date)
    oauth.add_oauth_routes(app, org)
    cometd.add_cometd_routes(app, org)
    bulk.add_bulk_routes(app, org)
    bulk1.add_bulk1_routes(app, org)
    control.add_control_routes(app, org)
    rest.add_rest_routes(app, org)
    return app

"""What the daemon's composition root makes of an org before anything runs."""

from __future__ import annotations

import pytest

from sfsync.core.mapping_file import default_mapping
from sfsync.daemon import bind_mapping
from sfsync.errors import ConfigError, UnavailableError
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.connection import open_connection
from sfsync.salesforce.rest import Rest
from sfsync.salesforce.secret import Secret
from tests.simorg.site import Site, serving


async def bind_at(site: Site) -> None:
    known = site.org.credentials
    async with open_connection(
        ClientCredentials(known.client_id, Secret(known.client_secret), site.org.url)
    ) as connection:
        await bind_mapping(Rest(connection, tries=1), default_mapping())


async def test_entity_that_this_user_may_not_see_is_a_fault_that_says_what_to_do() -> None:
    """Tried again for ever as an outage, a lacking permission would never be found."""
    async with serving() as site:
        body = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
        where = {"match": "sobjects/Contact/describe", "code": 404, "body": body, "times": None}
        await site.control("POST", "faults", {"kind": "status", **where})
        with pytest.raises(ConfigError, match="Contact: cannot be described: give the user read access"):
            await bind_at(site)


async def test_org_that_is_away_is_no_fault_of_the_mapping() -> None:
    """Exit 2 tells a supervisor to give up, which a maintenance window does not call for."""
    async with serving() as site:
        where = {"match": "sobjects/Contact/describe", "code": 503, "times": None}
        await site.control("POST", "faults", {"kind": "status", **where})
        with pytest.raises(UnavailableError):
            await bind_at(site)

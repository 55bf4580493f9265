"""`sfsync check`: ask everything that a daemon would need, change nothing, and tell on one screen what is wrong.

Why: a daemon stops at the first thing it lacks; an operator who sets it up needs them all. So every question is
asked even when another one failed, as long as it can be: Salesforce and Postgres are asked independently, and
only the questions that need an answer of both are left out when one of them is silent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from urllib.parse import parse_qs, urlsplit

from ..config import Settings, find_file, load_settings
from ..config.rules import is_loopback
from ..errors import ConfigError
from ..log import configure_logging
from .check_salesforce import check_salesforce
from .check_store import check_store
from .findings import Finding, fail_by, ok, print_findings, warn


def run(arguments: argparse.Namespace) -> int:
    """Check and print; return the exit code."""
    configure_logging(level="error")
    try:
        settings = load_settings(arguments.config, os.environ)
    except ConfigError as error:
        return print_findings(fail_by("configuration", error), as_json=arguments.json)
    source = find_file(arguments.config, os.environ)
    findings = [
        ok("configuration", f"{source} and the environment" if source else "the environment"),
        *doubts(settings),
    ]
    return print_findings(findings + asyncio.run(_ask(settings)), as_json=arguments.json)


async def _ask(settings: Settings) -> list[Finding]:
    findings, seen = await check_salesforce(settings)
    return findings + await check_store(settings, org=seen.org, mapping=seen.mapping)


def doubts(settings: Settings) -> list[Finding]:
    """Settings that work today and deserve a second thought."""
    found = []
    salesforce = settings.salesforce
    if salesforce.flow == "legacy_password":
        found.append(warn("configuration", "flow = legacy_password ends in February 2027", "use flow = jwt"))
    if salesforce.flow == "refresh_token" and salesforce.refresh_token_file is None:
        found.append(
            warn(
                "configuration",
                "a rotated refresh token cannot be kept, because it came by the environment",
                "use salesforce.refresh_token_file in a directory that sfsync may write",
            )
        )
    if not settings.sync.sweep_enabled:
        found.append(
            warn(
                "configuration",
                "the sweep is off: what push misses stays missed",
                "set sync.sweep_enabled = true",
            )
        )
    if settings.store.dsn is not None and not is_verified(settings.store.dsn.get_secret_value()):
        found.append(
            warn(
                "configuration",
                "the connection to Postgres does not verify the server",
                "add sslmode=verify-full (and sslrootcert) to the DSN",
            )
        )
    return found


def is_verified(dsn: str) -> bool:
    """Tell whether a connection string stays on this machine or verifies whom it reaches."""
    url = urlsplit(dsn)
    options = parse_qs(url.query)
    listed = options.get("host") or [url.netloc.rpartition("@")[2] or "localhost"]
    hosts = [host if host.startswith("[") else host.partition(":")[0] for host in ",".join(listed).split(",")]
    local = all(is_loopback(host) or host.startswith("/") for host in hosts)
    return local or options.get("sslmode") == ["verify-full"]

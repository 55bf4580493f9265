"""What `sfsync check` asks Salesforce: login, version, clock, change events, rights, mapping.

Why: a custom or all-entity channel accepts every subscriber and silently drops what it may not see, so a good
subscription proves less than it seems; what an integration user may see is told by describe, entity by entity.
Source: Salesforce Change Data Capture guide "Required Permissions"; REST guide "sObject Describe".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import Settings
from ..config.login import open_login
from ..config.mapping import load_mapping
from ..core.ids import Entity
from ..core.mapping import BoundMapping, bind
from ..errors import AuthError, SfsyncError
from ..salesforce.cometd import open_session
from ..salesforce.connection import Connection
from ..salesforce.reply import CometdTimings
from ..salesforce.rest import Rest
from .exits import CONFIGURATION
from .findings import Finding, fail, fail_by, ok, warn

_PATIENCE_S = 30.0
_CLOCK_S_MAX = 60.0
_USAGE_MAX = 0.8
_VERSIONS_LEFT_MIN = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What Salesforce told that the store's checks need; None where it could not be learned."""

    org: str | None = None
    mapping: BoundMapping | None = None


async def check_salesforce(settings: Settings) -> tuple[list[Finding], Seen]:
    """Ask one org everything, by one login."""
    try:
        async with open_login(settings, patience_s=_PATIENCE_S) as connection:
            return await _ask(settings, connection)
    except SfsyncError as error:
        findings = _refused_login(error, settings.salesforce.login_url)
    return findings + _unbound_mapping(settings), Seen()


def _refused_login(error: SfsyncError, login_url: str) -> list[Finding]:
    findings = fail_by("login", error, f"compare the salesforce section with the app in {login_url}")
    if isinstance(error, AuthError):
        return [replace(finding, code=CONFIGURATION) for finding in findings]
    return findings


def _unbound_mapping(settings: Settings) -> list[Finding]:
    """Without an org a mapping can at least be read."""
    try:
        columns = len(load_mapping(settings.mapping).columns)
    except SfsyncError as error:
        return fail_by("mapping", error)
    return [warn("mapping", f"{columns} columns, not compared with the org: there is no login")]


async def _ask(settings: Settings, connection: Connection) -> tuple[list[Finding], Seen]:
    session = await connection.session()
    rest = Rest(connection, tries=2)
    findings = [ok("login", f"flow {settings.salesforce.flow}, org {session.org_id}, user {session.user_id}")]
    findings += await _versions(rest, settings.salesforce.api_version)
    findings += await _clock(connection)
    describes, refused = await _describes(rest)
    findings += refused + _rights(describes)
    findings += _usage(connection)
    findings += await _subscription(settings, connection)
    bound, mapped = _mapping(settings, describes)
    return findings + mapped, Seen(session.org_id, bound)


async def _versions(rest: Rest, wanted: str) -> list[Finding]:
    try:
        served = await rest.versions()
    except SfsyncError as error:
        return fail_by("API version", error)
    span = f"{served[0]} to {served[-1]}" if served else "none"
    if wanted not in served:
        remedy = f'set salesforce.api_version = "{served[-1]}"' if served else ""
        return [
            fail("API version", f"{wanted} is not served; the org serves {span}", remedy, code=CONFIGURATION)
        ]
    if served.index(wanted) < _VERSIONS_LEFT_MIN and len(served) > _VERSIONS_LEFT_MIN:
        return [
            warn(
                "API version",
                f"{wanted} is among the oldest served ({span})",
                "choose a newer one before it is retired",
            )
        ]
    return [ok("API version", f"{wanted}, of {span}")]


async def _clock(connection: Connection) -> list[Finding]:
    try:
        ahead_s = time.time() - await connection.clock_ms() / 1000
    except SfsyncError as error:
        return fail_by("clock", error)
    if abs(ahead_s) > _CLOCK_S_MAX:
        side = "ahead of" if ahead_s > 0 else "behind"
        return [
            warn(
                "clock",
                f"this machine is {abs(ahead_s):.0f} s {side} Salesforce",
                "synchronize it: JWT logins depend on it",
            )
        ]
    return [ok("clock", "agrees with Salesforce's")]


async def _describes(rest: Rest) -> tuple[dict[Entity, Mapping[str, Any]], list[Finding]]:
    describes: dict[Entity, Mapping[str, Any]] = {}
    findings: list[Finding] = []
    for entity in Entity:
        try:
            describes[entity] = await rest.describe(entity)
        except SfsyncError as error:
            findings += fail_by(entity, error, f"give the integration user Read and View All on {entity}")
    return describes, findings


def _rights(describes: Mapping[Entity, Mapping[str, Any]]) -> list[Finding]:
    """An integration user that can write is more than sfsync needs, and more than a thief should get."""
    findings = []
    for entity, describe in describes.items():
        unqueryable = [word for word in ("queryable", "retrieveable") if not describe.get(word)]
        writable = [word for word in ("createable", "updateable", "deletable") if describe.get(word)]
        if unqueryable:
            findings.append(
                fail(entity, "this user cannot query it", f"give it Read and View All on {entity}")
            )
        elif writable:
            findings.append(
                warn(entity, f"this user may write: {', '.join(writable)}", "Read and View All are enough")
            )
        else:
            findings.append(
                ok(entity, f"readable, read-only, {len(describe.get('fields', ()))} fields visible")
            )
    return findings


def _usage(connection: Connection) -> list[Finding]:
    usage = connection.api_usage
    if usage is None or not usage.allowed:
        return []
    text = f"{usage.used} of {usage.allowed} requests used in the last 24 hours"
    if usage.used > _USAGE_MAX * usage.allowed:
        return [warn("API requests", text, "find out who uses them; near the limit sfsync waits")]
    return [ok("API requests", text)]


async def _subscription(settings: Settings, connection: Connection) -> list[Finding]:
    """Subscribe at the tip and leave: nothing is received and no position moves."""
    channel = settings.salesforce.channel
    timings = CometdTimings(long_poll_s=_PATIENCE_S, reply_s=_PATIENCE_S)
    try:
        async with open_session(connection, channel=channel, position=None, timings=timings):
            return [ok("change events", f"{channel} accepts the subscription")]
    except SfsyncError as error:
        return fail_by(
            "change events",
            error,
            "select Lead, Contact and Account under Setup, Change Data Capture, and give the user View All on them",
        )


def _mapping(
    settings: Settings, describes: Mapping[Entity, Mapping[str, Any]]
) -> tuple[BoundMapping | None, list[Finding]]:
    try:
        bound = bind(load_mapping(settings.mapping), describes)
    except SfsyncError as error:
        return None, fail_by("mapping", error)
    doubts = [warn("mapping", str(warning)) for warning in bound.warnings]
    columns = f"{len(bound.person)} columns of person, {len(bound.company)} of company"
    return bound, [ok("mapping", columns), *doubts]

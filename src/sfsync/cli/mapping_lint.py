"""`sfsync mapping lint`: check a mapping file, against the org as well when it can be asked."""

from __future__ import annotations

import argparse
import asyncio
import os

from ..config import Settings, load_settings
from ..config.login import open_login
from ..config.mapping import load_mapping, read_mapping
from ..core.mapping import bind
from ..core.mapping_file import MappingFile
from ..errors import ConfigError, SfsyncError
from ..log import describe_error
from ..salesforce.rest import Rest
from ..sync.describing import describe_entities
from .findings import Finding, fail_by, ok, print_findings, warn

_PATIENCE_S = 30.0


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong or doubtful; return the exit code that it amounts to."""
    settings: Settings | None = None
    refused: ConfigError | None = None
    try:
        settings = load_settings(arguments.config, os.environ)
    except ConfigError as error:
        if not arguments.file:
            return print_findings(fail_by("configuration", error), as_json=arguments.json)
        refused = error
    findings = _lint(arguments, settings)
    if refused is not None:
        findings.append(
            warn(
                "org", "not compared with the org: the configuration is faulty", str(refused).splitlines()[0]
            )
        )
    return print_findings(findings, as_json=arguments.json)


def _lint(arguments: argparse.Namespace, settings: Settings | None) -> list[Finding]:
    try:
        if arguments.file or settings is None:
            mapping = read_mapping(arguments.file)
        else:
            mapping = load_mapping(settings.mapping)
    except ConfigError as error:
        return fail_by("file", error)
    findings = [ok("file", f"{len(mapping.columns)} columns")]
    return findings + (asyncio.run(_against_org(settings, mapping)) if settings is not None else [])


async def _against_org(settings: Settings, mapping: MappingFile) -> list[Finding]:
    try:
        async with open_login(settings, patience_s=_PATIENCE_S) as connection:
            describes = await describe_entities(Rest(connection, tries=2))
    except SfsyncError as error:
        return [warn("org", f"not compared with the org: {describe_error(error)}", "sfsync check tells more")]
    try:
        bound = bind(mapping, describes)
    except ConfigError as error:
        return fail_by("org", error)
    columns = f"feeds {len(bound.person)} columns of person and {len(bound.company)} of company"
    return [ok("org", columns), *(warn("org", str(warning)) for warning in bound.warnings)]

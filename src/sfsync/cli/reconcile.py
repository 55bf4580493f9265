"""`sfsync reconcile`: have everything swept now, wait, and show the certificates."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

from ..config import load_settings
from ..log import configure_logging
from ..store.database import Database
from ..store.report import certificates
from .asking import Answered, Wish, ask
from .exits import FOUND, OK
from .status import certificate_lines

_SWEEP = Wish("sweep", None, verb="sweep", done="swept")


def run(arguments: argparse.Namespace) -> int:
    """Sweep, print the certificates; return 1 when the sweep was refused or had to repair anything."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    asking = ask(settings, arguments.config, _SWEEP, _certificates, timeout_s=arguments.timeout_s)
    answered, found = asyncio.run(asking)
    if arguments.json:
        print(json.dumps({"outcome": answered.outcome, "certificates": found}, indent=2))
    else:
        print("\n".join(certificate_lines(found, datetime.now(UTC))))
    if answered.outcome != "swept":
        print(f"sfsync: the sweep was {answered.outcome}: {answered.error}", file=sys.stderr)
        return FOUND
    return FOUND if any(sum(one["drift"].values()) for one in found) else OK


async def _certificates(
    database: Database, org: str, answered: Answered
) -> tuple[Answered, list[dict[str, Any]]]:
    return answered, await certificates(database, org, sweep_id=answered.detail.get("sweep_id", ""))

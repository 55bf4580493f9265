"""`sfsync pull`: have records read from Salesforce now, and say what each is worth to whoever is about to act on it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import load_settings
from ..log import configure_logging
from ..store.requests import Answered
from .asking import Wish, ask_each
from .exits import FOUND, OK
from .findings import printable, shown

_PULL = Wish("pull", None, verb="pull", done="pulled")
_GOOD = frozenset({"equal", "updated", "created"})
_MEANING: Mapping[str, str] = {
    "equal": "the store has what Salesforce has",
    "updated": "Salesforce had something newer; it is in the store",
    "created": "new in the store",
    "pending": "not decided whether it follows Salesforce",
    "declined": "not to follow Salesforce; left as it is",
    "deleted": "deleted in Salesforce",
    "absent": "not in Salesforce, not even deleted: purged, or hidden from our user",
    "unsettled": "not certain yet",
    "erased": "was erased here and is not brought back",
    "refused": "refused",
}


def run(arguments: argparse.Namespace) -> int:
    """Pull the records, print a verdict for each; return 1 unless all are as Salesforce has them."""
    configure_logging(level="error")
    settings = load_settings(arguments.config, os.environ)
    wanted = [f"{one} with company" if arguments.with_company else one for one in arguments.ids]
    told = asyncio.run(ask_each(settings, arguments.config, _PULL, wanted, timeout_s=arguments.timeout_s))
    verdicts = [_verdict(asked, one) for asked, one in zip(arguments.ids, told, strict=True)]
    if arguments.json:
        print(json.dumps(verdicts, indent=2))
    else:
        print("\n".join(line for one in verdicts for line in _lines(one)))
    for one in verdicts:
        if one["outcome"] is None:
            print(f"sfsync: {one['id']}: {one['error']}; it stays asked for", file=sys.stderr)
    return OK if all(one["outcome"] in _GOOD for one in verdicts) else FOUND


def _verdict(asked: str, told: Answered | str) -> dict[str, Any]:
    if isinstance(told, str):
        return {"id": asked, "outcome": None, "error": told}
    return {"id": asked, "request": told.request, "outcome": told.outcome, **told.detail}


def _lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Tell one verdict in words, with a line per column that would change."""
    outcome = verdict["outcome"] or "not served"
    who = next(
        (f", {kind} {verdict[f'{kind}_id']}" for kind in ("person", "company") if f"{kind}_id" in verdict), ""
    )
    said = _MEANING.get(outcome, "")
    if "error" in verdict:
        said = verdict["error"]
    elif verdict.get("reason"):
        said = f"{said} ({verdict['reason']})"
    if "retry_at" in verdict:
        said += f"; read again at {verdict['retry_at']}"
    yield f"{printable(verdict['id']):<20} {outcome:<10} {printable(said)}{who}"
    for one in verdict.get("columns", ()):
        yield f"  {one['column']}: {shown(one['stored'])} here, {shown(one['salesforce'])} in Salesforce"

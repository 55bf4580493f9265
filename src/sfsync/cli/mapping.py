"""`sfsync mapping`: suggest a mapping, check one, and tell what a changed one would do."""

from __future__ import annotations

import argparse
from importlib import import_module

from ..log import configure_logging

_ACTIONS = {"suggest": "mapping_suggest", "lint": "mapping_lint", "plan": "mapping_plan"}


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was asked for; return the exit code."""
    configure_logging(level="error")
    action = import_module(f"sfsync.cli.{_ACTIONS[arguments.action]}")
    code: int = action.run(arguments)
    return code

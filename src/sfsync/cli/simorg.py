"""`sfsync simorg`: become `python -m sfsync.simorg`.

Why: the simulated org shares no code and no process with the daemon, so that a common fault cannot hide; replacing
ourselves also means that signals and exit codes are its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str]) -> NoReturn:
    """Replace this process by the simulated org, all arguments passed through."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sfsync.simorg", *argv])  # noqa: S606 - our own module

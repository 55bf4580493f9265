"""Follow the JSON log of a daemon that is a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

Entry = Mapping[str, Any]


class DaemonLog:
    """A growing file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0

    def fresh(self) -> list[Entry]:
        """Return the whole lines that were written since the last call."""
        with self.path.open("rb") as stream:
            stream.seek(self._read_bytes)
            fresh = stream.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        entries: list[Entry] = []
        for line in whole.splitlines():
            try:
                entries.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.MsgspecError:
                # A start that fails before logging is set up writes plain text; exit code and last words tell.
                continue
        return entries

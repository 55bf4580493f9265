"""Notice a stream that is subscribed, alive, and delivers nothing.

Why: Salesforce documents that a CometD subscriber may starve for hours after a bulk load, without any error. The
count of events cannot tell that from a quiet org; only a sweep can, which finds changes the stream should have
delivered. One such sweep may meet a stream that is merely behind, so it takes two in a row between which
nothing newer came. Source: Salesforce help article 005321562.
"""

from __future__ import annotations


class StarvationWatch:
    """Remembers what the last sweep that found drift knew of the stream."""

    def __init__(self) -> None:
        self._drifted = False
        self._delivered_ms: int | None = None

    def is_starved(self, *, drift_records: int, delivered_ms: int | None) -> bool:
        """Take in one complete sweep; tell whether the stream starves. `delivered_ms`: its last commit."""
        drifted = drift_records > 0
        starved = drifted and self._drifted and delivered_ms == self._delivered_ms
        # A fresh subscription gets two sweeps of its own before it is judged.
        self._drifted = drifted and not starved
        self._delivered_ms = delivered_ms
        return starved

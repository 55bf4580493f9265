"""Keep the events of one Salesforce transaction together.

Why: a conversion is three or four events, and a reader of the store must not see the lead converted before its
contact is there. There is no end-of-transaction mark: a transaction is over when an event with another key
comes. So the tail is held back, but only for a moment, because the next event may be hours away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.commands import Command
from ..core.events import Event, MalformedEvent, Position


@dataclass(frozen=True, slots=True)
class Received:
    """One event of the stream, decided: where it stands, what it says, what must become true.

    `size` is in bytes, `arrived_s` the instant (seconds since the epoch) at which its reply had arrived.
    """

    position: Position
    event: Event
    commands: list[Command]
    size: int = 0
    arrived_s: float = 0.0

    @property
    def transaction_key(self) -> str | None:
        return None if isinstance(self.event, MalformedEvent) else self.event.header.transaction_key


TAIL_BYTES_MAX = 8 * 1024 * 1024


class TransactionBuffer:
    """Give out whole transactions; keep the last one until it is known to be over."""

    def __init__(self) -> None:
        self._tail: list[Received] = []
        self._tail_bytes = 0
        self._cut_key: str | None = None

    @property
    def holds(self) -> bool:
        """Whether a tail waits."""
        return bool(self._tail)

    @property
    def is_full(self) -> bool:
        """Whether the tail must be cut: a transaction may be larger than all the memory we allow ourselves."""
        return self._tail_bytes >= TAIL_BYTES_MAX

    def add(self, received: Iterable[Received]) -> tuple[list[Received], str | None]:
        """Take events in stream order; return those of finished transactions.

        The second value names a transaction whose tail had been cut off and that goes on after all.
        """
        finished: list[Received] = []
        split = None
        for one in received:
            key = one.transaction_key
            if self._tail and (key is None or key != self._tail[-1].transaction_key):
                finished += self._tail
                self._tail, self._tail_bytes = [], 0
            if key is not None and key == self._cut_key:
                split = key
            self._cut_key = None
            self._tail.append(one)
            self._tail_bytes += one.size
        return finished, split

    def cut(self) -> list[Received]:
        """Give out the tail although its transaction may go on."""
        tail, self._tail, self._tail_bytes = self._tail, [], 0
        self._cut_key = tail[-1].transaction_key if tail else None
        return tail

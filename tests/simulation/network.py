"""The network between the daemons and the org: ends in memory, with latency, slicing, cuts and black holes from the seed.

Why: the bytes are those of HTTP, so both HTTP implementations are the real ones; only the kernel is left out. A line
has a direction each way; what is written arrives later, in order, in one piece or in several.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from .loop import PROCESS, VirtualLoop


@dataclass(slots=True)
class Weather:
    """How bad the network is; shares are per write."""

    latency_s: tuple[float, float] = (0.001, 0.02)
    slice_share: float = 0.0
    cut_share: float = 0.0
    hole_share: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 20.0
    is_down: bool = False


class Address:
    """In the place of a connected socket: to whom."""

    family = 2

    def close(self) -> None:
        pass


async def start_connection(*_: Any, **__: Any) -> Address:
    """In the place of aiohappyeyeballs': there is one address, and connecting is the loop's work."""
    return Address()


class Network:
    """All lines to one org."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, note: Callable[[str], None]) -> None:
        self._loop = loop
        self._rng = rng
        self._note = note
        self._numbers = 0
        self.weather = Weather()
        self.met: Counter[str] = Counter()
        self.server: Callable[[], Any] | None = None
        self.server_context = copy_context()

    async def connect(self, factory: Callable[[], Any], _address: Address) -> tuple[Any, Any]:
        """Open a line. Raises `ConnectionRefusedError` while the network is down."""
        await asyncio.sleep(self.latency_s())
        if self.weather.is_down or self.server is None:
            self.met["refused"] += 1
            raise ConnectionRefusedError(111, "simulated: connection refused")
        self._numbers += 1
        context = copy_context()
        near = End(self, f"line {self._numbers}", context)
        far = End(self, f"line {self._numbers}", self.server_context.copy())
        near.peer, far.peer = far, near
        process = PROCESS.get()
        if process is not None:
            process.lines.append(near)
        near.protocol = factory()
        far.context.run(self._accept, far)
        near.protocol.connection_made(near)
        return near, near.protocol

    def _accept(self, end: End) -> None:
        assert self.server is not None
        end.protocol = self.server()
        end.protocol.connection_made(end)

    def latency_s(self) -> float:
        """Draw how long the next piece takes."""
        if self._rng.random() < self.weather.slow_share:
            self.met["slow"] += 1
            return self._rng.uniform(0.5, self.weather.slow_s)
        return self._rng.uniform(*self.weather.latency_s)

    def fate(self) -> str:
        """Draw what becomes of a write."""
        drawn = self._rng.random()
        if self.weather.is_down or drawn < self.weather.cut_share:
            self.met["cut"] += 1
            return "cut"
        if drawn < self.weather.cut_share + self.weather.hole_share:
            self.met["hole"] += 1
            return "hole"
        return "arrive"

    def sliced(self, written: bytes) -> list[bytes]:
        """Draw in which pieces a write arrives."""
        if len(written) < 2 or self._rng.random() >= self.weather.slice_share:
            return [written]
        self.met["slice"] += 1
        cuts = sorted({self._rng.randrange(1, len(written)) for _ in range(self._rng.randint(1, 4))})
        return [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]

    def note(self, text: str) -> None:
        self._note(text)

    @property
    def loop(self) -> VirtualLoop:
        return self._loop


class End(asyncio.Transport):
    """One end of a line."""

    def __init__(self, network: Network, name: str, context: Context) -> None:
        super().__init__()
        self._network = network
        self._name = name
        self.context = context
        self.peer: End
        self.protocol: Any = None
        self._closing = False
        self._lost = False
        self._deaf = False
        self._paused: list[bytes] | None = None
        self._arrives_at = 0.0

    # What protocols ask of a transport ---------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        written = bytes(data)
        if written[:5] in (b"GET /", b"POST ", b"HTTP/"):
            self._network.note(f"{self._name} {_first_line(written)}")
        fate = self._network.fate()
        if fate == "cut":
            self.abort()
            return
        if fate == "hole":
            # Neither side learns anything: the line is there, and nothing comes through any more.
            self._deaf = self.peer._deaf = True
        for piece in self._network.sliced(written):
            self._send(self.peer._deliver, piece)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._send(self.peer._end, None)
            self._later(self._lose, None)

    def abort(self) -> None:
        if self._lost:
            return
        self._closing = True
        self._network.note(f"{self._name} cut")
        self._later(self._lose, None)
        self._network.loop.call_later(
            self._network.latency_s(),
            self.peer._end,
            ConnectionResetError(104, "reset"),
            context=self.peer.context,
        )

    def die(self) -> None:
        """End it for a process that is gone: only the other side learns of it."""
        if not self._lost:
            self._closing = self._lost = True
            self._send(self.peer._end, None)

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        if self._paused is None:
            self._paused = []

    def resume_reading(self) -> None:
        kept, self._paused = self._paused, None
        for piece in kept or ():
            self._later(self._deliver, piece)

    def is_reading(self) -> bool:
        return self._paused is None

    # What happens on the way ------------------------------------------------------------------------------

    def _send(self, arrive: Callable[[Any], None], what: Any) -> None:
        loop = self._network.loop
        self._arrives_at = max(self._arrives_at, loop.time() + self._network.latency_s())
        loop.call_at(self._arrives_at, arrive, what, context=self.peer.context)

    def _later(self, do: Callable[[Any], None], what: Any) -> None:
        self._network.loop.call_soon(do, what, context=self.context)

    def _deliver(self, piece: bytes) -> None:
        if self._deaf or self._lost:
            return
        if self._paused is not None:
            self._paused.append(piece)
        else:
            self.protocol.data_received(piece)

    def _end(self, error: Exception | None) -> None:
        if self._lost or self._deaf:
            return
        self._closing = True
        if error is None:
            self.protocol.eof_received()
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)


def _first_line(written: bytes) -> str:
    return written.partition(b"\r\n")[0].removesuffix(b" HTTP/1.1")[:300].decode(errors="replace")

"""What a long-lived process holds: resident memory and open files, from time to time, and whether they grow.

Why: a leak of a day shows within an hour only as a slope, so that is what is told, over all that came after the warm-up.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

EVERY_S = 1.0
WARM_UP_SHARE = 0.2
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Gauge:
    """Looks at one process; `samples` are seconds since the first look, megabytes, and open files."""

    samples: list[tuple[float, float, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def look(self, pid: int) -> None:
        """Take a sample, unless the last one is fresh."""
        now = time.monotonic() - self._began
        if self.samples and now - self.samples[-1][0] < EVERY_S:
            return
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
        self.samples.append((now, resident, len(os.listdir(f"/proc/{pid}/fd"))))

    def told(self) -> dict[str, dict[str, float]]:
        """Return start, middle, end and slope per hour of each; nothing if nobody looked."""
        if not self.samples:
            return {}
        return {"rss_mb": self._series(1), "open_files": self._series(2)}

    def _series(self, column: int) -> dict[str, float]:
        points = [(sample[0], sample[column]) for sample in self.samples]
        warm = points[int(len(points) * WARM_UP_SHARE) :]
        return {
            "start": round(points[0][1], 1),
            "middle": round(points[len(points) // 2][1], 1),
            "end": round(points[-1][1], 1),
            "slope_per_h": round(slope(warm) * 3600, 1),
        }


def slope(points: list[tuple[float, float]]) -> float:
    """Return by how much the second coordinate grows with the first, by least squares."""
    count = len(points)
    middle_x, middle_y = (sum(column) / count for column in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0

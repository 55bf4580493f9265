"""`python -m tests.bench.plot FILE.jsonl`: draw what the bench printed, as docs/performance.png.

Two pictures side by side: rows per second by size of batch beside pure COPY, and latency by rate of events. Matplotlib
lives in a throw-away environment; this file draws when that environment's Python runs it with `--draw`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PICTURE = Path("docs") / "performance.png"
OURS, OTHER, THIRD = "#1f5fa8", "#8a8a8a", "#d1721b"


def main() -> None:
    """Draw the figures of the file named on the command line."""
    if "--draw" in sys.argv:
        draw(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    from tests.bench.environments import ROOT, environment  # noqa: PLC0415 - not importable where we draw

    if len(sys.argv) not in (2, 3):
        sys.exit(f"{__doc__}\nusage: python -m tests.bench.plot FILE.jsonl [PICTURE.png]")
    picture = Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / PICTURE
    python = environment("plot") / "python"
    subprocess.run([str(python), __file__, "--draw", sys.argv[1], str(picture)], check=True)
    print(picture)


def draw(source: Path, picture: Path) -> None:
    """Draw the figures in *source*."""
    import matplotlib as mpl  # noqa: PLC0415 - not where the bench runs

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    head, figures = read(source)
    drawn, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    _throughput(left, figures)
    _latency(right, figures)
    drawn.suptitle(_caption(head), fontsize=9, color="#555555")
    drawn.savefig(picture, dpi=110)


def read(source: Path) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
    """Return the line about the machine, and the figures by name; of a name that comes twice the last counts."""
    lines = [json.loads(line) for line in source.read_text().splitlines() if line.startswith("{")]
    return (
        next((line for line in lines if "machine" in line), {}),
        {line["figure"]: line for line in lines if "value" in line},
    )


def numbered(
    figures: Mapping[str, Mapping[str, Any]], prefix: str
) -> Sequence[tuple[int, Mapping[str, Any]]]:
    """Return the figures that are called *prefix* and a number, in the order of the numbers."""
    found = ((name.removeprefix(prefix), one) for name, one in figures.items() if name.startswith(prefix))
    return sorted(
        ((int(rest), one) for rest, one in found if rest.isdigit()), key=lambda numbered: numbered[0]
    )


def _throughput(axes: Any, figures: Mapping[str, Mapping[str, Any]]) -> None:
    for prefix, label, colour in (
        ("copy.rows_s.", "pure COPY into a bare heap", OTHER),
        ("apply.rows_s.", "sfsync: mirror, people, feed, position", OURS),
    ):
        points = numbered(figures, prefix)
        _band(axes, points, label, colour)
    axes.set_title("Rows per second by size of batch")
    axes.set_xlabel("records in one transaction")
    axes.set_ylabel("rows/s")
    axes.set_yscale("log")
    _finish(axes)


def _latency(axes: Any, figures: Mapping[str, Mapping[str, Any]]) -> None:
    for suffix, told, colour in (("", "hold_ms = 0", OURS), (".held", "hold_ms = 20 (default)", THIRD)):
        for share, style in (("p50", "-"), ("p99", "--")):
            stripped = {
                name.removesuffix(suffix): one
                for name, one in figures.items()
                if name.startswith(f"latency.{share}_ms.") and name.endswith(".held") == bool(suffix)
            }
            points = numbered(stripped, f"latency.{share}_ms.")
            xs, ys = [x for x, _ in points], [one["value"] for _, one in points]
            axes.plot(xs, ys, style, marker="o", markersize=4, color=colour, label=f"{share}, {told}")
    axes.axhline(50, color=OTHER, linewidth=0.8, linestyle=":")
    axes.annotate(
        "target for p99 at 2,000/s", (50, 50), xytext=(2, 3), textcoords="offset points", fontsize=8
    )
    axes.set_title("From the org's release to the commit")
    axes.set_xlabel("events per second")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    _finish(axes)


def _band(axes: Any, points: Sequence[tuple[int, Mapping[str, Any]]], label: str, colour: str) -> None:
    xs = [x for x, _ in points]
    axes.plot(xs, [one["value"] for _, one in points], marker="o", markersize=4, color=colour, label=label)
    axes.fill_between(
        xs,
        [one.get("low", one["value"]) for _, one in points],
        [one.get("high", one["value"]) for _, one in points],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )


def _finish(axes: Any) -> None:
    if not any(len(line.get_xdata()) for line in axes.get_lines() if line.get_marker() == "o"):
        # A run of some parts only has nothing to show here.
        axes.clear()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not measured in this run", ha="center", va="center", color=OTHER)
        return
    axes.set_xscale("log")
    axes.grid(visible=True, which="major", color="#e4e4e4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(fontsize=8, frameon=False)


def _caption(head: Mapping[str, Any]) -> str:
    if not head:
        return ""
    machine, versions, postgres = head["machine"], head["versions"], head["postgres"]
    return (
        f"{machine['cores']} cores ({machine['cpu']}), load {machine['load_1m']}; Python {versions['python']},"
        f" PostgreSQL {postgres['server_version']}; commit {versions['commit']}; bands: lowest to highest run"
    )


if __name__ == "__main__":
    main()

"""`python -m tests.bench`: measure, and print one JSON line per figure."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from sfsync.cli.run import collect_seldom
from sfsync.log import configure_logging
from tests.bench import (
    applying,
    decoding,
    flooding,
    growing,
    peering,
    pulling,
    recovering,
    storing,
    streaming,
    sweeping,
)
from tests.bench.figures import Figure, Skipped
from tests.bench.machine import first_line
from tests.bench.settings import Bench, running_server

Measure = Callable[[Bench], AsyncIterator[Figure | Skipped]]

PARTS: Mapping[str, tuple[Measure, str]] = {
    "decode": (decoding.measure, "events decoded and decided per second"),
    "apply": (applying.measure, "rows applied per second, by size of batch, against pure COPY"),
    "stream": (streaming.measure, "latency, throughput and memory of the daemon on a stream"),
    "sweep": (sweeping.measure, "records per second of a sweep that finds nothing changed"),
    "pull": (pulling.measure, "milliseconds to a verdict, beside a first load and without one"),
    "recovery": (recovering.measure, "seconds until a daemon is ready again, after a kill, 1 h and 80 h"),
    "peers": (peering.measure, "the same first load by us and by what people use today"),
    "storage": (storing.measure, "what a change of one field costs the store"),
    "growth": (growing.measure, "what a store of each size costs; --sizes 10000,1000000 for others"),
    "memory": (flooding.measure, "resident memory while huge replies come in"),
}


def main() -> None:
    """Run the parts that were asked for."""
    arguments = _arguments().parse_args()
    configure_logging(level="error", pretty=False)
    collect_seldom()
    with ExitStack() as stack:
        # Not below a folder of root's: the server runs as a uid that may not enter it.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sfsync-bench-")))
        directory.chmod(0o755)
        server = stack.enter_context(running_server(directory / "postgres"))
        bench = Bench(arguments.quick, server, directory, arguments.sizes)
        asyncio.run(_run(bench, arguments.only or list(PARTS)))


def _arguments() -> argparse.ArgumentParser:
    told = "\n".join(f"  {name:8} {meaning}" for name, (_, meaning) in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure sfsync; print one JSON line per figure.",
        epilog=f"parts:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, in less than a minute")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(PARTS),
        metavar="PART",
        help="only this part (may be repeated)",
    )
    parser.add_argument(
        "--sizes",
        type=lambda text: tuple(map(int, text.split(","))),
        default=(),
        metavar="N,N",
        help="numbers of records for the part growth (default 10000,100000)",
    )
    return parser


async def _run(bench: Bench, parts: list[str]) -> None:
    print(await first_line(bench.server.dsn, quick=bench.quick, parts=parts), flush=True)
    for part in parts:
        measure, _ = PARTS[part]
        async for figure in measure(bench):
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()

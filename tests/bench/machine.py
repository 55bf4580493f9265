"""Say on what the figures were taken: machine, versions, the settings of the server, and the load besides ours."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import asyncpg

_PACKAGES = ("asyncpg", "aiohttp", "msgspec", "structlog")
_SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "autovacuum")


async def first_line(dsn: str, **options: object) -> str:
    """Return the line that comes before all figures."""
    connection = await asyncpg.connect(dsn)
    try:
        postgres = {name: await connection.fetchval(f"SHOW {name}") for name in _SETTINGS}
    finally:
        await connection.close()
    return json.dumps(
        {"machine": _machine(), "versions": _versions(), "postgres": postgres, "options": options}
    )


def _machine() -> Mapping[str, object]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _versions() -> Mapping[str, str]:
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _commit() -> str:
    """Name the commit that is measured, marked when the work tree differs from it."""
    here = Path(__file__).parent
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"

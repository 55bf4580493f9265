"""Throw-away environments of the programs that we are compared with, and of the one that draws.

Why: they must never be dependencies of ours. Each is made at first use below `.bench/`, from names, versions and
hashes that are pinned in `pins/`, and made anew when its pins change; `make clean` removes them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".bench"
# Its C extension `fastcache` does not compile for a Python newer than 3.9.
PYTHONS = {"gurglefish": ("3.9", "3.8")}
INSTALL_S = 600


class MissingError(Exception):
    """An environment cannot be had on this machine; says why."""


def environment(name: str) -> Path:
    """Return the folder of programs of the environment *name*, made if need be; raises `MissingError`."""
    pins = HERE / "pins" / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    made = ENVIRONMENTS / f"{name}-{digest}"
    if not (made / ".complete").exists():
        shutil.rmtree(made, ignore_errors=True)
        _make(name, made, pins)
        (made / ".complete").touch()
    return made / "bin"


def version(name: str) -> str:
    """Return the pinned version of the package that *name* stands for."""
    asked = (HERE / "pins" / f"{name}.in").read_text().splitlines()[0]
    return asked.partition("==")[2]


def _make(name: str, directory: Path, pins: Path) -> None:
    python = _python(name)
    print(f"installing {name} into {directory.relative_to(ROOT)} ...", file=sys.stderr)
    _run(python, "-m", "venv", str(directory))
    pip = (str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", "--require-hashes", "--requirement", str(pins))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stderr or error.stdout).splitlines() if "error" in line.lower()]
        raise MissingError(said[0].strip() if said else f"{command[:4]} failed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(str(error)) from error


def _python(name: str) -> str:
    wanted = PYTHONS.get(name)
    if wanted is None:
        return sys.executable
    for candidate in _candidates(wanted):
        found = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
        if found.returncode == 0:
            return candidate
    raise MissingError(f"needs Python {' or '.join(wanted)}, which is not on this machine")


def _candidates(versions: tuple[str, ...]) -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for one in versions:
        # pyenv's own command of that name runs only where that version was chosen.
        yield from map(str, sorted(pyenv.glob(f"versions/{one}.*/bin/python")))
        if shutil.which(f"python{one}"):
            yield f"python{one}"

"""`python -m tests.coverage_guided NAME [libFuzzer options]`: look for hostile inputs by coverage, for as long as you like.

Why: hypothesis damages good inputs by rules that we thought of; atheris keeps what reaches new code, and so gets where
nobody thought of. It is not pinned, since it has no wheel for every Python: `pip install atheris` first. What it finds
becomes an `@example` of the test beside it. Rejected: running it in CI, where a minute finds nothing new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

from tests.hostile import as_json

# A function of bytes that raises when something is wrong, and something good to begin with.
TARGETS: Mapping[str, tuple[str, str, str]] = {
    "events": ("tests.core.test_fuzz_decode", "must_be_sound", "GOOD"),
    "replies": ("tests.salesforce.test_fuzz_replies", "must_be_read_or_refused", "REPLY"),
    "people": ("tests.core.test_fuzz_people_file", "read_in_pieces", "GOOD"),
    "pages": ("tests.salesforce.test_fuzz_answers", "must_be_a_page_or_refused", "RESULT"),
    "logins": ("tests.salesforce.test_fuzz_answers", "must_be_a_session_or_refused", "TOKEN"),
}


def main() -> None:
    """Fuzz one target until a fault is found or the options end it."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name one of: {', '.join(TARGETS)}")
    import atheris  # noqa: PLC0415 - it is there only where somebody wants it

    name, function, good = TARGETS[sys.argv.pop(1)]
    with atheris.instrument_imports(include=["sfsync"]):
        module = import_module(name)
    target: Callable[[bytes], object] = getattr(module, function)
    seed = getattr(module, good)
    corpus = Path(mkdtemp(prefix="sfsync-corpus-"))
    (corpus / "good").write_bytes(seed if isinstance(seed, bytes) else as_json(seed))
    atheris.Setup([*sys.argv, str(corpus)], lambda raw: target(raw) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Whatever was captured, `sfsync decode` prints one JSON object a line, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sfsync.cli.decode import decode_files
from tests.core.test_fuzz_decode import GOOD, events
from tests.hostile import FUZZ, TEXTS, anything, as_json, damaged, torn
from tests.test_hostile_author import is_tame

WRAPPED = [
    {"data": {"payload": GOOD, "event": {"replayId": 1}}, "channel": "/data/ChangeEvents"},
    {"detail": {"payload": GOOD}},
    [GOOD, [GOOD]],
    {"event": {"payload": "AAAA"}},
]


@settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.one_of(
        damaged(WRAPPED).map(as_json),
        damaged(events()).map(as_json),
        torn(st.just(as_json(WRAPPED))),
        st.lists(anything, max_size=3).map(lambda some: b"\n".join(map(as_json, some))),
    )
)
@example(b"[" * 5000)
@example(b'{"a":' * 5000)
@example(as_json(dict.fromkeys(TEXTS.values(), GOOD)))
def test_capture_of_any_shape_is_told_line_by_line(tmp_path: Path, captured: bytes) -> None:
    """Captures are mailed around and cut by hand; what one of them holds was chosen by somebody else."""
    file = tmp_path / "captured"
    file.write_bytes(captured)
    out = io.StringIO()
    decode_files([str(file)], out)
    assert is_tame(out.getvalue())
    for line in out.getvalue().splitlines():
        assert isinstance(json.loads(line), dict)


def test_file_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    """A name is bytes, and JSON is not."""
    file = os.fsdecode(os.fsencode(tmp_path) + b"/no\xff\x1b[2J")
    out = io.StringIO()
    assert decode_files([file], out) == 1
    told = json.loads(out.getvalue())
    assert told["file"].endswith("/no\ufffd\x1b[2J")
    assert told["error"].startswith("cannot be read")
    assert is_tame(out.getvalue())

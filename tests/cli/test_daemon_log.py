"""The log of a daemon, read while it is written."""

from pathlib import Path

from sfsync.cli.daemon_log import DaemonLog


def test_only_whole_lines_are_read_and_each_once(tmp_path: Path) -> None:
    """A line that is half written is no entry yet, and must not be lost."""
    path = tmp_path / "daemon.log"
    path.write_bytes(b'{"event":"a"}\n{"eve')
    log = DaemonLog(path)
    assert [entry["event"] for entry in log.fresh()] == ["a"]
    with path.open("ab") as stream:
        stream.write(b'nt":"b"}\n')
    assert [entry["event"] for entry in log.fresh()] == ["b"]
    assert log.fresh() == []


def test_plain_text_and_other_json_are_no_entries(tmp_path: Path) -> None:
    """A start that fails before logging is set up writes plain text; what follows must still be read."""
    path = tmp_path / "daemon.log"
    path.write_bytes(b'sfsync: no such file\n["a"]\n\xff\xfe\n{"event":"c"}\n')
    assert [entry["event"] for entry in DaemonLog(path).fresh()] == ["c"]

"""Readiness: red until everything needed has spoken, and logged once per change."""

from __future__ import annotations

from structlog.testing import capture_logs

from sfsync.sync.health import Health


def test_nothing_known_is_not_ready() -> None:
    """A daemon that has not started anything must not get traffic."""
    assert not Health().ready


def test_needed_part_that_never_spoke_keeps_it_red() -> None:
    """A part that died before its first word would leave the daemon green otherwise."""
    health = Health("stream", "sweep")
    health.set("stream", ok=True)
    assert not health.ready
    assert health.missing == {"sweep": "not yet reached"}
    health.set("sweep", ok=True)
    assert health.ready


def test_change_is_logged_once_with_what_is_missing() -> None:
    """An operator reads when it turned and why; repeating it each second would bury that."""
    health = Health("stream", "sweep")
    with capture_logs() as logs:
        health.set("stream", ok=True)
        health.set("stream", ok=True)
        health.set("sweep", ok=True)
        health.set("stream", ok=False, detail="lost")
        health.set("stream", ok=False, detail="still lost")
    assert [(entry["event"], entry["ready"], entry["reasons"]) for entry in logs] == [
        ("health.changed", False, ["sweep"]),
        ("health.changed", True, []),
        ("health.changed", False, ["stream"]),
    ]
    assert health.missing == {"stream": "still lost"}


def test_withdrawn_claim_no_longer_counts() -> None:
    """A part that was switched off by a reload needs no health."""
    health = Health("stream", "sweep")
    health.set("stream", ok=True)
    health.withdraw("sweep")
    assert health.ready
    assert list(health.claims) == ["stream"]

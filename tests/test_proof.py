"""The runner of all proofs: it adds up, it goes on where it stopped, and a part that failed fails it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.proof import Ledger, Part, described, run_part, summed

TELLS = "import json, sys; print('noise'); print(json.dumps({'histories': int(sys.argv[1]), 'seeds': [int(sys.argv[2])]}))"


def telling(amount: int, piece: int) -> Part:
    return Part("telling", lambda count, seed: ("-c", TELLS, f"{count}", f"{seed}"), amount, piece)


def test_pieces_are_added_up(tmp_path: Path) -> None:
    """A night is told in one line."""
    ledger = Ledger(tmp_path / "kept.json", "abc", 7)
    outcome = run_part(telling(5, 2), ledger)
    assert outcome.told == {"histories": 5, "seeds": [7, 9, 11]}
    assert (outcome.done, outcome.failed) == (5, [])


def test_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A night that was cut short is not lost."""
    path = tmp_path / "kept.json"
    run_part(telling(2, 2), Ledger(path, "abc", 7))
    outcome = run_part(telling(4, 2), Ledger(path, "abc", 7))
    assert outcome.told == {"histories": 4, "seeds": [7, 9]}


def test_another_commit_begins_anew(tmp_path: Path) -> None:
    """What was shown of one commit says nothing of the next."""
    path = tmp_path / "kept.json"
    run_part(telling(2, 2), Ledger(path, "abc", 7))
    assert Ledger(path, "def", 7).outcomes == {}
    assert Ledger(path, "abc", 8).outcomes == {}


def test_failing_piece_is_told_with_its_command(tmp_path: Path) -> None:
    """Whoever reads the record must be able to run it again."""
    part = Part("dying", lambda _count, seed: ("-c", f"raise SystemExit({seed})"))
    ledger = Ledger(tmp_path / "kept.json", "abc", 3)
    assert run_part(part, ledger).failed == ["exit 3: python -c raise SystemExit(3)"]
    assert "exit 3" in "\n".join(described([part], ledger, "short"))


def test_figures_of_a_bench_are_gathered(tmp_path: Path) -> None:
    """Recovery is told in several lines, one for each figure."""
    lines = [json.dumps({"machine": {}}), *(json.dumps({"figure": f"f{n}", "value": n}) for n in (1, 2))]
    part = Part("figures", lambda _count, _seed: ("-c", f"print({chr(10).join(lines)!r})"))
    assert run_part(part, Ledger(tmp_path / "kept.json", "abc", 3)).told == {"f1": 1, "f2": 2}


def test_sum_of_lines() -> None:
    """Counts are added at every depth; words are those of the last."""
    old = {"seed": 4, "n": 1, "by": {"a": 1}, "seeds": [1], "mode": "x", "ok": True}
    new = {"seed": 5, "n": 2, "by": {"a": 2, "b": 3}, "seeds": [2], "mode": "y", "ok": False}
    sum_of_both = {"n": 3, "by": {"a": 3, "b": 3}, "seeds": [1, 2], "mode": "y", "ok": False}
    assert summed(old, new) == {"seed": 5, **sum_of_both}

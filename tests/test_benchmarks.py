"""Each benchmark has a short form, one for programs, and an exit code that tells of a missed goal."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from benchmarks.verdict import Goal, judged

FOLDER = Path(__file__).parents[1] / "benchmarks"
PARTS = {"liar"}
"""Programs that a benchmark starts, and that are none."""


def test_each_can_be_short_and_be_read_by_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = [path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text()]
    benchmarks = sorted({*programs} - PARTS)
    assert benchmarks
    for name in benchmarks:
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match="0"):
            importlib.import_module(f"benchmarks.{name}").main()
        told = capsys.readouterr().out
        assert "--quick" in told, name
        assert "--json" in told, name


def test_a_missed_goal_is_the_exit_code_and_stands_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    near, far = Goal("near", 1.0, at_most=1.0), Goal("far", 2.0, at_least=3.0)
    assert judged({"a": 1}, "a table", [near], as_json=False) == 0
    assert judged({"a": 1}, "a table", [near, far], as_json=False) == 1
    capsys.readouterr()
    assert judged({"a": 1}, "a table", [near, far], as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["a"] == 1
    assert [goal["met"] for goal in told["goals"]] == [True, False]

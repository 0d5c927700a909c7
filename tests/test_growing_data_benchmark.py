"""The benchmark of growing data ends with 1 where a goal is missed, and names it."""

from typing import Any

import pytest

from benchmarks import growing_data

GOOD: dict[str, Any] = {
    "rows": 10,
    "mb": 0.1,
    "started_mb": 50.0,
    "read_mb": 80.0,
    "round_mb": 85.0,
    "full_s": 1.0,
    "of_full": {"unchanged": 0.0, "touched": 0.002, "begun_line": 0.002, "more": 0.5},
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"read_mb": 121.0}, "missed: reading takes 121 MB, the goal is 120"),
        ({"round_mb": 130.0}, "missed: a round takes 130 MB, the goal is 120"),
        (
            {"of_full": {**GOOD["of_full"], "touched": 0.02}},
            "missed: touched: 2.00% of a full reading, the goal is 1%",
        ),
    ],
)
def test_goals(changes: dict[str, Any], told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_data, "run", lambda rows: GOOD | changes)
    said: list[str] = []
    assert growing_data.main([], said.append) == (0 if told is None else 1)
    assert [line for line in said if line.startswith("missed")] == ([] if told is None else [told])


def test_rows_are_as_long_as_the_goal_has_them() -> None:
    """75 MB in 2.5 million rows."""
    assert 28 <= len(growing_data.lines(0, 1_000)) / 1_000 <= 32

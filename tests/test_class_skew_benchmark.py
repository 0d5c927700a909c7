"""The benchmark of the threshold for "classes differ much" deals and tells what it says."""

import pytest

from benchmarks.class_skew import dealt, measured, table
from benchmarks.plans import Deal


@pytest.mark.parametrize(("name", "rows"), [("wine", 28), ("breast cancer", 45)])
def test_the_smaller_alpha_the_more_classes_differ(name: str, rows: int) -> None:
    def skew(alpha: float) -> float:
        found: Deal
        found, each = dealt(name, alpha, 1)
        assert each == rows  # 142 or 456 rows that are not held out, on 5 or 10 devices
        return found.mix.skew or 0.0

    assert skew(0.1) > skew(100.0) + 0.2


def test_a_row_for_each_data_set_and_alpha_those_that_differ_most_first() -> None:
    text = table(measured(2, 2, 1, ["wine"], [100.0, 0.1]))
    lines = [line.split(" | ")[0] for line in text.splitlines()]
    assert lines[2:4] == ["| wine, 0.1", "| wine, 100"]
    assert text.endswith("threshold: 45%")

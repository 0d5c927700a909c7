"""Which rows are held out: by time, every so many, at random, or whole series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.data import division
from agent.data.division import divide, without_held
from agent.settings.data import By

FIXED: tuple[By, ...] = ("every", "random", "series")
"""Ways in which a row's part follows from where it stands alone."""


def held_of(series: list[int], part: float, by: By, gap: int = 0) -> list[int]:
    return list(map(int, divide(np.array(series, dtype=np.int64), part, gap, by)[1]))


def training_of(series: list[int], part: float, by: By, gap: int = 0) -> list[int]:
    return list(map(int, divide(np.array(series, dtype=np.int64), part, gap, by)[0]))


@given(
    series=st.lists(st.integers(0, 4), max_size=60),
    more=st.lists(st.integers(0, 6), max_size=40),
    part=st.floats(0, 0.9, exclude_max=True),
    gap=st.integers(0, 5),
    by=st.sampled_from(FIXED),
)
def test_no_row_changes_its_part_when_rows_are_appended(
    series: list[int], more: list[int], part: float, gap: int, by: By
) -> None:
    n = len(series)
    for of in (held_of, training_of):
        before, after = of(series, part, by, gap), of(series + more, part, by, gap)
        assert before == [row for row in after if row < n]


def test_by_time_the_border_moves() -> None:
    """So the docs say it: what was held out is trained on when the series has grown."""
    assert held_of([0] * 10, 0.2, "time") == [8, 9]
    assert held_of([0] * 20, 0.2, "time") == [16, 17, 18, 19]


@given(
    series=st.lists(st.integers(0, 4), max_size=60),
    part=st.floats(0, 0.9, exclude_max=True),
    gap=st.integers(0, 5),
    by=st.sampled_from(("time", *FIXED)),
)
def test_no_row_is_in_both_parts_and_a_gap_keeps_them_apart(
    series: list[int], part: float, gap: int, by: By
) -> None:
    training, held = training_of(series, part, by, gap), held_of(series, part, by, gap)
    assert not set(training) & set(held)
    if by == "series":
        assert len(training) + len(held) == len(series)
        assert not {series[row] for row in training} & {series[row] for row in held}
        return
    for recording in set(series):
        rows = [row for row, number in enumerate(series) if number == recording]
        place = {row: i for i, row in enumerate(rows)}
        kept = [place[row] for row in held if row in place]
        for row in training:
            if row in place:
                assert all(abs(place[row] - other) > gap for other in kept)


def test_every_takes_the_last_of_each_so_many() -> None:
    assert held_of([7] * 12, 0.25, "every") == [3, 7, 11]
    assert held_of([0] * 10, 0.3, "every") == [3, 6, 9], "10 · 0.3 is 3"
    assert held_of([0] * 3 + [1] * 5, 0.2, "every") == [7], "each series has its own numbers"
    assert training_of([0] * 12, 0.25, "every", 1) == [0, 1, 5, 9], "a gap lies on both sides"
    assert training_of([0] * 3, 0.25, "every", 1) == [0, 1], "row 3, which is still to come, is held out"


@pytest.mark.parametrize("percent", range(90))
def test_every_does_not_suffer_from_binary_fractions(percent: int) -> None:
    assert len(held_of([0] * 100, percent / 100, "every")) == percent


def test_random_takes_about_its_part_and_another_choice_in_each_series() -> None:
    # 2,000 rows at 0.2: mean 400, standard deviation √(2000 · 0.2 · 0.8) = 17.9; five of them are 90.
    for number in range(5):
        series = list(range(number)) + [9] * 2_000
        assert 310 < len(held_of(series, 0.2, "random")) < 490
    first, second = (set(held_of([0] * 100 + [1] * 100, 0.5, "random")) & part for part in PARTS)
    assert {row - 100 for row in second} != first
    runs = np.diff(held_of([0] * 2_000, 0.2, "random"))
    assert runs.min() == 1
    assert runs.max() > 10, "not every fifth"


PARTS = (set(range(100)), set(range(100, 200)))


def test_whole_series_are_held_out_in_the_order_of_their_appearance() -> None:
    numbers = [5, 5, 3, 3, 9, 9, 1, 1, 2, 2, 5, 7]
    assert held_of(numbers, 0.2, "series") == [8, 9], "the fifth that appears"
    assert held_of(numbers, 0.5, "series") == [2, 3, 6, 7, 11]
    assert training_of(numbers, 0.5, "series", gap=3) == [0, 1, 4, 5, 8, 9, 10], "there is no gap"


def test_series_that_hold_nothing_out_are_counted() -> None:
    series = np.array([0] * 4 + [1] * 5 + [2] * 3, dtype=np.int64)
    assert without_held(series, divide(series, 0.2, 0, "time")[1], "time") == 2
    assert without_held(series, divide(series, 0.2, 0, "series")[1], "series") == 3
    assert without_held(series, divide(series, 0.4, 0, "series")[1], "series") == 0


@pytest.mark.parametrize("by", ["every", "random"])
@pytest.mark.parametrize("part", [0.001, 0.1, 0.5])
def test_the_gap_is_kept_to_rows_that_are_still_to_come(by: By, part: float) -> None:
    _, held = divide(np.zeros(4_000, np.int64), part, 0, by)
    for rows in (1, 7, 60):
        for gap in (0, 1, 5, 3_000):
            training, own = divide(np.zeros(rows, np.int64), part, gap, by)
            expected = [row for row in range(rows) if not (np.abs(held - row) <= gap).any()]
            assert (training.tolist(), own.tolist()) == (expected, held[held < rows].tolist())


def test_a_long_gap_takes_no_more_time_than_its_series() -> None:
    looked_at = 0

    def chosen(numbers: NDArray[np.int64], part: float) -> NDArray[np.bool_]:
        nonlocal looked_at
        looked_at += len(numbers)
        return np.asarray(numbers % 5 == 4)

    near, _ = division._near(chosen, 0, 30, 0.2, 1_000_000)
    assert near.all()
    assert looked_at <= 2_000

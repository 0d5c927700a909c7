"""The part that a device chooses a model by: cut from the training part by the rule of the held-out part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.data.dataset import Dataset, fit
from agent.data.division import divide, divide_rest
from agent.settings.data import By, DataSettings
from agent.sources import Samples
from agent.sources.arrays import samples_from_arrays
from tests.agent.test_dataset import WALK_RUN

WAYS: tuple[By, ...] = ("time", "every", "random", "series")


def samples(rows: int) -> Samples:
    X = np.column_stack([np.arange(rows), np.arange(rows)]).astype(float)
    return samples_from_arrays("given", X, np.arange(rows) % 2)


def fitted(rows: int, *, chooses: bool = True, cap: int | None = None, **data: object) -> Dataset:
    return fit(samples(rows), WALK_RUN, DataSettings.model_validate(data), cap, chooses=chooses)


def numbers(X: np.ndarray | None) -> list[int]:
    assert X is not None
    return X[:, 0].astype(int).tolist()


def test_by_time_it_is_the_last_fifth_before_the_held_out_part() -> None:
    found = fitted(40)  # held out: the last 8; of the other 32 the last 6 = ⌊32 · 0.2⌋
    assert numbers(found.X) == list(range(26))
    assert numbers(found.choose_X) == list(range(26, 32))
    assert numbers(found.held_X) == list(range(32, 40))
    assert found.choose_y is not None
    assert found.choose_y.tolist() == [row % 2 for row in range(26, 32)]
    assert found.rows is not None
    assert found.rows.tolist() == list(range(26))


def test_a_gap_lies_before_both_parts() -> None:
    found = fitted(40, gap=2)  # held out 32…39, gap 30 and 31; of the other 30 the last 6, gap 22 and 23
    assert numbers(found.X) == list(range(22))
    assert numbers(found.choose_X) == list(range(24, 30))
    assert numbers(found.held_X) == list(range(32, 40))


def test_every_fifth_of_the_rows_that_are_not_held_out() -> None:
    found = fitted(50, holdout={"part": 0.2, "by": "every"})
    rest = [row for row in range(50) if row % 5 != 4]
    assert numbers(found.choose_X) == rest[4::5]
    assert numbers(found.X) == [row for at, row in enumerate(rest) if at % 5 != 4]
    assert numbers(found.held_X) == list(range(4, 50, 5))


def test_nothing_is_cut_where_nobody_chooses() -> None:
    found = fitted(40, chooses=False)
    assert numbers(found.X) == list(range(32))
    assert found.choose_X is None
    assert found.choose_y is None


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (31, None),  # 25 are not held out: 5 to choose by and 20 to train on would do, but …
        (32, 5),
        (30, None),  # of 24 they would be 4, which are too few
    ],
)
def test_too_few_rows_are_all_trained_on(rows: int, chosen: int | None) -> None:
    minimum = 21  # 26 of 32 rows are not held out: 21 and 5
    found = fitted(rows, minimum=minimum)
    assert (found.choose_X is None) is (chosen is None)
    if chosen is None:
        assert numbers(found.X) == numbers(fitted(rows, chooses=False).X)
    else:
        assert len(numbers(found.choose_X)) == chosen


def test_a_cap_counts_before_the_part_is_cut() -> None:
    found = fitted(100, cap=40)  # of 80 rows the last 40 are used, of which the last 8 are chosen by
    assert numbers(found.X) == list(range(40, 72))
    assert numbers(found.choose_X) == list(range(72, 80))
    assert found.capped == 40


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    by=st.sampled_from(WAYS),
    gap=st.integers(0, 3),
    part=st.sampled_from([0.0, 0.1, 0.2, 0.35]),
)
def test_no_row_is_in_two_parts_and_gaps_are_kept(lengths: list[int], by: By, gap: int, part: float) -> None:
    series = np.repeat(np.arange(len(lengths)), lengths)
    training, held = divide(series, part, gap, by)
    stay, chosen = divide_rest(series, training, part, 0.2, gap, by)
    assert not set(stay) & set(chosen)
    assert set(stay) | set(chosen) <= set(training)
    assert not set(chosen) & set(held)
    for row in chosen:
        near = stay[(np.abs(stay - row) <= gap) & (series[stay] == series[row])]
        assert by == "series" or not len(near)


@given(rows=st.integers(5, 80), more=st.integers(1, 40), by=st.sampled_from(WAYS))
def test_no_row_that_was_trained_on_is_chosen_by_later(rows: int, more: int, by: By) -> None:
    def parts(count: int) -> tuple[set[int], set[int]]:
        series = np.zeros(count, np.int64) if by != "series" else np.arange(count) // 3
        training, _ = divide(series, 0.2, 0, by)
        stay, chosen = divide_rest(series, training, 0.2, 0.2, 0, by)
        return set(stay.tolist()), set(chosen.tolist())

    (stay, chosen), (later_stay, later_chosen) = parts(rows), parts(rows + more)
    assert not stay & later_chosen
    if by != "time":  # a row's position alone decides
        assert stay <= later_stay
        assert chosen <= later_chosen

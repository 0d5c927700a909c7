"""Numbers that loggers write where there is no reading are found; measurements are not taken for them."""

import numpy as np
import pytest

from agent.data.precision_loss import narrowed
from agent.data.sentinels import sentinels

ROOM = np.random.default_rng(1).normal(21.5, 1.2, 400).round(1)


def found(values: np.ndarray) -> list[tuple[float, int, int]]:
    return [(one.value, one.count, one.first) for one in sentinels(np.float32(values)[:, None])]


def with_code(values: np.ndarray, code: float, *rows: int) -> np.ndarray:
    values = np.array(values, dtype=float)
    values[list(rows)] = code
    return values


@pytest.mark.parametrize("code", [-9999, 65535, 85, -127, -999, 4294967295, -40, 1e6])
def test_a_number_that_repeats_far_outside_is_found(code: float) -> None:
    assert found(with_code(ROOM, code, 7, 100, 333)) == [(float(np.float32(code)), 3, 7)]


def test_its_other_values_are_named() -> None:
    (one,) = sentinels(np.float32(with_code(ROOM, 85, 7, 9))[:, None])
    rest = np.delete(np.float32(ROOM), [7, 9])
    assert (one.column, one.low, one.high) == (0, float(rest.min()), float(rest.max()))


def test_several_numbers_of_one_column_are_all_found() -> None:
    values = with_code(with_code(with_code(ROOM, 85, 3, 4), -127, 5, 6), -9999, 8, 9)
    assert sorted(found(values)) == [(-9999.0, 2, 8), (-127.0, 2, 5), (85.0, 2, 3)]


def test_one_that_is_frequent_is_found_as_well() -> None:
    """UCI AirQuality: a fifth of the rows says -200 of a column in 2 … 340."""
    rng = np.random.default_rng(2)
    values = rng.gamma(6, 18, 1_000).clip(2, 340).round()
    values[rng.permutation(1_000)[:200]] = -200
    assert [(code, count) for code, count, _ in found(values)] == [(-200.0, 200)]


def test_one_that_stands_alone_is_found_as_the_survey_does() -> None:
    assert found(with_code(ROOM, -9999, 12)) == [(-9999.0, 1, 12)]


def test_in_a_column_of_few_values_only_a_known_number_is_found() -> None:
    steady = np.full(50, 21.5)
    assert found(with_code(steady, -9999, 3, 4)) == [(-9999.0, 2, 3)]
    assert found(with_code(steady, 85, 3, 4)) == []
    assert found(with_code(np.arange(50) % 2, 12, 3, 4)) == [], "counts of events"


@pytest.mark.parametrize(
    "values",
    [
        ROOM,
        np.random.default_rng(3).pareto(1.5, 2_000),
        np.random.default_rng(4).poisson(0.3, 2_000),
        np.random.default_rng(5).geometric(0.3, 2_000) ** 2,
        np.arange(500.0),
        np.repeat([0.0, 1.0], 100),
        np.random.default_rng(6).uniform(0, 100, 500).round(),
        np.random.default_rng(7).normal(0, 1, 500).clip(-2, 2),
        np.full(100, np.nan),
        np.concatenate([ROOM, ROOM + 30]),
    ],
    ids=["room", "heavy", "counts", "squares", "time", "switch", "percent", "clipped", "none", "two rooms"],
)
def test_measurements_are_no_sentinels(values: np.ndarray) -> None:
    assert found(values) == []


# What float32 rounds away


def test_epoch_seconds_are_named() -> None:
    """160 readings, one a second: neighbouring float32 numbers are 128 apart there, so 2 or 3 are left."""
    seconds = np.float32(1_764_000_000 + np.arange(160.0))
    X = np.stack([np.float32(ROOM[:160]), seconds], axis=1)
    different = len(np.unique(seconds))
    assert different <= 3
    assert narrowed(X, (0, 1)) == {1: (different, 160)}
    assert narrowed(X, (0,)) == {}


@pytest.mark.parametrize(
    "values",
    [
        ROOM,
        np.arange(160.0),
        1e7 + np.arange(160) % 5,
        101_325 + np.random.default_rng(8).normal(0, 50, 500),
        np.full(50, 1.7e9),
        1e9 + 64.0 * np.arange(160),
        np.full(50, np.nan),
    ],
    ids=["room", "seconds", "whole numbers", "pascal", "constant", "each another", "none"],
)
def test_columns_that_lose_nothing_are_not_named(values: np.ndarray) -> None:
    assert narrowed(np.float32(values)[:, None], (0,)) == {}

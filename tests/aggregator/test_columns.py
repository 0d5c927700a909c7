"""No single device decides what a column's mean and spread are: `survey/2`, and its bound."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.algorithms.rules import columns
from fedge.algorithms.rules.columns import NORMAL, Columns, blocks, pooled, robust
from fedge.algorithms.rules.outlying import FAR, outlying
from fedge.data.moments import Moments, measure, merge
from tests.wording import assert_tells

PROPERTY = settings(deadline=None, max_examples=200)


def column(mean: float, deviation: float, count: float = 100.0) -> Moments:
    """One column of one device."""
    return Moments(*(np.array([part], np.float64) for part in (count, mean, count * deviation**2)))


def side_by_side(*parts: Moments) -> Moments:
    return Moments(
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.m2 for part in parts]),
    )


def only(columns: Columns) -> tuple[float, float]:
    return float(columns.mean[0]), float(columns.spread[0])


def bits(columns: Columns) -> bytes:
    return b"".join(part.tobytes() for part in (columns.count, columns.mean, columns.spread))


# ── the rule, by hand ──────────────────────────────────────────────────────────────────────────────


def test_one_device_alone_is_believed() -> None:
    assert only(robust([column(5, 3)])) == (5, 3)


def test_of_three_devices_the_mean_is_the_middle_one_and_n_does_not_matter() -> None:
    mean, spread = only(robust([column(1, 2, 20), column(2, 2, 1e6), column(4, 2, 30)]))
    # MAD: |1-2|, 0, |4-2| have the median 1; the winsorised deviation of 1, 2, 4 is that of 2, 2, 2: none
    assert (mean, spread) == (2, pytest.approx(np.hypot(2, NORMAL)))


def test_the_variance_is_the_median_of_the_variances() -> None:
    assert only(robust([column(7, 1), column(7, 2), column(7, 50)])) == (7, 2)


def test_a_third_of_the_stations_at_another_level_is_no_outlier() -> None:
    """Their MAD is 0; twelve values of which four are 100 deviate by √(8/12 · 4/12) · 100 = 47.1."""
    fleet = [column(100.0 * (k >= 8), 1) for k in range(12)]
    assert only(robust(fleet)) == (pytest.approx(100 / 3), pytest.approx(np.hypot(1, 47.14), rel=1e-4))


def test_the_outer_tenth_at_each_end_counts_as_the_next_one_inwards() -> None:
    """Of eleven devices two at each end: 3, 3, 3, 4, …, 8, 9, 9, 9."""
    fleet = [column(level, 1) for level in (-1e9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1e30)]
    assert only(robust(fleet))[0] == pytest.approx((3 * 3 + 4 + 5 + 6 + 7 + 8 + 3 * 9) / 11)


def test_devices_that_did_not_measure_a_column_do_not_count_in_it() -> None:
    assert only(robust([column(0, 0, 0), column(5, 3), column(0, 0, 0)])) == (5, 3)
    assert robust([column(0, 0, 0)]).count == 0


def test_a_stuck_sensor_says_nothing_of_the_mean_and_the_spread_of_the_others() -> None:
    fleet = [column(20 + k % 3, 2) for k in range(18)]
    assert only(robust([*fleet, column(0, 0)])) == pytest.approx(only(robust(fleet)), rel=0.1)


def test_where_many_are_stuck_their_values_are_not_blown_up() -> None:
    mean, spread = only(robust([column(20 + k % 3, 2) for k in range(11)] + [column(0, 0)] * 9))
    assert mean == pytest.approx(21, rel=0.01)
    assert 21 / spread < 3


def test_a_constant_level_of_each_station_spreads_as_the_levels_do() -> None:
    levels = np.random.default_rng(1).normal(300, 40, 20)
    mean, spread = only(robust([column(level, 0) for level in levels]))
    assert mean == np.median(levels)
    assert spread == pytest.approx(levels.std(), rel=0.4)


def test_a_value_that_few_devices_ever_see_is_scaled_by_those() -> None:
    shares = [0.3, 0.5, 0.4]
    fleet = [column(0, 0)] * 17 + [column(m, np.sqrt(m * (1 - m))) for m in shares]
    # The mean square of zeros and ones is their mean: .3, .4 and .5, and .4 is what is left.
    assert only(robust(fleet)) == (0, pytest.approx(np.sqrt(0.4)))


@pytest.mark.parametrize("lie", [(1e30, 1e30), (-1e30, 1e24), (0, 1e-12), (1, 1e-3), (0.5, 1e30), (1e30, 0)])
def test_of_two_that_see_a_bit_of_a_one_hot_code_one_may_lie(lie: tuple[float, float]) -> None:
    honest = column(0.3, np.sqrt(0.21))
    mean, spread = only(robust([column(0, 0)] * 18 + [honest, column(*lie)]))
    for value in (0, 1):
        assert abs(value - mean) / spread <= 4  # as they are: 0 and 1
    assert 0.3 <= spread <= 1.0


@pytest.mark.parametrize("lie", [(1e30, 1e30), (-1e30, 1e24), (0, 1e-12), (5, 1e-3)])
def test_of_two_that_see_rain_one_may_take_it_away_and_cannot_blow_it_up(lie: tuple[float, float]) -> None:
    mean, spread = only(robust([column(0, 0)] * 18 + [column(2, 8), column(*lie)]))
    assert mean == 0
    assert spread >= np.hypot(2, 8) / np.sqrt(2)


# ── the bound ──────────────────────────────────────────────────────────────────────────────────────

LIES = [
    column(mean, deviation, count)
    for mean in (0.0, 1e30, -1e30, 5.0, -99_999.0)
    for deviation in (0.0, 1e-12, 1.0, 1e3, 1e30)
    for count in (1.0, 20.0, 1e6)
    if count > 1 or deviation == 0
]


def fleet_of(devices: int, levels: float, seed: int) -> list[Moments]:
    """Honest devices whose levels are normally distributed, and whose deviations differ by some 1.5."""
    rng = np.random.default_rng(seed)
    return [column(rng.normal() * levels, rng.lognormal(0, 0.4)) for _ in range(devices)]


@pytest.mark.parametrize("levels", [0.0, 0.3, 1.0, 3.0, 30.0])
def test_one_liar_of_twenty_moves_the_mean_by_less_than_half_a_spread_and_the_spread_by_half(
    levels: float,
) -> None:
    for seed in range(20):
        fleet = fleet_of(19, levels, seed)
        mean, spread = only(robust(fleet))
        for lie in LIES:
            moved, widened = only(robust([*fleet, lie]))
            assert abs(moved - mean) <= 0.5 * spread
            assert 2 / 3 <= widened / spread <= 3 / 2


HONEST = st.tuples(st.floats(-1e6, 1e6), st.floats(10, 1e3))
LIE = st.tuples(st.floats(-1e30, 1e30), st.floats(0, 1e30))


@PROPERTY
@given(st.lists(HONEST, min_size=3, max_size=19), LIE)
def test_whatever_one_device_says_the_others_bound_it(
    told: list[tuple[float, float]], lie: tuple[float, float]
) -> None:
    means, deviations = (np.sort([each[i] for each in told]) for i in (0, 1))
    mean, spread = only(robust([column(*each) for each in [*told, lie]]))
    middle = len(told) // 2
    assert means[0] <= mean <= means[-1]
    # The variance is next to the median of the others.
    span = means[-1] - means[0]
    assert deviations[max(middle - 1, 0)] * (1 - 1e-9) <= spread
    assert spread <= np.hypot(deviations[min(middle + 1, len(told) - 1)], 1.5 * span) * (1 + 1e-9)


@PROPERTY
@given(st.lists(HONEST, min_size=1, max_size=8), st.randoms())
def test_it_is_a_function_of_the_set(told: list[tuple[float, float]], rng: object) -> None:
    fleet = [column(*each) for each in told]
    shuffled = list(fleet)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert bits(robust(fleet)) == bits(robust(shuffled))


def test_the_order_changes_no_bit_where_a_column_is_constant_on_most() -> None:
    rare = [column(m, d) for m, d in ((0.1, 0.3), (1e15, 7e14), (-1e15, 2e14), (3.3, 1e-2))]
    for some in (rare[:2], rare):
        fleets = [[column(0, 0)] * 5 + list(order) for order in permutations(some)]
        assert len({bits(robust(fleet)) for fleet in fleets}) == 1


def test_columns_are_independent_however_many_are_merged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [side_by_side(*[column(k + j, 1 + k) for j in range(13)]) for k in range(4)]
    found = robust(wide)
    assert found.mean[-1] - found.mean[0] == 12
    assert set(found.spread) == {found.spread[0]}
    for numbers in (1, 20, 52):
        monkeypatch.setattr(columns, "BLOCK", numbers)
        assert bits(robust(wide)) == bits(found)


def test_blocks_cover_all_columns_and_hold_a_bounded_number_of_values() -> None:
    for devices, width in ((1, 70_000), (1_000, 64), (10_000, 64), (10**6, 3), (7, 0)):
        found = list(blocks(devices, width))
        assert [j for block in found for j in range(block.start, block.stop)] == list(range(width))
        assert all(
            block.stop - block.start == 1 or devices * (block.stop - block.start) <= columns.BLOCK
            for block in found
        )


def test_the_rule_of_before_is_the_moments_of_all_samples() -> None:
    X, Y = np.random.default_rng(1).normal(size=(2, 30, 3))
    found, together = pooled([measure(X), measure(Y)]), merge(measure(X), measure(Y))
    assert found.mean.tobytes() == together.mean.tobytes()
    assert found.spread.tobytes() == np.sqrt(together.m2 / 60).tobytes()


# ── who lies outside ───────────────────────────────────────────────────────────────────────────────


def named(fleet: dict[str, Moments]) -> list[str]:
    merged = robust(list(fleet.values()))
    scale = np.where(merged.spread > 0, merged.spread, 1.0)
    return [str(one) for one in outlying(list(fleet.items()), ("volts",), merged.mean, scale)]


def honest_fleet(levels: float = 1.0) -> dict[str, Moments]:
    return {f"pi-{k:02}": moments for k, moments in enumerate(fleet_of(19, levels, seed=3))}


def test_nobody_is_named_in_an_honest_fleet() -> None:
    for seed in range(50):
        for levels in (0.0, 1.0, 30.0):
            assert named({f"pi-{k}": m for k, m in enumerate(fleet_of(20, levels, seed))}) == []


@pytest.mark.parametrize(
    ("moments", "word"),
    [
        (column(1e30, 0), "mean"),
        (column(-99_999, 3), "mean"),
        (column(0, 1e30), "spread"),
        (column(0, 0), "constant"),
        (column(0, 0, 0), "missing"),
    ],
)
def test_who_lies_outside_is_named_by_column_and_how_far(moments: Moments, word: str) -> None:
    (found,) = named({**honest_fleet(), "liar": moments})
    assert_tells(found, "liar: column 'volts': ", word)


def test_the_farthest_come_first_and_each_with_few_columns() -> None:
    fleet = {f"pi-{k}": side_by_side(*[column(k % 3, 1)] * 5) for k in range(10)}
    fleet["near"] = side_by_side(*[column(20 * (j == 2), 1) for j in range(5)])
    fleet["far"] = side_by_side(*[column(10.0 ** (3 + j), 1) for j in range(5)])
    merged = robust(list(fleet.values()))
    found = outlying(list(fleet.items()), tuple("abcde"), merged.mean, merged.spread)
    assert [(one.device, one.column) for one in found] == [
        ("far", "e"),
        ("far", "d"),
        ("far", "c"),
        ("near", "c"),
    ]
    assert all(one.far > FAR for one in found)

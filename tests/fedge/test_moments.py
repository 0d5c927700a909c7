import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedge.data.moments import (
    BLOCK_ROWS,
    Moments,
    bounds,
    is_constant,
    measure,
    merge,
    rounded,
)
from fedge.errors import ProtocolError

PROPERTY = settings(deadline=None, max_examples=50)
VALUES = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.floats(1e6, 1e6 + 8, width=32), st.just(0.0), st.just(np.nan)
)
SAMPLES = arrays(np.float32, st.tuples(st.integers(0, 12), st.just(3)), elements=VALUES)


def exact(column: np.ndarray) -> tuple[int, Fraction, Fraction]:
    """The definition, in rational numbers."""
    values = [Fraction(float(x)) for x in column if not np.isnan(x)]
    mean = sum(values, Fraction(0)) / max(len(values), 1)
    return len(values), mean, sum(((x - mean) ** 2 for x in values), Fraction(0))


def assert_exact(moments: Moments, X: np.ndarray) -> None:
    for j, column in enumerate(X.T):
        count, mean, m2 = exact(column)
        size = float(np.nanmax(np.abs(column))) if count else 0.0
        assert moments.count[j] == count
        # A few units of float64 a value: 1e-15 is 4.5 of them. √M2 is the length of the vector of deviations,
        # so it is wrong by at most the length of their errors: the mean's, `count` times, and their own.
        error = 1e-15 * (count + 1) * size
        assert abs(moments.mean[j] - float(mean)) <= error
        length = math.sqrt(m2)
        assert (
            abs(math.sqrt(moments.m2[j]) - length) <= math.sqrt(count) * error + 1e-15 * (count + 1) * length
        )


@PROPERTY
@given(SAMPLES)
def test_measured_moments_are_the_definitions_without_the_missing_values(X: np.ndarray) -> None:
    assert_exact(measure(X), X)


@PROPERTY
@given(SAMPLES, SAMPLES)
def test_merged_moments_are_those_of_all_samples_together(X: np.ndarray, Y: np.ndarray) -> None:
    assert_exact(merge(measure(X), measure(Y)), np.concatenate((X, Y)))


@PROPERTY
@given(SAMPLES)
def test_moments_of_nothing_change_nothing(X: np.ndarray) -> None:
    moments, nothing = measure(X), measure(X[:0])
    for merged in (merge(moments, nothing), merge(nothing, moments)):
        assert merged.to_bytes() == moments.to_bytes()


def test_a_small_spread_on_a_large_mean_is_not_lost() -> None:
    # Deviations ±1 around 2^26: Σx² - (Σx)²/n would need 53 bits for the squares alone.
    X = np.float64(2**26) + np.tile([[-1.0], [1.0]], (500, 1))
    moments = measure(X)
    assert moments.mean[0] == 2**26
    assert moments.m2[0] == 1000


def test_a_constant_column_has_no_spread_whatever_its_value() -> None:
    # The sum of thousands of 0.1 is not thousands times 0.1; the second pass takes the difference out, down
    # to half a unit of float64, 1.2e-16.
    X = np.full((BLOCK_ROWS, 2), 0.1)
    assert X.sum(axis=0)[0] / BLOCK_ROWS != 0.1
    moments = measure(X)
    np.testing.assert_allclose(moments.mean, 0.1, rtol=1.2e-16, atol=0)
    assert (moments.m2 <= BLOCK_ROWS * (0.1 * 1.2e-16) ** 2).all()


def test_blocks_of_rows_are_measured_as_one() -> None:
    X = np.random.default_rng(3).normal(50, 2, size=(2 * BLOCK_ROWS + 5, 2))
    moments = measure(X)
    assert (moments.count == len(X)).all()
    np.testing.assert_allclose(moments.mean, X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.m2, X.var(axis=0) * len(X), rtol=1e-12)


def test_samples_are_left_as_they_are() -> None:
    X = np.array([[1.0, np.nan], [2.0, 3.0]])
    measure(X)
    np.testing.assert_array_equal(X, [[1.0, np.nan], [2.0, 3.0]])


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_value_is_named(bad: float) -> None:
    X = np.zeros((BLOCK_ROWS + 3, 2), dtype=np.float32)
    X[BLOCK_ROWS + 1, 1] = bad
    with pytest.raises(ValueError, match=f"row {BLOCK_ROWS + 1}, column 1: {bad}"):
        measure(X)


def test_only_matrices_are_measured() -> None:
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        measure(np.zeros(3))


def test_moments_of_different_columns_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"2 .*3 columns"):
        merge(measure(np.zeros((1, 2))), measure(np.zeros((1, 3))))


@PROPERTY
@given(arrays(np.float64, (3, 4), elements=st.floats(allow_nan=False)))
def test_bytes_are_little_endian_rows_of_counts_means_m2(values: np.ndarray) -> None:
    body = values.astype("<f8").tobytes()
    moments = Moments.from_bytes(body, 4)
    np.testing.assert_array_equal([moments.count, moments.mean, moments.m2], values)
    assert moments.to_bytes() == body


@pytest.mark.parametrize("length", [0, 47, 49, 72])
def test_bytes_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match=rf"48 bytes.*\b{length}\b"):
        Moments.from_bytes(bytes(length), 2)


# ── what a sensor's fault does ─────────────────────────────────────────────────────────────────────

RNG = np.random.default_rng(5)
NORMAL = RNG.normal(20, 3, (1_628, 1)).astype(np.float32)


def without_faults(X: np.ndarray) -> Moments:
    return measure(X, bounds(X))


def spread(moments: Moments) -> np.ndarray:
    return np.sqrt(moments.m2 / np.maximum(moments.count, 1))


@pytest.mark.parametrize("sentinel", [-99_999.0, 99_999.0, 3e38])
@pytest.mark.parametrize("faults", [1, 5, 16])
def test_a_fault_of_less_than_a_hundredth_counts_as_the_median(sentinel: float, faults: int) -> None:
    X = NORMAL.copy()
    X[:: len(X) // faults][:faults] = sentinel
    assert bounds(X).beyond == [faults]
    found = without_faults(X)
    # A hundredth of the values moves by three deviations at most: .03 of the mean, √(1 - .01 · 3²).
    assert abs(found.mean[0] - NORMAL.mean()) <= 0.03 * 3
    assert 0.95 <= spread(found)[0] / NORMAL.std() <= 1
    assert found.count == len(X)


@pytest.mark.parametrize("rows", [20, 50, 200])
def test_among_few_values_one_fault_is_found(rows: int) -> None:
    X = NORMAL[:rows].copy()
    X[7] = -99_999
    assert bounds(X).beyond == [1]
    assert abs(without_faults(X).mean[0] - 20) < 3 * 2.5


@pytest.mark.parametrize(
    "column",
    [
        RNG.normal(0, 1, 5_000),
        RNG.lognormal(0, 1, 1_628),
        RNG.exponential(5, 1_628),
        RNG.uniform(-1, 1, 100),
        RNG.integers(0, 2, 1_628),  # a bit
        np.arange(1_628) < 3,  # a bit that is seldom set
        np.eye(20)[3],  # one row of twenty
        RNG.poisson(0.1, 1_628),
        RNG.poisson(40, 1_628),
        np.full(100, 7.0),
        np.where(np.arange(1_000) % 50 == 0, 100.0, RNG.normal(0.5, 0.01, 1_000)),  # bursts: 2 %
        np.where(np.arange(1_000) % 20 == 0, RNG.exponential(5, 1_000), 0.0),  # rain
        np.repeat([15.0, 30.0], 50),  # day and night
        np.full(50, np.nan),
    ],
)
def test_honest_columns_stay_as_they_are(column: np.ndarray) -> None:
    X = np.asarray(column, np.float32).reshape(-1, 1)
    assert bounds(X).beyond == [0]
    assert without_faults(X).to_bytes() == measure(X).to_bytes()


ALL = {
    "log-normal": lambda rng, k: rng.lognormal(0, 1, k),
    "wide log-normal": lambda rng, k: rng.lognormal(0, 2, k),
    "gamma": lambda rng, k: rng.gamma(0.3, 50, k),
    "exponential": lambda rng, k: rng.exponential(5, k),
    "tips of 0.2 mm": lambda rng, k: 0.2 * rng.geometric(0.05, k),
    "either sign": lambda rng, k: rng.laplace(0, 5, k),
}
"""Of k bursts, how large they are."""
SHARES = (0.002, 0.005, 0.01, 0.0105, 0.012, 0.015, 0.02, 0.03)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("rows", [200, 1_000, 4_000])
def test_bursts_count_whatever_their_share(kind: str, rows: int) -> None:
    """Not only where they make up more than a hundredth: the smallest is no measure of the others."""
    changed = []
    for seed, share in itertools.product(range(12), SHARES):
        rng = np.random.default_rng(seed)
        bursts = max(1, round(share * rows))
        X = np.zeros((rows, 1), np.float32)
        X[rng.choice(rows, bursts, replace=False), 0] = ALL[kind](rng, bursts)
        if not 1 / 1.5 <= spread(measure(X))[0] / spread(without_faults(X))[0] <= 1.5:
            changed.append((seed, share))
    # A tail of a power is taken for isolated once in e⁷ = 1,097 times, and these are lighter.
    assert len(changed) <= 1, changed


@pytest.mark.parametrize("rows", [1_000, 4_000])
def test_bursts_over_noise_count_where_they_are_of_many_sizes(rows: int) -> None:
    """Of no more than a hundredth, and far from everything else, as faults are; but faults are codes."""
    rng = np.random.default_rng(1)
    X = rng.normal(0.5, 0.01, (rows, 1)).astype(np.float32)
    X[: rows // 200, 0] = 50 + rng.exponential(5, rows // 200)
    assert bounds(X).beyond == [0]


GOOD = {
    "normal": lambda rng, n: rng.normal(20, 3, n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "exponential": lambda rng, n: rng.exponential(5, n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1, n),
    "rain": lambda rng, n: np.where(np.arange(n) % 25 == 0, rng.exponential(5, n), 0.0),
    "written to 0.1": lambda rng, n: rng.normal(20, 0.3, n).round(1),
    "day and night": lambda rng, n: rng.choice([15.0, 30.0], n) + rng.normal(0, 0.5, n),
}
"""n good values."""


@pytest.mark.parametrize(
    "codes",
    [(-99_999,), (99_999,), (-9_999, -99_999), (-99_999, 99_999), (-9_999, 32_767, 3e38), (-999,)],
    ids=str,
)
@pytest.mark.parametrize("kind", GOOD)
def test_faults_do_not_count_whatever_their_share(kind: str, codes: tuple[float, ...]) -> None:
    for rows, share in itertools.product((100, 1_000, 4_000), (0.002, 0.005, 0.01)):
        faults = max(len(codes), round(share * rows))
        if faults > math.ceil(0.01 * rows) or (kind == "rain" and rows < 1_000):
            continue  # more than rare; or rare events of which four or less are known
        rng = np.random.default_rng(faults)
        X = GOOD[kind](rng, rows).astype(np.float32).reshape(-1, 1)
        good = measure(X)
        X[rng.choice(rows, faults, replace=False), 0] = np.resize(codes, faults)
        assert bounds(X).beyond == [faults], (rows, share)
        found = without_faults(X)
        assert abs(found.mean[0] - good.mean[0]) <= 0.2 * spread(good)[0], (rows, share)
        assert 1 / 1.5 <= spread(found)[0] / spread(good)[0] <= 1.5, (rows, share)


@pytest.mark.parametrize("sentinel", [-99_999.0, 3e38])
def test_a_code_among_rare_events_is_no_event(sentinel: float) -> None:
    X = np.where(np.arange(1_000) % 40 == 0, RNG.exponential(5, 1_000), 0.0).reshape(-1, 1)
    X[:5] = sentinel
    assert bounds(X).beyond == [5]


@pytest.mark.parametrize("step_s", [1, 60, 600])
def test_times_of_day_and_of_the_epoch_stay(step_s: int) -> None:
    X = (1.7e9 + step_s * np.arange(1_000.0)).astype(np.float32).reshape(-1, 1)
    assert bounds(X).beyond == [0]


def test_missing_values_and_other_columns_do_not_matter_to_a_bound() -> None:
    X = np.hstack((NORMAL, NORMAL * 1e6, NORMAL))
    X[5, 0], X[::3, 2] = -99_999, np.nan
    assert list(bounds(X).beyond) == [1, 0, 0]
    assert without_faults(X).count[2] == measure(X).count[2]


# ── what is told of them ───────────────────────────────────────────────────────────────────────────


def moments(mean: float, deviation: float, count: float = 100.0) -> Moments:
    return Moments(np.array([count]), np.array([mean]), np.array([count * deviation**2]))


@pytest.mark.parametrize(
    ("mean", "deviation", "told"),
    [
        (23.4321, 1.6789, (23.4, 1.7)),
        (23.4321, 16.789, (23, 17)),
        (23.4321, 0.16789, (23.43, 0.17)),
        (101_325.678, 812.3, (101_330, 810)),
        (-0.000123456, 0.0000199, (-0.000123, 0.00002)),
        (1.2345e12, 9.876e10, (1.234e12, 9.9e10)),
        (5.0, 1e30, (0.0, 1e30)),
    ],
)
def test_moments_are_told_as_a_measurement_is_written(
    mean: float, deviation: float, told: tuple[float, float]
) -> None:
    found = rounded(moments(mean, deviation))
    assert (found.mean[0], spread(found)[0]) == (pytest.approx(told[0]), pytest.approx(told[1]))


@PROPERTY
@given(st.floats(-1e12, 1e12), st.floats(1e-3, 1e12))
def test_what_is_told_is_as_useful_as_what_was_measured(mean: float, deviation: float) -> None:
    measured = moments(mean, deviation)
    found = rounded(measured)
    if is_constant(measured.mean, spread(measured)).all():
        assert (found.mean[0], found.m2[0]) == (np.float32(mean), 0)
        return
    assert abs(found.mean[0] - mean) <= 0.051 * deviation
    assert abs(spread(found)[0] / deviation - 1) <= 0.051
    assert rounded(found).to_bytes() == pytest.approx(found.to_bytes())


def test_what_nobody_measured_stays_nothing() -> None:
    assert rounded(moments(0, 0, 0)).to_bytes() == bytes(24)


def test_two_surveys_around_one_row_do_not_give_the_row() -> None:
    """Exactly told, its mean follows from the two means: (n + 1) m' - n m."""
    X = RNG.normal(20, 3, (101, 400)).astype(np.float32)
    before, after = measure(X[:100]), measure(X)

    def guess(first: Moments, second: Moments) -> np.ndarray:
        return second.count * second.mean - first.count * first.mean

    assert np.abs(guess(before, after) - X[100]).max() < 1e-3
    missed = np.abs(guess(rounded(before), rounded(after)) - X[100])
    assert np.median(missed) >= 0.6 * 3  # a guess of 20, of one who has not seen the row, misses as much

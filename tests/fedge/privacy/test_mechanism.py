"""The sum of clipped, rounded updates with noise: its sensitivity, its arithmetic, shares of the noise."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedge.privacy.mechanism import Grid, Sum, share, share_variance
from fedge.privacy.randomness import Expanded

SEED = bytes(range(32))
anything = st.floats(width=32) | st.floats(-(2**-10), 2**-10, width=32)
sizes = st.integers(1, 40)
clips = st.floats(1e-6, 1e6)
bits = st.integers(8, 24)


def vectors(size: int) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(np.float32, size, elements=anything)


def squared(found: np.ndarray) -> int:
    return sum(int(each) ** 2 for each in found)


# Sensitivity


@given(st.data(), sizes, clips, bits)
def test_no_update_is_longer_than_the_sensitivity(
    data: st.DataObject, size: int, clip: float, bits: int
) -> None:
    grid = Grid(clip, size, bits)
    base, vector = np.nan_to_num(data.draw(vectors(size))), data.draw(vectors(size))
    assert squared(grid.rounded(base, vector)) <= grid.sensitivity**2


@given(st.data(), sizes, clips)
def test_one_device_more_changes_the_sum_by_no_more(data: st.DataObject, size: int, clip: float) -> None:
    """Adding a device adds its own whole numbers and changes nobody else's."""
    grid, base = Grid(clip, size), np.zeros(size, np.float32)
    devices = [grid.rounded(base, data.draw(vectors(size))) for _ in range(3)]
    without, whole = devices[0] + devices[1], devices[0] + devices[1] + devices[2]
    assert squared(whole - without) <= grid.sensitivity**2
    other = devices[0] + devices[1] + grid.rounded(base, data.draw(vectors(size)))
    assert squared(whole - other) <= (2 * grid.sensitivity) ** 2


@given(st.integers(1, 10**12))
def test_the_allowance_for_rounding_is_half_a_root(size: int) -> None:
    """The least whole number h with 2 h ≥ √p, that is 4 h² ≥ p."""
    allowance = Grid(1.0, size, 8).sensitivity - 2**8
    assert 4 * allowance**2 >= size > 4 * (allowance - 1) ** 2


def test_rounding_can_use_nearly_all_of_the_allowance() -> None:
    """Without the allowance the bound would be wrong: 2¹⁶ entries of .51 steps are each rounded up to 1.

    Their length before is .51 · 2⁸ = 130.6 steps, within the clip of 2⁸; after it is 2⁸. With a last entry
    that fills the clip up, 220.2 steps, the length is above 2⁸ and below 2⁸ + 2⁷.
    """
    size = 2**16 + 1
    grid = Grid(256.0, size, 8)
    vector = np.full(size, 0.51)
    vector[-1] = math.floor(math.sqrt(256**2 - 0.51**2 * 2**16))
    found = grid.rounded(np.zeros(size), vector)
    assert 2**16 < squared(found) <= grid.sensitivity**2
    assert math.sqrt(squared(found)) > 1.3 * 2**8


# Arithmetic


@given(st.data(), st.integers(1, 6))
def test_it_agrees_with_exact_fractions(data: st.DataObject, size: int) -> None:
    grid = Grid(2.0, size, 12)
    base = data.draw(npst.arrays(np.float32, size, elements=st.floats(-8, 8, width=32)))
    vector = data.draw(npst.arrays(np.float32, size, elements=st.floats(-8, 8, width=32)))
    change = [Fraction(float(v)) - Fraction(float(b)) for v, b in zip(vector, base, strict=True)]
    length = math.sqrt(float(sum(each**2 for each in change)))
    factor = 1 if length <= 2 else Fraction(2) / Fraction(length)
    wanted = [each * factor * 2**11 for each in change]
    for found, exact in zip(grid.rounded(base, vector).tolist(), wanted, strict=True):
        assert abs(found - exact) <= Fraction(1, 2) + Fraction(1, 10**9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_counts_as_no_change(bad: float) -> None:
    found = Grid(1.0, 3).rounded(np.zeros(3, np.float32), np.array([1.0, bad, 0.0], np.float32))
    assert found.tolist() == [0, 0, 0]


def test_the_largest_floats_are_shortened_to_the_clip() -> None:
    found = Grid(1.0, 2, 20).rounded(np.zeros(2, np.float32), np.array([3e38, -3e38], np.float32))
    assert found.tolist() == [741455, -741455], "2²⁰ / √2 = 741455.2"


def test_the_mean_is_divided_by_the_declared_cohort() -> None:
    """Two of four declared devices move the model by 1/4 each."""
    grid, base = Grid(2.0, 2, 16), np.array([5.0, -5.0])
    total = sum(grid.rounded(base, base + step) for step in ([1.0, 0.0], [0.0, 2.0]))
    assert grid.moved(base, np.asarray(total), 4).tolist() == [5.25, -4.5]


def test_the_noise_has_its_standard_deviation() -> None:
    """z Δ steps, exactly as a fraction; and measured to 5 standard errors of 100,000 samples."""
    grid = Grid(3.0, 100_000, 20)
    variance = grid.noise_variance(1.5)
    assert variance == Fraction(9, 4) * (2**20 + 159) ** 2, "√100,000 / 2 = 158.1"
    noised = Sum(np.zeros(100_000, np.int64)).noised(variance, Expanded(SEED, "sum"))
    assert abs(noised.std() / (1.5 * grid.sensitivity) - 1) < 5 / math.sqrt(2 * 100_000)


def test_noise_is_added_to_the_sum() -> None:
    total = np.arange(-3, 4) * 10**9
    noise = Sum(np.zeros(7, np.int64)).noised(Fraction(4), Expanded(SEED, "sum"))
    assert (Sum(total).noised(Fraction(4), Expanded(SEED, "sum")) - total).tolist() == noise.tolist()


# Shares


def test_shares_of_the_noise_add_up() -> None:
    """With 2 of 10 devices missing and 1 that works with the server, 7 shares have the whole variance."""
    grid, base = Grid(1.0, 20_000, 16), np.zeros(20_000, np.float32)
    variance = grid.noise_variance(1.0)
    part = share_variance(variance, 10 - 2 - 1)
    assert 7 * part == variance
    devices = [share(grid, base, base, part, Expanded(SEED, f"{k}")) for k in range(7)]
    measured = np.sum(devices, axis=0).std() / math.sqrt(variance)
    assert abs(measured - 1) < 5 / math.sqrt(2 * 20_000)


def test_a_share_is_the_update_and_noise() -> None:
    grid, base = Grid(1.0, 3, 16), np.zeros(3, np.float32)
    vector = np.array([0.5, 0.0, -0.25], np.float32)
    noise = share(grid, base, base, Fraction(9), Expanded(SEED, "pi"))
    found = share(grid, base, vector, Fraction(9), Expanded(SEED, "pi"))
    assert (found - noise).tolist() == [2**15, 0, -(2**14)]


def test_without_a_share_that_nobody_knows_there_is_no_noise() -> None:
    with pytest.raises(ValueError, match="0 devices share the noise"):
        share_variance(Fraction(1), 0)


# Bad input


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_that_bounds_nothing_is_refused(clip: float) -> None:
    with pytest.raises(ValueError, match="clip"):
        Grid(clip, 1)


@pytest.mark.parametrize(("size", "bits"), [(0, 20), (1, 7), (1, 25)])
def test_a_grid_out_of_range_is_refused(size: int, bits: int) -> None:
    with pytest.raises(ValueError, match="grid"):
        Grid(1.0, size, bits)


def test_a_vector_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*expected \(3,\)"):
        Grid(1.0, 3).rounded(np.zeros(3), np.zeros(2))

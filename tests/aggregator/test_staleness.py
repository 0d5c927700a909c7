"""How much a stale update counts."""

import math

import numpy as np
import pytest

from aggregator.aggregation.staleness import MOST_BITS, discounted, moved
from fedge.algorithms.contribution import MAX_SAMPLES, Contribution, order
from fedge.algorithms.rules.mean import finish, partial


def test_without_staleness_the_weights_are_what_they_are() -> None:
    assert discounted((3, 1, 2**53), (0, 0, 0)) == (3, 1, 2**53)


@pytest.mark.parametrize("tau", [1, 2, 3, 10, 1_000])
@pytest.mark.parametrize("n", [1, 50, 2**20])
def test_a_stale_update_weighs_one_over_the_root_of_one_and_its_staleness(n: int, tau: int) -> None:
    """The factor is rounded to 2^-30: an error of 2^-31 of a factor of 1/√1001 at least, or 1.5e-8."""
    fresh, stale = discounted((n, n), (0, tau))
    assert fresh == n * 2**MOST_BITS
    assert stale / fresh == pytest.approx(1 / math.sqrt(1 + tau), rel=2**-31 * math.sqrt(1_001))


def test_large_counts_leave_the_weights_below_the_largest_that_is_exact() -> None:
    """2^52 rows leave no bit for the factor: 1/√2 rounds to 1, and 1/√5 to 0, which counts as 1 row."""
    assert max(discounted((2**40, 1), (0, 3))) <= MAX_SAMPLES
    weights = discounted((2**52, 2**52), (0, 4))
    assert max(weights) <= MAX_SAMPLES
    assert min(weights) >= 1


def test_the_unit_of_the_weights_changes_no_bit_of_the_mean() -> None:
    """A power of two: all products and sums are the same up to their exponents."""
    rng = np.random.default_rng(5)
    devices = sorted((f"pi-{k}" for k in range(9)), key=order)
    samples = rng.integers(1, 2**20, 9)
    vectors = [rng.standard_normal(50).astype(np.float32) for _ in devices]
    plain, scaled = (
        finish(
            partial(
                Contribution(d, int(n) * unit, v) for d, n, v in zip(devices, samples, vectors, strict=True)
            )
        )[0]
        for unit in (1, 2**MOST_BITS)
    )
    assert plain.tobytes() == scaled.tobytes()


def test_a_step_from_an_older_model_is_a_step_from_the_newest_one() -> None:
    base, began = np.array([10.0, 20.0], np.float32), np.array([1.0, 2.0], np.float32)
    found = moved(base, np.array([1.5, 1.0], np.float32), began)
    assert found.dtype == np.float64
    assert found.tolist() == [10.5, 19.0]


@pytest.mark.parametrize("stale", [1, 10, 100])
def test_one_fresh_liar_of_twenty_weighs_at_most_the_root_of_one_and_the_staleness_more(stale: int) -> None:
    """docs/security.md. Nineteen others weigh 19 without staleness, and 19 / √(1 + τ) with it."""
    weights = discounted((10, *[1] * 19), (0, *[stale] * 19))
    beside = weights[0] / sum(weights[1:])
    assert beside == pytest.approx(10 / 19 * math.sqrt(1 + stale), rel=1e-7)

"""Noise in the ring: no wrap-around, the stated probability of the range, the noise of the sum, its ε."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.masked_cohort import Cohort, terms_of
from fedge.masking import noise
from fedge.masking.noise import RANGE_SHARE, NoisyLevels
from fedge.masking.server_state import Phase, Summed
from fedge.privacy.accountant import guarantee
from fedge.privacy.mechanism import Grid
from fedge.privacy.randomness import Expanded

SIZE = 2_000
NOISY = NoisyLevels(Grid(1.0, SIZE, 8), Fraction(2), devices=9, colluders=2, rounds=50)


def source(name: str) -> Expanded:
    return Expanded(bytes(32), name)


def tail(variance: float, least: int) -> float:
    """P[|X| ≥ least] of the discrete Gaussian, by adding up."""
    span = range(-int(40 * math.sqrt(variance)) - 40, int(40 * math.sqrt(variance)) + 41)
    weights = {x: math.exp(-(x**2) / (2 * variance)) for x in span}
    return math.fsum(w for x, w in weights.items() if abs(x) >= least) / math.fsum(weights.values())


@pytest.mark.parametrize("variance", [0.25, 1.0, 30.0, 500.0])
def test_the_bound_on_the_tail_holds(variance: float) -> None:
    for least in range(1, int(12 * math.sqrt(variance)) + 2):
        assert tail(variance, least) <= 2 * math.exp(-(least**2) / (2 * variance))


def test_levels_are_as_narrow_as_the_stated_probability_allows() -> None:
    """t = 7, m = 5, Δ = 256 + 23; σ² / m = 4 · 279² / 5. β = 2 n p T exp(-(L - Δ)² / 2 (σ² / m))."""
    assert (NOISY.honest, NOISY.grid.sensitivity) == (5, 279)

    def beta(bits: int) -> float:
        room = 2 ** (bits - 1) - 1 - 279
        return 2 * 9 * SIZE * 50 * math.exp(-(room**2) / (2 * 4 * 279**2 / 5))

    assert NOISY.value_bits == 13
    assert NOISY.beyond == pytest.approx(beta(13), rel=1e-9)
    assert beta(13) <= 2**-40 < beta(12)
    assert NOISY.clip == 4095 / 256, "a level is a step of the grid"


def test_the_masked_sum_is_the_sum_of_noised_levels_and_its_noise_is_that_of_the_shares() -> None:
    """Two devices are lost: 7 shares of σ² / 5 are left. 2,000 entries tell a variance to ± 6 · 3.2 %."""
    terms = terms_of(9, size=SIZE, value_bits=NOISY.value_bits, clip=NOISY.clip)
    rng, base = np.random.default_rng(0), np.zeros(SIZE, np.float32)
    vectors = {name: (rng.standard_normal(SIZE) / 100).astype(np.float32) for name in terms.cohort}
    levels = {name: NOISY.noised(base, vectors[name], source(name)) for name in terms.cohort}
    cohort = Cohort(terms, levels=levels)
    found = cohort.run({Phase.INPUT: frozenset({3, 4})})
    assert isinstance(found, Summed)
    assert (found.levels == cohort.expected(found.devices)).all()
    plain = sum(NOISY.grid.rounded(base, vectors[name]) for name in found.devices)
    added = found.levels - plain
    wanted = 7 / 5 * float(NOISY.grid.noise_variance(2))
    assert added.var() == pytest.approx(wanted, rel=0.2)
    assert abs(added.mean()) < 6 * math.sqrt(wanted / SIZE)
    assert np.allclose(NOISY.moved(base, found.levels), found.levels / 256 / 9), "by n, and not by 7"


def test_a_level_beyond_the_range_is_set_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the ring holds any sum, also with a share that is never drawn in practice."""
    drawn = np.array([NOISY.levels + 1, -(10**9), NOISY.levels, 3])
    monkeypatch.setattr(noise, "share", lambda *given: drawn)
    base = np.zeros(SIZE, np.float32)
    found = NOISY.noised(base, base, source("d0000")).tolist()
    assert found == [NOISY.levels, -NOISY.levels, NOISY.levels, 3]


def test_what_the_accountant_adds_up_and_the_range_costs_are_in_the_guarantee() -> None:
    """A hundredth of δ is for the range; the rest is what the accountant says of the shares."""
    noisy = NoisyLevels(Grid(1.0, SIZE, 10), Fraction(16), devices=100, colluders=10, rounds=200)
    training = noisy.training()
    assert training.shares is not None
    assert (training.shares.devices, training.shares.size) == (57, SIZE)
    assert training.shares.sensitivity == 1024 + 23
    found = noisy.guarantee(1e-5)
    assert found.epsilon == guarantee(training, 0.99e-5).epsilon >= guarantee(training, 1e-5).epsilon
    assert found.delta == 1e-5
    assert (1 + math.exp(found.epsilon)) * noisy.beyond <= RANGE_SHARE * 1e-5
    with pytest.raises(ValueError, match=r"takes .* of a delta of 1e-40"):
        noisy.guarantee(1e-40)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colluders": 7}, "nobody's share is unknown"),
        ({"multiplier": Fraction(1, 10_000)}, "a finer grid, or more noise"),
        ({"multiplier": Fraction(100)}, "a coarser grid, or more devices"),
        ({"multiplier": Fraction(0)}, "no noise"),
        ({"rounds": 0}, "no noise"),
    ],
)
def test_noise_that_cannot_be(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(NOISY, **changes)  # type: ignore[arg-type]  # as the cases say

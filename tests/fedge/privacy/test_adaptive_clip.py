"""The clip that follows a quantile of lengths: where it goes, what it costs, and one device's influence."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.privacy.adaptive_clip import RANGE, AdaptiveClip
from fedge.privacy.randomness import Expanded

SEED = bytes(range(32))


def adaptive(quantile: Fraction = Fraction(1, 2), cohort: int = 1000, noise: float = 50) -> AdaptiveClip:
    return AdaptiveClip(quantile, Fraction(1, 5), Fraction(noise), cohort)


@pytest.mark.parametrize("quantile", [Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("first", [0.01, 100.0])
def test_it_finds_the_quantile(quantile: Fraction, first: float) -> None:
    """Lengths e^N(0, 1) of a round where 800 of 1000 devices come; it starts a factor of 100 off."""
    rule, rng, clip, seen = adaptive(quantile), np.random.default_rng(4), first, []
    for number in range(400):
        lengths = rng.lognormal(size=800)
        clip = rule.following(clip, int((lengths <= clip).sum()), 800, Expanded(SEED, f"{number}"), first)
        seen.append(float((lengths <= clip).mean()))
    assert np.mean(seen[350:]) == pytest.approx(float(quantile), abs=0.03)


def test_it_is_the_papers_formula() -> None:
    """With noise of .001, 700 of 1000 within and γ = 1/2: C exp(-.2 (.7 - .5))."""
    found = adaptive(noise=0.001).following(3.0, 700, 1000, Expanded(SEED, "a"), 3.0)
    assert found == pytest.approx(3.0 * math.exp(-0.2 * 0.2), rel=1e-15)


def test_devices_that_did_not_come_do_not_move_it() -> None:
    rule = adaptive(Fraction(9, 10), noise=0.0005)
    assert rule.following(3.0, 90, 100, Expanded(SEED, "a"), 3.0) == 3.0
    assert rule.following(3.0, 0, 0, Expanded(SEED, "a"), 3.0) == 3.0


@given(st.integers(1, 50), st.data(), st.sampled_from([1, 25, 50, 90]))
def test_one_device_has_a_bounded_influence(came: int, data: st.DataObject, percent: int) -> None:
    """At most the factor exp(η h / m); and one round at most exp(η)."""
    quantile = Fraction(percent, 100)
    rule = adaptive(quantile, cohort=50, noise=2.5)
    within = data.draw(st.integers(0, came))
    before = rule.following(1.0, within, came, Expanded(SEED, "a"), 1.0)
    most = math.exp(0.2 * float(max(quantile, 1 - quantile)) / 50) * (1 + 1e-12)
    for others in {max(0, within - 1), min(within, came - 1)}:
        after = rule.following(1.0, others, came - 1, Expanded(SEED, "a"), 1.0)
        assert 1 / most <= after / before <= most
    assert math.exp(-0.2) * (1 - 1e-12) <= before <= math.exp(0.2) * (1 + 1e-12)


def test_it_stays_in_its_range() -> None:
    """All 1000 devices are within the smallest clip, and none within the largest."""
    rule = adaptive(noise=0.001)
    assert rule.following(2.0 / RANGE, 1000, 1000, Expanded(SEED, "a"), 2.0) == 2.0 / RANGE
    assert rule.following(2.0 * RANGE, 0, 1000, Expanded(SEED, "a"), 2.0) == 2.0 * RANGE


# Cost


@given(st.floats(0.1, 10), st.floats(20, 1000), st.integers(1, 99))
def test_both_releases_together_cost_what_is_declared(z: float, noise: float, percent: int) -> None:
    rule = adaptive(Fraction(percent, 100), noise=noise)
    updates, bits = rule.update_multiplier(z), rule.bit_multiplier
    together = 1 / Fraction(updates) ** 2 + 1 / bits**2
    assert together <= 1 / Fraction(z) ** 2, "never more"
    assert float(together * Fraction(z) ** 2) == pytest.approx(1, rel=1e-12)


def test_with_a_half_it_is_the_papers_split() -> None:
    """z_Δ = (z⁻² - (2 σ_b)⁻²)^(-1/2)."""
    assert adaptive(noise=50).update_multiplier(1.0) == pytest.approx((1 - 100.0**-2) ** -0.5, rel=1e-14)


def test_too_little_noise_in_the_count_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise of 0\.5 in the count of devices, expected more than 0\.5"):
        adaptive(noise=0.5).update_multiplier(1.0)


@pytest.mark.parametrize("wrong", [{"quantile": Fraction(1)}, {"cohort": 0}, {"noise": 0.0}])
def test_parameters_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        adaptive(**wrong)
